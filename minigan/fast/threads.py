"""How many threads work on a kernel.

The threads themselves are in C (`c_parts`): a kernel is done in parts, one for each core. Parts
depend on the sizes and on the number of cores alone, and sums are put together in their order: the
same machine gets the same bits every time.
"""

import ctypes
import os

SMALL = 1 << 15      # less work than on this many numbers is not worth waking a thread
MOST = 8


def cores():
    """Those this process may use, at most MOST."""
    global _cores
    if _cores is None:
        affinity = getattr(os, "sched_getaffinity", None)
        count = len(affinity(0)) if affinity else os.cpu_count() or 1
        _cores = max(1, min(count, MOST, int(os.environ.get("MINIGAN_THREADS", MOST))))
        keep_freed_memory()
    return _cores


_cores = None


def parts_of(n, numbers):
    """How many parts a loop of n, which works on so many numbers in all, is cut into."""
    return 1 if numbers < SMALL else max(1, min(cores(), n))


def keep_freed_memory():
    """glibc's mallopt: blocks below 32 MiB come from the heap, and the heap does not shrink. A step
    then gets its arrays back instead of fresh pages, which the system clears one by one."""
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    try:
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(M_TRIM_THRESHOLD, 1 << 30)
    except (OSError, AttributeError):
        pass
