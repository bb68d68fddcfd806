"""`run` and `sums`: a kernel called on arrays, on a CPU or a GPU by the same lines. `then`: one for
a `native.Sequence`.

Kernels follow pointers, so what they are given is checked here: an array of another size, dtype or
order in memory is an error of ours and never a wrong result.
"""

from functools import lru_cache
from math import prod

import numpy as np

from minigan.backend import backend_of
from minigan.fast import cuda, native

KINDS = {"index": np.dtype("int64"), "wide": np.dtype("float64")}


def serves(array):
    """Whether there are kernels for this array."""
    if type(array) is np.ndarray:
        return native.functions(array.dtype) is not None
    return cuda.serves(backend_of(array)) and array.dtype.char in "fd"


def run(kernel, sizes, *arguments):
    """Run `kernel` with loops of these sizes. Outputs are the last arguments; returns the last."""
    dtype = _check(kernel, sizes, arguments)
    _machine(kernel, arguments).run(kernel, dtype, sizes, arguments)
    return arguments[-1]


def then(sequence, kernel, sizes, *arguments):
    """Add a kernel to a `native.Sequence`."""
    if _check(kernel, sizes, arguments) != sequence.dtype:
        raise ValueError(f"kernel {kernel.name}: arrays of {sequence.dtype} expected")
    sequence.run(kernel, sizes, arguments)


def sums(kernel, sizes, *arguments):
    """What a `Sum` adds up, (parts, sums, kept) in float64."""
    dtype = _check(kernel, sizes, arguments)
    return _machine(kernel, arguments).sums(kernel, dtype, sizes, arguments)


def _machine(kernel, arguments):
    return native if type(arguments[kernel.leader]) is np.ndarray else cuda


def _check(kernel, sizes, arguments):
    """The dtype T of the arrays, after a look at all of them."""
    dtype = arguments[kernel.leader].dtype
    if len(arguments) != len(kernel.arguments) or len(sizes) != len(kernel.loops):
        raise TypeError(f"kernel {kernel.name}: {len(kernel.arguments)} arguments expected")
    for i, size, kind in _expected(kernel, tuple(sizes)):
        value = arguments[i]
        if not value.flags.c_contiguous or value.dtype != (kind or dtype) or (
                size not in (None, value.size)):
            raise ValueError(f"kernel {kernel.name}: {kernel.arguments[i].name} is {value.dtype} "
                             f"{value.shape}, {size} numbers in a row expected")
    return dtype


@lru_cache(1 << 12)
def _expected(kernel, sizes):
    """[(its place, its size or None for any, its dtype or None for T)] of the arrays."""
    return [(i, None if axes is None else prod([sizes[axis] for axis in axes]),
             kind and KINDS[kind]) for i, axes, kind in kernel.arrays]
