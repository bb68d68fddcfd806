"""All cores of a CPU: parts of a batch on threads, each part in blocks that stay in the cache.

NumPy does everything but matrix products on one core, and lets go of Python's lock meanwhile. So two threads, each with
its half of the batch and a matrix library that is told to use one core, are faster than one thread whose products use
two. Nothing of this happens unless `use_all_cores` is called, as the command lines do; on a GPU, never.

Parts depend on the batch's size and the number of workers alone, and what they compute is put together in their order:
the same machine gets the same bits every time.
"""

import ctypes
import glob
import os
import threading
from math import prod
from queue import SimpleQueue

import numpy as np

from minigan.backend import xp_of

BLOCK = 1 << 20      # numbers a block works on: 4 MiB of float32, which the caches near the cores hold
NEAR = 1 << 18       # the same for passes over few arrays: smaller ones make threads meet at Python's lock too often
SMALL = 1 << 16      # less work than this many numbers is not worth waking a thread (some 10 µs)
MOST_WORKERS = 8

workers = 1
_others = []         # the threads beside the caller's
_arranged = False
_buffers = threading.local()


def split(work, n, numbers):
    """Call work(part, begin, end) for consecutive, nearly equal parts of range(n), one per worker, at the same time.
    `numbers` says how much there is to do in all: a small thing is done as one part. Returns how many parts."""
    parts = max(1, min(workers, n)) if numbers >= SMALL else 1
    bounds = [n * part // parts for part in range(parts + 1)]
    done = SimpleQueue()
    for part in range(1, parts):
        _others[part - 1].inbox.put((work, (part, bounds[part], bounds[part + 1]), done))
    try:
        work(0, bounds[0], bounds[1])
    finally:
        errors = [done.get() for _ in range(1, parts)]
    for error in filter(None, errors):
        raise error
    return parts


class _Worker(threading.Thread):
    """A thread that does what it finds in its inbox, (work, arguments, queue), and puts None or the error into the
    queue. A quarter of the 30 µs that a pool of `concurrent.futures` takes there and back."""

    def __init__(self):
        super().__init__(daemon=True)
        self.inbox = SimpleQueue()
        self.start()

    def run(self):
        np.seterr(all="ignore")
        while True:
            work, arguments, done = self.inbox.get()
            error = None
            try:
                work(*arguments)
            except BaseException as raised:
                error = raised
            done.put(error)
            del work, arguments, done, error  # what they refer to must not live until the next call


def over_batch(batch, work, each, most=BLOCK):
    """Call work(begin, end) for blocks of samples that make up the array `batch`, with `each` numbers of work per
    sample and about `most` per block. On a GPU the whole batch is one block."""
    if not isinstance(batch, np.ndarray):
        return work(0, len(batch))

    def part(_, begin, end):
        for block in _blocks(begin, end, max(1, most // each)):
            work(*block)
    split(part, len(batch), len(batch) * each)


def sum_over_batch(batch, work, each, most=BLOCK, finish=lambda total: total):
    """The sum of the new arrays that work(begin, end) returns for the blocks of `batch`, added in their order. `finish`
    is a linear function of it, of each worker's part, that is, before these are added."""
    if not isinstance(batch, np.ndarray):
        return finish(work(0, len(batch)))
    sums = {}

    def part(number, begin, end):
        for block in _blocks(begin, end, max(1, most // each)):
            value = work(*block)
            sums[number] = value if number not in sums else np.add(sums[number], value, out=sums[number])
        sums[number] = finish(sums[number])
    for number in range(1, split(part, len(batch), len(batch) * each)):
        sums[0] += sums[number]
    return sums[0]


def _blocks(begin, end, most):
    """Consecutive (begin, end) of nearly equal length, `most` or less."""
    count = max(1, -(-(end - begin) // most))
    return [(begin + (end - begin) * i // count, begin + (end - begin) * (i + 1) // count) for i in range(count)]


def scratch(name, shape, like):
    """An uninitialised buffer of the dtype and on the backend of the array `like`.

    On a CPU this thread gets the same one when it next asks by this name: fresh memory has to be cleared by the
    operating system page by page, while a buffer just used is still in the cache. On a GPU, CuPy's pool does that.
    """
    if not isinstance(like, np.ndarray):
        return xp_of(like).empty(shape, like.dtype)
    size, key = prod(shape), (name, like.dtype)
    buffer = vars(_buffers).get(key)
    if buffer is None or buffer.size < size:
        buffer = vars(_buffers)[key] = np.empty(size, like.dtype)
    return buffer[:size].reshape(shape)


# Telling the libraries

def use_all_cores():
    """Use every core from now on; returns what was arranged, {"threads": n, "blas": its kernels}.

    OpenBLAS, the matrix library inside NumPy's wheels, is told to use one core per call, for good: after each product
    its own threads would wait for more work at full speed, for 60 ms and more, on the cores that ours need. Where
    NumPy has another library nothing is changed, and everything works as always. The C library is told to keep large
    freed blocks for the next array of a step instead of giving them back and asking, page by page, for new ones.
    """
    global workers, _arranged
    library = _openblas()
    if library is None:
        return {"threads": 1, "blas": "unknown"}
    if not _arranged:
        _keep_freed_memory()
        workers = min(library.get_num_threads(), MOST_WORKERS)
        library.set_num_threads(1)
        _others.extend(_Worker() for _ in range(1, workers))
        _arranged = True
    return {"threads": workers, "blas": library.get_corename().decode()}


class _OpenBLAS:
    """The three functions of the OpenBLAS inside NumPy that are needed here."""

    def __init__(self, path):
        library = ctypes.CDLL(path)
        for name, result in (("get_num_threads", ctypes.c_int), ("set_num_threads", None),
                             ("get_corename", ctypes.c_char_p)):
            function = getattr(library, f"scipy_openblas_{name}64_")
            function.restype = result
            setattr(self, name, function)


def _keep_freed_memory():
    """glibc's mallopt: blocks below 32 MiB come from the heap, and the heap does not shrink. No other C library."""
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    try:
        library = ctypes.CDLL("libc.so.6")
        library.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        library.mallopt(M_TRIM_THRESHOLD, 1 << 30)
    except (OSError, AttributeError):
        pass


def _openblas():
    folder = os.path.dirname(np.__file__)
    for path in glob.glob(os.path.join(folder, "..", "numpy.libs", "*openblas*")):
        try:
            return _OpenBLAS(path)
        except (OSError, AttributeError):
            continue
    return None
