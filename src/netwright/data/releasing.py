"""Memory that nothing uses any longer goes back to the system."""

from __future__ import annotations

import contextlib
import ctypes


def give_back() -> None:
    """glibc keeps freed memory otherwise (malloc_trim(3)): pieces of a data set after they were joined, 150 MB of
    CIFAR-10's batches; looking at it leaves 40 MB behind, training on it 100 MB. Milliseconds; nothing happens with
    another C library."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
