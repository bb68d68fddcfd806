"""Pairs made from pictures: their outlines, one half of them, all but the middle, or small ones.

`edges:NAME`, `half:NAME`, `masked:NAME` and `small:NAME` have the pictures of NAME as `x` and what
is left of each as `other`, to be completed.
"""

import numpy as np

from minigan.data.files import DataError

OUTLINE = 0.4  # a pixel is one where some channel changes by so much of its range
SMALLER = 4    # times the height and the width
HIDDEN = 128   # the grey of what is not shown, 0 in [−1, 1]


def edges(x):
    """Outlines of pictures (N, H, W, C) uint8 as (N, H, W, 1): black where a channel changes much,
    white elsewhere. The change is the gradient by Sobel's filters, which an edge from 0 to 255
    gives 1; at the border the picture goes on as it ends."""
    padded = np.pad(x.astype(np.float32) / 255, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    smooth = lambda a, axis: _shifted(a, 0, axis) + 2 * _shifted(a, 1, axis) + _shifted(a, 2, axis)
    slope = lambda a, axis: _shifted(a, 2, axis) - _shifted(a, 0, axis)
    change = np.hypot(smooth(slope(padded, 1), 2), smooth(slope(padded, 2), 1)).max(-1) / 4
    return np.where(change > OUTLINE, 0, 255).astype(np.uint8)[..., None]


def _shifted(a, by, axis):
    """`a` without its first `by` and last 2 − by rows or columns."""
    length = a.shape[axis] - 2
    return np.take(a, np.arange(by, by + length), axis)


def half(x):
    """Pictures whose lower half is grey."""
    shown = x.copy()
    shown[:, x.shape[1] // 2:] = HIDDEN
    return shown


def masked(x):
    """Pictures with a grey hole in the middle, half as high and half as wide."""
    shown = x.copy()
    shown[(slice(None), *hole(x.shape[1:3]))] = HIDDEN
    return shown


def hole(sides):
    """The rows and the columns of the middle of a picture of (height, width)."""
    return tuple(slice(side // 4, side // 4 + side // 2) for side in sides)


def small(x):
    """Pictures at a quarter of their height and width: the means of 4 × 4 pixels, rounded.
    DataError for sides that are not multiples of 4."""
    N, H, W, C = x.shape
    if H % SMALLER or W % SMALLER:
        raise DataError(f"small: pictures of {H} × {W} pixels, expected sides that are multiples "
                        f"of {SMALLER}")
    squares = x.reshape(N, H // SMALLER, SMALLER, W // SMALLER, SMALLER, C)
    return np.rint(squares.mean((2, 4), dtype=np.float32)).astype(np.uint8)


MADE = {"edges": edges, "half": half, "masked": masked, "small": small}
