"""A stand-in for CuPy 14 that needs no GPU: it finds what would fail on one, or wait for it.

`Array` computes by NumPy, but to its surroundings it behaves as `cupy.ndarray` does where the two libraries differ:

- It never becomes a NumPy array by itself, and does not mix with one.
- What CuPy lacks is missing; functions take no `where=` and no `initial=`.
- A reduction returns a device array without axes, not a number. To see the number the host must wait for the device.
- Nothing warns. An index array with integers out of range wraps around (a single integer raises, as in NumPy).

In a few places CuPy is more lenient than is good for a training step, and `Array` is not:

- NumPy scalars. CuPy takes them at their own dtype, so that a float64 makes float64 of float32.
- `np.exp(array)`. CuPy hands it on to `cupy.exp`, unless another argument is a NumPy array.
- `a[mask]` and `where(mask)`, whose size only the device knows, and functions with that fault: the host waits for it.
- `a[indices] = …`, where two equal indices race; likewise a write to a view whose elements overlap.

All these raise `Violation`. What is allowed, but has its price, is noted in `costs`; what CuPy would put on the
device's queue, a kernel or a copy, in `launches`. Every other function and method is NumPy's.
"""

import functools
import operator
import os
import sys
import types
import weakref

import numpy as np

from minigan.backend import Backend

# NumPy has these, and CuPy 14 has not; `ufunc.at`, which it has in part, is refused as well.
LACKING = """asmatrix bmat byteswap errstate frompyfunc geterr getfield isnat matrix memmap ndenumerate ndindex nditer
    nested_iters newbyteorder recarray record setbufsize seterr setflags spacing to_device""".split()
# CuPy has these, and each waits for the device: what they return, or its size, is known there only.
WAITING = """allclose argwhere array_equal array_equiv compress count_nonzero extract flatnonzero intersect1d
    mask_indices    nonzero setdiff1d setxor1d trim_zeros union1d unique unique_all unique_counts unique_inverse
    unique_values array_repr array_str array2string save savez savez_compressed savetxt dump dumps tofile tolist tobytes
    tostring""".split()
SCATTERING = "copyto fill_diagonal place put put_along_axis putmask itemset setfield".split()
FORBIDDEN = {**dict.fromkeys(LACKING, "is not in CuPy"), **dict.fromkeys(WAITING, "waits for the device"),
             **dict.fromkeys(SCATTERING, "writes where equal indices race")}
IN_PLACE = ["fill"]
KEYWORDS = {"where", "initial", "subok", "like"}  # which functions of CuPy do not take
UNARY = "neg pos abs invert".split()
BINARY = "add sub mul truediv floordiv mod pow and or xor".split()  # each also from the right, and in place
COMPARISONS = "lt le eq ne gt ge".split()
ATTRIBUTES = "shape ndim size dtype itemsize nbytes strides flags".split()

violations = []  # every one, for code that catches the error is not the better for it
costs = []       # "float() at trainer.py:130": where the host waited for the device, or CuPy would have to copy
launches = []    # "add at ops.py:28"
_owners = weakref.WeakValueDictionary()  # of the numbers on the host


class Violation(TypeError):
    """Something that CuPy refuses, or that the rules for code on NumPy and CuPy alike forbid."""

    def __init__(self, message):
        super().__init__(f"{message} at {_place()}")
        violations.append(str(self))


def _place():
    """The nearest line outside of this file."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def _cost(what):
    costs.append(f"{what} at {_place()}")


VIEWS = "reshape ravel transpose swapaxes broadcast_to".split()


def _launch(name, arguments=(), result=None):
    """Count what CuPy 14 launches: nothing for new memory or a view; concatenating, a copy for each array up to eight,
    beyond that one kernel and what tells it where they are; of two vectors, a product and then its sum."""
    if name in ("empty", "empty_like") or name in VIEWS and np.may_share_memory(result, arguments[0]):
        return
    times = 2 if name == "dot" or name == "matmul" and result.size == 1 else 1
    if name in ("concatenate", "stack"):
        times = len(arguments[0]) if len(arguments[0]) <= 8 else 4
    launches.extend([f"{name} at {_place()}"] * times)


class Array:
    """An array on the device that is none."""

    __slots__ = ("_host", "__weakref__")
    __hash__ = None

    def __init__(self, host):
        self._host = host
        _owners.setdefault(id(host), self)

    @property
    def base(self):
        """The array whose memory this one shows, the very object; None for one with its own."""
        return None if self._host.base is None else _owners.get(id(self._host.base))

    def __array__(self, *args, **kwargs):
        raise Violation("an implicit conversion to a NumPy array")

    def __array_function__(self, function, *args, **kwargs):
        raise Violation(f"np.{function.__name__} of a device array")

    __array_ufunc__ = __array_function__  # also what `numpy_array + array` comes to

    def __len__(self):
        return len(self._host)

    def __deepcopy__(self, memo):
        return self.copy()

    def __getattr__(self, name):
        """NumPy's methods."""
        if name in FORBIDDEN or name.startswith("_") or not hasattr(np.ndarray, name):
            _missing(name)
        return functools.partial(_of_device_arrays(name, getattr(np.ndarray, name)), self)

    @property
    def T(self):
        return self.transpose()

    def __getitem__(self, index):
        if isinstance(index, Array) and index.dtype.kind in "iu":
            _launch("take")
            return Array(self._host[index._host % len(self)])
        _check_index(index)
        indices = index if isinstance(index, tuple) else (index,)
        return Array(self._host[indices if Ellipsis in indices else (*indices, ...)])  # a view, even of one element

    def __setitem__(self, index, value):
        _check_index(index)
        _check_writable(self)
        _launch("assignment")
        self._host[index] = _on_host(value)

    def __matmul__(self, other):
        return xp.matmul(self, other) if _is_operand(other) else NotImplemented

    def get(self):
        _cost("get()")
        return self._host.copy()

    def item(self):
        _cost("item()")
        return self._host.item()

    def __float__(self):
        _cost("float()")
        return float(self._host)

    def __int__(self):
        _cost("int()")
        return int(self._host)

    def __bool__(self):
        _cost("bool()")
        return bool(self._host)

    def __repr__(self):
        _cost("repr()")
        return repr(self._host)

    def __format__(self, specification):
        _cost("format()")
        return format(self._host.item() if self.ndim == 0 else self._host, specification)


# The rules

def _check_index(index):
    for i in index if isinstance(index, tuple) else (index,):
        if not (i is None or i is Ellipsis or type(i) in (int, slice)):
            raise Violation(f"an index of type {type(i).__name__}: a mask waits for the device, equal indices race,")


def _check_writable(array):
    if not isinstance(array, Array):
        raise Violation(f"a result for {type(array).__name__}")
    if not array._host.flags.writeable:
        raise Violation("a write to a view whose elements overlap")


def _check_product(x, y):
    """Of two matrices either may be transposed, but in stacks of them CuPy would copy it."""
    if max(x.ndim, y.ndim) > 2 and not (x._host.flags.c_contiguous and y._host.flags.c_contiguous):
        _cost("a copy of transposed matrices")


def _on_host(value):
    """The arguments with which NumPy computes: arrays, Python's numbers, lists and tuples of them, dtypes."""
    if isinstance(value, Array):
        return value._host
    if isinstance(value, (np.ndarray, np.generic)):
        raise Violation(f"a device array meets a NumPy {type(value).__name__}")
    return type(value)(map(_on_host, value)) if isinstance(value, (list, tuple)) else value


def _on_device(function, *arguments, **keywords):
    """function(…), computed on the host, given back on the device."""
    if "out" in keywords:
        _check_writable(keywords["out"])
    given, arguments = arguments, [_on_host(argument) for argument in arguments]
    with np.errstate(all="ignore"):
        result = function(*arguments, **{name: _on_host(value) for name, value in keywords.items()})
    if result is arguments[0]:  # astype(copy=False)
        return given[0]
    _launch(function.__name__, arguments, result)
    return keywords["out"] if "out" in keywords else _wrapped(result)


def _wrapped(result):
    if isinstance(result, (tuple, list)):
        return type(result)(map(_wrapped, result))
    return Array(np.asarray(result)) if isinstance(result, (np.ndarray, np.generic)) else result


def _of_device_arrays(name, function):
    """`function` of device arrays, without the keyword arguments that CuPy's does not take."""
    @functools.wraps(function)
    def apply(*arguments, **keywords):
        if unknown := keywords.keys() & KEYWORDS:
            raise Violation(f"{name} with {', '.join(sorted(unknown))}=")
        if name == "where" and len(arguments) < 3:
            raise Violation("where(mask), whose size only the device knows,")
        if name in IN_PLACE:
            _check_writable(arguments[0])
        result = _on_device(function, *arguments, **keywords)
        if name == "matmul":
            _check_product(*arguments[:2])
        return result
    return apply


# Operators

def _is_operand(value):
    """Anything else, such as a Tensor, is asked what to do with an array."""
    return isinstance(value, (Array, bool, int, float, np.ndarray, np.generic))


def _operators(function, in_place):
    """`array ∘ other`, `number ∘ array` and `array ∘= other`."""
    def forward(self, other):
        return _on_device(function, self, other) if _is_operand(other) else NotImplemented

    def reverse(self, other):
        return _on_device(function, other, self) if _is_operand(other) else NotImplemented

    def update(self, other):
        if not _is_operand(other):
            return NotImplemented
        _check_writable(self)
        _on_device(in_place, self, other)
        return self
    return forward, reverse, update


def _unary(function):
    return lambda self: _on_device(function, self)


for _name in ATTRIBUTES:
    setattr(Array, _name, property(operator.attrgetter(f"_host.{_name}")))
for _name in UNARY:
    setattr(Array, f"__{_name}__", _unary(getattr(operator, _name)))
for _name in BINARY + COMPARISONS:
    _versions = _operators(getattr(operator, f"__{_name}__"), getattr(operator, f"__i{_name}__", None))
    for _side, _version in zip(("", "r", "i") if _name in BINARY else ("",), _versions):
        setattr(Array, f"__{_side}{_name}__", _version)


# The namespace

def _asarray(a, dtype=None):
    """The way up: the only function that takes NumPy arrays, and copies them."""
    if isinstance(a, Array):
        return a if dtype is None or dtype == a.dtype else a.astype(dtype)
    _launch("upload")
    return Array(np.array(a, dtype))


def _as_strided(x, shape, strides):
    return Array(np.lib.stride_tricks.as_strided(x._host, shape, strides, writeable=False))


def _missing(name):
    """AttributeError; noted, even if it is caught, where NumPy's own array or namespace would have answered."""
    if name in FORBIDDEN:
        violations.append(f"{name} at {_place()}")
    raise AttributeError(f"{name} {FORBIDDEN.get(name, 'is neither in CuPy nor in NumPy')}: see tests/strict.py")


def _function(name):
    """NumPy's, of device arrays. Its types and constants are CuPy's too; its modules are not."""
    value = getattr(np, name, None)
    if name in FORBIDDEN or value is None or isinstance(value, types.ModuleType):
        _missing(name)
    return _of_device_arrays(name, value) if callable(value) and not isinstance(value, type) else value


xp = types.ModuleType("strict", "What CuPy calls `cupy`.")
xp.__version__, xp.__getattr__, xp.asarray = np.__version__, functools.cache(_function), _asarray
xp.lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=_as_strided))


def load():
    """For `minigan.backend.register`."""
    return Backend("strict", xp, Array, Array.get)
