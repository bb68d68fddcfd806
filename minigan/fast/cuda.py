"""The kernels on a GPU: the CUDA text, compiled by CuPy at first use and kept in its cache."""

from functools import cache
from math import prod

import numpy as np

from minigan.backend import backend_of
from minigan.fast import text
from minigan.fast.kernels import KERNELS

MOST_BLOCKS = 1 << 16
PARTS = 64  # into which rows are cut for a sum: 32 channels of one part are the work of one block


def serves(backend):
    """Whether kernels can be compiled for this backend's arrays."""
    return hasattr(backend.xp, "RawModule")


@cache
def _module(xp, dtype, *more):
    """The module of all kernels, or of one that is not in the list."""
    return xp.RawModule(code=text.cuda_source(more or KERNELS, str(dtype)),
                        options=("-std=c++14",))


def _function(xp, dtype, kernel):
    more = () if kernel in KERNELS else (kernel,)
    return _module(xp, dtype, *more).get_function(kernel.name)


def run(kernel, dtype, sizes, arguments):
    """One launch: a thread for each combination of the loop indices."""
    xp, threads = _namespace(kernel, arguments), text.THREADS
    blocks = min(MOST_BLOCKS, -(-prod(sizes) // threads))
    function = _function(xp, dtype, kernel)
    function((max(1, blocks),), (threads,), (*_numbers(sizes), *_values(kernel, arguments)))


def sums(kernel, dtype, sizes, arguments):
    """The (parts, sums, kept) doubles of a `Sum`, in one launch."""
    xp, K = _namespace(kernel, arguments), len(kernel.sums)
    if kernel.by_row:
        parts, kept = min(PARTS, sizes[0]), sizes[-1]
        grid = -(-kept // 32), parts
    else:
        parts, kept = 1, sizes[0]
        grid = (kept,)
    result = xp.empty((parts, K, kept), np.float64)
    function = _function(xp, dtype, kernel)
    function(grid, (text.THREADS,), (*_numbers(sizes), *_values(kernel, arguments), result))
    return result


def _namespace(kernel, arguments):
    return next(backend_of(value).xp for argument, value in zip(kernel.arguments, arguments)
                if argument.array)


def _numbers(sizes):
    return [np.int64(n) for n in sizes]


def _values(kernel, arguments):
    make = {"index": np.int64, "double": np.float64}
    return [value if argument.array else make[argument.kind](value)
            for argument, value in zip(kernel.arguments, arguments)]
