"""Activations and sums, a kernel each way. Where a function returns None, the plain one serves."""

from functools import cache
from math import prod

import numpy as np

from minigan import ops
from minigan.backend import xp_of
from minigan.fast import kernels
from minigan.fast.launch import run, serves, sums
from minigan.tensor import op


def contiguous(array):
    """The array with its numbers in a row, as kernels want them."""
    return array if array.flags.c_contiguous else array.copy()


def empty(like, *shape):
    """An uninitialised array of this shape, or of that of `like`."""
    return xp_of(like).empty(shape or like.shape, like.dtype)


def elementwise(kernel, array, *more):
    """A new array from arrays of one shape, and from numbers."""
    more = [value if isinstance(value, float) else contiguous(value) for value in more]
    return run(kernel, (array.size,), contiguous(array), *more, empty(array))


def leaky_relu(x, /, slope=0.2):
    if not serves(x.data):
        return None
    slope, kink = float(slope), x.data
    return elementwise(kernels.LEAKY, kink, slope), (lambda g: leak(g, kink, slope),), (
        lambda g, needed: [elementwise(kernels.LEAK, g, kink, slope)])


@op
def leak(g, /, kink, slope):
    """g where the raw array `kink` is positive, slope · g elsewhere: the gradient of a leaky ReLU,
    which is linear in g."""
    return elementwise(kernels.LEAK, g.data, kink, slope), (lambda h: leak(h, kink, slope),)


def relu(x, /):
    return leaky_relu(x, 0.0)


def tanh(x, /):
    if not serves(x.data):
        return None
    value = x.xp.asarray(x.xp.tanh(x.data))  # NumPy makes a scalar of ()
    return value, None, lambda g, needed: [elementwise(kernels.TANH_GRADIENT, g, value)]


def sigmoid(x, /):
    if not serves(x.data):
        return None
    value = elementwise(kernels.SIGMOID, x.data)
    return value, (lambda g: g * (ops.sigmoid(x) * ops.sigmoid(-x)),)


def softplus(x, /):
    if not serves(x.data):
        return None
    return elementwise(kernels.SOFTPLUS, x.data), None, lambda g, needed: [
        elementwise(kernels.SOFTPLUS_GRADIENT, g, x.data)]


def softmax(x, /, axis=-1):
    """Of the last axis, on a CPU. NumPy takes many numbers to a power at once, and C does not."""
    if x.size == 0 or axis not in (-1, x.ndim - 1) or on_gpu(x.data) or not serves(x.data):
        return None
    array, value, n = contiguous(x.data), empty(x.data), x.shape[-1]
    run(kernels.LESS_LARGEST, (x.size // n, n), array, array, value)
    rows = x.size // n, 1, n
    sums(kernels.SOFTMAX, rows, np.exp(value, out=value), value)

    def first(g, needed):
        gradient = empty(value)
        sums(kernels.SOFTMAX_GRADIENT, rows, contiguous(g), value, gradient)
        return [gradient]
    return value, None, first


# Sums on a GPU. CuPy adds up in trees, which lose few digits, in one launch; a sum in float64 takes
# two or three. Over leading axes there are no trees: a matrix product with ones does it.

def sum(x, /, axis=None, keepdims=False):
    if not _in_a_tree(x, axis):
        return None
    value = x.xp.asarray(x.data.sum(axis=axis, keepdims=keepdims))
    kept = (1,) * x.ndim if axis is None else (len(x), 1)
    return value, (lambda g: ops.broadcast_to(ops.reshape(g, kept), x.shape),)


def mean(x, /, axis=None, keepdims=False):
    if axis is not None or not _in_a_tree(x, axis):
        return None
    value, share = x.xp.asarray(x.data.mean(keepdims=keepdims)), 1.0 / x.size
    spread = lambda g: ops.broadcast_to(ops.reshape(g, (1,) * x.ndim), x.shape) * share
    return value, (spread,), lambda g, needed: [
        run(kernels.SPREAD, (x.size,), contiguous(g), share, empty(x.data))]


def _in_a_tree(x, axis):
    return on_gpu(x.data) and (axis is None or x.ndim == 2 and axis in (1, -1, (1,), (-1,)))


def on_gpu(array):
    return type(array) is not np.ndarray and array.size > 0 and serves(array)


def sum_to(x, /, shape):
    """A sum over rows, where all axes but the last go."""
    if tuple(shape) != x.shape[-1:] or x.ndim < 2 or x.size == 0 or not serves(x.data):
        return None
    return row_sum(x.data), (lambda g: ops.broadcast_to(g, x.shape),)


def row_sum(array):
    """Σ over all axes but the last: (C,)."""
    rows = contiguous(array).reshape(prod(array.shape[:-1]), array.shape[-1])
    if on_gpu(rows):
        return rows.sum(0) if rows.shape[1] == 1 else _summed(rows)
    if rows.shape[1] == 1 or rows.size == 0:
        return rows.sum(0, dtype="float64").astype(array.dtype)
    return sums(kernels.ROW_SUM, rows.shape, rows).sum((0, 1)).astype(array.dtype)


def _summed(rows):
    ones = _ones(xp_of(rows), len(rows), rows.dtype)
    value = empty(rows, rows.shape[1])
    xp_of(rows).matmul(ones, rows, out=value.reshape(1, -1))
    return value


@cache
def _ones(xp, n, dtype):
    return xp.ones((1, n), dtype)
