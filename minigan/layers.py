"""Layers that the zoo needs and a DCGAN does not: `nn` has them all."""

from math import inf, sqrt

import numpy as np

from minigan import backend, init, ops
from minigan.module import Module, Parameter
from minigan.normalize import instance_norm, pixel_norm, spectral_norm
from minigan.shapes import check_positive, in_range
from minigan.tensor import constant


class Embedding(Module):
    """Row i of a table for each integer i: (…) → (…, features). Rows begin as N(0, 1)."""

    def __init__(self, count, features, rng=None):
        super().__init__()
        check_positive("Embedding", count=count, features=features)
        rng = rng or backend.streams["init"]
        self.weight = Parameter(init.normal((count, features), 0.0, 1.0, rng))

    def forward(self, indices):
        return ops.take(self.weight, indices)


class InstanceNorm(Module):
    """Each channel of each sample normalised over the sample's places, (N, …, C) → (N, …, C); with
    `affine` then scaled and shifted per channel. The same in training and evaluation. Ulyanov et
    al. 2016, arXiv:1607.08022."""

    def __init__(self, channels, eps=1e-5, affine=False):
        super().__init__()
        check_positive("InstanceNorm", channels=channels)
        self.channels, self.eps = channels, in_range("InstanceNorm: eps", eps)
        self.weight = Parameter(np.ones(channels, np.float32)) if affine else None
        self.bias = Parameter(np.zeros(channels, np.float32)) if affine else None

    def forward(self, x):
        if x.ndim < 3 or x.shape[-1] != self.channels:
            raise ValueError(f"InstanceNorm: expected x (N, …, {self.channels}) with places, got "
                             f"{x.shape}")
        y = instance_norm(x, self.eps)
        return y if self.weight is None else y * self.weight + self.bias


class PixelNorm(Module):
    """The channels of each pixel, or the features of each sample, to mean square 1. Karras et al.
    2018, arXiv:1710.10196, §4.2."""

    def forward(self, x):
        return pixel_norm(x)


class Equalised(Module):
    """A layer with c W in place of its weight W and `rate` · b in place of its bias b, where
    c = `rate` · gain/√fan_in. W begins as N(0, 1/rate²) and b as 0, so that c W has the deviation
    gain/√fan_in: He's, for a gain of √2. fan_in counts a unit's inputs.

    The factor stands in every call and not in the first weights alone. Steps of Adam do not depend
    on the size of gradients, so all layers learn at the same speed, `rate` times the optimizer's.
    Karras et al. 2018, arXiv:1710.10196, §4.1; the rate is that of Karras et al. 2019,
    arXiv:1812.04948, appendix C."""

    def __init__(self, layer, gain=sqrt(2.0), rate=1.0, rng=None):
        super().__init__()
        if not 0.0 < rate < inf:
            raise ValueError(f"Equalised: expected a rate > 0, got {rate}")
        self.layer, weight = layer, layer.weight
        fan_in = weight.size // weight.shape[getattr(layer, "output_axis", -1)]
        self.scale, self.rate = float(rate * gain / sqrt(fan_in)), float(rate)
        weight.data = init.normal(weight.shape, 0.0, 1.0 / rate, rng or backend.streams["init"])
        if layer.bias is not None:
            layer.bias.data = 0.0 * layer.bias.data

    def forward(self, x):
        weight, bias = self.layer.weight, self.layer.bias
        try:
            self.layer.weight = self.scale * weight
            self.layer.bias = None if bias is None else self.rate * bias
            return self.layer(x)
        finally:
            self.layer.weight, self.layer.bias = weight, bias


class SpectralNorm(Module):
    """A layer with W/σ in place of its weight W, σ the largest singular value of W as a matrix
    (inputs, outputs): as a linear map it is then 1-Lipschitz.

    σ = vᵀ W u with unit vectors u, v from power iteration: v ← W u/‖W u‖, u ← Wᵀ v/‖Wᵀ v‖, once in
    each call in training mode, never in evaluation. Gradients flow through W and take u and v as
    constants. Miyato et al. 2018, arXiv:1802.05957, Alg. 1; `START` iterations come
    before the first call.
    """

    buffer_names = ("u", "v")
    START = 15

    def __init__(self, layer, rng=None):
        super().__init__()
        self.layer = layer
        inputs, outputs = self._matrix().shape
        rng = rng or backend.streams["init"]
        self.u = _unit(init.normal((outputs,), 0.0, 1.0, rng))
        self.v = backend.asarray(np.zeros(inputs, np.float32))
        for _ in range(self.START):
            self._iterate()

    def _matrix(self):
        """W as an array (inputs, outputs)."""
        weight = self._turned(self.layer.weight).data
        return weight.reshape(-1, weight.shape[-1])

    def _turned(self, weight):
        """A weight with its outputs last, or one with them last as the layer has it."""
        if getattr(self.layer, "output_axis", -1) == -1:
            return weight
        return weight.transpose(*range(weight.ndim - 2), -1, -2)

    def _iterate(self):
        matrix, einsum = self._matrix(), backend.xp_of(self.u).einsum
        self.v = _unit(einsum("io,o->i", matrix, self.u))
        self.u = _unit(einsum("io,i->o", matrix, self.v))

    def forward(self, *inputs):
        if self.training:
            self._iterate()
        weight = self.layer.weight
        try:
            normalised = spectral_norm(self._turned(weight), constant(self.v), constant(self.u))
            self.layer.weight = self._turned(normalised)
            return self.layer(*inputs)
        finally:
            self.layer.weight = weight


def _unit(x):
    """x/‖x‖ of an array (n,); zeros stay."""
    xp = backend.xp_of(x)
    return x / xp.maximum(xp.sqrt((x * x).sum()), 1e-12)


class Pointwise(Module):
    """x W at each place, a 1 × 1 convolution without bias: (…, in) → (…, out)."""

    def __init__(self, in_channels, out_channels, rng=None):
        super().__init__()
        check_positive("Pointwise", in_channels=in_channels, out_channels=out_channels)
        self.weight = Parameter(init.uniform((in_channels, out_channels), in_channels, rng))

    def forward(self, x):
        before, after = self.weight.shape
        if x.shape[-1:] != (before,):
            raise ValueError(f"Pointwise: expected x (…, {before}), got {x.shape}")
        return (x.reshape(-1, before) @ self.weight).reshape(*x.shape[:-1], after)


class SelfAttention(Module):
    """What is far away in a picture, added to what is there: (N, H, W, C) → (N, H, W, C).

        y_j = γ v(Σ_i β_ji h(x_i)) + x_j,   β_ji = exp s_ij / Σ_i exp s_ij,   s_ij = f(x_i)ᵀ g(x_j)

    β_ji says how much place j looks at place i. f, g, h and v are 1 × 1 convolutions with spectral
    norm, f and g to C/8 channels. γ is learned from 0 on: what is near comes first. Zhang et al.
    2019, arXiv:1805.08318, §3. As in the authors' published code h has C/2 channels, where the
    paper has C/8, and of 2 × 2 values of f and of h the largest counts, so that i is one of a
    quarter of the places. ValueError for odd sides."""

    def __init__(self, channels, rng=None):
        super().__init__()
        narrow, half = max(1, channels // 8), max(1, channels // 2)
        pointwise = lambda before, after: SpectralNorm(Pointwise(before, after, rng), rng)
        self.f, self.g = pointwise(channels, narrow), pointwise(channels, narrow)
        self.h, self.v = pointwise(channels, half), pointwise(half, channels)
        self.gamma = Parameter(np.zeros(1, np.float32))

    def forward(self, x):
        o = self.v(self.map(x) @ _largest(self.h(x)))
        return self.gamma * o.reshape(x.shape) + x

    def map(self, x):
        """β (N, H · W, H · W/4): row j holds how much place j looks at each place i. Its sum is 1.
        """
        if x.ndim != 4 or x.shape[1] % 2 or x.shape[2] % 2:
            raise ValueError(f"SelfAttention: expected x (N, H, W, C), even sides, got {x.shape}")
        queries = self.g(x).reshape(len(x), x.shape[1] * x.shape[2], -1)
        return ops.softmax(queries @ _largest(self.f(x)).transpose(0, 2, 1), axis=-1)


def _largest(x):
    """The largest of each 2 × 2 values of each channel: (N, H, W, C) → (N, H · W/4, C)."""
    N, H, W, C = x.shape
    return x.reshape(N, H // 2, 2, W // 2, 2, C).max((2, 4)).reshape(N, H * W // 4, C)


class Residual(Module):
    """residual(x) + shortcut(x), by default residual(x) + x. He et al. 2016, arXiv:1512.03385."""

    def __init__(self, residual, shortcut=None):
        super().__init__()
        self.residual, self.shortcut = residual, shortcut

    def forward(self, x):
        return self.residual(x) + (x if self.shortcut is None else self.shortcut(x))


class Upsample(Module):
    """Each pixel repeated `factor` times along both sides: nearest neighbours."""

    def __init__(self, factor=2):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return ops.upsample(x, self.factor)


class PixelShuffle(Module):
    """Twice or `factor` times the height and width, by as many channels less: (N, H, W, C f²) →
    (N, fH, fW, C). The f² numbers of a pixel and channel become a square of f × f pixels, row by
    row; channels are in PyTorch's order. Behind a convolution it is the sub-pixel convolution of
    Shi et al. 2016, arXiv:1609.05158, eq. 4."""

    def __init__(self, factor=2):
        super().__init__()
        check_positive("PixelShuffle", factor=factor)
        self.factor = factor

    def forward(self, x):
        f = self.factor
        if x.ndim != 4 or x.shape[-1] % f ** 2:
            raise ValueError(f"PixelShuffle: expected x (N, H, W, C · {f ** 2}), got {x.shape}")
        N, H, W, C = x.shape[0], x.shape[1], x.shape[2], x.shape[3] // f ** 2
        squares = x.reshape(N, H, W, C, f, f).transpose(0, 1, 4, 2, 5, 3)
        return squares.reshape(N, f * H, f * W, C)


class ReflectionPad(Module):
    """`margin` more pixels on each side of a picture: those inside its edge, mirrored."""

    def __init__(self, margin):
        super().__init__()
        self.margin = margin

    def forward(self, x):
        return ops.pad(x, (0, self.margin, self.margin, 0), mode="reflect")


class AveragePool(Module):
    """The mean of each `factor` × `factor` square."""

    def __init__(self, factor=2):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return ops.average_pool(x, self.factor)


class MinibatchDeviation(Module):
    """One more channel, the same number everywhere: how much the samples of the batch differ.
    (N, …, C) → (N, …, C + 1). A discriminator that has it sees when a generator repeats itself.

    The number is the standard deviation over the batch, √(variance + eps) of each place and channel
    apart, and then the mean of all of these. Karras et al. 2018, arXiv:1710.10196, §3; eps as in
    the authors' published code."""

    def __init__(self, eps=1e-8):
        super().__init__()
        self.eps = float(eps)

    def forward(self, x):
        centred = x - x.mean(0, keepdims=True)
        deviation = ops.sqrt((centred * centred).mean(0) + self.eps).mean()
        return ops.concatenate(x, ops.broadcast_to(deviation, (*x.shape[:-1], 1)), axis=-1)


class MinibatchDiscrimination(Module):
    """`kernels` more features, how near each sample is to the others of its batch. (N, F) →
    (N, F + kernels). Salimans et al. 2016, arXiv:1606.03498, §3.2.

    Each sample becomes a matrix M = x T, (kernels, size), for a learned T; feature b of sample i is
    Σ_j exp(−‖M_i,b − M_j,b‖₁) over all samples j, itself among them."""

    def __init__(self, features, kernels=32, size=5, rng=None):
        super().__init__()
        self.kernels, self.size = kernels, size
        self.weight = Parameter(init.uniform((features, kernels * size), features, rng))

    def forward(self, x):
        if x.ndim != 2 or x.shape[1] != len(self.weight):
            raise ValueError(f"MinibatchDiscrimination: expected x (N, {len(self.weight)}), got "
                             f"{x.shape}")
        M = (x @ self.weight).reshape(len(x), 1, self.kernels, self.size)
        distances = ops.abs(M - M.transpose(1, 0, 2, 3)).sum(3)
        return ops.concatenate(x, ops.exp(-distances).sum(1), axis=-1)


class Beside(Module):
    """network(x, labels) for a network of one argument: the label, one-hot, is set beside x along
    its last axis, (N, …, C) → (N, …, C + classes), at every place of a picture."""

    def __init__(self, network, classes):
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, x, labels):
        if np.shape(labels) != x.shape[:1]:
            raise ValueError(f"Beside: expected a label for each of x {x.shape}, got labels "
                             f"{np.shape(labels)}")
        rows = backend.asarray(ops.one_hot(labels, self.classes), x.dtype)
        rows = rows.reshape(len(rows), *(1,) * (x.ndim - 2), self.classes)
        planes = ops.broadcast_to(rows, (*x.shape[:-1], self.classes))
        return self.network(ops.concatenate(x, planes, axis=-1))
