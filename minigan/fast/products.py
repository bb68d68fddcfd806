"""Matrix products, and what is made in one pass with them."""

import numpy as np

from minigan import ops
from minigan.backend import xp_of
from minigan.fast import kernels, native
from minigan.fast.elementwise import contiguous, elementwise, empty, row_sum
from minigan.fast.launch import run, serves
from minigan.tensor import composed

LEAST = 8  # rows and columns of a product; below, NumPy's is as good


def product(x, y, transposed=False):
    """x @ y for two matrices, or xᵀ @ y. On a CPU by a kernel, where there is work for it."""
    xp, (K, N) = xp_of(x), y.shape
    M = x.shape[1] if transposed else x.shape[0]
    if K == 1 and not transposed:
        return x * y  # outer products, for which matrix libraries take many times as long
    if xp is not np or N < LEAST or M < LEAST or native.functions(x.dtype) is None:
        return xp.matmul(x.T if transposed else x, y)
    out = np.empty((1, M, N), x.dtype)
    return native.products(contiguous(x)[None], contiguous(y)[None], out, transposed)[0]


def matmul(x, y, /):
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        return None
    return product(x.data, y.data), None, lambda g, needed: [
        product(g, y.data.T) if needed[0] else None,
        product(x.data, g, transposed=True) if needed[1] else None]


@composed
def dense_leaky(x, w, b, /, slope=1.0):
    """leaky_relu(x w + b, slope); the slope, not below 0, is 1 for none."""
    y = ops.matmul(x, w) + b
    return y if slope == 1.0 else ops.leaky_relu(y, slope)


def fast_dense_leaky(x, w, b, /, slope=1.0):
    if not serves(x.data):
        return None
    value = product(x.data, w.data)
    run(kernels.ADD_ROW, value.shape, value, b.data, slope, value)

    def first(g, needed):
        if slope != 1.0:
            g = elementwise(kernels.LEAK, g, value, slope)
        return (product(g, w.data.T) if needed[0] else None,
                product(x.data, g, transposed=True) if needed[1] else None,
                needed[2] and row_sum(g))
    return value, None, first


@composed
def add_leaky(x, b, /, slope=1.0):
    """leaky_relu(x + b, slope), b (C,) along the last axis; the slope, not below 0, is 1 for none.
    """
    y = x + b
    return y if slope == 1.0 else ops.leaky_relu(y, slope)


def fast_add_leaky(x, b, /, slope=1.0):
    if not serves(x.data):
        return None
    array = contiguous(x.data)
    value = run(kernels.ADD_ROW, (x.size // b.size, b.size), array, b.data, slope, empty(array))

    def first(g, needed):
        if slope != 1.0:
            g = elementwise(kernels.LEAK, g, value, slope)
        return g, needed[1] and row_sum(g)
    return value, None, first
