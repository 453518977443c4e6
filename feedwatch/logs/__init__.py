"""How log lines look, and the masking of secrets in whatever is said."""
