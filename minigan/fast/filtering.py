"""Filtered convolution on a CPU: sums and differences by kernels, products by the matrix library.

A GPU's products are so fast, and its memory is so slow beside them, that it would not gain.
"""

from functools import lru_cache
from math import prod

import numpy as np

from minigan.fast.elementwise import contiguous
from minigan.fast.filters import FILTERS, TAPS
from minigan.fast.launch import run
from minigan.fast.products import stack_product
from minigan.fast.windows import over_batch, sum_over_batch

LEAST_CHANNELS = 32     # below, sums and differences cost more than the multiplications saved
LEAST_OUTPUTS = 1000    # below, transforming the kernel does, and products are small
BLOCK = 1 << 21         # numbers at the points that a block of samples works on


def pays(samples, w_shape, image, size, stride, padding):
    """Whether a convolution can be filtered, and gains by it: a kernel of twice or three times the
    stride on images of whole blocks, with enough channels and outputs."""
    r = w_shape[0] // stride[0]
    whole = all(k == r * s and n + 2 * p == s * (m + r - 1) and m not in (1, 2, 5)
                for k, s, p, n, m in zip(w_shape, stride, padding, image, size))
    return r in TAPS and whole and (
        min(prod(stride) * w_shape[2], w_shape[3]) >= LEAST_CHANNELS
        and samples * prod(size) >= LEAST_OUTPUTS)


class Axis:
    """One axis with so many outputs, cut into tiles of 4 and, after them, of 3."""

    def __init__(self, outputs, r):
        threes = -outputs % 4
        fours = (outputs - 3 * threes) // 4
        #             m, how many, the first output, the first tile
        self.kinds = [kind for kind in ((4, fours, 0, 0), (3, threes, 4 * fours, fours)) if kind[1]]
        common, tiles = r + 2, fours + threes
        # The points (from, to) that so many tiles use
        self.groups = [(0, common, tiles), (common, r + 3, fours)]
        if not threes:
            self.groups = [(0, r + 3, fours)]
        self.tiles = [0] * 6
        for begin, end, count in self.groups:
            self.tiles[begin:end] = [count] * (end - begin)
        self.values = sum(self.tiles)


class Points:
    """Where the matrix of each point (p, q) lies in one array: those of a group of points, which
    have equally many rows, one after another."""

    def __init__(self, rows, columns, per_tile, height, width):
        """A matrix has `per_tile` rows for each tile, and `height` more; `width` columns."""
        self.width, self.places, self.groups, at = width, np.zeros(48, np.int64), [], 0
        for p0, p1, th in rows.groups:
            for q0, q1, tw in columns.groups:
                n, count = per_tile * th * tw + height, (p1 - p0) * (q1 - q0)
                for p in range(p0, p1):
                    for q in range(q0, q1):
                        self.places[p * 6 + q] = at + ((p - p0) * (q1 - q0) + q - q0) * n * width
                self.groups.append((at, at + count * n * width, (count, n, width)))
                at += count * n * width
        self.places[36:42], self.places[42:48], self.size = rows.tiles, columns.tiles, at

    def stacks(self, array):
        """The array as stacks of matrices, one for each group."""
        return [array[begin:end].reshape(shape) for begin, end, shape in self.groups]


axis, layout = lru_cache(256)(Axis), lru_cache(256)(Points)  # a training has a few of them


class Filter:
    """The filtered way of one convolution, with the methods of `Windows`; of one kernel w only."""

    def __init__(self, w_shape, image, size, stride, padding):
        self.w_shape, self.image, self.size = w_shape, image, size
        self.stride, self.padding, self.r = stride, padding, w_shape[0] // stride[0]
        self.C, self.O = w_shape[2:]
        self.rows, self.columns = axis(size[0], self.r), axis(size[1], self.r)
        self.depth = prod(stride) * self.C  # numbers in a block of the image
        self.each = self.rows.values * self.columns.values * (self.depth + self.O)
        self.factors = layout(self.rows, self.columns, 0, self.depth, self.O)
        self.transposed = layout(self.rows, self.columns, 0, self.O, self.depth)
        self._factors = {}

    def y_from(self, x, w):
        """conv2d: Yᵀ[(X x)(W w)]."""
        x, y, factors = contiguous(x), np.empty((len(x), *self.size, self.O), x.dtype), self._W(w)

        def block(begin, end):
            n, part = end - begin, self._X(x[begin:end])
            self._to_y(self._products(n, part, factors), y[begin:end])
        over_batch(x, block, self.each, BLOCK)
        return y

    def x_from(self, y, w):
        """conv_transpose2d: Xᵀ[(Y y)(W w)]."""
        y, factors = contiguous(y), self._W_transposed(w)
        x = np.zeros((len(y), *self.image, self.C), y.dtype)

        def block(begin, end):
            n, part = end - begin, self._Y(y[begin:end])
            self._to_x(self._adjoint_products(n, part, factors), x[begin:end])
        over_batch(y, block, self.each, BLOCK)
        return x

    def w_from(self, x, y):
        """conv2d_weight: Wᵀ[(X x)(Y y)]."""
        x, y = contiguous(x), contiguous(y)

        def block(begin, end):
            return self._weight_products(
                end - begin, self._X(x[begin:end]), self._Y(y[begin:end]))
        return sum_over_batch(x, block, self.each, BLOCK, self._to_w)

    def x_and_w(self, x, y, w):
        """`x_from(y, w)` and `w_from(x, y)`, which have Y y in common."""
        x, y, factors = contiguous(x), contiguous(y), self._W_transposed(w)
        x_out = np.zeros((len(y), *self.image, self.C), y.dtype)

        def block(begin, end):
            n, part = end - begin, self._Y(y[begin:end])
            self._to_x(self._adjoint_products(n, part, factors), x_out[begin:end])
            return self._weight_products(n, self._X(x[begin:end]), part)
        return x_out, sum_over_batch(x, block, self.each, BLOCK, self._to_w)

    def y_and_w(self, x, y, w):
        """`y_from(x, w)` and `w_from(x, y)`, which have X x in common."""
        x, y, factors = contiguous(x), contiguous(y), self._W(w)
        y_out = np.empty((len(x), *self.size, self.O), x.dtype)

        def block(begin, end):
            n, part = end - begin, self._X(x[begin:end])
            self._to_y(self._products(n, part, factors), y_out[begin:end])
            return self._weight_products(n, part, self._Y(y[begin:end]))
        return y_out, sum_over_batch(x, block, self.each, BLOCK, self._to_w)

    # A matrix product at each point

    def _products(self, n, at_x, factors):
        """X x times W w."""
        points = self._points(n, self.O)
        out = np.empty(points.size, at_x.dtype)
        for x, w, y in zip(self._points(n, self.depth).stacks(at_x), factors, points.stacks(out)):
            stack_product(x, w, y)
        return out

    def _adjoint_products(self, n, at_y, factors):
        """Y y times (W w)ᵀ."""
        points = self._points(n, self.depth)
        out = np.empty(points.size, at_y.dtype)
        for y, w, x in zip(self._points(n, self.O).stacks(at_y), factors, points.stacks(out)):
            stack_product(y, w, x)
        return out

    def _weight_products(self, n, at_x, at_y):
        """(X x)ᵀ times Y y."""
        out = np.empty(self.factors.size, at_x.dtype)
        for x, y, w in zip(self._points(n, self.depth).stacks(at_x),
                           self._points(n, self.O).stacks(at_y), self.factors.stacks(out)):
            stack_product(x, y, w, transposed=True)
        return out

    # To the points and back

    def _X(self, x):
        points = self._points(len(x), self.depth)
        out, aside = np.empty(points.size, x.dtype), np.zeros(self.C, x.dtype)
        for name, tiles, tile in self._regions():
            run(FILTERS["X" + name], (len(x), *tiles, *self.stride, self.C), x, aside,
                *self._geometry(), *tile, self.depth, points.places, out)
        return out

    def _to_x(self, at_points, x):
        """Added into x: neighbouring tiles have blocks in common."""
        points, aside = self._points(len(x), self.depth), np.empty(self.C, x.dtype)
        for name, tiles, tile in self._regions():
            run(FILTERS["X adjoint" + name], (len(x), *tiles, *self.stride, self.C), at_points,
                *self._geometry(), *tile, self.depth, points.places, x, aside)

    def _Y(self, y):
        points = self._points(len(y), self.O)
        out = np.empty(points.size, y.dtype)
        for name, tiles, tile in self._regions():
            run(FILTERS["Y" + name], (len(y), *tiles, self.O), y, *self.size, *tile, self.O,
                points.places, out)
        return out

    def _to_y(self, at_points, y):
        points = self._points(len(y), self.O)
        for name, tiles, tile in self._regions():
            run(FILTERS["Y adjoint" + name], (len(y), *tiles, self.O), at_points, *self.size,
                *tile, self.O, points.places, y)

    def _W(self, w):
        """The kernel at the points, as stacks; made once."""
        return self._made("W", self.factors, contiguous(w), (self.C, *self.stride, self.O))

    def _W_transposed(self, w):
        """The transposed matrices."""
        return self._made("W transposed", self.transposed, w.transpose(0, 1, 3, 2).copy(),
                          (self.O, *self.stride, self.C))

    def _made(self, name, points, w, sizes):
        if name not in self._factors:
            out = np.empty(points.size, w.dtype)
            run(FILTERS[f"{name}_{self.r}"], sizes, w, points.places, out)
            self._factors[name] = points.stacks(out)
        return self._factors[name]

    def _to_w(self, at_points):
        w = np.empty(self.w_shape, at_points.dtype)
        return run(FILTERS[f"W adjoint_{self.r}"], (self.C, *self.stride, self.O),
                   at_points, self.factors.places, w)

    def _points(self, n, width):
        return layout(self.rows, self.columns, n, 0, width)

    def _regions(self):
        """(the kernels' suffix, how many tiles, where they begin) for tiles of 4 and of 3."""
        for mh, th, first_h, tile_h in self.rows.kinds:
            for mw, tw, first_w, tile_w in self.columns.kinds:
                yield f"_{self.r}_{mh}_{mw}", (th, tw), (tile_h, tile_w, first_h, first_w)

    def _geometry(self):
        return *self.image, *self.stride, *self.padding
