"""2-D mixtures of normal distributions, whose modes are known."""

from typing import NamedTuple

import numpy as np


class Mixture(NamedTuple):
    """Normal distributions of equal weight in the plane: where they stand, and how wide each is.

    A mixture's modes are known, so a generator that has lost some of them (mode collapse) can be
    told by counting.
    """
    modes: np.ndarray  # (K, 2)
    sigma: float

    def sample(self, n, rng):
        """`n` points (n, 2) float32 drawn with the generator `rng`, and the mode (n,) int64 that
        each one is from."""
        labels = rng.integers(len(self.modes), size=n)
        noise = self.sigma * rng.standard_normal((n, 2))
        return (self.modes[labels] + noise).astype(np.float32), labels


def _ring(count):
    # Not linspace, which would end where it began: one mode fewer.
    angles = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _lattice(ticks):
    return np.array([(x, y) for x in ticks for y in ticks], dtype=np.float64)


# The two mixtures of PacGAN: Lin et al. 2018, arXiv:1712.04086.
MIXTURES = {"ring8": Mixture(_ring(8), sigma=0.01),
            "grid25": Mixture(_lattice((-4, -2, 0, 2, 4)), sigma=0.05)}
