"""Layers. Images are (N, H, W, C), dense weights (in, out), kernels (KH, KW, in, out)."""

from functools import partial
from math import isfinite, prod

import numpy as np

from minigan import backend, init, ops
from minigan.conv import conv2d, conv_transpose2d, pair
from minigan.layers import (  # noqa: F401 (all are part of `nn`)
    AveragePool, Beside, Embedding, Equalised, InstanceNorm, MinibatchDeviation,
    MinibatchDiscrimination, PixelNorm, PixelShuffle, Pointwise, ReflectionPad, Residual,
    SelfAttention, SpectralNorm, Upsample)
from minigan.module import Module, Parameter
from minigan.normalize import batch_norm, check_channels, layer_norm
from minigan.shapes import check_positive, in_range
from minigan.tensor import FAST


class Dense(Module):
    """x W + b. x (N, in) → (N, out)."""

    def __init__(self, in_features, out_features, bias=True, rng=None):
        super().__init__()
        check_positive("Dense", in_features=in_features, out_features=out_features)
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
        check_positive("Conv2d", in_channels=in_channels, out_channels=out_channels)
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

    output_axis = -2  # of the kernel; elsewhere it is the last one

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, bias=True,
                 output_size=None, rng=None):
        super().__init__()
        check_positive("ConvTranspose2d", in_channels=in_channels, out_channels=out_channels)
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
        check_positive(type(self).__name__, channels=channels)
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))
        self.running_mean = backend.asarray(np.zeros(channels, np.float32))
        self.running_var = backend.asarray(np.ones(channels, np.float32))
        self.momentum = float(momentum)
        if not 0.0 <= self.momentum <= 1.0:
            raise ValueError(f"BatchNorm: expected a momentum from 0 to 1, got {momentum}")
        self.eps = in_range("BatchNorm: eps", eps)

    def forward(self, x):
        return self.normalised(x, self.weight, self.bias)

    def normalised(self, x, weight, bias):
        """x with its mean and variance taken out, scaled and shifted."""
        check_channels("BatchNorm", x, weight, bias)
        if not self.training:
            scale = weight / ops.sqrt(self.running_var + self.eps)
            return x * scale + (bias - self.running_mean * scale)
        n = prod(x.shape[:-1])
        if n < 2:
            raise ValueError(f"BatchNorm: x {x.shape} has one value per channel, whose variance is "
                             "not defined: use a larger batch, or .eval()")
        return batch_norm(x, weight, bias, self.eps, partial(self.observe, n))

    def observe(self, n, mean, variance):
        """Move the running averages towards a batch's statistics, of n values per channel."""
        kept = 1.0 - self.momentum
        self.running_mean = kept * self.running_mean + self.momentum * mean
        self.running_var = kept * self.running_var + self.momentum * (variance * (n / (n - 1)))

    def modulated(self, x, scale, shift):
        """The same, scaled and shifted by each sample's own numbers, (N, channels) each."""
        ones = backend.xp_of(self.running_var).ones_like(self.running_var)
        y, spread = self.normalised(x, ones, 0.0 * ones), (len(x), *(1,) * (x.ndim - 2), -1)
        return y * scale.reshape(spread) + shift.reshape(spread)


class ConditionalBatchNorm(BatchNorm):
    """Batch norm whose scale and shift are the class's own, weight and bias (classes, channels):
    x (N, …, C) and labels (N,) → (N, …, C). Mean and variance are those of all classes together.
    Dumoulin et al. 2017, arXiv:1610.07629; for labels de Vries et al. 2017, arXiv:1707.00683."""

    def __init__(self, channels, classes, momentum=0.1, eps=1e-5):
        super().__init__(channels, momentum, eps)
        check_positive("ConditionalBatchNorm", classes=classes)
        self.weight = Parameter(np.ones((classes, channels), np.float32))
        self.bias = Parameter(np.zeros((classes, channels), np.float32))

    def forward(self, x, labels):
        if np.shape(labels) != x.shape[:1]:
            raise ValueError(f"ConditionalBatchNorm: expected a label for each of x {x.shape}, got "
                             f"labels {np.shape(labels)}")
        return self.modulated(x, ops.take(self.weight, labels), ops.take(self.bias, labels))


class LayerNorm(Module):
    """Each sample normalised by its own mean and variance over all its axes, then scaled and
    shifted per channel; the same in training and evaluation. Ba et al. 2016, arXiv:1607.06450."""

    def __init__(self, channels, eps=1e-5):
        super().__init__()
        check_positive("LayerNorm", channels=channels)
        self.weight = Parameter(np.ones(channels, np.float32))
        self.bias = Parameter(np.zeros(channels, np.float32))
        self.eps = in_range("LayerNorm: eps", eps)

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
        if not isfinite(self.slope):
            raise ValueError(f"LeakyReLU: expected a finite slope, got {slope}")

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
        return dropped(x, self.p, self.rng or backend.streams["dropout"])


def dropped(x, p, rng):
    """x with each element zero with probability p and otherwise divided by 1 − p, as `rng` says."""
    kept = (rng.random(x.shape) >= p) / (1.0 - p)
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
