"""All cores of a CPU: parts of a batch on threads, and a matrix library that uses one core a call.

Compiled kernels and NumPy's products work without Python's lock. So two threads, each with its half
of the batch from the first kernel of an operation to the last, are faster than one whose products
use two cores. Parts depend on the batch's size and the number of threads alone, and what they
compute is put together in their order: the same machine gets the same bits every time.
"""

import ctypes
import glob
import os
import threading
from queue import SimpleQueue

import numpy as np

SMALL = 1 << 16      # less work than on this many numbers is not worth waking a thread (some 10 µs)
MOST_WORKERS = 8

_lock = threading.Lock()
_pool = None
_thread = threading.local()  # .busy while it works on a part: a part is not split again


class _Worker(threading.Thread):
    """A thread that does what it finds in its inbox, (work, arguments, queue), and puts None or the
    error into the queue: a quarter of the 30 µs that a pool of `concurrent.futures` takes."""

    def __init__(self):
        super().__init__(daemon=True)
        self.inbox = SimpleQueue()
        self.start()

    def run(self):
        _thread.busy = True
        while True:
            task = self.inbox.get()
            if task is None:
                return
            (work, arguments, done), error = task, None
            try:
                with np.errstate(all="ignore"):
                    work(*arguments)
            except BaseException as raised:
                error = raised
            done.put(error)
            # What they refer to must not live until the next call
            del task, work, arguments, done, error


class _Pool:
    """The workers beside the caller's thread, and what was told to the libraries."""

    def __init__(self):
        self.blas = _OpenBLAS.found()
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self.blas_threads = self.blas.get_num_threads() if self.blas else cores
        self.size = max(1, min(cores or 1, self.blas_threads, MOST_WORKERS))
        self.others = [_Worker() for _ in range(1, self.size)]
        if self.blas:
            self.blas.set_num_threads(1)
            _keep_freed_memory()


def pool():
    """The threads, started at first use. With them OpenBLAS, the matrix library in NumPy's wheels,
    is told to use one core a call: after a product its own threads would wait for more work at full
    speed, for 60 ms and more, on the cores that ours need. `release` undoes it."""
    global _pool
    if _pool is None:
        with _lock:
            if _pool is None:
                _pool = _Pool()
    return _pool


def release():
    """Give the matrix library its cores back, and end the threads."""
    global _pool
    with _lock:
        for worker in _pool.others if _pool else []:
            worker.inbox.put(None)
        if _pool is not None and _pool.blas:
            _pool.blas.set_num_threads(_pool.blas_threads)
        _pool = None


def _forked():
    """In a child process the threads are gone: they are started anew at the next use."""
    global _lock
    _lock = threading.Lock()
    if _pool is not None:
        _pool.others = [_Worker() for _ in _pool.others]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def split(work, n, numbers):
    """Call work(part, begin, end) for consecutive, nearly equal parts of range(n), one per thread,
    at the same time. `numbers` says how much there is to do in all: a small thing is done as one
    part. Returns how many parts."""
    parts = parts_of(n, numbers)
    if parts == 1:
        work(0, 0, n)
        return 1
    bounds = [n * part // parts for part in range(parts + 1)]
    done = SimpleQueue()
    for part, worker in enumerate(pool().others[:parts - 1], 1):
        worker.inbox.put((work, (part, bounds[part], bounds[part + 1]), done))
    _thread.busy = True
    try:
        work(0, 0, bounds[1])
    finally:
        _thread.busy = False
        errors = [done.get() for _ in range(1, parts)]
    for error in filter(None, errors):
        raise error
    return parts


def parts_of(n, numbers):
    """How many parts `split` makes."""
    if numbers < SMALL or getattr(_thread, "busy", False):
        return 1
    return max(1, min(pool().size, n))


class _OpenBLAS:
    """The three functions of the OpenBLAS inside NumPy that are needed here."""

    def __init__(self, path):
        library = ctypes.CDLL(path)
        for name, result in (("get_num_threads", ctypes.c_int), ("set_num_threads", None),
                             ("get_corename", ctypes.c_char_p)):
            function = getattr(library, f"scipy_openblas_{name}64_")
            function.restype = result
            setattr(self, name, function)

    @classmethod
    def found(cls):
        """NumPy's, or None where it has another library: then nothing is told to it."""
        folder = os.path.dirname(np.__file__)
        for path in glob.glob(os.path.join(folder, "..", "numpy.libs", "*openblas*")):
            try:
                return cls(path)
            except (OSError, AttributeError):
                continue
        return None


def _keep_freed_memory():
    """glibc's mallopt: blocks below 32 MiB come from the heap, and the heap does not shrink. A step
    then gets its arrays back instead of fresh pages, which the system clears one by one."""
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    try:
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(M_TRIM_THRESHOLD, 1 << 30)
    except (OSError, AttributeError):
        pass
