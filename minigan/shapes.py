"""Shapes: the same elements in another order, some of them, or several tensors as one."""

from itertools import accumulate
from math import inf
from numbers import Integral
from operator import index as as_integer

from minigan.tensor import composed, op


@op
def reshape(x, /, shape):
    """The same elements in another shape; one length may be −1."""
    shape = integers(shape)
    try:
        return x.data.reshape(shape), (lambda g: reshape(g, x.shape),)
    except ValueError:
        raise ValueError(f"reshape: {x.shape} has {x.size} elements, "
                         f"which do not fill {shape}") from None


@op
def transpose(x, /, axes=None):
    """The axes permuted; without `axes`, reversed."""
    axes = tuple(range(x.ndim))[::-1] if axes is None else integers(axes)
    if sorted([a + x.ndim if a < 0 else a for a in axes]) != list(range(x.ndim)):
        raise ValueError(f"transpose: {axes} is not an order of the {x.ndim} axes of {x.shape}")
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
        raise ValueError(f"concatenate: {' and '.join(map(str, shapes))} do not fit along axis "
                         f"{axis}") from None
    ends = list(accumulate([shape[axis] for shape in shapes]))
    before = (slice(None),) * (axis % value.ndim)
    piece = lambda begin, end: lambda g: g[(*before, slice(begin, end))]
    return value, tuple(map(piece, [0, *ends], ends))


@op
def getitem(x, /, index):
    """x[index] for integers, slices and `...`, which take each element at most once."""
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
    """`index` as a tuple, its integers checked here: on a GPU one out of range wraps silently."""
    index = index if isinstance(index, tuple) else (index,)
    try:
        index = tuple([i if isinstance(i, slice) or i is Ellipsis else _integer(i) for i in index])
    except TypeError:
        raise TypeError(
            f"getitem: an index is made of integers, slices and ..., got {index}") from None
    given = len(index) - index.count(Ellipsis)
    if given > len(shape) or index.count(Ellipsis) > 1:
        raise IndexError(f"getitem: index {index} does not fit shape {shape}")
    axis = 0
    for i in index:
        if type(i) is int and not -shape[axis] <= i < shape[axis]:
            raise IndexError(f"getitem: index {i} is out of range for axis {axis} of {shape}")
        axis += len(shape) - given if i is Ellipsis else 1
    return index


def _integer(i):
    if isinstance(i, bool):
        raise TypeError
    return as_integer(i)


@composed
def pad(x, /, widths, mode="constant"):
    """x with more elements around it: `widths` has, for each axis, a number for both ends or a pair
    (before, after). They are zeros ("constant"), or the ones inside the edge mirrored ("reflect").
    """
    pairs = [pair * 2 if len(pair) == 1 else pair for pair in map(integers, widths)]
    if len(pairs) != x.ndim or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise ValueError(f"pad: x {x.shape} expected a width ≥ 0, or two, for each axis, "
                         f"got {widths}")
    if mode == "constant":
        inside = tuple([slice(a, a + n) for (a, _), n in zip(pairs, x.shape)])
        return getitem_adjoint(x, inside, [a + n + b for (a, b), n in zip(pairs, x.shape)])
    if mode != "reflect" or any(max(pair) >= n for pair, n in zip(pairs, x.shape)):
        raise ValueError("pad: mode is constant, or reflect with widths below the sides, got "
                         f"{mode} with {widths} for {x.shape}")
    for axis, ((a, b), n) in enumerate(zip(pairs, x.shape)):
        if a == b == 0:
            continue
        along = lambda *ends: x[(*[slice(None)] * axis, slice(*ends))]
        before, after = along(a, 0, -1), along(n - 2, n - 2 - b if b < n - 1 else None, -1)
        x = concatenate(before, x, after, axis=axis)
    return x


def integers(numbers):
    """One integer, or several, as a tuple of Python's: NumPy's integers count."""
    try:
        return (as_integer(numbers),)
    except TypeError:  # it is not one
        pass
    try:
        return tuple([as_integer(n) for n in numbers])
    except TypeError:
        raise TypeError(f"expected an integer, or several, got {numbers!r}") from None


def check_positive(name, **numbers):
    """ValueError, naming the argument, unless each of the numbers is an integer ≥ 1."""
    for what, number in numbers.items():
        if not isinstance(number, Integral) or number < 1:
            raise ValueError(f"{name}: {what} is an integer ≥ 1, got {number!r}")


def in_range(what, number, below=inf):
    """A number ≥ 0 and < `below` as Python's: NumPy's would make float64 of float32."""
    if not 0.0 <= (found := float(number)) < below:
        limit = "finite" if below == inf else f"< {below:g}"
        raise ValueError(f"{what}: expected a number ≥ 0 and {limit}, got {number}")
    return found
