"""Data whose modes are known: which of them a generator has kept."""

from typing import NamedTuple

import numpy as np

from minigan.metrics import inputs
from minigan.metrics.scores import kl


class ClassCoverage(NamedTuple):
    """What is left of data whose modes are classes of equal shares, in samples of them."""
    modes: int            # how many classes have at least one sample
    reverse_kl: float     # how far the classes' shares are from equal ones, in nats


def class_coverage(labels, classes):
    """Count modes that are classes: the class (N,) of each sample, 0 … K − 1, and K, `classes` →
    `ClassCoverage`.

    With q the classes' shares of the samples, the reverse KL divergence is KL(q ‖ 1/K) =
    Σ qₖ ln(K qₖ): 0 … ln K. For N samples of equally frequent classes it is about (K − 1)/2N: .0195
    for the 25,600 samples and 1,000 triples of stacked MNIST. MNIST's own digits are not quite
    equally frequent, which adds .0043, so that samples like the data have .024. It misses whether a
    sample looks like its class: a poor one is counted too.
    Source: Metz et al. 2017 (Unrolled GAN), arXiv:1611.02163; Lin et al. 2018 (PacGAN),
    arXiv:1712.04086, whose code computes it in this direction.
    """
    labels = inputs.host(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or not (
            0 <= labels.min() <= labels.max() < classes):
        raise ValueError(f"class_coverage: expected integers (N,) from 0 to {classes - 1}, N ≥ 1, "
                         f"got {labels.dtype} {labels.shape}"
                         + (f" from {labels.min()} to {labels.max()}" if labels.size else ""))
    counts = np.bincount(labels, minlength=classes)
    reverse_kl = kl(counts / len(labels), 1 / classes)
    return ClassCoverage(int(np.count_nonzero(counts)), float(reverse_kl))


class ModeCoverage(NamedTuple):
    """What is left of a mixture in samples of it."""
    modes: int            # how many modes have at least one high-quality sample
    high_quality: float   # the share of all samples that are within 3σ of a mode
    reverse_kl: float     # how far the modes' shares of those are from equal ones, in nats


def mode_coverage(points, modes, sigma):
    """Count modes: points (N, d), modes (K, d), the σ of each mode → `ModeCoverage`.

    A sample is of high quality if its distance to the nearest mode is at most 3σ, and a mode is
    covered if it is the nearest of at least one such sample. With q the modes' shares of the
    high-quality samples, the reverse KL divergence is KL(q ‖ 1/K) = Σ qₖ ln(K qₖ): 0 … ln K, and
    NaN without such samples. In the plane a perfect sampler's share is 1 − e^(−9/2) = 98.9 %, and
    its reverse KL about (K − 1)/2N: .005 for 25 modes and the 2,500 samples that are customary. It
    misses whether a mode's samples have its shape: all on its centre would be perfect.
    Source: Srivastava et al. 2017 (VEEGAN), arXiv:1705.07761, §5.1; Lin et al. 2018 (PacGAN),
    arXiv:1712.04086, §4.1.
    """
    name = "mode_coverage"
    points, modes = inputs.features(name, 1, points=points, modes=modes)
    if not sigma > 0:
        raise ValueError(f"{name}: expected a width sigma > 0, got {sigma}")
    distance = np.linalg.norm(points[:, None] - modes[None], axis=2)
    good = distance.min(axis=1) <= 3.0 * sigma
    counts = np.bincount(distance.argmin(axis=1)[good])
    reverse_kl = kl(counts / good.sum(), 1 / len(modes)) if good.any() else np.nan
    return ModeCoverage(int(np.count_nonzero(counts)), float(good.mean()), float(reverse_kl))
