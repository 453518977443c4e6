"""Watch podcast feeds and have each new episode processed, exactly once."""

__version__ = "0.1.0"
