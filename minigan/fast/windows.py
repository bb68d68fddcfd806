"""Convolution by windows: as the plain engine does it, in blocks of samples and on all cores.

A `Convolution` has three products, one for each argument of the trilinear form. Where two of them
are wanted at once, they share what goes in.
"""

from math import prod

import numpy as np

from minigan.backend import xp_of
from minigan.fast import kernels, threads
from minigan.fast.elementwise import contiguous, empty
from minigan.fast.launch import run

BLOCK = 1 << 20  # numbers in the windows of a block: 4 MiB of float32, which the caches hold


class Windows:
    """Images x (N, H, W, C), outputs y (N, OH, OW, O), kernel w (KH, KW, C, O), all raw arrays."""

    def __init__(self, w_shape, image, size, stride, padding):
        self.w_shape, self.image, self.size = w_shape, image, size
        self.stride, self.padding = stride, padding
        self.each = prod(size) * prod(w_shape[:3])  # numbers in the windows of a sample

    def y_from(self, x, w):
        """conv2d."""
        x, y = contiguous(x), empty(x, len(x), *self.size, self.w_shape[3])
        kernel = contiguous(w).reshape(-1, self.w_shape[3])

        def block(begin, end):
            windows = self._gathered(x[begin:end])
            xp_of(x).matmul(windows, kernel, out=y[begin:end].reshape(-1, y.shape[3]))
        over_batch(x, block, self.each)
        return y

    def x_from(self, y, w):
        """conv_transpose2d."""
        y, x = contiguous(y), empty(y, len(y), *self.image, self.w_shape[2])
        kernel = contiguous(w).reshape(-1, self.w_shape[3])

        def block(begin, end):
            rows = y[begin:end].reshape(-1, self.w_shape[3])
            windows = rows * kernel.T if rows.shape[1] == 1 else rows @ kernel.T
            run(kernels.SCATTER, (end - begin, *self.image, self.w_shape[2]), windows,
                *self.w_shape[:2], *self.size, *self.stride, *self.padding, x[begin:end])
        over_batch(y, block, self.each)
        return x

    def w_from(self, x, y):
        """conv2d_weight."""
        return self._w_and(x, y, lambda windows, begin, end: None)

    def x_and_w(self, x, y, w):
        """`x_from(y, w)` and `w_from(x, y)`."""
        return self.x_from(y, w), self.w_from(x, y)

    def y_and_w(self, x, y, w):
        """`y_from(x, w)` and `w_from(x, y)`, which have their windows in common."""
        y_out, kernel = empty(y, *y.shape), contiguous(w).reshape(-1, self.w_shape[3])

        def also(windows, begin, end):
            xp_of(x).matmul(windows, kernel, out=y_out[begin:end].reshape(-1, y.shape[3]))
        w_out = self._w_and(x, y, also)
        return y_out, w_out

    def _w_and(self, x, y, also):
        x, y = contiguous(x), contiguous(y)

        def block(begin, end):
            windows = self._gathered(x[begin:end])
            also(windows, begin, end)
            w = empty(x, *self.w_shape)
            xp_of(x).matmul(windows.T, y[begin:end].reshape(-1, y.shape[3]),
                            out=w.reshape(windows.shape[1], -1))
            return w
        return sum_over_batch(x, block, self.each)

    def _gathered(self, x):
        """A copy of every window of x (N, H, W, C), a row each: (N·OH·OW, KH·KW·C)."""
        (KH, KW, C), (H, W) = self.w_shape[:3], self.image
        windows = empty(x, len(x) * prod(self.size), KH * KW * C)
        return run(kernels.GATHER, (len(x), *self.size, KH, KW * C), x, H, W, C, *self.stride,
                   *self.padding, windows)


def over_batch(batch, work, each, most=BLOCK):
    """Call work(begin, end) for blocks of samples that make up the array `batch`, with `each`
    numbers of work per sample and about `most` per block. On a GPU all of it is one block."""
    if not isinstance(batch, np.ndarray):
        return work(0, len(batch))

    def part(_, begin, end):
        for block in _blocks(begin, end, max(1, most // each)):
            work(*block)
    threads.split(part, len(batch), len(batch) * each)


def sum_over_batch(batch, work, each, most=BLOCK, finish=lambda total: total):
    """The sum of the new arrays that work(begin, end) returns for the blocks of `batch`, added in
    their order. `finish` is a linear function of it, applied to each thread's part."""
    if not isinstance(batch, np.ndarray):
        return finish(work(0, len(batch)))
    sums = {}

    def part(number, begin, end):
        for block in _blocks(begin, end, max(1, most // each)):
            value = work(*block)
            sums[number] = value if number not in sums else np.add(
                sums[number], value, out=sums[number])
        sums[number] = finish(sums[number])
    for number in range(1, threads.split(part, len(batch), len(batch) * each)):
        sums[0] += sums[number]
    return sums[0]


def _blocks(begin, end, most):
    """Consecutive (begin, end) of nearly equal length, `most` or less."""
    count = max(1, -(-(end - begin) // most))
    return [(begin + (end - begin) * i // count, begin + (end - begin) * (i + 1) // count)
            for i in range(count)]
