"""`Tensor` and the `op` contract.

An operation is a function that returns its value and, per argument, a *map*: the vector–Jacobian
product, which carries an output gradient back to that argument. The value is computed on arrays.
The maps are built from operations, so what they return can be differentiated again:

    @op
    def mul(x, y, /):
        return x.data * y.data, (lambda g: g * y, lambda g: g * x)

Arguments before the slash are tensors, those after it are options. The decorator keeps the books:
it turns raw arrays and numbers into constants, refuses mixed dtypes and backends, and records a
`Node`. A *composed* operation is written in other operations and needs no maps. How the recorded
nodes become gradients stands in `autograd.py`.

This is the plain engine. A faster one may offer another function of the same contract for an
operation: `FAST` holds it by the operation's name, or by its undecorated function if that is not of
this package. It is empty when the plain engine is in use.
"""

import functools
import inspect
import threading

import numpy as np

from minigan import backend

OPS = {}    # every operation by name; the tests walk it
FAST = {}   # operations, optimizers and hooks that the fast engine replaces


class _Thread(threading.local):
    recording, before = True, ()  # each thread has its own; before: of the contexts around


_thread = _Thread()


class Tensor:
    """An array that remembers how it was computed.

    An array of floats on the backend in use is taken as it is, without a copy. Anything else is
    converted by `backend.asarray`: lists, numbers and integers become float32. Writing into the
    array of a recorded graph falsifies gradients silently; assigning to `.data` is noticed.
    """

    __slots__ = ("_data", "requires_grad", "grad", "node", "version", "__weakref__")
    __array_ufunc__ = None  # so that `array * tensor` is ours and never an object array
    __iter__ = None

    def __init__(self, data, requires_grad=False):
        self._data = backend.asarray(data.data if isinstance(data, Tensor) else data)
        self.requires_grad = requires_grad
        self.grad = None
        self.node = None
        self.version = 0

    @property
    def data(self):
        """The array. Assigning a new one makes every graph recorded with the old one stale."""
        return self._data

    @data.setter
    def data(self, array):
        if not backend.is_array(array) or array.dtype.kind != "f":
            raise TypeError("Tensor.data: expected an array of floats, "
                            f"got {getattr(array, 'dtype', type(array).__name__)}")
        self._data = array
        self.version += 1

    shape = property(lambda self: self._data.shape)
    ndim = property(lambda self: self._data.ndim)
    size = property(lambda self: self._data.size)
    dtype = property(lambda self: self._data.dtype)

    @property
    def xp(self):
        """The namespace whose functions work on `.data`: `numpy` or `cupy`."""
        return backend.xp_of(self._data)

    def item(self):
        """The only element, as a Python float. On a GPU this waits for the device."""
        return backend.to_numpy(self._data).item()

    def numpy(self):
        """The value as a NumPy array (on the CPU, the very array: not a copy)."""
        return backend.to_numpy(self._data)

    def detach(self):
        """The same array as a constant: nothing flows back through it."""
        return constant(self._data)

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of a scalar tensor")
        return self.shape[0]

    def __float__(self):
        return self.item()

    def __format__(self, spec):
        return format(self.item(), spec) if spec else repr(self)

    def __bool__(self):
        raise TypeError("the truth value of a tensor is not defined (on a GPU it would wait for "
                        "the device): compare numbers read with .item()")

    def __array__(self, *args, **kwargs):
        raise TypeError("a Tensor does not turn into an array silently: use .numpy() for a host "
                        "copy, .data for the array itself")

    def __repr__(self):
        values = np.array2string(self.numpy(), precision=4, threshold=20, edgeitems=2,
                                 prefix="Tensor(")
        origin = f", from {self.node.name}" if self.node else (
            ", requires_grad" if self.requires_grad else "")
        return f"Tensor({values}, shape {self.shape}, {self.dtype}{origin})"


class Scalar:
    """A Python number in an operation: it takes on the dtype of the tensor it meets."""

    __slots__ = ("data", "xp")
    shape, ndim, requires_grad, node, version = (), 0, False, None, 0

    def __init__(self, number):
        self.data = number


def constant(array):
    """A tensor around an array of floats as it is, wherever it is."""
    tensor = Tensor.__new__(Tensor)
    tensor._data = array
    tensor.requires_grad = False
    tensor.grad = tensor.node = None
    tensor.version = 0
    return tensor


class recording:
    """A context in which this thread records the graph (True) or does not (False)."""

    def __init__(self, flag):
        self._flag = flag

    def __enter__(self):
        _thread.before, _thread.recording = (*_thread.before, _thread.recording), self._flag

    def __exit__(self, *exception):
        *_thread.before, _thread.recording = _thread.before


no_grad = functools.partial(recording, False)  # a context whose results are constants


class Node:
    """How a tensor was computed. It refers to the arguments only, never to the result: a graph has
    no cycle, and dropping its output frees it at once.

    An operation of the fast engine brings `first(g, needed)`: the gradients of all arguments, as
    raw arrays. Where a gradient must itself be differentiable, its maps are used or, if it has
    none, `definition`: the same value in plain operations.
    """

    __slots__ = ("name", "args", "maps", "first", "definition", "versions")

    def __init__(self, name, args, maps, first, definition):
        self.name, self.args, self.maps = name, args, maps
        self.first, self.definition = first, definition
        self.versions = [arg.version for arg in args]

    def check_fresh(self):
        """RuntimeError if an argument has been given other data since."""
        for position, (arg, version) in enumerate(zip(self.args, self.versions)):
            if arg.version != version:
                raise RuntimeError(
                    f"{self.name}: argument {position} {arg.shape} was changed after this graph "
                    "was recorded (by an optimizer step, say): run the forward computation again")


def op(function):
    """Make an operation of `function(*tensors, /, **options) -> value, maps`; see the top of this
    file. It may be called with tensors, raw arrays and numbers."""
    name, arity = function.__name__, _arity(function)

    def plain(*args, **options):
        tensors = args[:arity]  # the others are options
        return _result(name, tensors, _checked(name, tensors, function(*args, **options)))

    return _operation(function, arity, plain)


def composed(function):
    """Make an operation of `function(*tensors, /, **options) -> tensor`, which is written in other
    operations. Its derivatives are theirs."""
    return _operation(function, _arity(function), function)


def _operation(function, arity, plain):
    """`plain(*tensors, *options)`, or what `FAST` has in its place, made callable with anything."""
    name, key = function.__name__, _key(function)

    @functools.wraps(function)
    def apply(*arguments, **options):
        more = () if arity is None else arguments[arity:]
        args = operands(name, arguments[:arity])
        fast = FAST.get(key)
        found = fast and fast(*args, *more, **options)  # None where it does not serve
        if found:
            return _result(name, args, found, lambda *args: plain(*args, *more, **options))
        try:
            return plain(*args, *more, **options)
        except ValueError as error:
            if not str(error).startswith("operands could not be broadcast"):
                raise
        raise ValueError(f"{name}: the shapes {' and '.join([str(arg.shape) for arg in args])} "
                         "do not broadcast")

    OPS[name] = apply
    return apply


def _key(function):
    """Its key in `FAST`: the name, or the function itself if it is defined outside this package."""
    return function.__name__ if function.__module__.split(".")[0] == "minigan" else function


def _arity(function):
    """How many arguments are tensors: those before the slash. None for any number of them."""
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    arity = kinds.count(inspect.Parameter.POSITIONAL_ONLY)
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    if arity == 0:
        raise TypeError(f"{function.__name__}: an operation's tensors stand before a slash, "
                        f"def {function.__name__}(x, /, option): there is none here")
    return arity


def _checked(name, args, found):
    """(value, maps), as an operation returned them. TypeError for the usual mistakes."""
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], tuple) or (
            len(found[1]) != len(args) or not all(map(callable, found[1]))):
        raise TypeError(f"{name}: an operation returns its value and a tuple of {len(args)} maps, "
                        "a function for each tensor")
    value, maps = found
    first = next(arg for arg in args if isinstance(arg, Tensor))
    if isinstance(value, Tensor):
        raise TypeError(f"{name}: the value is a Tensor, expected an array: compute on x.data")
    if not backend.is_array(value):  # NumPy returns scalars where the result has no axes
        value = first.xp.asarray(value)
    if value.dtype != first.dtype:
        raise TypeError(f"{name}: computed {value.dtype} from {first.dtype}: an operation keeps "
                        "its arguments' dtype")
    return value, maps


def _result(name, args, found, definition=None):
    """The tensor around an operation's value, with its node if one is to be recorded."""
    value, maps, *first = found
    result = constant(value)
    if _thread.recording and any([arg.requires_grad for arg in args]):
        result.requires_grad = True
        if callable(maps):
            maps, definition = None, maps
        result.node = Node(name, args, maps, first[0] if first else None, definition)
    return result


def operands(name, arguments):
    """The arguments as tensors of one dtype on one backend, Python numbers as `Scalar`s.

    A raw array is a constant, and takes on the dtype of the tensors that it meets, as a number
    does: NumPy's float64 noise may be fed to float32 networks.
    """
    if not any([isinstance(value, Tensor) for value in arguments]):
        if not arguments:
            raise TypeError(f"{name}: expected at least one tensor")
        only_numbers = all([type(value) in (int, float) for value in arguments])
        arguments = [value if type(value) in (int, float) and not only_numbers
                     else _tensor(name, value) for value in arguments]
    leader = next(value for value in arguments if isinstance(value, Tensor))
    args = tuple([value if isinstance(value, Tensor) else _constant_like(leader, name, value)
                  for value in arguments])
    kinds = {(type(t._data), t._data.dtype) for t in args if type(t) is not Scalar}
    if len(kinds) > 1:
        described = [f"{t.dtype} {t.shape} on {backend.backend_of(t.data).name}"
                     for t in args if type(t) is not Scalar]
        raise TypeError(f"{name}: tensors of one dtype on one backend expected, got "
                        f"{' and '.join(described)}: convert one, by "
                        "Tensor(x.data.astype('float32')) or module.astype('float64'), say")
    return args


def _constant_like(leader, name, value):
    """A number or a raw array as a constant that fits the tensor `leader`."""
    if type(value) in (int, float):
        scalar = Scalar(value)
        scalar.xp = leader.xp
        return scalar
    if type(value) is Scalar:
        return value
    if not backend.is_array(value) or value.dtype.kind not in "fiub":
        value = _tensor(name, value).data
    return constant(value.astype(leader.dtype, copy=False))  # on another backend it is refused


def _tensor(name, value):
    try:
        return Tensor(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: an argument is not a tensor, an array or a number: "
                        f"{error}") from None
