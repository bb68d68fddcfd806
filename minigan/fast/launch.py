"""`run` and `sums`: a kernel called on arrays, wherever they are. The same lines for both machines.

Kernels follow pointers, so what they are given is checked here: an array of another size, dtype or
order in memory is an error of ours and never a wrong result.
"""

from math import prod

import numpy as np

from minigan.backend import backend_of
from minigan.fast import cuda, native

KINDS = {"index": np.dtype("int64"), "wide": np.dtype("float64")}


def serves(array):
    """Whether there are kernels for this array."""
    if type(array) is np.ndarray:
        return native.functions(array.dtype) is not None
    return cuda.serves(backend_of(array)) and str(array.dtype) in ("float32", "float64")


def run(kernel, sizes, *arguments):
    """Run `kernel` with loops of these sizes; outputs are the last arguments, and the result if
    there is one."""
    _machine(kernel, sizes, arguments).run(kernel, _dtype(kernel, arguments), sizes, arguments)
    return arguments[-1]


def sums(kernel, sizes, *arguments):
    """What a `Sum` adds up, (parts, sums, kept) in float64."""
    return _machine(kernel, sizes, arguments).sums(
        kernel, _dtype(kernel, arguments), sizes, arguments)


def _dtype(kernel, arguments):
    return next(value.dtype for argument, value in zip(kernel.arguments, arguments)
                if argument.array and argument.kind == "T")


def _machine(kernel, sizes, arguments):
    length, dtype = dict(zip(kernel.loops, sizes)), _dtype(kernel, arguments)
    for argument, value in zip(kernel.arguments, arguments, strict=True):
        if not argument.array:
            continue
        size = value.size if argument.indices is None else prod(
            [length[name] for name in argument.indices])
        if value.size != size or value.dtype != KINDS.get(argument.kind, dtype) or (
                not value.flags.c_contiguous):
            raise ValueError(f"kernel {kernel.name}: {argument.name} is {value.dtype} "
                             f"{value.shape}, {size} numbers in a row expected")
    return native if type(arguments[0]) is np.ndarray or not any(
        argument.array for argument in kernel.arguments[:1]) else cuda
