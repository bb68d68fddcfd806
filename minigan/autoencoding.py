"""What models share that make codes of samples and samples of codes: what is left of a sample then.
"""

import numpy as np

from minigan import nn
from minigan.model import Model
from minigan.tensor import no_grad

SHOWN = 8  # pictures of the data


class Autoencoder(Model):
    """A model that encodes samples and decodes them again: `restored` says how."""

    known = None  # some samples of the data, while it trains

    def restored(self, x):
        """What the decoder makes of the codes of samples x (n, …), a tensor; in evaluation mode."""
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
        return {"pictures of the data, and what is left of each":
                np.stack([self.known, self.reconstructed(self.known)])}


class Gaussian(nn.Module):
    """q(z | x) = N(μ, σ²): samples → μ and ln σ², (N, latent) each. They are the two halves of what
    `network` makes of the samples."""

    def __init__(self, network, latent):
        super().__init__()
        self.network, self.latent = network, latent

    def forward(self, x):
        told = self.network(x)
        return told[:, :self.latent], told[:, self.latent:]
