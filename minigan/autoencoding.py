"""Autoencoders: models that make codes of samples, and samples of codes."""

import numpy as np

from minigan import backend, init, nn, ops
from minigan.model import Model
from minigan.shapes import check_positive
from minigan.tensor import constant, no_grad

SHOWN = 8  # pictures of the data


class Autoencoder(Model):
    """A model that encodes samples and decodes them again: `restored` says how."""

    EXHIBITS = {"reconstructions": "pictures of the data, and below each what is left of it"}
    known = None  # some samples of the data, while it trains

    def restored(self, x):
        """What the decoder makes of the codes of samples x (n, …), a tensor. Of each by itself: the
        networks have no batch norm."""
        raise NotImplementedError

    def reconstructed(self, x, block=256):
        """What is left of samples (N, …), floats, as a NumPy array: `block` of them at a time."""
        with no_grad():
            parts = [self.restored(self.real(x[i:i + block])) for i in range(0, len(x), block)]
        return np.concatenate([part.numpy() for part in parts])

    def learn_from(self, x, labels, captions=None):
        """Keep some samples, to be shown beside what is left of them."""
        rows = self.streams["known"].permutation(len(x))[:SHOWN]
        pixels = x.dtype == np.uint8
        self.known = x[rows] / np.float32(127.5) - 1 if pixels else x[rows]

    def exhibits(self, rng):
        """Pictures of the data, and below each what is left of it."""
        if self.known is None or self.known.ndim != 4:
            return {}
        return {"reconstructions": np.stack([self.known, self.reconstructed(self.known)])}


class Gaussian(nn.Module):
    """q(z | x) = N(μ, σ²): samples → μ and ln σ², (N, latent) each. They are the two halves of what
    `network` makes of the samples."""

    def __init__(self, network, latent):
        super().__init__()
        self.network, self.latent = network, latent

    def forward(self, x):
        told = self.network(x)
        return told[:, :self.latent], told[:, self.latent:]


class Codebook(nn.Module):
    """`count` rows of `features` numbers, and which of them were used of late. Codes, one-hot
    (N, T, count), → the rows that they name, (N, T, features). Van den Oord et al. 2017,
    arXiv:1711.00937, §3.1."""

    buffer_names = ("used",)

    def __init__(self, count, features, rng=None):
        super().__init__()
        check_positive("Codebook", count=count, features=features)
        self.rows = nn.Parameter(init.uniform((count, features), count, rng))
        self.used = backend.asarray(np.zeros(count, np.float32))  # how often, since `renew`

    def forward(self, codes):
        (N, T, K), e = codes.shape, self.rows
        chosen = backend.asarray(codes, e.dtype).reshape(N * T, K) @ e
        return chosen.reshape(N, T, -1)

    def nearest(self, z):
        """The codes (N, T, count) of the rows e nearest to vectors z (N, …, features), both arrays:
        there ‖z − e‖² − ‖z‖² = ‖e‖² − 2 z · e is least."""
        e = self.rows.data
        inner = ops.matmul(constant(z.reshape(-1, z.shape[-1])), constant(e.T)).data
        likeness = 2.0 * inner - (e * e).sum(axis=1)
        return ops.one_hot_largest(likeness).reshape(len(z), -1, len(e))

    def note(self, codes):
        """These codes were used."""
        self.used = self.used + codes.sum(axis=(0, 1))

    def renew(self, z, rng):
        """Rows that were not used since the last call become vectors out of z (N, …, features), an
        array, which `rng` chooses. In the first call none was used, and all do."""
        z = z.reshape(-1, z.shape[-1])
        fresh = ops.take(constant(z), rng.integers(len(z), size=len(self.used))).data
        self.rows.data = backend.xp_of(z).where(self.used[:, None] > 0, self.rows.data, fresh)
        self.used = 0.0 * self.used


def residual_pair(channels, width, features, rng=None):
    """An encoder of pictures (N, H, W, channels) → (N, H/4, W/4, features), and its decoder. The
    networks of arXiv:1711.00937, §4.1: two convolutions with stride 2, two residual blocks of a
    3 × 3 and a 1 × 1 convolution; and the same backwards. The blocks have 2 · width channels, and
    half as many inside. No tanh ends the decoder: where most pixels are black, it would soon be
    saturated, and then nothing is learned any more."""
    n = 2 * width
    block = lambda: nn.Residual(nn.Sequential(
        nn.ReLU(), nn.Conv2d(n, width, 3, padding=1, rng=rng),
        nn.ReLU(), nn.Conv2d(width, n, 1, rng=rng)))
    halve = lambda before, after: nn.Conv2d(before, after, 4, stride=2, padding=1, rng=rng)
    double = lambda before, after: nn.ConvTranspose2d(before, after, 4, stride=2, padding=1,
                                                      rng=rng)
    encoder = nn.Sequential(
        halve(channels, width), nn.ReLU(), halve(width, n), block(), block(), nn.ReLU(),
        nn.Conv2d(n, features, 1, rng=rng))
    decoder = nn.Sequential(
        nn.Conv2d(features, n, 3, padding=1, rng=rng), block(), block(), nn.ReLU(),
        double(n, width), nn.ReLU(), double(width, channels))
    return encoder, decoder
