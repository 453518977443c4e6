"""The error that the store raises for people."""


class StoreError(Exception):
    """The database cannot be used; the message says why and what to do."""


class NotLeadingError(StoreError):
    """Another daemon leads, or our term has not begun on this server."""
