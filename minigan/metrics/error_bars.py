"""The standard error of a metric."""

from typing import NamedTuple

import numpy as np

from minigan.metrics import inputs


class Estimate(NamedTuple):
    """A metric's value on all samples, and its standard error; each is what the metric returns."""
    value: object
    standard_error: object


def half_sampling(metric, *samples, rng, halves=20):
    """`metric(*samples)` and its standard error: the standard deviation of the metric over random
    halves.

    metric: takes arrays with their rows first, returns a number or a tuple of numbers, named or not
    rng: the NumPy generator that draws half of the rows of every array, without replacement,
        `halves` times

    Half of the rows have twice the variance of all, but halves of the same rows have half of theirs
    in common: they vary about their mean as much as new samples of the whole size would. The
    bootstrap draws rows twice; such a row is its own nearest neighbour and its own pair, which
    measures on neighbours and `kernel_distance` must not count.

    The error is that of drawing other samples from the same generator; training another one usually
    makes a larger difference. Estimated from 20 halves it is itself uncertain by a sixth; for
    measures on neighbours, which change with N, by a third or so; and for a count such as
    `ModeCoverage.modes` it says nothing.
    Source: the delete-d jackknife with d = N/2, Shao & Wu 1989, Annals of Statistics 17(3), 1176.
    """
    samples = [inputs.host(x) for x in samples]
    if halves < 2 or min(len(x) for x in samples) < 2:
        raise ValueError(f"half_sampling: expected 2 or more halves of 2 or more rows, got "
                         f"{halves} halves of samples {', '.join(str(x.shape) for x in samples)}")
    value = metric(*samples)
    found = [metric(*(x[rng.permutation(len(x))[:len(x) // 2]] for x in samples))
             for _ in range(halves)]
    # Where a metric has no finite value there is no error either: NaN.
    with np.errstate(invalid="ignore"):
        errors = np.std(found, axis=0, ddof=1)
    if not isinstance(value, tuple):
        return Estimate(value, float(errors))
    return Estimate(value, getattr(type(value), "_make", tuple)(errors.tolist()))
