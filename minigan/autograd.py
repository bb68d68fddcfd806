"""Gradients: one walk through the recorded nodes in reverse.

The walk carries a cotangent of each output back, node after node. A node's maps turn the gradient
with respect to its value into those with respect to its arguments; along several paths they add up.
Maps are operations: with `create_graph` the walk is recorded and can be differentiated again.
"""

import numpy as np

from minigan import backend
from minigan.tensor import Tensor, operands, constant, no_grad, op, recording


@op
def alias(x, /):
    """x itself, as a new node of the graph."""
    return x.data, (lambda g: g,)


@op
def sum_to(x, /, shape):
    """x summed over the axes along which `shape` would be broadcast to x's: the adjoint of
    `broadcast_to`. ValueError if it could not be."""
    shape = tuple(shape)
    added = x.ndim - len(shape)
    if added < 0 or any(n not in (1, m) for n, m in zip(shape, x.shape[added:])):
        raise ValueError(f"sum_to: {shape} does not broadcast to {x.shape}")
    axes = tuple(range(added)) + tuple(
        added + i for i, n in enumerate(shape) if n == 1 and x.shape[added + i] != 1)
    return total(x.data, axes).reshape(shape), (lambda g: broadcast_to(g, x.shape),)


def total(array, axis, keepdims=False):
    """Σ over `axis` of a raw array, in its own dtype. Added up in float64: NumPy adds leading axes
    row after row, and a float32 sum of many would lose its digits."""
    return array.sum(axis=axis, dtype=np.float64, keepdims=keepdims).astype(array.dtype)


@op
def broadcast_to(x, /, shape):
    """x repeated along new and size-1 axes until its shape is `shape`."""
    try:
        return x.xp.broadcast_to(x.data, shape), (lambda g: sum_to(g, x.shape),)
    except ValueError:
        raise ValueError(f"broadcast_to: {x.shape} does not broadcast to {tuple(shape)}") from None


def grad(outputs, inputs, grad_outputs=None, create_graph=False, allow_unused=False):
    """[Σₖ (∂outputₖ/∂inputᵢ)ᵀ · grad_outputₖ for each i], each of its input's shape.

    A single tensor counts as a list of one. Without `grad_outputs` the outputs must be scalars.
    With `create_graph` the gradients can be differentiated again. Inputs may be leaves or
    intermediate results. Nothing is written on any tensor; gradients may share memory.

    ValueError for an output without a graph, a `grad_output` that does not fit, and an input on
    which no output depends (with `allow_unused` its gradient is None). RuntimeError if a tensor was
    changed since the graph was recorded.
    """
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if isinstance(grad_outputs, Tensor) or backend.is_array(grad_outputs):
        grad_outputs = [grad_outputs]

    with recording(create_graph):
        seeds = _seeds(outputs, grad_outputs)
        gradients = _walk(_topological(outputs), outputs, seeds, inputs, create_graph)
    unused = [i for i, x in enumerate(inputs) if id(x) not in gradients]
    if unused and not allow_unused:
        raise ValueError(f"grad: no output depends on input {unused[0]} {inputs[unused[0]].shape}, "
                         "or it requires no gradient: give another or pass allow_unused=True")
    return [gradients.get(id(x)) for x in inputs]


def backward(output, grad_output=None):
    """Add d output / d leaf into `.grad`, an array of its own, of every leaf that requires one."""
    order = _topological([output])
    leaves = [t for t in order if t.node is None and t.requires_grad]
    seeds = _seeds([output], None if grad_output is None else [grad_output])
    with no_grad():
        gradients = _walk(order, [output], seeds, leaves, create_graph=False)
    taken = {id(seed.data) for seed in seeds}
    for leaf in leaves:
        g = gradients[id(leaf)].data
        if leaf.grad is not None:
            g = leaf.grad.data + g
        elif id(g) in taken or not g.flags.owndata:  # another leaf's, the caller's, or a view
            g = g.copy()
        taken.add(id(g))
        leaf.grad = constant(g)


Tensor.backward = backward


def _walk(order, outputs, seeds, inputs, create_graph):
    """Carry the seeds from the outputs back to the inputs: {id(input): its gradient}."""
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
            contributions = _pull_back(t.node, g, wanted, create_graph)
            for arg, contribution in zip(t.node.args, contributions):
                if contribution is not None:
                    accumulate(arg, contribution)
    return gradients


def _pull_back(node, g, needed, create_graph):
    """The gradients that g, the output's, gives to the arguments that are `needed`, else None."""
    if node.first and not create_graph:
        gradients = node.first(g.data, needed)
        return [constant(array) if need else None for array, need in zip(gradients, needed)]
    if node.maps is None:
        return _pull_back_through_definition(node, g, needed, create_graph)
    return [_mapped(node, g, position) if need else None for position, need in enumerate(needed)]


def _mapped(node, g, position):
    """What a map makes of g, broadcasting undone."""
    try:
        shape, g = node.args[position].shape, node.maps[position](g)
    except TypeError as error:
        if error.__traceback__.tb_next:  # it arose inside the map
            raise
        raise TypeError(f"{node.name}: map {position} cannot be called with one gradient: {error}"
                        ) from None
    if not isinstance(g, Tensor):
        raise TypeError(f"{node.name}: map {position} returned {type(g).__name__}, expected a "
                        "Tensor: build maps from operations on tensors")
    if g.dtype != node.args[position].dtype:
        raise TypeError(f"{node.name}: map {position} returned a gradient of {g.dtype} for an "
                        f"argument of {node.args[position].dtype}")
    if g.shape == shape:
        return g
    try:
        return sum_to(g, shape)
    except ValueError:
        raise ValueError(f"{node.name}: map {position} returned a gradient {g.shape} for an "
                         f"argument {shape}") from None


def _pull_back_through_definition(node, g, needed, create_graph):
    # Aliases are differentiated, not the arguments, as one argument may depend on another one.
    with recording(True):
        aliases = [alias(arg) if arg.requires_grad else arg for arg in node.args]
        value = node.definition(*aliases)
    wanted = [arg for arg, need in zip(aliases, needed) if need]
    gradients = iter(grad(value, wanted, [g], create_graph))
    return [next(gradients) if need else None for need in needed]


def _seeds(outputs, grad_outputs):
    """The cotangents from which the walk starts: those given, or 1 for scalar outputs."""
    for output in outputs:
        if not output.requires_grad:
            raise ValueError(f"grad: an output {output.shape} has no graph: nothing it was computed"
                             " from requires a gradient, or it was computed under no_grad()")
    if grad_outputs is None:
        for output in outputs:
            if output.size != 1:
                raise ValueError(f"grad: an output has shape {output.shape}: only a scalar's "
                                 "gradient is defined without grad_outputs")
        return [constant(output.xp.ones_like(output.data)) for output in outputs]
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"grad: {len(outputs)} outputs but {len(grad_outputs)} grad_outputs")
    seeds = [operands("grad", [output, g])[1] for output, g in zip(outputs, grad_outputs)]
    for output, g in zip(outputs, seeds):
        if g.shape != output.shape:
            raise ValueError(f"grad: an output has shape {output.shape}, its grad_output {g.shape}")
    return seeds


def _topological(outputs):
    """The tensors behind the outputs that require a gradient, arguments before results."""
    order, seen, stack = [], set(), [(output, False) for output in outputs]
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
