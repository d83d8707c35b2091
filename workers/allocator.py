"""What the C library does with memory that is given back to it."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""The names of these settings for glibc's `mallopt`."""

KEPT_BYTES = 64 * 2**20
"""What each arena may keep at its end."""

LARGEST_KEPT_BYTES = 32 * 2**20
"""Larger pieces go back to the system at once; the most that glibc takes."""


def keep_memory() -> bool:
    """Have freed memory kept for the next piece of its size; returns whether the C library knows how.

    Every batch frees what the next one needs. Left alone, glibc returns much of it to the system and gets it back as
    fresh pages, which the kernel has to clear: a tenth of the time that small images take.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return False
    # Both or none: either alone fixes the other at 128 KiB, which is worse than leaving both alone.
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST_KEPT_BYTES) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
