"""Matrix products; a bias and a leaky ReLU in one pass, after a product or after anything else."""

import numpy as np

from minigan import ops
from minigan.autograd import sum_to
from minigan.backend import xp_of
from minigan.fast import kernels, native
from minigan.fast.elementwise import contiguous, elementwise, empty, leak, row_sum
from minigan.fast.launch import run, serves
from minigan.tensor import composed


def product(x, y, x_transposed=False, y_transposed=False, out=None):
    """x @ y of two matrices, either of them transposed."""
    xp = xp_of(x)
    if out is None:
        out = empty(x, x.shape[1 if x_transposed else 0], y.shape[0 if y_transposed else 1])
    if xp is np and native.functions(x.dtype) is not None:
        native.products(contiguous(x), contiguous(y), out, x_transposed, y_transposed)
        return out
    return xp.matmul(x.T if x_transposed else x, y.T if y_transposed else y, out=out)


def matmul(x, y, /):
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[0]:
        return None
    return product(x.data, y.data), None, lambda g, needed: [
        product(g, y.data, y_transposed=True) if needed[0] else None,
        product(x.data, g, x_transposed=True) if needed[1] else None]


@composed
def dense_leaky(x, w, b, /, slope=1.0):
    """leaky_relu(x w + b, slope); the slope, not below 0, is 1 for none."""
    y = ops.matmul(x, w) + b
    return y if slope == 1.0 else ops.leaky_relu(y, slope)


def fast_dense_leaky(x, w, b, /, slope=1.0):
    if not serves(x.data):
        return None
    value = product(x.data, w.data)
    run(kernels.ADD_ROW, value.shape, value, contiguous(b.data), slope, value)

    def first(g, needed):
        if slope != 1.0:
            g = elementwise(kernels.LEAK, g, value, slope)
        return (product(g, w.data, y_transposed=True) if needed[0] else None,
                product(x.data, g, x_transposed=True) if needed[1] else None,
                needed[2] and row_sum(g))
    before = lambda g: g if slope == 1.0 else leak(g, value, slope)
    return value, (lambda g: ops.matmul(before(g), w.T), lambda g: ops.matmul(x.T, before(g)),
                   lambda g: sum_to(before(g), b.shape)), first


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
    value = run(kernels.ADD_ROW, (x.size // b.size, b.size), array, contiguous(b.data), slope,
                empty(array))

    def first(g, needed):
        if slope != 1.0:
            g = elementwise(kernels.LEAK, g, value, slope)
        return g, needed[1] and row_sum(g)
    before = lambda g: g if slope == 1.0 else leak(g, value, slope)
    return value, (before, lambda g: sum_to(before(g), b.shape)), first
