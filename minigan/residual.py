"""Residual networks of classes, for small pictures: those of Brock et al. 2019, arXiv:1809.11096,
appendix B. Dense layers and convolutions have spectral norm and begin orthogonal, and so does the
embedding in D; that in G, which all its blocks share, has neither.
"""

from math import prod

from minigan import init, nn, ops
from minigan.networks import halving


def normed(layer, rng):
    return nn.SpectralNorm(init.orthogonal(layer, rng), rng)


def conv(before, after, size, rng):
    return normed(nn.Conv2d(before, after, size, padding=size // 2, rng=rng), rng)


class LinearNorm(nn.BatchNorm):
    """Batch norm, then scaled by 1 + W c and shifted by U c: x (N, …, C) and each sample's
    condition c (N, features) → (N, …, C)."""

    def __init__(self, channels, features, rng):
        super().__init__(channels)
        self.weight, self.bias = [
            normed(nn.Dense(features, channels, bias=False, rng=rng), rng) for _ in range(2)]

    def forward(self, x, c):
        return self.modulated(x, 1.0 + self.weight(c), self.bias(c))


class UpBlock(nn.Module):
    """Twice the sides: x (N, H, W, before) and conditions (N, features) → (N, 2H, 2W, after)."""

    def __init__(self, before, after, features, rng):
        super().__init__()
        self.norm1, self.conv1 = LinearNorm(before, features, rng), conv(before, after, 3, rng)
        self.norm2, self.conv2 = LinearNorm(after, features, rng), conv(after, after, 3, rng)
        self.shortcut = conv(before, after, 1, rng)

    def forward(self, x, c):
        y = self.conv1(ops.upsample(ops.relu(self.norm1(x, c))))
        y = self.conv2(ops.relu(self.norm2(y, c)))
        return y + ops.upsample(self.shortcut(x))


def down_block(before, after, rng, first=False, pool=True):
    """Half the sides, or with `pool` false the same: (N, 2H, 2W, before) → (N, H, W, after). The
    `first` one, of a picture, does not begin with a ReLU."""
    pooled, begins = [nn.AveragePool()] * pool, [nn.ReLU()] * (not first)
    return nn.Residual(
        nn.Sequential(*begins, conv(before, after, 3, rng), nn.ReLU(), conv(after, after, 3, rng),
                      *pooled),
        nn.Sequential(*pooled, conv(before, after, 1, rng)))


class Generator(nn.Module):
    """Noise (N, latent) and labels → pictures (N, H, W, C) in (−1, 1). The noise is cut into equal
    chunks, what is left over in the first one: that becomes the smallest picture, and each other
    one, beside the class's embedding, a block's condition. `width` channels come last, twice as
    many before each block."""

    def __init__(self, image_shape, classes, latent, width, features, rng):
        super().__init__()
        self.smallest, widths = halving(image_shape, width)
        if latent < len(widths):
            raise ValueError(f"BigGAN: a latent of {latent} is too narrow for {len(widths)} chunks")
        self.chunk = latent // len(widths)
        self.first = latent - (len(widths) - 1) * self.chunk
        self.embedding = nn.Embedding(classes, features, rng)
        self.dense = normed(nn.Dense(self.first, prod(self.smallest), rng=rng), rng)
        self.blocks = [UpBlock(before, after, features + self.chunk, rng)
                       for before, after in zip(widths, widths[1:])]
        self.last = nn.Sequential(nn.BatchNorm(width), nn.ReLU(),
                                  conv(width, image_shape[2], 3, rng), nn.Tanh())

    def forward(self, noise, labels):
        embedded, begin = self.embedding(labels), self.first
        x = self.dense(noise[:, :begin]).reshape(-1, *self.smallest)
        for block in self.blocks:
            chunk = noise[:, begin:begin + self.chunk]
            x, begin = block(x, ops.concatenate(embedded, chunk, axis=-1)), begin + self.chunk
        return self.last(x)


class Discriminator(nn.Module):
    """Pictures and labels → scores f(x, y) = yᵀ V φ(x) + ψ(φ(x)), (N, 1), as in `zoo.projection`:
    φ is the sum of the last features over all places."""

    def __init__(self, image_shape, classes, width, rng):
        super().__init__()
        widths = [image_shape[2], *reversed(halving(image_shape, width)[1])]
        self.blocks = nn.Sequential(*[
            down_block(before, after, rng, first=i == 0, pool=i < len(widths) - 2)
            for i, (before, after) in enumerate(zip(widths, widths[1:]))], nn.ReLU())
        self.score = normed(nn.Dense(widths[-1], 1, rng=rng), rng)  # ψ
        self.embedding = normed(nn.Embedding(classes, widths[-1], rng), rng)  # V

    def forward(self, x, labels):
        phi = self.blocks(x).sum((1, 2))
        return self.score(phi) + (self.embedding(labels) * phi).sum(1, keepdims=True)
