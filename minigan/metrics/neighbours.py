"""Nearest neighbours: which samples lie among those of the other set."""

from typing import NamedTuple

import numpy as np

from minigan.metrics import inputs, pairs


class PrecisionRecall(NamedTuple):
    precision: float  # the share of fakes that lie among the real samples
    recall: float     # the share of real samples that lie among the fakes


def precision_recall(real, fake, k=3):
    """Improved precision and recall: the shares of samples that lie on the other set's manifold.

    A set's manifold is taken to be the union of the closed balls around its samples that reach to
    each one's k-th nearest neighbour in the set, itself not counted. real (N, d), fake (M, d), more
    than `k` each.

    These are no classifier's precision and recall. One outlier has a large ball, which makes
    everything near it right; two samples of one distribution score less than 1; and both shares
    depend on k, N and M: compare equal ones only.
    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2; there k = 3 and N = M = 50,000.
    """
    real, fake = _neighbourly("precision_recall", k, real, fake)
    real_reach, fake_reach = _squared_reach(real, k), _squared_reach(fake, k)
    right, recalled = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    for rows, squared in pairs.squared_distances(real, fake):
        right |= np.any(squared <= real_reach[rows, None], axis=0)
        recalled[rows] = np.any(squared <= fake_reach, axis=1)
    return PrecisionRecall(float(right.mean()), float(recalled.mean()))


class DensityCoverage(NamedTuple):
    density: float   # in how many real balls a fake lies, divided by k
    coverage: float  # the share of real balls with a fake in them


def density_coverage(real, fake, k=5):
    """Density, (1/kM) Σᵢⱼ [yⱼ in Bᵢ], and coverage, (1/N) Σᵢ [some yⱼ in Bᵢ]; Bᵢ the closed ball
    around the real sample xᵢ that reaches to its k-th nearest neighbour among the other real ones.

    real (N, d), fake (M, d), more than `k` each. Only real samples have balls, so a fake outlier
    does no harm. Of fakes from the real distribution, in any number of dimensions, the density is 1
    on average (it is no share, and above 1 where fakes crowd at real samples) and the coverage
    1 − Π (N − i)/(M + N − i), i = 1 … k, about 1 − 2⁻ᵏ for N = M.

    A ball counts as covered however few its fakes, so shares of modes are missed; and so is copied
    data.
    Source: Naeem et al. 2020, arXiv:2002.09797, §3; there k = 5. The authors' code has open balls,
    which makes a difference only where fakes are copies of real samples.
    """
    real, fake = _neighbourly("density_coverage", k, real, fake)
    reach = _squared_reach(real, k)
    inside, covered = 0, np.zeros(len(real), bool)
    for rows, squared in pairs.squared_distances(real, fake):
        within = squared <= reach[rows, None]
        inside += np.count_nonzero(within)
        covered[rows] = np.any(within, axis=1)
    return DensityCoverage(float(inside / (k * len(fake))), float(covered.mean()))


def realism(real, fake, k=3):
    """max over real xᵢ of reachᵢ / ‖y − xᵢ‖ for each fake y → (M,): from 1 on it lies on the
    manifold of `precision_recall`, and the larger the deeper; infinite where it is a copy of one of
    them.

    real (N, d), fake (M, d), more than `k` each; reachᵢ is the distance from xᵢ to its k-th nearest
    other real sample. The half of the real samples with the larger reach is left out, for an
    outlier's makes everything look real.
    Source: Kynkäänniemi et al. 2019, arXiv:1904.06991, §5, eq. 3.
    """
    real, fake = _neighbourly("realism", k, real, fake)
    reach = _squared_reach(real, k)
    # Of samples with an equal reach all or none.
    core = reach <= np.median(reach) * (1 + 1e-9)
    real, reach = real[core], reach[core]
    best = np.zeros(len(fake))
    for rows, squared in pairs.squared_distances(real, fake):
        # Rounding can take the distance of a copy to 0 and below.
        np.maximum(squared, 1e-100, out=squared)
        np.maximum(best, np.max(reach[rows, None] / squared, axis=0), out=best)
    best[nearest(real, fake).distance == 0] = np.inf
    return np.sqrt(best)


class Nearest(NamedTuple):
    distance: np.ndarray  # (M,)
    index: np.ndarray     # (M,)


def nearest(real, fake):
    """The `Nearest` of each row of fake (M, d): the row of real (N, d) at the least distance, and
    that distance.

    With the training data for `real`: samples of a generator that has memorised are nearer to it
    than fresh data are. Nearest in which features? Pixels see a shift of one as a change of
    everything, a classifier's features hardly do.
    """
    real, fake = inputs.features("nearest", 1, real=real, fake=fake)
    centre = real.mean(axis=0)
    real, fake = real - centre, fake - centre
    distance, index = np.empty(len(fake)), np.empty(len(fake), np.int64)
    for rows, squared in pairs.squared_distances(fake, real):
        index[rows] = squared.argmin(axis=1)
        # Exact: a copy is at 0.
        distance[rows] = np.linalg.norm(fake[rows] - real[index[rows]], axis=1)
    return Nearest(distance, index)


def _neighbourly(name, k, real, fake):
    real, fake = inputs.features(name, 2, real=real, fake=fake)
    most = min(len(real), len(fake)) - 1
    if k not in range(1, most + 1):
        raise ValueError(f"{name}: k is {k}, expected an integer from 1 to {most}, for each of the "
                         f"{len(real)} real and {len(fake)} fake samples needs k others")
    # Distances do not change, and small ones are computed more exactly near the origin.
    centre = real.mean(axis=0)
    return real - centre, fake - centre


def _squared_reach(x, k):
    """The squared distance (N,) from each row of x to the k-th nearest other one; a little more, so
    that which of two equal distances rounding has made the longer does not decide whether a copied
    sample lies in a ball."""
    reach = np.empty(len(x))
    for rows, squared in pairs.squared_distances(x, x):
        np.fill_diagonal(squared[:, rows], np.inf)  # itself, which duplicates elsewhere are not
        squared.partition(k - 1, axis=1)
        reach[rows] = squared[:, k - 1]
    return reach * (1 + 1e-9)
