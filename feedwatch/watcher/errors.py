"""What a person's request raises for people."""


class RequestError(Exception):
    """What a person asks for cannot be done, and nothing was written. `str()` is for people."""


class NotFoundError(RequestError):
    """There is no such feed or episode."""


class UnknownFeedError(NotFoundError):
    """There is no feed of this name: an error of usage, whichever verb it is given to."""
