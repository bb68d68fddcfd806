"""Layers: functions that own their weights.

A `Module` finds its parameters by looking at its own attributes, in the order in which they were
assigned; the names are PyTorch's ("0.weight", "blocks.0.weight"). Images are (N, H, W, C), dense
weights (in, out), kernels (KH, KW, in, out).
"""

from functools import partial
from math import prod

import numpy as np

from minigan import backend, init, ops
from minigan.conv import conv2d, conv_transpose2d, pair
from minigan.normalize import batch_norm, check_channels, layer_norm
from minigan.tensor import FAST, Tensor


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
        return _found(vars(self).items(), Module)

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
            for name, parameter in _found(vars(module).items(), Parameter):
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
        own = [f"{name} {value.shape}" for name, value in _found(vars(self).items(), Parameter)]
        own += [f"{name} {value}" for name, value in vars(self).items()
                if type(value) in (int, float, tuple)]
        children = "".join(f"\n({name}): {child}" for name, child in self.named_children())
        return f"{type(self).__name__}({', '.join(own)}{children.replace(chr(10), chr(10) + '  ')})"


def _found(items, kind, prefix=""):
    """(name, value) for each value of this kind, also inside lists, tuples and dictionaries.
    TypeError for layers in a set."""
    found = []
    for name, value in items:
        name = _joined(prefix, str(name))
        if isinstance(value, kind):
            found.append((name, value))
        elif isinstance(value, (list, tuple)):
            found += _found(enumerate(value), kind, name)
        elif isinstance(value, dict):
            found += _found(value.items(), kind, name)
        elif isinstance(value, (set, frozenset)) and _found(enumerate(value), (Module, Parameter)):
            raise TypeError(f"{name} is a {type(value).__name__} with layers or parameters in it, "
                            "where they have no order: use a list")
    return found


def _joined(prefix, name):
    return f"{prefix}.{name}" if prefix else name


class Dense(Module):
    """x W + b. x (N, in) → (N, out)."""

    def __init__(self, in_features, out_features, bias=True, rng=None):
        super().__init__()
        self.weight = Parameter(init.uniform((in_features, out_features), in_features, rng))
        self.bias = Parameter(init.uniform((out_features,), in_features, rng)) if bias else None

    def forward(self, x):
        if x.ndim != 2 or x.shape[1] != self.weight.shape[0]:
            raise ValueError(f"Dense: expected x (N, {self.weight.shape[0]}), got {x.shape}")
        y = ops.matmul(x, self.weight)
        return y if self.bias is None else y + self.bias


class Conv2d(Module):
    """x ∗ w + b. x (N, H, W, in) → (N, OH, OW, out); see `conv.conv2d`. Sizes are integers or pairs
    (H, W)."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True,
                 rng=None):
        super().__init__()
        shape = (*pair("Conv2d: kernel_size", kernel_size), in_channels, out_channels)
        self.weight = Parameter(init.uniform(shape, prod(shape[:3]), rng))
        self.bias = Parameter(init.uniform((out_channels,), prod(shape[:3]), rng)) if bias else None
        self.stride, self.padding = stride, padding

    def forward(self, x):
        y = conv2d(x, self.weight, self.stride, self.padding)
        return y if self.bias is None else y + self.bias


class ConvTranspose2d(Module):
    """The adjoint of the convolution with kernel w (KH, KW, out, in), plus b. x (N, H, W, in) →
    (N, H′, W′, out) with H′ = (H − 1)·stride + KH − 2·padding, or `output_size` where a stride
    leaves a choice; see `conv.conv_transpose2d`."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True,
                 output_size=None, rng=None):
        super().__init__()
        shape = (*pair("ConvTranspose2d: kernel_size", kernel_size), out_channels, in_channels)
        self.weight = Parameter(init.uniform(shape, prod(shape[:3]), rng))
        self.bias = Parameter(init.uniform((out_channels,), prod(shape[:3]), rng)) if bias else None
        self.stride, self.padding, self.output_size = stride, padding, output_size

    def forward(self, x):
        y = conv_transpose2d(x, self.weight, self.stride, self.padding, self.output_size)
        return y if self.bias is None else y + self.bias


class BatchNorm(Module):
    """Each channel normalised over all axes but the last: in training by the batch's own mean and
    variance, in evaluation by their running averages. Ioffe & Szegedy 2015, arXiv:1502.03167.

    As in PyTorch, running ← (1 − momentum) · running + momentum · batch, the variance in its
    unbiased form. ValueError in training if there is only one value per channel.
    """

    buffer_names = ("running_mean", "running_var")

    def __init__(self, channels, momentum=0.1, eps=1e-5):
        super().__init__()
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))
        self.running_mean = backend.asarray(np.zeros(channels, np.float32))
        self.running_var = backend.asarray(np.ones(channels, np.float32))
        self.momentum, self.eps = float(momentum), float(eps)

    def forward(self, x):
        check_channels("BatchNorm", x, self.weight, self.bias)
        if not self.training:
            scale = self.weight / ops.sqrt(self.running_var + self.eps)
            return x * scale + (self.bias - self.running_mean * scale)
        n = prod(x.shape[:-1])
        if n < 2:
            raise ValueError(f"BatchNorm: x {x.shape} has one value per channel, whose variance is "
                             "not defined: use a larger batch, or .eval()")
        return batch_norm(x, self.weight, self.bias, self.eps, partial(self.observe, n))

    def observe(self, n, mean, variance):
        """Move the running averages towards a batch's statistics, of n values per channel."""
        kept = 1.0 - self.momentum
        self.running_mean = kept * self.running_mean + self.momentum * mean
        self.running_var = kept * self.running_var + self.momentum * (variance * (n / (n - 1)))


class LayerNorm(Module):
    """Each sample normalised by its own mean and variance over all its axes, then scaled and
    shifted per channel; the same in training and evaluation. Ba et al. 2016, arXiv:1607.06450."""

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))
        self.eps = float(eps)

    def forward(self, x):
        return layer_norm(x, self.weight, self.bias, self.eps)


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x):
        return ops.relu(x)


class LeakyReLU(Module):
    """x where x > 0, slope · x elsewhere."""

    def __init__(self, slope=0.2):
        super().__init__()
        self.slope = float(slope)

    def forward(self, x):
        return ops.leaky_relu(x, self.slope)


class Tanh(Module):
    """tanh x, into (−1, 1)."""

    def forward(self, x):
        return ops.tanh(x)


class Sigmoid(Module):
    """1/(1 + e⁻ˣ), into (0, 1). The objectives take logits: do not end a discriminator with it."""

    def forward(self, x):
        return ops.sigmoid(x)


class Flatten(Module):
    """(N, …) → (N, product of the rest)."""

    def forward(self, x):
        return ops.reshape(x, (x.shape[0], prod(x.shape[1:])))


class Reshape(Module):
    """(N, …) → (N, *shape)."""

    def __init__(self, *shape):
        super().__init__()
        self.shape = shape

    def forward(self, x):
        return ops.reshape(x, (x.shape[0], *self.shape))


class Dropout(Module):
    """In training each element is zero with probability p and otherwise divided by 1 − p, which
    keeps the mean; in evaluation x itself. Masks come from `rng`, the stream "dropout" by default.
    Srivastava et al. 2014."""

    def __init__(self, p=0.5, rng=None):
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"Dropout: expected a probability 0 ≤ p < 1, got {p}")
        self.p, self.rng = float(p), rng

    def forward(self, x):
        if not self.training or self.p == 0.0:
            return x
        rng = self.rng or backend.streams["dropout"]
        kept = (rng.random(x.shape) >= self.p) / (1.0 - self.p)
        return x * backend.asarray(kept.astype(x.dtype))


class Sequential(Module):
    """Layers one after another."""

    def __init__(self, *layers):
        super().__init__()
        for i, layer in enumerate(layers):
            if not callable(layer) or isinstance(layer, type):
                got = f"the class {layer.__name__}" if callable(layer) else type(layer).__name__
                raise TypeError(f"Sequential: layer {i}: got {got}, expected a layer or a function "
                                "of x, one argument each: Sequential(*layers)")
        self.layers = list(layers)

    def named_children(self):
        return [(name.removeprefix("layers."), child) for name, child in super().named_children()]

    def forward(self, x):
        fused = FAST.get("fused", list)  # the fast engine computes neighbours in one
        for layer in fused(self.layers):
            x = layer(x)
        return x

    def __len__(self):
        return len(self.layers)

    def __getitem__(self, index):
        return self.layers[index]
