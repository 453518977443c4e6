"""How this process goes about its memory: for long, and with much that is large and short-lived."""

import gc
from contextlib import suppress

GARBAGE_AT = 50_000  # objects more than were freed
ARENA_MAX, MMAP_THRESHOLD = -8, -3  # mallopt(3)
ARENAS = 2  # else eight for each core, each with its own left-overs of documents
GIVEN_BACK = 256 * 1024  # bytes; what is larger, a document say, goes back when it is freed


def settle() -> None:
    """Call it once all is loaded and put together.

    What is there now stays. Items come by the thousand and go again: to look through all objects
    each time that a few hundred are new takes a fifth of the whole.
    """
    gc.freeze()
    gc.set_threshold(GARBAGE_AT)
    # Where there is no glibc, or where it may not be asked, it only takes more memory.
    with suppress(ImportError, OSError, AttributeError, MemoryError):
        import ctypes  # here: nothing else needs it

        libc = ctypes.CDLL(None)
        libc.mallopt(ARENA_MAX, ARENAS)
        libc.mallopt(MMAP_THRESHOLD, GIVEN_BACK)
