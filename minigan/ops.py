"""Operations: elementwise, reductions, shapes, matrices, each with its derivative.

x, y are arguments and g is the gradient with respect to the result. At kinks the subgradient is
PyTorch's: relu′(0) = 0, leaky′(0) = slope, |·|′(0) = 0, and equals share the gradient of a maximum.
Masks are the only raw arrays in a map: their derivative is zero almost everywhere.
"""

import math
from numbers import Real

import numpy as np

from minigan import backend
from minigan.autograd import broadcast_to, sum_to, total
from minigan.shapes import (
    concatenate, getitem, getitem_adjoint, integers, pad, reshape, transpose)
from minigan.tensor import Tensor, composed, op

__all__ = [
    "abs", "add", "average_pool", "broadcast_to", "concatenate", "div", "exp", "getitem",
    "getitem_adjoint", "leaky_relu", "log", "log_softmax", "logsumexp", "matmul", "max", "maximum",
    "mean", "min", "mul", "neg", "norm", "one_hot", "one_hot_largest", "pad", "power", "relu",
    "reshape", "sigmoid", "softmax", "softplus", "sqrt", "sub", "sum", "sum_to", "take", "tanh",
    "transpose", "upsample", "where"]


# Arithmetic, elementwise with broadcasting

@op
def add(x, y, /):
    """x + y."""
    return x.data + y.data, (lambda g: g, lambda g: g)


@op
def sub(x, y, /):
    """x − y."""
    return x.data - y.data, (lambda g: g, lambda g: -g)


@op
def neg(x, /):
    """−x."""
    return -x.data, (lambda g: -g,)


@op
def mul(x, y, /):
    """x · y."""
    return x.data * y.data, (lambda g: g * y, lambda g: g * x)


@op
def div(x, y, /):
    """x / y. d/dy = −x/y²."""
    return x.data / y.data, (lambda g: g / y, lambda g: -(g / y) * (x / y))


@op
def power(x, /, n):
    """xⁿ for a number n. d/dx = n xⁿ⁻¹."""
    if not isinstance(n, Real):
        raise TypeError(f"power: the exponent is {type(n).__name__}, no number: xʸ = exp(y log x)")
    if n == 0:
        return x.xp.ones_like(x.data), (lambda g: g * 0.0,)
    n = float(n)  # a NumPy number would make float64 of float32
    return x.data ** n, (lambda g: g if n == 1 else g * (n * x ** (n - 1)),)


# Functions of one number

@op
def exp(x, /):
    """eˣ, its own derivative."""
    return x.xp.exp(x.data), (lambda g: g * exp(x),)


@op
def log(x, /):
    """ln x. d/dx = 1/x."""
    return x.xp.log(x.data), (lambda g: g / x,)


@op
def sqrt(x, /):
    """√x. d/dx = 1/(2√x), infinite at 0: for the length of a vector use `norm`."""
    return x.xp.sqrt(x.data), (lambda g: g / (2.0 * sqrt(x)),)


@op
def abs(x, /):
    """|x|. d/dx = sign x."""
    return x.xp.abs(x.data), (lambda g: g * x.xp.sign(x.data),)


@op
def tanh(x, /):
    """tanh x. d/dx = 1 − tanh² x."""
    return x.xp.tanh(x.data), (lambda g: g * (1.0 - tanh(x) ** 2),)


@op
def sigmoid(x, /):
    """σ(x) = 1/(1 + e⁻ˣ), computed without overflow. d/dx = σ(x) σ(−x), accurate in both tails."""
    small = x.xp.exp(-x.xp.abs(x.data))
    value = x.xp.where(x.data >= 0, 1.0, small) / (1.0 + small)
    return value, (lambda g: g * (sigmoid(x) * sigmoid(-x)),)


@op
def softplus(x, /):
    """ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|) = −ln σ(−x), finite for every x. d/dx = σ(x)."""
    value = x.xp.maximum(x.data, 0.0) + x.xp.log1p(x.xp.exp(-x.xp.abs(x.data)))
    return value, (lambda g: g * sigmoid(x),)


@op
def relu(x, /):
    """max(x, 0)."""
    return x.xp.maximum(x.data, 0.0), (lambda g: where(g, 0.0, x.data > 0),)


@op
def leaky_relu(x, /, slope=0.2):
    """x where x > 0, slope · x elsewhere (Maas et al. 2013)."""
    slope = float(slope)
    positive = x.data > 0
    return x.xp.where(positive, x.data, slope * x.data), (lambda g: where(g, slope * g, positive),)


@op
def where(x, y, /, mask):
    """x where the raw array `mask` is true, y elsewhere."""
    return x.xp.where(mask, x.data, y.data), (
        lambda g: where(g, 0.0, mask), lambda g: where(0.0, g, mask))


@op
def maximum(x, y, /):
    """The larger of x and y, elementwise; where they are equal each gets half of the gradient."""
    a, b = x.data, y.data
    half = lambda g: where(0.5 * g, 0.0, a == b)
    return x.xp.maximum(a, b), (
        lambda g: where(g, half(g), a > b), lambda g: where(g, half(g), b > a))


# Reductions

@op
def sum(x, /, axis=None, keepdims=False):
    """Σ over `axis` (an integer, several, or None for all)."""
    axes, kept = _reduced(x.shape, axis)
    return total(x.data, axes, keepdims), (lambda g: broadcast_to(reshape(g, kept), x.shape),)


@composed
def mean(x, /, axis=None, keepdims=False):
    """The arithmetic mean over `axis`, as for `sum`. ValueError if there is nothing to average."""
    _, kept = _reduced(x.shape, axis)
    if x.size == 0:
        raise ValueError(f"mean: x {x.shape} has no elements")
    return sum(x, axis, keepdims) * (math.prod(kept) / x.size)


@op
def max(x, /, axis=None, keepdims=False):
    """The largest over `axis`, as for `sum`; equals share the gradient."""
    axes, kept = _reduced(x.shape, axis)
    if x.size == 0:
        raise ValueError(f"max: x {x.shape} has no elements")
    value = x.data.max(axis=axes, keepdims=True)
    largest = x.data == value
    count = largest.sum(axis=axes, keepdims=True).astype(x.dtype)
    return value if keepdims else value.max(axis=axes), (
        lambda g: where(reshape(g, kept) / count, 0.0, largest),)


@composed
def min(x, /, axis=None, keepdims=False):
    """The smallest over `axis`, as for `max`."""
    if x.size == 0:
        raise ValueError(f"min: x {x.shape} has no elements")
    return -max(-x, axis, keepdims)


@op
def norm(x, /, axis=None, keepdims=False):
    """The Euclidean length √Σx² over `axis`. d/dx = x/‖x‖, and 0 where x = 0, without an eps."""
    axes, kept = _reduced(x.shape, axis)
    value = x.xp.sqrt(total(x.data * x.data, axes, keepdims=True))
    zero = (value == 0).astype(x.dtype)  # 1 where the length is zero: there 0/√1 stands for 0/0

    def unit():
        return x * ((1.0 - zero) / sqrt(sum(x * x, axes, keepdims=True) + zero))

    shape = kept if keepdims else [n for i, n in enumerate(x.shape) if i not in axes]
    return value.reshape(shape), (lambda g: reshape(g, kept) * unit(),)


@composed
def logsumexp(x, /, axis=None, keepdims=False):
    """ln Σ eˣ over `axis`, as for `max`. The largest x is taken out first: the powers are then at
    most 1, and what is taken out cancels in the derivative, the softmax."""
    axes, _ = _reduced(x.shape, axis)
    if x.size == 0:
        raise ValueError(f"logsumexp: x {x.shape} has no elements")
    largest = x.data.max(axis=axes, keepdims=True)
    value = log(sum(exp(x - largest), axes, keepdims=True)) + largest
    return value if keepdims else sum(value, axes)


@composed
def log_softmax(x, /, axis=-1):
    """ln softmax(x) = x − ln Σ eˣ: finite where the softmax itself rounds to 0."""
    axes, _ = _reduced(x.shape, axis)
    if 0 in [x.shape[a] for a in axes]:
        raise ValueError(f"log_softmax: x {x.shape} has no elements along {axis}")
    shifted = x - x.data.max(axis=axes, keepdims=True)  # which changes nothing but the rounding
    return shifted - log(sum(exp(shifted), axes, keepdims=True))


@composed
def softmax(x, /, axis=-1):
    """eˣ/Σ eˣ over `axis`: positive, with the sum 1."""
    return exp(log_softmax(x, axis))


def _reduced(shape, axis):
    """(the axes as a tuple, `shape` with each of them of length 1)."""
    axes = range(len(shape)) if axis is None else integers(axis)
    if any(not -len(shape) <= a < len(shape) for a in axes):
        raise ValueError(f"axis {axis} does not exist in an array of {len(shape)} axes")
    given, axes = axes, tuple(sorted({a % len(shape) for a in axes}))
    if len(axes) < len(given):
        raise ValueError(f"axis {axis} names an axis of {shape} twice")
    return axes, tuple([1 if i in axes else n for i, n in enumerate(shape)])


# Pictures (N, H, W, C)

@composed
def upsample(x, /, factor=2):
    """Each pixel repeated `factor` times along both sides: (N, H, W, C) → (N, fH, fW, C)."""
    N, H, W, C = _picture("upsample", x)
    wide = broadcast_to(reshape(x, (N, H, 1, W, 1, C)), (N, H, factor, W, factor, C))
    return reshape(wide, (N, H * factor, W * factor, C))


@composed
def average_pool(x, /, factor=2):
    """The mean of each `factor` × `factor` square: (N, fH, fW, C) → (N, H, W, C)."""
    N, H, W, C = _picture("average_pool", x)
    if H % factor or W % factor:
        raise ValueError(f"average_pool: sides of {H} × {W} are not multiples of {factor}")
    squares = reshape(x, (N, H // factor, factor, W // factor, factor, C))
    return mean(squares, (2, 4))


def _picture(name, x):
    if x.ndim != 4:
        raise ValueError(f"{name}: x holds images (N, H, W, C), got shape {x.shape}")
    return x.shape


# Matrices

@op
def matmul(x, y, /):
    """The product of the last two axes; those before them broadcast. d/dx = g yᵀ, d/dy = xᵀ g."""
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        raise ValueError(f"matmul: expected (..., n, k) @ (..., k, m), got {x.shape} @ {y.shape}")
    a, b = x.data, y.data
    if x.ndim > 2 or y.ndim > 2:  # CuPy copies transposed matrices of a stack: better once, here
        a, b = x.xp.ascontiguousarray(a), x.xp.ascontiguousarray(b)
    return x.xp.matmul(a, b), (
        lambda g: matmul(g, _matrix_transpose(y)), lambda g: matmul(_matrix_transpose(x), g))


def _matrix_transpose(x):
    return transpose(x, (*range(x.ndim - 2), -1, -2))


@composed
def take(table, /, indices):
    """The rows table[i]: table (K, C), integers i of any shape (…) → (…, C). It is a product with
    one-hot rows, whose derivative is a product again; IndexError for what is not 0 … K − 1."""
    if table.ndim != 2:
        raise ValueError(f"take: expected a table (K, C), got {table.shape}")
    rows = backend.asarray(one_hot(indices, len(table)), table.dtype)
    chosen = matmul(rows.reshape(-1, len(table)), table)
    return reshape(chosen, (*rows.shape[:-1], table.shape[1]))


def one_hot(indices, count):
    """Integers (…) → an array (…, count), float32: 1 at the place of each and 0 elsewhere. Indices
    are on the host, where they are checked: a GPU would wrap them silently."""
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"one_hot: integers expected, got {indices.dtype} {indices.shape}")
    if indices.size and not 0 <= indices.min() <= indices.max() < count:
        raise IndexError(f"one_hot: integers from 0 to {count - 1} expected, got "
                         f"{indices.min()} … {indices.max()}")
    return (indices[..., None] == np.arange(count)).astype(np.float32)


def one_hot_largest(array):
    """1 where an array (N, K) is largest in its row, the first of equals, and 0 elsewhere: a choice
    that no host need see."""
    xp = backend.xp_of(array)
    return (array.argmax(axis=1)[:, None] == xp.arange(array.shape[1])).astype(array.dtype)


# Tensor learns its operators

def _unspread(numbers):
    """(2, 3) for both spellings, x.reshape(2, 3) and x.reshape((2, 3))."""
    return numbers[0] if len(numbers) == 1 else numbers


for _name, _operation in {"add": add, "sub": sub, "mul": mul, "truediv": div,
                          "matmul": matmul}.items():
    setattr(Tensor, f"__{_name}__", _operation)
    setattr(Tensor, f"__r{_name}__", lambda y, x, f=_operation: f(x, y))
Tensor.__neg__ = neg
Tensor.__pow__ = power
Tensor.__getitem__ = getitem
Tensor.sum, Tensor.mean, Tensor.max, Tensor.min = sum, mean, max, min
Tensor.reshape = lambda x, *shape: reshape(x, _unspread(shape))
Tensor.transpose = lambda x, *axes: transpose(x, _unspread(axes) if axes else None)
Tensor.T = property(transpose)
