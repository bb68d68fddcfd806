"""Filtered convolution on a CPU: to the points and back by kernels, and products between.

Each thread goes through its own samples in chunks, so that what stands at the points of a chunk is
still in its cache when the products read it. A GPU's products are so fast, and its memory is so
slow beside them, that it would not gain.
"""

from functools import lru_cache
from math import gcd, prod

import numpy as np

from minigan.fast import native, threads
from minigan.fast.elementwise import contiguous
from minigan.fast.filters import FILTERS, STRIP, TAPS
from minigan.fast.kernels import FILL
from minigan.fast.launch import run, then

LEAST_OUTPUTS = 250     # below, transforming the kernel costs more than the products saved
MANY_OUTPUTS = 1000     # below, tiles of 2, with a third of the points
APART = 48              # numbers between matrices, so that not all begin in one set of the cache
NEAR = 1 << 18          # those that a core's own cache holds


def tile(samples, w_shape, image, size, stride, padding):
    """The largest tile to filter a convolution with, 4 or 2; 0 where it cannot be filtered or does
    not gain: it takes a kernel of twice or three times the stride on images of whole blocks, with
    whole strips of channels and enough outputs."""
    r, outputs = w_shape[0] // stride[0], samples * prod(size)
    whole = all(k == r * s and n + 2 * p == s * (m + r - 1) and m not in (1, 2, 5)
                for k, s, p, n, m in zip(w_shape, stride, padding, image, size))
    if r not in TAPS or not whole or not in_strips(prod(stride) * w_shape[2], w_shape[3]):
        return 0
    if outputs >= MANY_OUTPUTS:
        return 4
    return 2 if r == 2 and not size[0] % 2 and not size[1] % 2 and outputs >= LEAST_OUTPUTS else 0


def in_strips(*columns):
    """Whether the products can read matrices of so many columns in strips: whole ones, or a half.
    """
    return all(n % STRIP == 0 or n == STRIP // 2 for n in columns)


class Axis:
    """One axis with so many outputs, cut into tiles of 4 and, after them, of 3; or all of 2."""

    def __init__(self, outputs, r, tile):
        threes = -outputs % 4 if tile == 4 else 0
        whole = (outputs - 3 * threes) // tile
        #             m, how many, the first output, the first tile
        self.kinds = [(tile, whole, 0, 0), (3, threes, tile * whole, whole)]
        self.kinds = [kind for kind in self.kinds if kind[1]]
        common, points, tiles = r + 2, r + tile - 1, whole + threes
        # The points (from, to) that so many tiles use
        self.groups = [(0, common, tiles), (common, points, whole)]
        if not threes:
            self.groups = [(0, points, whole)]
        self.tiles = [0] * 6
        for begin, end, count in self.groups:
            self.tiles[begin:end] = [count] * (end - begin)
        self.values = sum(self.tiles)  # what a line of the image becomes at the points


class Points:
    """Where the matrix of each point (p, q) lies in one array: those of a group of points, which
    have equally many rows, one after another. `places` is for the kernels: see `filters.PLACE`."""

    def __init__(self, rows, columns, per_tile, height, width):
        """A matrix has `per_tile` rows for each tile, and `height` more, which may lie in strips;
        `width` columns."""
        self.width, self.places, self.groups, at = width, np.zeros(48, np.int64), [], 0
        strips = max(width, STRIP)  # of half a one, the other half is empty
        for p0, p1, th in rows.groups:
            for q0, q1, tw in columns.groups:
                n, count = per_tile * th * tw + height, (p1 - p0) * (q1 - q0)
                apart = per_tile * th * tw * width + height * strips + APART
                for p in range(p0, p1):
                    for q in range(q0, q1):
                        self.places[p * 6 + q] = at + ((p - p0) * (q1 - q0) + q - q0) * apart
                self.groups.append((at, (count, n, width, apart)))
                at += count * apart
        self.places[36:42], self.places[42:48], self.size = rows.tiles, columns.tiles, at

    def stacks(self, array):
        """The array's stacks of matrices, one for each group: (array, where in it, (how many,
        rows, columns, numbers from one to the next))."""
        return [(array, *group) for group in self.groups]


axis, layout = lru_cache(256)(Axis), lru_cache(256)(Points)  # a training has a few of them


class Filter:
    """The filtered way of one convolution, with the methods of `Windows`; of one kernel w only."""

    def __init__(self, tile, w_shape, image, size, stride, padding):
        self.w_shape, self.image, self.size = w_shape, image, size
        self.stride, self.padding, self.r = stride, padding, w_shape[0] // stride[0]
        self.C, self.O = w_shape[2:]
        self.rows, self.columns = [axis(n, self.r, tile) for n in size]
        self.suffix = f"_{self.r}_{tile}"
        self.depth = prod(stride) * self.C  # numbers in a block of the image
        if not in_strips(self.depth, self.O):
            raise ValueError(f"a filter's channels come in strips of {STRIP}, got {w_shape}")
        # Numbers at the points of a sample, of x and y
        self.each = self.rows.values * self.columns.values * (self.depth + self.O)
        self.factors = layout(self.rows, self.columns, 0, self.depth, self.O)
        self.transposed = layout(self.rows, self.columns, 0, self.O, self.depth)
        self.tiles = [th * tw for *_, th in self.rows.groups for *_, tw in self.columns.groups]
        self._factors = {}

    def y_from(self, x, w):
        """conv2d: Yᵀ[(X x)(W w)]."""
        x, y = contiguous(x), np.empty((len(x), *self.size, self.O), x.dtype)
        work = self._sequence(x)
        self._to_y(work, self._times(work, self._X(work, x), self._W(w)), y)
        work.start()
        return y

    def x_from(self, y, w):
        """conv_transpose2d: Xᵀ[(Y y)(W w)]."""
        y, x = contiguous(y), np.empty((len(y), *self.image, self.C), y.dtype)
        work = self._sequence(y)
        self._to_x(work, self._times(work, self._Y(work, y), self._W_transposed(w)), x)
        work.start()
        return x

    def w_from(self, x, y):
        """conv2d_weight: Wᵀ[(X x)(Y y)]."""
        x, y, work = contiguous(x), contiguous(y), self._sequence(x, weights=True)
        sums = self._weights(work, self._X(work, x), self._Y(work, y))
        work.start()
        return self._to_w(sums())

    def x_and_w(self, x, y, w):
        """`x_from(y, w)` and `w_from(x, y)`, which have Y y in common."""
        x, y, work = contiguous(x), contiguous(y), self._sequence(x, weights=True)
        x_out, at_y = np.empty((len(y), *self.image, self.C), y.dtype), self._Y(work, y)
        self._to_x(work, self._times(work, at_y, self._W_transposed(w)), x_out)
        sums = self._weights(work, self._X(work, x), at_y)
        work.start()
        return x_out, self._to_w(sums())

    def y_and_w(self, x, y, w):
        """`y_from(x, w)` and `w_from(x, y)`, which have X x in common."""
        x, y, work = contiguous(x), contiguous(y), self._sequence(x, weights=True)
        y_out, at_x = np.empty((len(x), *self.size, self.O), x.dtype), self._X(work, x)
        self._to_y(work, self._times(work, at_x, self._W(w)), y_out)
        sums = self._weights(work, at_x, self._Y(work, y))
        work.start()
        return y_out, self._to_w(sums())

    def _sequence(self, batch, weights=False):
        """A sequence over a batch. A chunk fills the cache, or has a third of the factors' numbers
        where these are more: that repays reading them. Weights are sums over samples. Where a
        thread has many samples it adds to sums of its own, in chunks that repay writing these.
        Else, `whole`, what stands at points is kept for one product over all samples."""
        numbers, each_core = self.factors.size // 3, len(batch) * self.each / threads.cores()
        whole = weights and each_core <= 4 * self.factors.size
        if weights and not whole:
            numbers = 4 * self.factors.size
        work = native.Sequence(len(batch), len(batch) * self.each,
                               max(1, max(NEAR, numbers) // self.each), batch.dtype)
        work.whole = whole
        return work

    # A matrix product at each point. What stands at points is (rooms, their layout)

    def _times(self, work, at, factors):
        """(X x)(W w), or (Y y)(W w)ᵀ."""
        out = self._rooms(work, factors[1].width)
        for stacks in self._stacks(at, factors, out):
            work.products(*stacks)
        return out

    def _weights(self, work, at_x, at_y):
        """(X x)ᵀ(Y y): a function that gives it when `work` is done."""
        size = self.factors.size
        sums = np.empty(size, work.dtype) if work.whole else work.rooms(size, np.zeros)
        groups = self._stacks(at_x, at_y, (sums, self.factors))
        if not work.whole:  # each thread has its own
            for stacks in groups:
                work.products(*stacks, transposed=True)
            return lambda: sums.sum(0)

        def later():
            for stacks in groups:
                work.sums(*stacks)
            return sums
        return later

    def _stacks(self, *places):
        """(tiles of a sample, a stack of each) for each group of points."""
        return list(zip(self.tiles, *[points.stacks(array) for array, points in places]))

    def _rooms(self, work, width, whole=False):
        """(an array for matrices at the points, their layout)."""
        samples = work.samples if whole else work.capacity
        points = layout(self.rows, self.columns, samples, 0, width)
        return np.empty(points.size, work.dtype) if whole else work.rooms(points.size), points

    # To the points and back

    def _X(self, work, x):
        out, points = self._rooms(work, self.depth, work.whole)
        aside = np.zeros(self.C, x.dtype)
        for name, tiles, tile in self._regions():
            then(work, FILTERS["X" + name], (len(x), *tiles, *self.stride, self.C), x, aside,
                 *self._geometry(), *tile, *self._place(out, points), out)
        return out, points

    def _to_x(self, work, at, x):
        """Added into zeros, as neighbouring tiles have blocks in common."""
        aside = np.empty(self.C, x.dtype)
        then(work, FILL, (len(x), prod(x.shape[1:])), 0.0, x)
        for name, tiles, tile in self._regions():
            then(work, FILTERS["X adjoint" + name], (len(x), *tiles, *self.stride, self.C), at[0],
                 *self._geometry(), *tile, *self._place(*at), x, aside)

    def _Y(self, work, y):
        out, points = self._rooms(work, self.O, work.whole)
        for name, tiles, tile in self._regions():
            then(work, FILTERS["Y" + name], (len(y), *tiles, self.O), y, *self.size, *tile,
                 *self._place(out, points), out)
        return out, points

    def _to_y(self, work, at, y):
        for name, tiles, tile in self._regions():
            then(work, FILTERS["Y adjoint" + name], (len(y), *tiles, self.O), at[0], *self.size,
                 *tile, *self._place(*at), y)

    def _place(self, array, points):
        """`depth`, `room` and `places` of what stands at points, for the kernels."""
        return points.width, points.size if array.ndim == 2 else 0, points.places

    def _W(self, w):
        """(the kernel at the points, their layout); made once."""
        return self._made("W", self.factors, w, self.C, self.O)

    def _W_transposed(self, w):
        """The transposed matrices."""
        return self._made("W transposed", self.transposed, w, self.O, self.C)

    def _made(self, name, points, w, rows, columns):
        if name not in self._factors:
            out, lanes = np.empty(points.size, w.dtype), gcd(columns, STRIP)
            run(FILTERS[name + self.suffix], (rows, *self.stride, columns // lanes, lanes),
                contiguous(w), points.places, out)
            self._factors[name] = out, points
        return self._factors[name]

    def _to_w(self, sums):
        w = np.empty(self.w_shape, sums.dtype)
        return run(FILTERS["W adjoint" + self.suffix], (self.C, *self.stride, self.O), sums,
                   self.factors.places, w)

    def _regions(self):
        """(the kernels' suffix, how many tiles, where they begin) for tiles of each size."""
        for mh, th, first_h, tile_h in self.rows.kinds:
            for mw, tw, first_w, tile_w in self.columns.kinds:
                yield f"_{self.r}_{mh}_{mw}", (th, tw), (tile_h, tile_w, first_h, first_w)

    def _geometry(self):
        return *self.image, *self.stride, *self.padding
