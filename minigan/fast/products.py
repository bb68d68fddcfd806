"""Matrix products; a bias and a leaky ReLU in one pass, after a product or after anything else."""

import numpy as np

from minigan import ops
from minigan.autograd import sum_to
from minigan.backend import xp_of
from minigan.fast import kernels, native
from minigan.fast.elementwise import contiguous, elementwise, empty, leak, on_gpu, row_sum
from minigan.fast.launch import run, serves, sums
from minigan.tensor import composed

NARROW = 8  # columns below which a stack is left to NumPy: kernels work on strips of 16 and more


def product(x, y, x_transposed=False, y_transposed=False, out=None, bias=None, slope=1.0):
    """x @ y of two matrices, or of each of a stack of them, either of them transposed; with a bias
    (C,), contiguous, leaky_relu(x @ y + bias, slope)."""
    xp = xp_of(x)
    if out is None:
        out = empty(x, *x.shape[:-2], x.shape[-1 if x_transposed else -2],
                    y.shape[-2 if y_transposed else -1])
    if xp is np and native.functions(x.dtype) is not None:
        return native.products(contiguous(x), contiguous(y), out, x_transposed, y_transposed, bias,
                               slope)
    turned = lambda array, yes: xp.swapaxes(array, -1, -2) if yes else array
    xp.matmul(turned(x, x_transposed), turned(y, y_transposed), out=out)
    return out if bias is None else run(kernels.ADD_ROW, out.shape, out, bias, slope, out)


def matmul(x, y, /):
    if min(x.ndim, y.ndim) < 2 or (*x.shape[:-2], x.shape[-1]) != y.shape[:-1]:
        return None
    if x.ndim > 2 and (xp_of(x.data) is not np or min(x.shape[-1], y.shape[-1]) < NARROW):
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
    value = product(x.data, w.data, bias=contiguous(b.data), slope=slope)

    def first(g, needed):
        g, b_gradient = leaked(g, value, slope, needed[2])
        return (product(g, w.data, y_transposed=True) if needed[0] else None,
                product(x.data, g, x_transposed=True) if needed[1] else None, b_gradient)
    before = lambda g: g if slope == 1.0 else leak(g, value, slope)
    return value, (lambda g: ops.matmul(before(g), w.T), lambda g: ops.matmul(x.T, before(g)),
                   lambda g: sum_to(before(g), b.shape)), first


def leaked(g, value, slope, with_sum):
    """The gradient before a bias and a leaky ReLU that made `value`, and its sum over rows for the
    bias, or None."""
    if slope != 1.0 and with_sum and g.size and not on_gpu(g):  # both in one pass
        before, rows = empty(value), (value.size // value.shape[-1], value.shape[-1])
        parts = sums(kernels.LEAK_SUM, rows, contiguous(g), value, slope, before)
        return before, parts.sum((0, 1)).astype(g.dtype)
    if slope != 1.0:
        g = elementwise(kernels.LEAK, g, value, slope)
    return g, row_sum(g) if with_sum else None


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

    first = lambda g, needed: leaked(g, value, slope, needed[1])
    before = lambda g: g if slope == 1.0 else leak(g, value, slope)
    return value, (before, lambda g: sum_to(before(g), b.shape)), first
