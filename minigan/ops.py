"""Operations: elementwise, reductions, shapes, matrices. Each is its value and its derivative, all on one page.

x, y are arguments and g is the gradient with respect to the result. Where a derivative has a kink the subgradient is
PyTorch's: relu′(0) = 0, leaky′(0) = slope, |·|′(0) = 0, and the larger of two equals shares. Masks are the only raw
arrays in a map: their derivative is zero almost everywhere.
"""

import math
import operator

import numpy as np

from minigan import kernels, parallel, passes
from minigan.backend import xp_of
from minigan.tensor import Tensor, broadcast_to, op, sum_to

__all__ = [
    "abs", "add", "add_bias", "affine", "broadcast_to", "concatenate", "div", "exp", "getitem", "getitem_adjoint",
    "leak", "leaky_relu", "log", "matmul", "maximum", "mean", "mul", "neg", "norm", "power", "relu", "reshape",
    "sigmoid", "softplus", "sqrt", "sub", "sum", "sum_to", "tanh", "transpose"]


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
    return x.data / y.data, (lambda g: g / y, lambda g: -g * x / y ** 2)


@op
def power(x, /, n):
    """xⁿ for a Python number n. d/dx = n xⁿ⁻¹."""
    if type(n) not in (int, float):
        raise TypeError(f"power: the exponent is a Python number, got {type(n).__name__}; x ** y = exp(y log x) "
                        "for a tensor y")
    if n == 0:
        return x.xp.ones_like(x.data), (lambda g: g * 0.0,)
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
    value = x.xp.asarray(x.xp.tanh(x.data))
    plain = lambda xp, g, value: g * (1.0 - value * value)
    return value, (lambda g: g * (1.0 - tanh(x) ** 2),), lambda g, needed: (
        _by_kernel(kernels.TANH_SLOPE, plain, g, value),)


@op
def sigmoid(x, /):
    """σ(x) = 1/(1 + e⁻ˣ), in the form that overflows on neither side. d/dx = σ(x) σ(−x), accurate in both tails."""
    return _by_kernel(kernels.SIGMOID, _sigmoid, x.data), (lambda g: g * (sigmoid(x) * sigmoid(-x)),)


def _sigmoid(xp, x):
    small = xp.exp(-xp.abs(x))
    return xp.where(x >= 0, xp.ones_like(small), small) / (1.0 + small)


@op
def softplus(x, /):
    """ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|): −ln σ(−x) without computing σ first, whose logarithm would be −∞ for
    x > 89 in float32. d/dx = σ(x)."""
    plain = lambda xp, x: xp.maximum(x, 0.0) + xp.log1p(xp.exp(-xp.abs(x)))
    plain_slope = lambda xp, g, x: g * _sigmoid(xp, x)
    return _by_kernel(kernels.SOFTPLUS, plain, x.data), (lambda g: g * sigmoid(x),), lambda g, needed: (
        _by_kernel(kernels.SOFTPLUS_SLOPE, plain_slope, g, x.data),)


def _by_kernel(kernel, plain, *arrays):
    """plain(xp, *arrays), on a GPU in one launch."""
    xp, launch = xp_of(arrays[0]), kernel.on(arrays[0])
    return launch(*arrays, xp.empty(arrays[0].shape, arrays[0].dtype)) if launch else xp.asarray(plain(xp, *arrays))


@op
def relu(x, /):
    """max(x, 0)."""
    return _leaky(x.data, 0.0), (lambda g: leak(g, x.data, 0.0),)


@op
def leaky_relu(x, /, slope=0.2):
    """x where x > 0, slope · x elsewhere (Maas et al. 2013)."""
    return _leaky(x.data, slope), (lambda g: leak(g, x.data, slope),)


@op
def leak(x, /, kink, slope):
    """x where the raw array `kink` is positive, slope · x elsewhere: what a leaky ReLU does to gradients. Linear in x,
    and its own adjoint."""
    return _leak(x.data, kink, slope), (lambda g: leak(g, kink, slope),)


def _leaky(x, slope):
    return passes.elementwise(lambda xp, out, x: passes.leaky(xp, out, x, slope), x)


def _leak(x, kink, slope):
    return passes.elementwise(lambda xp, out, x, kink: passes.leak(xp, out, x, kink, slope), x, kink)


@op
def maximum(x, y, /):
    """The larger of x and y, elementwise; where they are equal each gets half of the gradient."""
    xp, a, b = x.xp, x.data, y.data
    value = xp.maximum(a, b)
    share = lambda larger: (larger + 0.5 * (a == b)).astype(value.dtype)
    return value, (lambda g: g * share(a > b), lambda g: g * share(b > a))


# Reductions

@op
def sum(x, /, axis=None, keepdims=False):
    """Σ over `axis` (an int, a tuple, or None for all)."""
    kept = _kept_shape(x.shape, axis)
    return x.data.sum(axis=axis, keepdims=keepdims), (
        lambda g: broadcast_to(reshape(g, kept), x.shape),)


@op
def mean(x, /, axis=None, keepdims=False):
    """The arithmetic mean over `axis`, as for `sum`."""
    kept = _kept_shape(x.shape, axis)
    terms = math.prod(x.shape) / math.prod(kept)
    return x.data.mean(axis=axis, keepdims=keepdims), (
        lambda g: broadcast_to(reshape(g * (1.0 / terms), kept), x.shape),)


@op
def norm(x, /, axis=None, keepdims=False):
    """The Euclidean length √Σx² over `axis`. d/dx = x/‖x‖, and 0 where x = 0: no eps bends the value, and no 0/0
    reaches a gradient of any order."""
    xp, kept = x.xp, _kept_shape(x.shape, axis)
    value = xp.sqrt((x.data * x.data).sum(axis=axis, keepdims=True))
    zero = (value == 0).astype(x.dtype)  # 1 where the length is zero: there 0/√1 stands for 0/0

    def unit():
        return x * ((1.0 - zero) / sqrt(sum(x * x, axis, keepdims=True) + zero))

    return value if keepdims else value.reshape(_reduced_shape(x.shape, axis)), (
        lambda g: reshape(g, kept) * unit(),)


def _axes(ndim, axis):
    axes = range(ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
    if any(not -ndim <= a < ndim for a in axes):
        raise ValueError(f"axis {axis} does not exist in an array of {ndim} axes")
    return {a % ndim for a in axes}


def _kept_shape(shape, axis):
    """`shape` with every reduced axis of length 1."""
    axes = _axes(len(shape), axis)
    return tuple([1 if i in axes else n for i, n in enumerate(shape)])


def _reduced_shape(shape, axis):
    axes = _axes(len(shape), axis)
    return tuple([n for i, n in enumerate(shape) if i not in axes])


# Shapes

@op
def reshape(x, /, shape):
    """The same elements in another shape; one length may be −1."""
    try:
        return x.data.reshape(shape), (lambda g: reshape(g, x.shape),)
    except ValueError:
        raise ValueError(f"reshape: {x.shape} has {x.size} elements, which do not fill {shape}") from None


@op
def transpose(x, /, axes=None):
    """The axes permuted; without `axes`, reversed."""
    given, axes = axes, tuple(range(x.ndim))[::-1] if axes is None else tuple(axes)
    if len(axes) != x.ndim or len(_axes(x.ndim, axes)) != x.ndim:
        raise ValueError(f"transpose: {given} is not an order of the {x.ndim} axes of {x.shape}")
    axes = tuple([a % x.ndim for a in axes])
    inverse = tuple(sorted(range(x.ndim), key=axes.__getitem__))
    return x.data.transpose(axes), (lambda g: transpose(g, inverse),)


@op
def concatenate(*xs, axis=0):
    """The tensors one after another along `axis`."""
    shapes = [x.shape for x in xs]
    try:
        value = xs[0].xp.concatenate([x.data for x in xs], axis=axis)
    except ValueError:
        raise ValueError(f"concatenate: {' and '.join(map(str, shapes))} do not fit along axis {axis}") from None
    ends, begin = [], 0
    for shape in shapes:
        ends.append((begin, begin + shape[axis]))
        begin += shape[axis]
    before = (slice(None),) * (axis % value.ndim)
    piece = lambda begin, end: lambda g: g[before + (slice(begin, end),)]
    return value, tuple(piece(begin, end) for begin, end in ends)


@op
def getitem(x, /, index):
    """x[index] for integers, slices and `...`: each element is taken at most once, so the adjoint is a plain
    assignment."""
    index = _checked_index(x.shape, index)
    return x.data[index], (lambda g: getitem_adjoint(g, index, x.shape),)


@op
def getitem_adjoint(y, /, index, shape):
    """Zeros of `shape` with y at [index]."""
    index = _checked_index(shape, index)
    value = y.xp.zeros(shape, y.dtype)
    value[index] = y.data
    return value, (lambda g: getitem(g, index),)


def _checked_index(shape, index):
    """`index` as a tuple, its integers checked here on the host: on a GPU one out of range would wrap silently."""
    index = index if isinstance(index, tuple) else (index,)
    try:
        index = tuple([i if isinstance(i, slice) or i is Ellipsis else _integer(i) for i in index])
    except TypeError:
        raise TypeError(f"getitem: an index is made of integers, slices and ..., got {index}") from None
    given = len(index) - index.count(Ellipsis)
    if given > len(shape) or index.count(Ellipsis) > 1:
        raise IndexError(f"getitem: index {index} does not fit shape {shape}")
    axis = 0
    for i in index:
        if i is Ellipsis:
            axis += len(shape) - given
            continue
        if type(i) is int and not -shape[axis] <= i < shape[axis]:
            raise IndexError(f"getitem: index {i} is out of range for axis {axis} of {shape}")
        axis += 1
    return index


def _integer(i):
    if isinstance(i, bool):
        raise TypeError
    return operator.index(i)


# Matrices

@op
def affine(x, w, b, /, slope=1.0):
    """leaky_relu(x w + b, slope), all in place of the product: x (N, in), w (in, out), b (out,) → (N, out). The slope,
    not below 0, is 1 for x w + b itself."""
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[0] or b.shape != w.shape[1:]:
        raise ValueError(f"affine: expected (N, in) @ (in, out) + (out,), got {x.shape} @ {w.shape} + {b.shape}")
    check_slope("affine", slope)
    value = _product(x.data, w.data)
    if kernel := kernels.ADD_ROW.on(value):
        kernel(value, b.data, slope, value)
    else:
        value += b.data
        passes.leaky(x.xp, value, value, slope)
    unleaked = lambda g: g if slope == 1.0 else leak(g, value, slope)

    def fused(g, needed):
        g = g if slope == 1.0 else _leak(g, value, slope)
        return (_product(g, w.data.T) if needed[0] else None, _product(x.data.T, g) if needed[1] else None,
                passes.total(g) if needed[2] else None)
    return value, (lambda g: matmul(unleaked(g), transpose(w)), lambda g: matmul(transpose(x), unleaked(g)),
                   unleaked), fused


def check_slope(name, slope):
    """ValueError for a slope below 0 where the derivative is read off the result, whose sign is then not the
    argument's."""
    if not slope >= 0.0:
        raise ValueError(f"{name}: expected a slope ≥ 0, got {slope}: use leaky_relu behind it instead")


@op
def add_bias(x, b, /, slope=1.0):
    """leaky_relu(x + b, slope), b (C,) along the last axis of x. The slope, not below 0, is 1 for x + b itself."""
    if x.ndim < 2 or b.shape != x.shape[-1:]:
        raise ValueError(f"add_bias: expected (N, …, C) + (C,), got {x.shape} + {b.shape}")
    check_slope("add_bias", slope)
    rows = passes.long_rows(x.data)
    value = x.xp.empty(x.shape, x.dtype)
    passes.add_row(value.reshape(rows.shape), rows, b.data, slope)
    unleaked = lambda g: g if slope == 1.0 else leak(g, value, slope)

    def fused(g, needed):
        g = g if slope == 1.0 else _leak(g, value, slope)
        return g, passes.folded(passes.sum_rows(g.reshape(rows.shape)), b.size) if needed[1] else None
    return value, (unleaked, lambda g: sum_to(unleaked(g), b.shape)), fused


@op
def matmul(x, y, /):
    """The matrix product over the last two axes; axes before them broadcast. d/dx = g yᵀ, d/dy = xᵀ g."""
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        raise ValueError(f"matmul: expected (..., n, k) @ (..., k, m), got {x.shape} @ {y.shape}")
    return _product(x.data, y.data), (
        lambda g: matmul(g, _matrix_transpose(y)), lambda g: matmul(_matrix_transpose(x), g))


def _product(x, y):
    """x @ y; a large product of two matrices on all cores, each with some rows of x."""
    xp, work = xp_of(x), len(x) * y.size // 128
    if x.shape[-1] == 1:
        return x * y  # outer products, for which matrix libraries take many times as long
    if x.ndim > 2 or y.ndim > 2 or xp is not np or work < parallel.SMALL:
        return xp.matmul(x, y)
    value = np.empty((x.shape[0], y.shape[1]), x.dtype)
    parallel.split(lambda part, begin, end: np.matmul(x[begin:end], y, out=value[begin:end]), len(x), work)
    return value


def _matrix_transpose(x):
    return transpose(x, (*range(x.ndim - 2), -1, -2))


# Tensor learns its operators

def _unspread(numbers):
    """(2, 3) for both spellings, x.reshape(2, 3) and x.reshape((2, 3))."""
    return numbers if all(isinstance(n, int) for n in numbers) else numbers[0]


Tensor.__add__ = add
Tensor.__sub__ = sub
Tensor.__mul__ = mul
Tensor.__truediv__ = div
Tensor.__matmul__ = matmul
Tensor.__radd__ = lambda y, x: add(x, y)
Tensor.__rsub__ = lambda y, x: sub(x, y)
Tensor.__rmul__ = lambda y, x: mul(x, y)
Tensor.__rtruediv__ = lambda y, x: div(x, y)
Tensor.__rmatmul__ = lambda y, x: matmul(x, y)
Tensor.__neg__ = neg
Tensor.__pow__ = power
Tensor.__getitem__ = getitem
Tensor.sum = sum
Tensor.mean = mean
Tensor.reshape = lambda x, *shape: reshape(x, _unspread(shape))
Tensor.transpose = lambda x, *axes: transpose(x, _unspread(axes) or None)
