"""Ways through the latent space, and how evenly the pictures change on them."""

from typing import NamedTuple

import numpy as np

from minigan import backend
from minigan.model import WAY, slerp, ways  # noqa: F401 (they belong here too)


class PathLength(NamedTuple):
    mean: float
    standard_error: float  # of the mean, for the ways are drawn independently


def straight(a, b, t):
    """The straight line from a to b (N, d) at the fractions t (N, T) → (N, T, d)."""
    return a[:, None] + t[..., None] * (b - a)[:, None]


def perceptual_path_length(generator, features, latent, rng, n=10_000, epsilon=1e-4, block=256,
                           way=slerp):
    """The squared speed at which features change on the way from noise to noise; small is smooth.

    E ‖φ(G(z(t + ε))) − φ(G(z(t)))‖² / ε², z(t) = slerp(a, b, t), a and b ~ N(0, 1), t ~ U(0, 1).
    Returns `PathLength`.

    generator: latents (B, latent), float64 on the host → samples, `block` or fewer at a time
    features: samples → features φ (B, d)
    latent: the width of the noise; rng: the NumPy generator it is drawn from; n ≥ 2: how many ways
    way: the way between the noises a and b, (N, latent) each, at the fractions t (N, T) → (N, T, d)
        latents. In the styles w = f(z) of StyleGAN it is `straight(f(a), f(b), t)`

    ValueError if features are not a finite float64 (B, d): ε is so small that rounding to float32
    would be measured. Both networks are converted by `astype("float64")`.

    It knows no real data: a generator that has collapsed to one picture scores 0, the best. It
    scales with the features, here squared distances in one layer; in the paper they are weighted
    ones in several (LPIPS), and the paper's code leaves out the ways below the 1st and above the
    99th percentile. Its figures cannot be compared.
    Source: Karras et al. 2019 (StyleGAN), arXiv:1812.04948, §4.1, eq. 2.
    """
    if n < 2 or latent < 1 or not epsilon > 0:
        raise ValueError("perceptual_path_length: expected n ≥ 2, latent ≥ 1 and epsilon > 0, got "
                         f"n {n}, latent {latent} and epsilon {epsilon}")
    a, b = rng.standard_normal((2, n, latent))
    t = rng.random(n)
    here, there = way(a, b, np.stack([t, t + epsilon], axis=1)).swapaxes(0, 1)
    squares = []
    for begin in range(0, n, block):
        f, g = (_features(generator, features, z[begin:begin + block]) for z in (here, there))
        squares.append(np.sum((g - f) ** 2, axis=1))
    lengths = np.concatenate(squares) / epsilon ** 2
    return PathLength(float(lengths.mean()), float(lengths.std(ddof=1) / np.sqrt(n)))


def _features(generator, features, z):
    f = backend.to_numpy(features(generator(z)))
    if f.ndim != 2 or len(f) != len(z) or f.dtype != np.float64:
        raise ValueError(f"perceptual_path_length: expected features ({len(z)}, d) in float64, got "
                         f"{f.dtype} {f.shape} (networks are converted by astype('float64'))")
    if not np.isfinite(f).all():
        raise ValueError(f"perceptual_path_length: features {f.shape} hold NaN or infinity, "
                         "expected finite numbers")
    return f
