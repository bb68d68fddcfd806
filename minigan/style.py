"""StyleGAN2's networks: noise becomes a style, and the style says at each layer how to go on.

Karras et al. 2019, arXiv:1812.04948, and Karras et al. 2020, arXiv:1912.04958.

    w = f(z)          the mapping network, z ~ N(0, I)
    x = g(w, noise)   the synthesis network, which begins with a constant picture

A style w scales the inputs of each convolution. The first layers work on small pictures, and their
styles tell the pose; those of the last ones tell the texture. Noise, drawn for each sample and
layer, adds the detail that no style decides.
"""

from math import sqrt

import numpy as np

from minigan import backend, init, networks, nn, ops
from minigan.autograd import grad
from minigan.conv import conv2d
from minigan.module import Module, Parameter


class ModulatedConv2d(Module):
    """A convolution whose kernel is each sample's own: x (N, H, W, in) or (1, H, W, in), styles w
    (N, features) → (N, H, W, out). With s = A w + 1

        W′ = s_c W,    W″ = W′/√(Σ W′² + 1e-8) over the places and inputs c of an output,

    modulation and, with `demodulate`, demodulation (arXiv:1912.04958, eq. 1 and 3), which keeps the
    deviation of what goes in. Convolution is linear: s may multiply x instead of W, and the root
    divide y. So all samples share one convolution. Weights are equalised."""

    def __init__(self, before, after, size, features, demodulate=True, rng=None):
        super().__init__()
        rng = rng or backend.streams["init"]
        self.style = nn.Equalised(nn.Dense(features, before, rng=rng), gain=1.0, rng=rng)
        self.weight = Parameter(init.normal((size, size, before, after), 0.0, 1.0, rng))
        self.bias = Parameter(np.zeros(after, np.float32))
        self.scale, self.demodulate = 1.0 / sqrt(size * size * before), demodulate

    def forward(self, x, w):
        s, W = self.style(w) + 1.0, self.scale * self.weight
        y = conv2d(x * s.reshape(len(s), 1, 1, -1), W, padding=W.shape[0] // 2)
        if self.demodulate:
            root = ops.sqrt(s ** 2 @ (W ** 2).sum((0, 1)) + 1e-8)
            y = y / root.reshape(len(s), 1, 1, -1)
        return y + self.bias


class Styled(Module):
    """A layer of the synthesis network: √2 · lrelu(y + strength · noise), y the modulated
    convolution of x and noise (N, H, W, 1), or None for none. √2 makes up for what leaky ReLU takes
    from the mean square."""

    def __init__(self, before, after, features, rng=None):
        super().__init__()
        self.conv = ModulatedConv2d(before, after, 3, features, rng=rng)
        self.strength = Parameter(np.zeros(1, np.float32))

    def forward(self, x, w, noise=None):
        y = self.conv(x, w)
        if noise is not None:
            y = y + self.strength * noise
        return sqrt(2.0) * ops.leaky_relu(y)


class Mapping(Module):
    """f: noise (N, features) → styles (N, features): pixel norm, then `depth` dense layers that
    learn a hundredth as fast as the others (arXiv:1812.04948, appendix C). `mean` follows the mean
    of the styles in training, by `SHARE` at each call."""

    buffer_names = ("mean",)
    SHARE = 0.005

    def __init__(self, features, depth, rng=None):
        super().__init__()
        dense = lambda: nn.Equalised(nn.Dense(features, features, rng=rng), rate=0.01, rng=rng)
        layers = [layer for _ in range(depth) for layer in (dense(), nn.LeakyReLU(0.2))]
        self.layers = nn.Sequential(nn.PixelNorm(), *layers)
        self.mean = backend.asarray(np.zeros(features, np.float32))

    def forward(self, z):
        w = self.layers(z)
        if self.training:
            self.mean = self.mean + self.SHARE * (w.detach().mean(0).data - self.mean)
        return w

    def truncated(self, w, psi):
        """Styles nearer to their mean: mean + ψ (w − mean), ψ a number or (N, 1)
        (arXiv:1812.04948, appendix B)."""
        return self.mean + psi * (w - self.mean)


class Generator(Module):
    """Noise (N, features) → pictures (N, H, W, C) in (−1, 1): g(f(z)). Layer by layer the constant
    becomes a larger picture of features: one layer at the smallest size, two at each further one,
    the first of which halves the channels, at last to `width`. At each size it adds a picture to
    that of the size before, enlarged (arXiv:1912.04958, fig. 7b).

    `forward` takes the noise of the layers, `places` numbers a sample from N(0, 1), or None for
    none, and ψ, a number or (N, 1), by which styles are truncated. Enlarging repeats pixels, where
    the paper filters. The next 3 × 3 convolution can learn a filter; the picture that is added up
    has none. It ends with tanh, the paper's does not."""

    def __init__(self, shape, width, features, depth, rng=None):
        super().__init__()
        (h, w, n), widths = networks.halving(shape, width, "StyleGAN2")
        rng = rng or backend.streams["init"]
        self.layers = 2 * len(widths) - 1
        self.places = sum(h * w * 4 ** ((i + 1) // 2) for i in range(self.layers))
        self.mapping = Mapping(features, depth, rng)
        self.constant = Parameter(init.normal((1, h, w, n), 0.0, 1.0, rng))
        outputs = [n, *[wide for wide in widths[1:] for _ in range(2)]]
        self.styled = [Styled(before, after, features, rng)
                       for before, after in zip([n, *outputs], outputs)]
        self.rgb = [ModulatedConv2d(wide, shape[2], 1, features, demodulate=False, rng=rng)
                    for wide in widths]

    def forward(self, z, noise=None, psi=1.0):
        return self.synthesis(self.layers * [self.mapping.truncated(self.mapping(z), psi)], noise)

    def synthesis(self, styles, noise=None):
        """g: the styles (N, features) of each layer → pictures."""
        x, picture, now = self.constant, 0.0, None
        for i, (layer, w) in enumerate(zip(self.styled, styles, strict=True)):
            if i % 2 == 1:
                x, picture = ops.upsample(x), ops.upsample(picture)
            if noise is not None:
                _, H, W, _ = x.shape
                now, noise = noise[:, :H * W].reshape(-1, H, W, 1), noise[:, H * W:]
            x = layer(x, w, now)
            if i % 2 == 0:
                picture = picture + self.rgb[i // 2](x, w)
        return ops.tanh(picture)


class Discriminator(Module):
    """Pictures (N, H, W, C) → scores (N, 1): residual blocks that halve the sides, each the sum of
    both ways times √½, and double the channels, `width` at first; then the deviation over the batch
    (arXiv:1912.04958, fig. 7c)."""

    def __init__(self, shape, width, rng=None):
        super().__init__()
        (h, w, n), widths = networks.halving(shape, width, "StyleGAN2")
        even = lambda layer, gain=sqrt(2.0): nn.Equalised(layer, gain, rng=rng)
        conv = lambda before, after: [
            even(nn.Conv2d(before, after, 3, padding=1, rng=rng)), nn.LeakyReLU(0.2)]
        self.first = nn.Sequential(even(nn.Conv2d(shape[2], width, 1, rng=rng)), nn.LeakyReLU(0.2))
        shortcut = lambda before, after: nn.Sequential(
            nn.AveragePool(), even(nn.Conv2d(before, after, 1, bias=False, rng=rng), 1.0))
        widths.reverse()
        self.blocks = [
            nn.Residual(nn.Sequential(*conv(before, before), *conv(before, after),
                                      nn.AveragePool()), shortcut(before, after))
            for before, after in zip(widths, widths[1:])]
        self.last = nn.Sequential(
            nn.MinibatchDeviation(), *conv(n + 1, n), nn.Flatten(),
            even(nn.Dense(h * w * n, n, rng=rng)), nn.LeakyReLU(0.2),
            even(nn.Dense(n, 1, rng=rng), 1.0))

    def forward(self, x):
        x = self.first(x)
        for block in self.blocks:
            x = sqrt(0.5) * block(x)
        return self.last(x)


class PathPenalty(Module):
    """E (‖Jᵀ y‖₂ − a)² of pictures x = g(w), (N, H, W, C), and their styles w, (N, features).

    J = ∂g(w)/∂w and Jᵀ y = ∇_w ⟨g(w), y⟩, y from N(0, I/(H W)) by `rng`; `mean`, a, follows the
    mean of the lengths: a ← a + 0.01 (mean − a). So equal steps of w become equal steps of the
    picture, in every direction. The gradient takes a as a constant. arXiv:1912.04958, §3.2; 1/(H W)
    as in the authors' code. a begins as the first mean, for from 0 it would shorten all paths for
    the hundreds of steps that it needs to come near."""

    buffer_names = ("mean",)
    SHARE = 0.01

    def __init__(self):
        super().__init__()
        self.mean = backend.asarray(np.zeros(1, np.float32))

    def forward(self, x, w, rng):
        y = rng.standard_normal(x.shape) / sqrt(x.shape[1] * x.shape[2])
        [slope] = grad((x * backend.asarray(y, x.dtype)).sum(), w, create_graph=True)
        lengths = ops.norm(slope, axis=1)
        now, a = lengths.detach().mean(0, True).data, self.mean
        self.mean = backend.xp_of(a).where(a == 0.0, now, a + self.SHARE * (now - a))
        return ((lengths - self.mean) ** 2).mean()
