"""What the metrics take: arrays of any backend, to the host and to float64, refused unless they can
be judged."""

import numpy as np

from minigan import backend

ROUNDING = 1e-5  # how far beyond -1 and 1 a picture may lie


def host(x):
    return backend.to_numpy(x) if backend.is_array(x) else np.asarray(x)


def array(name, what, x):
    """x as float64 on the host, refused unless it holds finite numbers."""
    x = host(x)
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{name}: {what} holds {x.dtype}, expected real numbers")
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: {what} {x.shape} holds NaN or infinity, expected finite numbers")
    return x.astype(np.float64)


def features(name, least, **arrays):
    """The arrays as float64 (N, d) on the host, d the same and N ≥ `least`."""
    found = {what: array(name, what, x) for what, x in arrays.items()}
    for what, x in found.items():
        if x.ndim != 2 or len(x) < least or x.shape[1] < 1:
            raise ValueError(f"{name}: {what} is {x.shape}, expected one sample a row, (N, d) with "
                             f"N ≥ {least} and d ≥ 1")
    if len({x.shape[1] for x in found.values()}) > 1:
        shapes = " and ".join(f"{what} {x.shape}" for what, x in found.items())
        raise ValueError(f"{name}: expected rows of the same width, got {shapes}")
    return list(found.values())


def probabilities(name, least, **array):
    """The array as float64 (N, K) on the host, its rows distributions and N ≥ `least`."""
    [what], [p] = array, features(name, least, **array)
    sums = p.sum(axis=1)
    if p.min() < 0 or np.abs(sums - 1).max() > 1e-4:
        raise ValueError(f"{name}: expected rows of {what} that are not negative and sum to 1, got "
                         f"a least entry {p.min():.4g} and sums from {sums.min():.4g} to "
                         f"{sums.max():.4g} (logits need a softmax)")
    return p


def pictures(name, least, **arrays):
    """The arrays (N, H, W, C) on the host, all of one shape and with sides of at least `least`:
    uint8 from 0 to 255, or floats from −1 to 1."""
    found = {what: host(x) for what, x in arrays.items()}
    for what, x in found.items():
        came = f"{name}: {what} is {x.dtype} {x.shape}"
        if x.dtype != np.uint8 and x.dtype.kind != "f":
            raise ValueError(f"{came}, expected uint8 from 0 to 255 or floats from -1 to 1")
        if x.ndim != 4 or 0 in x.shape:
            raise ValueError(f"{came}, expected pictures (N, H, W, C)")
        if min(x.shape[1:3]) < least:
            raise ValueError(f"{came}, expected sides of at least {least} pixels")
        if not np.isfinite(x).all():
            raise ValueError(f"{came} with NaN or infinity, expected finite numbers")
        if x.dtype != np.uint8 and max(-x.min(), x.max()) > 1 + ROUNDING:
            raise ValueError(f"{came} from {x.min():.4g} to {x.max():.4g}, expected floats from -1 "
                             f"to 1 (clip what goes beyond) or uint8 from 0 to 255")
    if len({x.shape for x in found.values()}) > 1:
        shapes = " and ".join(f"{what} {x.shape}" for what, x in found.items())
        raise ValueError(f"{name}: expected pictures of the same number and shape, got {shapes}")
    return list(found.values())
