"""`Tensor`, the `op` contract, the graph and `grad`.

An operation is a function that returns its value and, per argument, the *map* that carries an output gradient back
to that argument (the transposed Jacobian, applied). The value is computed on arrays; the maps are built from
operations, so what they return can be differentiated again:

    @op
    def mul(x, y, /):
        return x.data * y.data, (lambda g: g * y, lambda g: g * x)

Arguments before the slash are tensors, those after it are options. The decorator keeps the books: it turns raw
arrays and numbers into constants, refuses mixed dtypes and backends, records a `Node`, and undoes broadcasting on the
way back. Differentiation is `grad`, one walk through the recorded nodes in reverse.
"""

import functools
import inspect

import numpy as np

from minigan import backend

OPS = {}          # every operation by name; the tests walk it
_recording = True


class Tensor:
    """An array that remembers how it was computed.

    `Tensor(data, requires_grad=False)`: an array of a loaded backend is taken as it is, without a copy, if it holds
    floats and is on the backend in use; anything else is converted by `backend.asarray` (lists, numbers and integers
    become float32).
    """

    __slots__ = ("_data", "requires_grad", "grad", "node", "version", "__weakref__")
    __array_ufunc__ = None  # so that `array * tensor` is ours and never an object array
    __iter__ = None

    def __init__(self, data, requires_grad=False):
        if isinstance(data, Tensor):
            data = data.data
        self._data = backend.asarray(data)
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

    @property
    def shape(self):
        return self._data.shape

    @property
    def ndim(self):
        return self._data.ndim

    @property
    def size(self):
        return self._data.size

    @property
    def dtype(self):
        return self._data.dtype

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

    def backward(self, grad_output=None):
        """Add d self / d leaf into `.grad` of every leaf that requires a gradient; for other uses see `grad`."""
        order = _topological([self])
        leaves = [t for t in order if t.node is None and t.requires_grad]
        seeds = _seeds([self], None if grad_output is None else [grad_output])
        with no_grad():
            gradients = _walk(order, [self], seeds, leaves, create_graph=False)
        for leaf in leaves:
            g = gradients[id(leaf)]
            leaf.grad = g if leaf.grad is None else constant(leaf.grad.data + g.data)

    def __len__(self):
        if not self.shape:
            raise TypeError("len() of a scalar tensor")
        return self.shape[0]

    def __bool__(self):
        raise TypeError("the truth value of a tensor is not defined (on a GPU it would wait for the device): "
                        "compare numbers read with .item()")

    def __array__(self, *args, **kwargs):
        raise TypeError("a Tensor does not turn into an array silently: use .numpy() for a host copy, .data for the "
                        "array itself")

    def __repr__(self):
        values = np.array2string(self.numpy(), precision=4, threshold=20, edgeitems=2, prefix="Tensor(")
        origin = f", from {self.node.name}" if self.node else ", requires_grad" if self.requires_grad else ""
        return f"Tensor({values}, shape {self.shape}, {self.dtype}{origin})"


class Scalar:
    """A Python number in an operation: it takes on the dtype and the backend of the tensor it meets."""

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
    """A context in which operations record the graph (True) or do not (False)."""

    def __init__(self, flag):
        self._flag = flag

    def __enter__(self):
        global _recording
        self._previous, _recording = _recording, self._flag

    def __exit__(self, *exception):
        global _recording
        _recording = self._previous


def no_grad():
    """A context in which operations record nothing: their results are constants."""
    return recording(False)


class Node:
    """How a tensor was computed. It refers to the arguments only, never to the result: a graph has no cycle, and
    dropping its output frees it at once."""

    __slots__ = ("name", "args", "maps", "fused", "definition", "versions")

    def __init__(self, name, args, maps, fused, definition):
        self.name = name
        self.args = args
        self.maps = maps
        self.fused = fused
        self.definition = definition
        self.versions = [arg.version for arg in args]

    def check_fresh(self):
        """RuntimeError if an argument has been given other data since."""
        for position, (arg, version) in enumerate(zip(self.args, self.versions)):
            if arg.version != version:
                raise RuntimeError(f"{self.name}: argument {position} {arg.shape} was changed after this graph was "
                                   "recorded (by an optimizer step, say): run the forward computation again")

    def pull_back(self, g, needed, create_graph):
        """The gradients that g, the output's, gives to the arguments; None for those that are not `needed`."""
        if self.fused is not None and not create_graph:
            return [constant(array) if need else None for array, need in zip(self.fused(g.data, needed), needed)]
        if self.maps is None:
            return self._pull_back_through_definition(g, needed)
        return [self._undo_broadcasting(to_arg(g), arg) if need else None
                for to_arg, arg, need in zip(self.maps, self.args, needed)]

    def _undo_broadcasting(self, g, arg):
        return g if g.shape == arg.shape else sum_to(g, arg.shape)

    def _pull_back_through_definition(self, g, needed):
        # Fresh aliases are differentiated instead of the arguments, as one argument may depend on another one.
        aliases = [alias(arg) if arg.requires_grad else arg for arg in self.args]
        wanted = [arg for arg, need in zip(aliases, needed) if need]
        gradients = iter(grad(self.definition(*aliases), wanted, [g], create_graph=True))
        return [next(gradients) if need else None for need in needed]


def op(function=None, *, definition=None):
    """Make an operation of `function(*tensors, /, **options) -> value, maps`; see the top of this file.

    A *fused* operation has a faster way to its first derivatives and returns it after its maps: `fused(g, needed)`
    takes g as a raw array and returns raw arrays, one per argument and of its shape, or anything where `needed` is
    false. All gradients come from one call, so they may share work. The fused way cannot be differentiated again; it is
    taken where the gradient need not be differentiable, and tested equal to the maps.

    With `definition`, the same thing composed of other operations, the maps can be left out (None): where the gradient
    must be differentiable, the definition is differentiated. It is also what the tests compare with.
    """
    if function is None:
        return functools.partial(op, definition=definition)
    name = function.__name__
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    arity = None if inspect.Parameter.VAR_POSITIONAL in kinds else kinds.count(inspect.Parameter.POSITIONAL_ONLY)

    @functools.wraps(function)
    def apply(*arguments, **options):
        more = () if arity is None else arguments[arity:]
        args, first = _as_operands(name, arguments[:arity])
        try:
            value, maps, *fused = function(*args, *more, **options)
        except ValueError as error:
            if not str(error).startswith("operands could not be broadcast"):
                raise
            shapes = " and ".join([str(arg.shape) for arg in args])
            raise ValueError(f"{name}: the shapes {shapes} do not broadcast") from None
        if not backend.is_array(value):  # NumPy returns scalars where the result has no axes
            value = first.xp.asarray(value)
        if value.dtype != first._data.dtype:
            raise TypeError(f"{name}: computed {value.dtype} from {first.dtype}: an operation keeps its arguments' "
                            "dtype")
        result = constant(value)
        if _recording and any([arg.requires_grad for arg in args]):
            result.requires_grad = True
            composed = definition and (lambda *tensors: definition(*tensors, *more, **options))
            result.node = Node(name, args, maps, fused[0] if fused else None, composed)
        return result

    OPS[name] = apply
    return apply


def _as_operands(name, arguments):
    """The arguments as tensors of one dtype on one backend, Python numbers as `Scalar`s; and the first tensor."""
    args = tuple([argument if isinstance(argument, Tensor) else _as_operand(name, argument) for argument in arguments])
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    if not tensors:
        args = tensors = tuple([Tensor(arg.data) for arg in args])
        if not tensors:
            raise TypeError(f"{name}: expected at least one tensor")
    first = tensors[0]
    kind, dtype = type(first._data), first._data.dtype
    for other in tensors:
        if type(other._data) is not kind or other._data.dtype != dtype:
            raise TypeError(f"{name}: arguments of one dtype on one backend expected, got " + " and ".join(
                f"{t.dtype} {t.shape} on {backend.backend_of(t.data).name}" for t in tensors))
    if len(tensors) < len(args):
        for arg in args:
            if type(arg) is Scalar:
                arg.xp = first.xp
    return args, first


def _as_operand(name, value):
    if type(value) in (int, float):
        return Scalar(value)
    if type(value) is Scalar:
        return value
    if backend.is_array(value) and value.dtype.kind == "f":
        return constant(value)  # where it is: what is on another backend is refused, not fetched
    if backend.is_array(value) and value.dtype.kind in "iub":
        return constant(value.astype(np.float32))
    try:
        return Tensor(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: an argument is not a tensor, an array or a number: {error}") from None


@op
def alias(x, /):
    """x itself, as a new node of the graph."""
    return x.data, (lambda g: g,)


@op
def sum_to(x, /, shape):
    """x summed over the axes along which an array of `shape` would be broadcast to x's shape: the adjoint of
    `broadcast_to`. ValueError if it could not be."""
    shape = tuple(shape)
    added = x.ndim - len(shape)
    if added < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[added:])):
        raise ValueError(f"sum_to: {shape} does not broadcast to {x.shape}")
    axes = tuple(range(added)) + tuple(added + i for i, n in enumerate(shape) if n == 1 and x.shape[added + i] != 1)
    return x.data.sum(axis=axes).reshape(shape) if axes else x.data.reshape(shape), (
        lambda g: broadcast_to(g, x.shape),)


@op
def broadcast_to(x, /, shape):
    """x repeated along new and size-1 axes until its shape is `shape`."""
    try:
        return x.xp.broadcast_to(x.data, shape), (lambda g: sum_to(g, x.shape),)
    except ValueError:
        raise ValueError(f"broadcast_to: {x.shape} does not broadcast to {tuple(shape)}") from None


def grad(outputs, inputs, grad_outputs=None, create_graph=False, allow_unused=False):
    """The gradients of `outputs` with respect to `inputs`: Σₖ (∂outputₖ/∂inputᵢ)ᵀ · grad_outputₖ for each i.

    A single tensor counts as a list of one; a list of tensors comes back, each of its input's shape. Without
    `grad_outputs` the outputs must be scalars. With `create_graph` the gradients can be differentiated again. Inputs
    may be leaves or intermediate results. Nothing is written on any tensor.

    ValueError for an output that has no graph, a `grad_output` that does not fit its output, and an input on which no
    output depends (with `allow_unused` its gradient is None). RuntimeError if a tensor was changed since the graph was
    recorded.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if isinstance(grad_outputs, Tensor) or backend.is_array(grad_outputs):
        grad_outputs = [grad_outputs]

    with recording(create_graph):
        gradients = _walk(_topological(outputs), outputs, _seeds(outputs, grad_outputs), inputs, create_graph)
    unused = [i for i, x in enumerate(inputs) if id(x) not in gradients]
    if unused and not allow_unused:
        raise ValueError(f"grad: no output depends on input {unused[0]} {inputs[unused[0]].shape}: give an input that "
                         "the outputs were computed from and that requires a gradient, or pass allow_unused=True")
    return [gradients.get(id(x)) for x in inputs]


def _walk(order, outputs, seeds, inputs, create_graph):
    """Carry the seeds from the outputs back to the inputs, against `order`: {id(input): its gradient}."""
    asked = {id(x) for x in inputs}
    needed = set(asked)
    for t in order:
        if t.node is not None:
            t.node.check_fresh()
            if any([id(arg) in needed for arg in t.node.args]):
                needed.add(id(t))

    cotangents, gradients = {}, {}

    def accumulate(t, g):
        cotangents[id(t)] = cotangents[id(t)] + g if id(t) in cotangents else g

    for output, g in zip(outputs, seeds):
        accumulate(output, g)
    for t in reversed(order):
        g = cotangents.pop(id(t), None)
        if g is None:
            continue
        if id(t) in asked:
            gradients[id(t)] = g
        if t.node is not None:
            wanted = [arg.requires_grad and id(arg) in needed for arg in t.node.args]
            for arg, contribution in zip(t.node.args, t.node.pull_back(g, wanted, create_graph)):
                if contribution is not None:
                    accumulate(arg, contribution)
    return gradients


def _seeds(outputs, grad_outputs):
    """The cotangents from which the walk starts: those given, or 1 for scalar outputs."""
    for output in outputs:
        if not output.requires_grad:
            raise ValueError(f"grad: an output {output.shape} has no graph: nothing it was computed from requires a "
                             "gradient, or it was computed under no_grad()")
    if grad_outputs is None:
        for output in outputs:
            if output.size != 1:
                raise ValueError(f"grad: an output has shape {output.shape}: only a scalar's gradient is defined "
                                 "without grad_outputs")
        return [constant(output.xp.ones_like(output.data)) for output in outputs]
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs but {len(grad_outputs)} grad_outputs")
    seeds = [g if isinstance(g, Tensor) else _as_operand("grad", g) for g in grad_outputs]
    for output, g in zip(outputs, seeds):
        if g.shape != output.shape or g.dtype != output.dtype:
            raise ValueError(f"grad: an output is {output.dtype} {output.shape}, its grad_output {g.dtype} {g.shape}")
    return seeds


def _topological(outputs):
    """Every tensor the outputs were computed from and that requires a gradient, arguments before results."""
    order, seen = [], set()
    stack = [(output, False) for output in outputs]
    while stack:
        t, arguments_done = stack.pop()
        if arguments_done:
            order.append(t)
        elif id(t) not in seen:
            seen.add(id(t))
            stack.append((t, True))
            if t.node is not None:
                stack.extend([(arg, False) for arg in t.node.args if arg.requires_grad])
    return order
