"""Two sets of features as a whole: the Fréchet distance and the kernel distance."""

from typing import NamedTuple

import numpy as np

from minigan.metrics import inputs, pairs


class Moments(NamedTuple):
    """What the Fréchet distance keeps of N features."""
    mean: np.ndarray        # (d,)
    covariance: np.ndarray  # (d, d), the sums divided by N − 1


def moments(features):
    """Features (N, d), N ≥ 2 → `Moments`: to be kept of a data set that is compared with again and
    again."""
    [x] = inputs.features("moments", 2, features=features)
    mean = x.mean(axis=0)
    x -= mean
    return Moments(mean, x.T @ x / (len(x) - 1))


def frechet_distance(real, fake):
    """d² = ‖m − m′‖² + Tr(C + C′ − 2(CC′)^½), the squared Fréchet distance of N(m, C) and N(m′,
    C′); 0 is best.

    real (N, d), fake (M, d), at least two each; m, C and m′, C′ are their means and covariances.
    The root is the matrix's, not the elements'. The unit is that of the features, squared. With
    Inception features this is the FID, and with no others.

    It misses what means and covariances do not show: clouds of the same moments and of different
    shapes are the same to it. It is biased upward, by about 1/N times what depends on the features:
    compare figures of equal N only. It cannot tell poor samples from too uniform ones, and a
    generator that repeats the training data is perfect.
    Source: Dowson & Landau 1982, doi 10.1016/0047-259X(82)90077-X; Heusel et al. 2017,
    arXiv:1706.08500, eq. 6.
    """
    real, fake = inputs.features("frechet_distance", 2, real=real, fake=fake)
    return frechet_distance_of_moments(moments(real), moments(fake))


def frechet_distance_of_moments(real, fake):
    """`frechet_distance` from two `Moments`, or pairs (mean (d,), covariance (d, d)).

    With C = FFᵀ and C′ = GGᵀ, the eigenvalues of CC′ = FFᵀGGᵀ are the squared singular values of
    FᵀG (and zeros), so that Tr (CC′)^½ is the sum of these: real though CC′ is not symmetric, and
    right for singular covariances too.
    """
    (m_real, F), (m_fake, G) = (_mean_and_factor(*given) for given in (real, fake))
    if m_real.shape != m_fake.shape:
        raise ValueError(f"frechet_distance: real has {len(m_real)} features, fake has "
                         f"{len(m_fake)}: expected equally many")
    squared = np.sum((m_real - m_fake) ** 2) + np.sum(F ** 2) + np.sum(G ** 2)
    squared -= 2 * np.linalg.norm(F.T @ G, "nuc")
    # Of equal moments only a rounding error is left, of either sign.
    return max(0.0, float(squared))


def _mean_and_factor(mean, covariance):
    """m and an F with FFᵀ = C, from the symmetric C = V diag(w) Vᵀ: F = V diag(√w)."""
    name = "frechet_distance"
    mean = inputs.array(name, "mean", mean)
    covariance = inputs.array(name, "covariance", covariance)
    if mean.ndim != 1 or covariance.shape != 2 * mean.shape or not np.allclose(
            covariance, covariance.T, atol=1e-6 * np.abs(covariance).max(initial=0.0)):
        raise ValueError(f"{name}: expected a mean (d,) and a symmetric covariance (d, d), got "
                         f"{mean.shape} and {covariance.shape}")
    w, V = np.linalg.eigh(covariance)
    if w[0] < -1e-4 * w[-1]:
        raise ValueError(f"{name}: expected a covariance, got a matrix with the eigenvalue "
                         f"{w[0]:.3g}")
    # A zero is computed as some 1e-16 of the greatest eigenvalue, whose root is 1e-8 of its root:
    # of the many zeros that fewer samples than dimensions leave, that would be a visible sum.
    w[w < len(w) * np.finfo(np.float64).eps * w[-1]] = 0.0
    return mean, V * np.sqrt(w)


def kernel_distance(real, fake):
    """The unbiased estimate of MMD² = E k(x, x′) + E k(y, y′) − 2 E k(x, y); 0 is best, and chance
    takes it below 0. The kernel is k(x, y) = (x·y/d + 1)³.

    real (N, d), fake (M, d), at least two each; x, x′ are real, y, y′ fake. Each mean is that of
    all pairs but those of a sample with itself. With Inception features this is the KID; its
    published figures are means over subsets.

    It sees the moments up to the third and no others. Being unbiased it can be compared across N,
    unlike the Fréchet distance, but with few samples it is noisy: see `half_sampling`. Repeated
    training data is perfect here too.
    Source: Bińkowski et al. 2018, arXiv:1801.01401, §4; Gretton et al. 2012, JMLR 13, Lemma 6.
    """
    x, y = inputs.features("kernel_distance", 2, real=real, fake=fake)
    within = _mean_kernel_of_others(x) + _mean_kernel_of_others(y)
    return within - 2 * _sum_of_kernel(x, y) / (len(x) * len(y))


def _mean_kernel_of_others(x):
    n, d = x.shape
    with_itself = np.sum((np.sum(x * x, axis=1) / d + 1) ** 3)
    return float(_sum_of_kernel(x, x) - with_itself) / (n * (n - 1))


def _sum_of_kernel(x, y):
    total = 0.0
    for _, products in pairs.products(x, y):
        products /= x.shape[1]
        products += 1
        total += np.sum(products * products * products)
    return float(total)
