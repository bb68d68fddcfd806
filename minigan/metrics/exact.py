"""The exact judge of `shapes`: what is to be seen in a picture, without a network.

All pictures that there can be are known, so a generated one is compared with each of them.
"""

import numpy as np

from minigan.data import figures
from minigan.metrics import inputs

BLOCK = 256  # pictures at a time


class ShapesJudge:
    """Reads pictures of `shapes`, (n, 32, 32, 3) uint8 or floats in [−1, 1], by maximum likelihood.

    Let a picture x be one of the renderings rₖ plus normal noise, independent and of the same
    variance σ² in each pixel and channel. Then

        log p(x | k) = −‖x − rₖ‖² / (2σ²) + constant,

    so the most likely rendering is the nearest, whatever σ is. As ‖x‖² is the same for all k, it
    has the largest x · rₖ − ½‖rₖ‖²: one matrix product. The first of equally near ones is taken.

    It always finds something, also in what is no shape: `distance` tells. ValueError for pictures
    of another shape or range, or with NaN. Holds the renderings in float64: 48 MB. With `reduced`
    it reads pictures whose sides are so many times smaller: renderings are averaged likewise.
    """

    def __init__(self, reduced=1):
        rendered, self.side = figures.render(np.arange(figures.COUNT)), figures.SIDE // reduced
        parts = rendered.reshape(-1, self.side, reduced, self.side, reduced, 3)
        self.renderings = _flat(parts.mean((2, 4)) / 127.5 - 1)
        self.offsets = np.sum(self.renderings ** 2, axis=1) / 2

    def codes(self, pictures):
        """The code of the most likely rendering of each picture: (n,) int64."""
        return np.concatenate([self._nearest(x) for x in self._blocks(pictures)])

    def attributes(self, pictures):
        """{attribute: (n,) int64}: which of `figures.ATTRIBUTES`' values each picture shows."""
        return figures.attributes_of(self.codes(pictures))

    def distance(self, pictures):
        """The root mean square, over pixels and channels, of x − r for the nearest rendering r:
        (n,), where the range of a pixel is 2. 0 for a rendering, σ for one with noise."""
        return np.concatenate([
            np.sqrt(np.mean((x - self.renderings[self._nearest(x)]) ** 2, axis=1))
            for x in self._blocks(pictures)])

    def _nearest(self, x):
        return (x @ self.renderings.T - self.offsets).argmax(axis=1)

    def _blocks(self, pictures):
        [pictures] = inputs.pictures("ShapesJudge", 1, pictures=pictures)
        expected = self.side, self.side, 3
        if pictures.shape[1:] != expected:
            raise ValueError(f"ShapesJudge: pictures is {pictures.dtype} {pictures.shape}, "
                             f"expected (n, {', '.join(map(str, expected))})")
        for begin in range(0, len(pictures), BLOCK):
            yield _flat(pictures[begin:begin + BLOCK])


def agreement(asked, seen):
    """The share of pictures that show what they were asked for → {attribute: share}, in `asked`'s
    order, and "all": that show all of it.

    asked, seen: {attribute: (n,) integers}, as `ShapesJudge.attributes` gives them. `seen` may have
    more attributes than are asked for. ValueError if one is missing, or lengths differ.
    """
    right = {}
    for name, values in asked.items():
        if name not in seen:
            raise ValueError(f"agreement: {name} was asked for, expected it among what was seen, "
                             f"got {', '.join(seen)}")
        pair = inputs.host(values), inputs.host(seen[name])
        if pair[0].shape != pair[1].shape or pair[0].ndim != 1 or pair[0].size == 0:
            raise ValueError(f"agreement: expected as many of {name} seen as asked for, (n,), got "
                             f"{pair[1].shape} and {pair[0].shape}")
        right[name] = pair[0] == pair[1]
    if len({len(same) for same in right.values()}) != 1:
        raise ValueError("agreement: expected attributes of the same pictures, got "
                         + (", ".join(f"{name} {same.shape}" for name, same in right.items())
                            or "none"))
    right["all"] = np.all(list(right.values()), axis=0)
    return {name: float(same.mean()) for name, same in right.items()}


def _flat(pictures):
    """Pictures as rows of float64 in [−1, 1]."""
    x = pictures.reshape(len(pictures), -1).astype(np.float64)
    return x / 127.5 - 1 if pictures.dtype == np.uint8 else x
