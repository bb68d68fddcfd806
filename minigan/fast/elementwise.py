"""Activations and sums, a kernel each way. Where a function returns None, the plain one serves."""

from minigan import ops
from minigan.autograd import broadcast_to
from minigan.backend import xp_of
from minigan.fast import kernels
from minigan.fast.launch import run, serves, sums


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
    slope = float(slope)
    return elementwise(kernels.LEAKY, x.data, slope), None, lambda g, needed: [
        elementwise(kernels.LEAK, g, x.data, slope)]


def relu(x, /):
    return leaky_relu(x, 0.0)


def tanh(x, /):
    if not serves(x.data):
        return None
    value = x.xp.tanh(x.data)
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


def sum_to(x, /, shape):
    """A sum over rows, where all axes but the last go."""
    if tuple(shape) != x.shape[-1:] or x.ndim < 2 or not serves(x.data):
        return None
    return row_sum(x.data), (lambda g: broadcast_to(g, x.shape),)


def row_sum(array):
    """Σ over all axes but the last: (C,)."""
    rows = contiguous(array).reshape(-1, array.shape[-1])
    if rows.shape[1] == 1 or rows.size == 0:
        return rows.sum(0, dtype="float64").astype(array.dtype)
    return sums(kernels.ROW_SUM, rows.shape, rows).sum((0, 1)).astype(array.dtype)
