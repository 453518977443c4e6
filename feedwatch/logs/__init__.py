"""How log lines look."""
