"""Filtered convolution on a CPU: sums and differences by kernels, products by the matrix library.

A GPU's products are so fast, and its memory is so slow beside them, that it would not gain.
"""

from math import prod

import numpy as np

from minigan.fast.elementwise import contiguous
from minigan.fast.filters import FILTERS, TAPS
from minigan.fast.launch import run
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
        kinds = (4, fours, 0, 0), (3, threes, 4 * fours, fours)
        self.kinds = [kind for kind in kinds if kind[1]]
        common, tiles = r + 2, fours + threes
        # The points (from, to) that so many tiles use
        self.groups = [(0, r + 3, fours)]
        if threes:
            self.groups = [(0, common, tiles), (common, r + 3, fours)]
        self.tiles = [0] * 6
        for begin, end, count in self.groups:
            self.tiles[begin:end] = [count] * (end - begin)
        self.values = sum(self.tiles)


class Points:
    """Where the matrix of each point (p, q) lies in one array: those of a group of points, which
    have equally many rows, one after another."""

    def __init__(self, rows, columns, height, width):
        """height(tiles) is the number of rows of a matrix, width its columns."""
        self.width, self.places, self.groups, at = width, np.zeros(48, np.int64), [], 0
        for p0, p1, th in rows.groups:
            for q0, q1, tw in columns.groups:
                n, count = height(th * tw), (p1 - p0) * (q1 - q0)
                for p in range(p0, p1):
                    for q in range(q0, q1):
                        self.places[p * 6 + q] = at + ((p - p0) * (q1 - q0) + q - q0) * n * width
                self.groups.append((at, at + count * n * width, (count, n, width)))
                at += count * n * width
        self.places[36:42], self.places[42:48], self.size = rows.tiles, columns.tiles, at

    def stacks(self, array):
        """The array as stacks of matrices, one for each group."""
        return [array[begin:end].reshape(shape) for begin, end, shape in self.groups]


class Filter:
    """The filtered way of one convolution, with the methods of `Windows`."""

    def __init__(self, w_shape, image, size, stride, padding):
        self.w_shape, self.image, self.size = w_shape, image, size
        self.stride, self.padding, self.r = stride, padding, w_shape[0] // stride[0]
        self.C, self.O = w_shape[2:]
        self.rows, self.columns = Axis(size[0], self.r), Axis(size[1], self.r)
        self.depth = prod(stride) * self.C  # numbers in a block of the image
        self.each = self.rows.values * self.columns.values * (self.depth + self.O)
        self.factors = Points(self.rows, self.columns, lambda tiles: self.depth, self.O)
        self._transformed, self._layouts = (None, None), {}

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
        y, x, factors = contiguous(y), np.zeros((len(y), *self.image, self.C), y.dtype), self._W(w)

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
        x, y, factors = contiguous(x), contiguous(y), self._W(w)
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
        out = np.empty(self._points(n, self.O).size, at_x.dtype)
        for x, w, y in zip(self._points(n, self.depth).stacks(at_x), factors,
                           self._points(n, self.O).stacks(out)):
            np.matmul(x, w, out=y)
        return out

    def _adjoint_products(self, n, at_y, factors):
        out = np.empty(self._points(n, self.depth).size, at_y.dtype)
        for y, w, x in zip(self._points(n, self.O).stacks(at_y), factors,
                           self._points(n, self.depth).stacks(out)):
            np.matmul(y, w.transpose(0, 2, 1), out=x)
        return out

    def _weight_products(self, n, at_x, at_y):
        out = np.empty(self.factors.size, at_x.dtype)
        for x, y, w in zip(self._points(n, self.depth).stacks(at_x),
                           self._points(n, self.O).stacks(at_y), self.factors.stacks(out)):
            np.matmul(x.transpose(0, 2, 1), y, out=w)
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
        """The kernel at the points, as stacks. Made once for both directions."""
        if self._transformed[0] is not w:
            out = np.empty(self.factors.size, w.dtype)
            run(FILTERS[f"W_{self.r}"], (self.C, *self.stride, self.O), contiguous(w),
                self.factors.places, out)
            self._transformed = w, self.factors.stacks(out)
        return self._transformed[1]

    def _to_w(self, at_points):
        w = np.empty(self.w_shape, at_points.dtype)
        return run(FILTERS[f"W adjoint_{self.r}"], (self.C, *self.stride, self.O),
                   at_points, self.factors.places, w)

    def _points(self, n, width):
        key = n, width
        if key not in self._layouts:
            self._layouts[key] = Points(self.rows, self.columns, lambda tiles: n * tiles, width)
        return self._layouts[key]

    def _regions(self):
        """(the kernels' suffix, how many tiles, where they begin) for tiles of 4 and of 3."""
        for mh, th, first_h, tile_h in self.rows.kinds:
            for mw, tw, first_w, tile_w in self.columns.kinds:
                yield f"_{self.r}_{mh}_{mw}", (th, tw), (tile_h, tile_w, first_h, first_w)

    def _geometry(self):
        return *self.image, *self.stride, *self.padding
