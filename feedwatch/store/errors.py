"""The error that the store raises for people."""


class StoreError(Exception):
    """The database cannot be used; the message says why and what to do."""
