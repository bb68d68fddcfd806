"""How good are the samples?"""

from typing import NamedTuple

import numpy as np

from minigan import backend


class ModeCoverage(NamedTuple):
    """What is left of a mixture in samples of it."""
    modes: int            # how many modes have at least one high-quality sample
    high_quality: float   # the share of all samples that are within 3σ of a mode


def mode_coverage(points, modes, sigma):
    """Count modes: points (N, d), modes (K, d), the σ of each mode → `ModeCoverage`. Counted on the host.

    A sample is of high quality if its distance to the nearest mode is at most 3σ, and a mode is covered if it is the
    nearest of at least one such sample. In the plane a perfect sampler's share is 1 − e^(−9/2) = 98.9 %. It misses how
    evenly the modes are covered, and whether a mode's samples have its shape: all on its centre would be perfect.
    Source: Srivastava et al. 2017 (VEEGAN), arXiv:1705.07761, §5.1; Lin et al. 2018 (PacGAN), arXiv:1712.04086, §4.1.

    ValueError if points are not finite or do not have the modes' dimension.
    """
    points, modes = (np.asarray(backend.to_numpy(x) if backend.is_array(x) else x, np.float64) for x in (points, modes))
    if points.ndim != 2 or modes.ndim != 2 or points.shape[1] != modes.shape[1] or not len(points):
        raise ValueError(f"mode_coverage: expected points (N, d) and modes (K, d), got {points.shape} "
                         f"and {modes.shape}")
    if not np.isfinite(points).all():
        raise ValueError("mode_coverage: a point is not finite")
    distance = np.linalg.norm(points[:, None] - modes[None], axis=2)
    good = distance.min(axis=1) <= 3.0 * sigma
    return ModeCoverage(len(np.unique(distance.argmin(axis=1)[good])), float(good.mean()))
