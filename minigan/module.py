"""A function that owns its weights.

A `Module` finds its parameters by looking at its own attributes, in the order in which they were
assigned; the names are PyTorch's ("0.weight", "blocks.0.weight").
"""

import numpy as np

from minigan import backend
from minigan.tensor import Tensor


class Parameter(Tensor):
    """A tensor to be learned: it requires a gradient, and a module that holds it lists it."""

    __slots__ = ()

    def __init__(self, data):
        super().__init__(data, requires_grad=True)
        self._data = self._data.copy()  # an optimizer changes it in place: not the caller's array


class Module:
    """Base of all layers and networks. A subclass assigns parameters and modules in __init__, also
    in lists, tuples and dictionaries, and defines `forward`."""

    buffer_names = ()  # the attributes that are saved with the weights, but are not learned

    def __init__(self):
        self.training = True

    def __call__(self, *inputs, **options):
        return self.forward(*inputs, **options)

    def named_children(self):
        """(name, module) for each module among the attributes."""
        return found_in(vars(self).items(), Module)

    def named_modules(self, prefix=""):
        """(name, module) for this module and all below it, each once, as they were constructed."""
        found, stack = {}, [(prefix, self)]
        while stack:
            name, module = stack.pop()
            if id(module) not in found:
                found[id(module)] = name, module
                children = reversed(module.named_children())
                stack += [(_joined(name, child), below) for child, below in children]
        return list(found.values())

    def named_parameters(self):
        """(name, Parameter) in the order of construction, a shared one once."""
        found = {}
        for prefix, module in self.named_modules():
            for name, parameter in found_in(vars(module).items(), Parameter):
                found.setdefault(id(parameter), (_joined(prefix, name), parameter))
        return list(found.values())

    def parameters(self):
        return [parameter for _, parameter in self.named_parameters()]

    def named_buffers(self):
        """(name, array) for what is kept beside the parameters, such as running means."""
        return [(_joined(prefix, name), getattr(module, name))
                for prefix, module in self.named_modules() for name in module.buffer_names]

    def buffers(self):
        return [array for _, array in self.named_buffers()]

    def state_dict(self):
        """{name: NumPy copy} of all parameters and buffers."""
        named = [(name, p.data) for name, p in self.named_parameters()] + self.named_buffers()
        return {name: np.array(backend.to_numpy(array)) for name, array in named}

    def load_state_dict(self, state):
        """Set all parameters and buffers, each converted to the dtype it has here. ValueError, and
        nothing changed, if a name or a shape differs."""
        own = {name: p.data for name, p in self.named_parameters()} | dict(self.named_buffers())
        if own.keys() != state.keys():
            raise ValueError(f"load_state_dict: missing {sorted(own.keys() - state.keys())}, "
                             f"unexpected {sorted(state.keys() - own.keys())}")
        for name, array in own.items():
            if state[name].shape != array.shape:
                raise ValueError(f"load_state_dict: {name} is {array.shape} here, "
                                 f"{state[name].shape} in the state")
        self._replace_arrays(lambda name, array: backend.asarray(
            np.array(state[name], dtype=array.dtype)))

    def astype(self, dtype):
        """Convert parameters and buffers in place; returns the module."""
        self._replace_arrays(lambda name, array: array.astype(dtype))
        return self

    def _replace_arrays(self, new):
        for name, parameter in self.named_parameters():
            parameter.data = new(name, parameter.data)
        for prefix, module in self.named_modules():
            for name in module.buffer_names:
                setattr(module, name, new(_joined(prefix, name), getattr(module, name)))

    def train(self, mode=True):
        """Training mode here and below: batch statistics, dropout. Returns the module."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self):
        """Evaluation mode: running statistics, no dropout. Returns the module."""
        return self.train(False)

    def requires_grad_(self, flag=True):
        """Freeze (False) or unfreeze all parameters; returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = flag
        return self

    def zero_grad(self):
        for parameter in self.parameters():
            parameter.grad = None

    def __repr__(self):
        own = [f"{name} {value.shape}" for name, value in found_in(vars(self).items(), Parameter)]
        own += [f"{name} {value}" for name, value in vars(self).items()
                if type(value) in (int, float, tuple)]
        children = "".join(f"\n({name}): {child}" for name, child in self.named_children())
        return f"{type(self).__name__}({', '.join(own)}{children.replace(chr(10), chr(10) + '  ')})"


def found_in(items, kind, prefix="", within=()):
    """(name, value) for each value of this kind, also inside lists, tuples and dictionaries.
    TypeError for layers in a set, ValueError for a container that is `within` itself."""
    found = []
    for name, value in items:
        name = _joined(prefix, str(name))
        if isinstance(value, kind):
            found.append((name, value))
        elif any(value is outer for outer in within):
            raise ValueError(f"{prefix} contains itself: a module cannot have it as an attribute")
        elif isinstance(value, (list, tuple)):
            found += found_in(enumerate(value), kind, name, (*within, value))
        elif isinstance(value, dict):
            found += found_in(value.items(), kind, name, (*within, value))
        elif isinstance(value, (set, frozenset)) and found_in(enumerate(value),
                                                              (Module, Parameter)):
            raise TypeError(f"{name} is a {type(value).__name__} with layers or parameters in it, "
                            "where they have no order: use a list")
    return found


def _joined(prefix, name):
    return f"{prefix}.{name}" if prefix else name
