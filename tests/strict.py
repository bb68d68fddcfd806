"""A stand-in for CuPy 14 that needs no GPU: it finds what would fail on one, or wait for it.

`Array` computes by NumPy, but to its surroundings it behaves as `cupy.ndarray` does where the two libraries differ:

- It never becomes a NumPy array by itself, and does not mix with one.
- Only what is listed below exists, and only with these arguments: no `where=`, no `initial=`, no `errstate`.
- A reduction returns a device array without axes, not a number. To see the number the host must wait for the device.
- Nothing warns. An index array with integers out of range wraps around (a single integer raises, as in NumPy).

In a few places CuPy is more lenient than is good for a training step, and `Array` is not:

- NumPy scalars. CuPy takes them at their own dtype, so that a float64 makes float64 of float32.
- `np.exp(array)`. CuPy hands it on to `cupy.exp`, unless another argument is a NumPy array.
- `a[mask]` and `where(mask)`, whose size only the device knows: the host waits for it.
- `a[indices] = …`, where two equal indices race; likewise a write to a view whose elements overlap.

All these raise `Violation`. What is allowed, but has its price, is noted in `costs`; what CuPy would put on the
device's queue, a kernel or a copy, in `launches`.
"""

import operator
import os
import sys
import types
import weakref

import numpy as np

from minigan.backend import Backend

# What there is, and by which names arguments can be given: all of it exists in CuPy 14.
UFUNCS = """abs add divide equal exp greater isfinite less log log1p maximum minimum multiply negative power sign sqrt
            subtract tanh""".split()
FUNCTIONS = {
    **dict.fromkeys(UFUNCS, "out dtype"),
    "asarray": "a dtype", "empty": "shape dtype", "zeros": "shape dtype", "ones": "shape dtype",
    "full": "shape fill_value dtype", "empty_like": "dtype", "zeros_like": "a dtype", "ones_like": "a dtype",
    "concatenate": "axis", "stack": "axis", "tile": "reps", "broadcast_to": "array shape", "where": "",
    "clip": "a a_min a_max out", "sum": "a axis dtype out keepdims", "mean": "a axis dtype out keepdims",
    "dot": "out", "matmul": "out", "lib.stride_tricks.as_strided": "x shape strides",
}
METHODS = {
    "sum": "axis dtype out keepdims", "mean": "axis dtype out keepdims", "max": "axis out keepdims",
    "min": "axis out keepdims", "all": "axis out keepdims", "any": "axis out keepdims", "argmax": "axis dtype out",
    "reshape": "", "ravel": "", "transpose": "", "swapaxes": "", "astype": "dtype copy", "copy": "",
}
ATTRIBUTES = "shape ndim size dtype itemsize nbytes strides flags".split()
UNARY = "neg pos abs invert".split()
BINARY = "add sub mul truediv floordiv mod pow and or xor".split()  # each also from the right, and in place
COMPARISONS = "lt le eq ne gt ge".split()

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
    return keywords["out"] if "out" in keywords else Array(np.asarray(result))


def _limited(name, function, allowed):
    """`function` of device arrays, with keyword arguments as listed above and no others."""
    def limited(*arguments, **keywords):
        if unknown := keywords.keys() - set(allowed.split()):
            raise Violation(f"{name} with {', '.join(sorted(unknown))}=")
        if name == "where" and len(arguments) < 3:
            raise Violation("where(mask), whose size only the device knows,")
        result = _on_device(function, *arguments, **keywords)
        if name == "matmul":
            _check_product(*arguments)
        return result
    return limited


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
for _name, _allowed in METHODS.items():
    setattr(Array, _name, _limited(_name, getattr(np.ndarray, _name), _allowed))
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
    if not name.startswith("__") and name != "RawModule":  # see cuda_on_host
        violations.append(f"{name} at {_place()}")
    raise AttributeError(f"{name} is not in the list of what CuPy has, or has without waiting: see tests/strict.py")


xp = types.ModuleType("strict", "What CuPy calls `cupy`.")
xp.__version__, xp.__getattr__ = np.__version__, _missing
xp.lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=_as_strided))
for _name, _allowed in FUNCTIONS.items():
    if "." not in _name:
        setattr(xp, _name, _limited(_name, getattr(np, _name), _allowed))
xp.asarray = _asarray


def load():
    """For `minigan.backend.register`."""
    return Backend("strict", xp, Array, Array.get)
