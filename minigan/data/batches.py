"""Batches of a data set, shuffled anew each epoch.

Pictures stay uint8 until their batch is due: `to_unit` then takes 0 … 255 to [−1, 1], the range of
a generator that ends in tanh.
"""

import numpy as np

from minigan import backend
from minigan.data.files import DataError
from minigan.model import FAR, Batch

ON_DEVICE = 1 << 30  # bytes


def to_unit(x):
    """Pixels uint8 0 … 255 as float32 in [−1, 1]: x / 127.5 − 1. Float32 (in range since `load`) is
    returned as it is.

    Works on NumPy and CuPy arrays alike. `DataError` for any other dtype.
    """
    if x.dtype == np.uint8:
        return x.astype(np.float32) / 127.5 - 1
    if x.dtype == np.float32:
        return x
    raise DataError(f"to_unit: expected uint8 pixels or float32 values, got {x.dtype} {x.shape}")


class Batches:
    """Endless batches of `x`: each epoch is a fresh permutation, its incomplete last batch is
    dropped.

    x: (N, …) uint8 or float32. Up to ON_DEVICE bytes of it are kept on a GPU, to which then only
        indices are copied.
    rng: the NumPy generator that draws the permutations, one at the start of each epoch. Its state
        is its owner's to keep: restored together with `load_state_dict`, it makes the batches go on
        exactly where they were.

    labels, other, captions: None, or what `deal` deals with the samples, of length N: integers, the
        second pictures of pairs, text.
    mirror: None, or the generator that draws which pictures of a batch, every other one on average,
        are turned left to right; those of a pair both or none.

    `for x in batches` goes on until it is left; `next_indices` says whose labels belong to a batch.
    `DataError` if a batch is empty or larger than the data, and for float pictures far out of
    [−1, 1].
    """

    def __init__(self, x, batch_size, rng, mirror=None, labels=None, other=None, captions=None):
        if mirror is not None and x.ndim != 4:
            raise DataError(f"mirror: expected pictures (N, H, W, C), got samples {x.shape[1:]}")
        self._check(x, batch_size)
        some = x[:1000]  # all of them may be more than memory holds
        if isinstance(x, np.ndarray) and x.ndim == 4 and x.dtype.kind == "f" and some.max() > FAR:
            raise DataError(f"Batches: pictures {x.dtype} {x.shape} up to {some.max():.4g}: "
                            "expected them in [−1, 1], x / 127.5 - 1 of floats up to 255")
        self.mirror, self.labels, self.captions = mirror, labels, captions
        self.x = _near(x)
        self.other = None if other is None else _near(other)
        self.batch_size, self.rng = batch_size, rng
        # Drawn when first needed, so that building draws nothing from `rng`.
        self._order = np.empty(0, np.int64)
        self._position = 0

    def _check(self, x, batch_size):
        if not 1 <= batch_size <= len(x):
            raise DataError(f"batch size {batch_size}: expected 1 … {len(x)}, for there are "
                            f"{len(x)} samples")

    def next_indices(self):
        """Which samples the next batch is made of: (batch_size,) int64."""
        if self._position + self.batch_size > len(self._order):
            self._order, self._position = self.rng.permutation(len(self.x)), 0
        start, self._position = self._position, self._position + self.batch_size
        return self._order[start:self._position]

    def next(self):
        """The next batch, (batch_size, …) float32; pictures in [−1, 1]."""
        return self.of(self.next_indices())

    def deal(self, count=1):
        """The next `count` batches as one `Batch`, with its labels."""
        indices = np.concatenate([self.next_indices() for _ in range(count)])
        turned = self._turned(len(indices))
        labels, captions = [None if array is None else array[indices]
                            for array in (self.labels, self.captions)]
        other = None if self.other is None else _taken(self.other, indices, turned)
        return Batch(_taken(self.x, indices, turned), labels, other, captions)

    def __iter__(self):
        while True:
            yield self.next()

    def of(self, indices):
        """The batch made of these samples: labels[indices] are its labels."""
        return _taken(self.x, indices, self._turned(len(indices)))

    def _turned(self, n):
        """Which of n pictures are turned left to right, or None."""
        return None if self.mirror is None else self.mirror.random((n, 1, 1, 1)) < 0.5

    def change(self, batch_size):
        """Go on with batches of another size, and a fresh epoch."""
        self._check(self.x, batch_size)
        self.batch_size, self._order, self._position = batch_size, np.empty(0, np.int64), 0

    def state_dict(self):
        """The epoch's order (empty before the first batch) and how much of it has been dealt, as
        NumPy arrays."""
        return {"order": self._order, "position": np.array(self._position)}

    def load_state_dict(self, state):
        """Go on from `state`; `DataError`, and no change, if it is no state of batches of this size
        and data."""
        order, position = np.asarray(state["order"]), np.asarray(state["position"])
        n, begun = len(self.x), order.size > 0
        if begun and not (order.dtype == np.int64 and np.array_equal(np.sort(order), np.arange(n))):
            raise DataError(f"Batches: the saved order, {order.dtype} {order.shape}, is no "
                            f"permutation of the {n} samples: it was saved with other data")
        if position.shape != () or position.dtype.kind not in "iu" or int(position) not in range(
                0, order.size + 1, self.batch_size):
            raise DataError(f"Batches: the saved position {position} is not a multiple of the "
                            f"batch size {self.batch_size} within the {order.size} samples of "
                            "the epoch")
        self._order, self._position = order, int(position)


def _near(array):
    """On the device, unless it is too large for that."""
    return backend.current().xp.asarray(array) if array.nbytes <= ON_DEVICE else array


def _taken(array, indices, turned):
    xp = backend.xp_of(array)
    x = to_unit(array[xp.asarray(indices)])
    return x if turned is None else xp.where(xp.asarray(turned), x[:, :, ::-1], x)
