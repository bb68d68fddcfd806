"""Convolution by windows: as the plain engine does it, in blocks of samples.

`Windows` has three products, one for each argument of the trilinear form. Where two of them are
wanted at once, they share what goes in.
"""

from math import prod

import numpy as np

from minigan.fast import kernels
from minigan.fast.elementwise import contiguous, empty
from minigan.fast.launch import run
from minigan.fast.products import product

BLOCK = 1 << 21  # numbers in the windows of a block


class Windows:
    """Images x (N, H, W, C), outputs y (N, OH, OW, O), kernel w (KH, KW, C, O), all raw arrays."""

    def __init__(self, w_shape, image, size, stride, padding):
        self.w_shape, self.image, self.size = w_shape, image, size
        self.stride, self.padding = stride, padding
        self.each = prod(size) * prod(w_shape[:3])  # numbers in the windows of a sample
        self.pixels = tuple(w_shape[:2]) == (1, 1) and stride == (1, 1) and padding == (0, 0)

    def y_from(self, x, w):
        """conv2d."""
        return self._from_windows(x, w=w)[0]

    def x_from(self, y, w):
        """conv_transpose2d."""
        y, x = contiguous(y), empty(y, len(y), *self.image, self.w_shape[2])
        for begin, end in blocks(y, self.each, BLOCK):
            rows = y[begin:end].reshape(-1, self.w_shape[3])
            if self.pixels:
                product(rows, self._matrix(w), y_transposed=True,
                        out=x[begin:end].reshape(-1, self.w_shape[2]))
                continue
            windows = product(rows, self._matrix(w), y_transposed=True)
            run(kernels.SCATTER, (end - begin, *self.image, self.w_shape[2]), windows,
                *self.w_shape[:2], *self.size, *self.stride, *self.padding, x[begin:end])
        return x

    def w_from(self, x, y):
        """conv2d_weight."""
        return self._from_windows(x, y=y)[1]

    def x_and_w(self, x, y, w):
        """`x_from(y, w)` and `w_from(x, y)`."""
        return self.x_from(y, w), self.w_from(x, y)

    def y_and_w(self, x, y, w):
        """`y_from(x, w)` and `w_from(x, y)`, which have their windows in common."""
        return self._from_windows(x, w, y)

    def _from_windows(self, x, w=None, y=None):
        """`y_from(x, w)` if there is w, and `w_from(x, y)` if there is y."""
        x, O = contiguous(x), self.w_shape[3]
        y = None if y is None else contiguous(y)
        y_out, w_out = None if w is None else empty(x, len(x), *self.size, O), None
        for begin, end in blocks(x, self.each, BLOCK):
            windows = self._gathered(x[begin:end])
            if w is not None:
                product(windows, self._matrix(w), out=y_out[begin:end].reshape(-1, O))
            if y is not None:
                part = empty(x, *self.w_shape)
                product(windows, y[begin:end].reshape(-1, O), x_transposed=True,
                        out=self._matrix(part))
                w_out = part if w_out is None else w_out + part
        return y_out, w_out

    def _matrix(self, w):
        """A kernel as (KH·KW·C, O)."""
        return contiguous(w).reshape(-1, self.w_shape[3])

    def _gathered(self, x):
        """Every window of x (N, H, W, C), a row each: (N·OH·OW, KH·KW·C)."""
        if self.pixels:
            return x.reshape(-1, self.w_shape[2])
        (KH, KW, C), (H, W) = self.w_shape[:3], self.image
        windows = empty(x, len(x) * prod(self.size), KH * KW * C)
        return run(kernels.GATHER, (len(x), *self.size, KH, KW * C), x, H, W, C, *self.stride,
                   *self.padding, windows)


def blocks(batch, each, most):
    """[(begin, end)] of nearly equal parts of a batch, with `each` numbers of work per sample and
    at most so many per block: as few as memory needs. On a GPU one."""
    n = len(batch)
    count = max(1, -(-n * each // most)) if isinstance(batch, np.ndarray) else 1
    count = max(1, min(n, count))
    return [(n * i // count, n * (i + 1) // count) for i in range(count)]
