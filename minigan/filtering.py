"""Minimal filtering: convolution with a kernel of twice the stride, in half the multiplications.

Cut the padded image into stride × stride blocks and let d[i] be all the numbers of a block. A kernel of twice the
stride then meets two neighbouring blocks along each axis: with its halves, or taps, g0 and g1,

    y[i] = d[i]·g0 + d[i+1]·g1

which is two products per output. Three neighbouring outputs need no more than four products, two need three:

    three    p = (d0 − d2)·g0    q = (d1 + d2)·(g0 + g1)/2    r = (d3 − d1)·g1    u = (d2 − d1)·(g0 − g1)/2
             y0 = p + q + u      y1 = q − u                   y2 = q + u + r
    two      p = (d0 − d1)·g0    q = 2 d1·(g0 + g1)/2         r = (d2 − d1)·g1
             y0 = p + q          y1 = q + r

(Winograd 1980, "Arithmetic Complexity of Computations"; Lavin & Gray 2016, arXiv:1509.09308.) Seven outputs are
3 + 2 + 2, 10 products for 14; on both axes together that is 0.51 of the multiplications. All products of one kind, p,
q, r or u, have their factor from the kernel in common, so that a kind of each axis makes one tall matrix product, at
most sixteen in all.

As for plain convolution there is one trilinear form, ⟨y, x ∗ w⟩ = Σ (X x)(W w)(Y y) over the products, where X, W
and Y are the sums and differences above. So conv2d = Yᵀ[(X x)(W w)], its adjoint in x is Xᵀ[(Y y)(W w)], and the one
in w is Wᵀ[(X x)(Y y)]: six small functions serve all three, and where two of them are wanted at once, they share what
goes in. They work along the first axis of arrays ordered (position, position, sample, channel), in which every addition
runs over long stretches of memory; otherwise they would eat the gain.

Against the direct products this takes up to a quarter off the time of an operation, most where images are written and
least where kernels are, at about one and a half times their rounding error.
"""

import functools
from math import prod

import numpy as np

from minigan import parallel

LEAST_CHANNELS = 64     # below, the sums and differences cost more than the multiplications saved
LEAST_OUTPUTS = 2000    # below, transforming the kernel, four times its size, does, and products are small


def pays(samples, w_shape, image, size, stride, padding):
    """Whether a convolution can be filtered, and gains by it: a kernel of twice the stride on images of whole blocks,
    with enough channels and outputs."""
    whole = all(k == 2 * s and n + 2 * p == s * (m + 1) and m > 1
                for k, s, p, n, m in zip(w_shape, stride, padding, image, size))
    return whole and min(prod(stride) * w_shape[2], w_shape[3]) >= LEAST_CHANNELS and (
        samples * prod(size) >= LEAST_OUTPUTS)


class Axis:
    """One axis with m outputs, cut into triples and, after them, pairs.

    X, X_adjoint, Y and Y_adjoint go between blocks d (m + 1, …) or outputs y (m, …) and the products, a list of arrays
    (number, …), one for each kind p, q, r and, if there are triples, u. `kinds` are their places when they lie one
    after another. The adjoints overwrite u.
    """

    def __init__(self, m):
        triples, rest = divmod(m, 3)
        self.triples, self.pairs = (triples - 1, 2) if rest == 1 else (triples, rest // 2)
        tiles = self.triples + self.pairs
        self.products = 3 * tiles + self.triples
        self.kinds = [slice(k * tiles, (k + 1) * tiles) for k in range(3)]
        if self.triples:
            self.kinds.append(slice(3 * tiles, self.products))

    def _tiles(self, array, last):
        """The entries 0, 1, … `last` of every triple, and of every pair one fewer; tile by tile."""
        a, b = self.triples, self.pairs
        return ([array[j:j + 3 * a - 2:3] for j in range(last + 1)] if a else None,
                [array[3 * a + j:3 * a + j + 2 * b - 1:2] for j in range(last)] if b else None)

    def X(self, d, products):
        (p, q, r), a = products[:3], self.triples
        triples, pairs = self._tiles(d, 3)
        if triples:
            d0, d1, d2, d3 = triples
            np.subtract(d0, d2, out=p[:a])
            np.add(d1, d2, out=q[:a])
            np.subtract(d3, d1, out=r[:a])
            np.subtract(d2, d1, out=products[3])
        if pairs:
            d0, d1, d2 = pairs
            np.subtract(d0, d1, out=p[a:])
            np.add(d1, d1, out=q[a:])
            np.subtract(d2, d1, out=r[a:])

    def X_adjoint(self, products, d):
        (p, q, r), a = products[:3], self.triples
        triples, pairs = self._tiles(d, 3)
        if triples:
            _, d1, d2, _ = triples
            np.subtract(q[:a], products[3], out=d1)
            d1 -= r[:a]
            np.add(q[:a], products[3], out=d2)
            d2 -= p[:a]
        if pairs:
            _, d1, _ = pairs
            np.add(q[a:], q[a:], out=d1)
            d1 -= p[a:]
            d1 -= r[a:]
        # A block between two tiles is the last of one and the first of the next.
        d[0], d[-1] = p[0], r[-1]
        k = min(a, len(p) - 1)
        np.add(r[:k], p[1:k + 1], out=d[3:3 * k + 1:3])
        np.add(r[k:-1], p[k + 1:], out=d[3 * a + 2:-1:2])

    def Y(self, y, products):
        (p, q, r), a = products[:3], self.triples
        triples, pairs = self._tiles(y, 2)
        if triples:
            (y0, y1, y2), u = triples, products[3]
            p[:a], r[:a] = y0, y2
            np.add(y0, y2, out=u)
            np.add(u, y1, out=q[:a])
            u -= y1
        if pairs:
            y0, y1 = pairs
            p[a:], r[a:] = y0, y1
            np.add(y0, y1, out=q[a:])

    def Y_adjoint(self, products, y):
        (p, q, r), a = products[:3], self.triples
        triples, pairs = self._tiles(y, 2)
        if triples:
            (y0, y1, y2), u = triples, products[3]
            np.subtract(q[:a], u, out=y1)
            u += q[:a]
            np.add(p[:a], u, out=y0)
            np.add(r[:a], u, out=y2)
        if pairs:
            y0, y1 = pairs
            np.add(p[a:], q[a:], out=y0)
            np.add(r[a:], q[a:], out=y1)


def W(taps, kinds):
    """The taps (2, …) into each kind's factor from the kernel, (3 or 4, …)."""
    kinds[0], kinds[2] = taps
    np.add(taps[0], taps[1], out=kinds[1])
    kinds[1] *= 0.5
    if len(kinds) == 4:
        np.subtract(taps[0], taps[1], out=kinds[3])
        kinds[3] *= 0.5


def W_adjoint(kinds, taps):
    taps[0] = taps[1] = kinds[1]
    if len(kinds) == 4:
        taps[0] += kinds[3]
        taps[1] -= kinds[3]
    taps *= 0.5
    taps[0] += kinds[0]
    taps[1] += kinds[2]


class Filter:
    """The filtered way of one convolution; see `conv.Windows`, whose methods these are.

    Sums and differences are first taken along the height, which gives `rows` (products, columns, n, channels), and
    then, for one kind of the height after the other, along the width. A kind of each is a matrix product.
    """

    def __init__(self, w, w_shape, image, size, stride, padding):
        self.w, self.image, self.size, self.stride, self.padding = w, image, size, stride, padding
        self.C, self.O = w_shape[2:]
        self.rows, self.columns = Axis(size[0]), Axis(size[1])
        self.depth = prod(stride) * self.C                                     # numbers in a block of the image
        self.each = self.rows.products * (size[1] + 1) * self.depth            # numbers to work on per sample,
        self.most = max(parallel.BLOCK, 32 * self.each)                        # and at a time

    def y_from(self, x):
        """conv2d: Yᵀ[(X x)(W w)]."""
        kernels, y = self._kernels, np.empty((len(x), *self.size, self.O), x.dtype)

        def block(begin, end):
            x_rows, y_rows = self._x_rows(x[begin:end]), self._y_buffer("y out", end - begin, x)
            for kind, of_kind in zip(self.rows.kinds, kernels):
                self._into_y(y_rows, kind, self._from_x(x_rows, kind), of_kind)
            self._put_y(y_rows, y[begin:end])
        parallel.over_batch(x, block, self.each, self.most)
        return y

    def x_from(self, y):
        """conv_transpose2d: Xᵀ[(Y y)(W w)]."""
        kernels, x = self._kernels, np.empty((len(y), *self.image, self.C), y.dtype)

        def block(begin, end):
            y_rows, x_rows = self._y_rows(y[begin:end]), self._x_buffer("x out", end - begin, y)
            for kind, of_kind in zip(self.rows.kinds, kernels):
                self._into_x(x_rows, kind, self._from_y(y_rows, kind), of_kind)
            self._put_x(x_rows, x[begin:end])
        parallel.over_batch(y, block, self.each, self.most)
        return x

    def w_from(self, x, y):
        """conv2d_weight: Wᵀ[(X x)(Y y)]."""
        def block(begin, end):
            x_rows, y_rows, sums = self._x_rows(x[begin:end]), self._y_rows(y[begin:end]), self._new_sums(x)
            for kind, of_kind in zip(self.rows.kinds, sums):
                self._into_w(of_kind, self._from_x(x_rows, kind), self._from_y(y_rows, kind))
            return sums
        return self._sum(x, block)

    def x_and_w(self, x, y):
        """`x_from(y)` and `w_from(x, y)`, which have Y y in common."""
        kernels, x_out = self._kernels, np.empty((len(y), *self.image, self.C), y.dtype)

        def block(begin, end):
            x_rows, y_rows, sums = self._x_rows(x[begin:end]), self._y_rows(y[begin:end]), self._new_sums(x)
            x_out_rows = self._x_buffer("x out", end - begin, x)
            for i, kind in enumerate(self.rows.kinds):
                from_y = self._from_y(y_rows, kind)
                self._into_w(sums[i], self._from_x(x_rows, kind), from_y)
                self._into_x(x_out_rows, kind, from_y, kernels[i])
            self._put_x(x_out_rows, x_out[begin:end])
            return sums
        return x_out, self._sum(x, block)

    def y_and_w(self, x, y):
        """`y_from(x)` and `w_from(x, y)`, which have X x in common."""
        kernels, y_out = self._kernels, np.empty((len(x), *self.size, self.O), x.dtype)

        def block(begin, end):
            x_rows, y_rows, sums = self._x_rows(x[begin:end]), self._y_rows(y[begin:end]), self._new_sums(x)
            y_out_rows = self._y_buffer("y out", end - begin, x)
            for i, kind in enumerate(self.rows.kinds):
                from_x = self._from_x(x_rows, kind)
                self._into_w(sums[i], from_x, self._from_y(y_rows, kind))
                self._into_y(y_out_rows, kind, from_x, kernels[i])
            self._put_y(y_out_rows, y_out[begin:end])
            return sums
        return y_out, self._sum(x, block)

    # The height, before the first and after the last kind.

    def _x_rows(self, x):
        (N, H, W, _), (ph, pw) = x.shape, self.padding
        padded, blocks = self._padded(N, x)
        padded[:, :ph] = padded[:, ph + H:] = 0
        padded[:, :, :pw] = padded[:, :, pw + W:] = 0
        padded[:, ph:ph + H, pw:pw + W] = x
        rows = self._x_buffer("x in", N, x)
        self.rows.X(blocks, self._by_kind(rows, blocks))
        return rows

    def _put_x(self, rows, x):
        (N, H, W, _), (ph, pw) = x.shape, self.padding
        padded, blocks = self._padded(N, x)
        self.rows.X_adjoint(self._by_kind(rows, blocks), blocks)
        x[...] = padded[:, ph:ph + H, pw:pw + W]

    def _by_kind(self, rows, blocks):
        """The rows of each kind, a block's numbers split like those of `blocks`."""
        split = rows.reshape(*rows.shape[:3], *blocks.shape[3:])
        return [split[kind] for kind in self.rows.kinds]

    def _padded(self, n, like):
        """A buffer for n padded images, (n, H, W, C), and the view of it in blocks, (OH + 1, OW + 1, n, s, s·C)."""
        (s, t), (OH, OW) = self.stride, self.size
        buffer = parallel.scratch("padded", (n, OH + 1, s, OW + 1, t * self.C), like)
        return buffer.reshape(n, (OH + 1) * s, (OW + 1) * t, self.C), buffer.transpose(1, 3, 0, 2, 4)

    def _y_rows(self, y):
        rows = self._y_buffer("y in", len(y), y)
        self.rows.Y(y.transpose(1, 2, 0, 3), [rows[kind] for kind in self.rows.kinds])
        return rows

    def _put_y(self, rows, y):
        self.rows.Y_adjoint([rows[kind] for kind in self.rows.kinds], y.transpose(1, 2, 0, 3))

    def _x_buffer(self, name, n, like):
        return parallel.scratch(name, (self.rows.products, self.size[1] + 1, n, self.depth), like)

    def _y_buffer(self, name, n, like):
        return parallel.scratch(name, (self.rows.products, self.size[1], n, self.O), like)

    # The width of one kind of the height, and its products.

    def _from_x(self, rows, kind):
        products = self._products("x products in", rows[kind])
        self.columns.X(rows[kind].swapaxes(0, 1), products)
        return products

    def _from_y(self, rows, kind):
        products = self._products("y products in", rows[kind])
        self.columns.Y(rows[kind].swapaxes(0, 1), products)
        return products

    def _into_x(self, rows, kind, from_y, kernels):
        products = self._products("x products out", rows[kind])
        for y, kernel, out in zip(from_y, kernels, products):
            np.matmul(_matrix(y), kernel.T, out=_matrix(out))
        self.columns.X_adjoint(products, rows[kind].swapaxes(0, 1))

    def _into_y(self, rows, kind, from_x, kernels):
        products = self._products("y products out", rows[kind])
        for x, kernel, out in zip(from_x, kernels, products):
            np.matmul(_matrix(x), kernel, out=_matrix(out))
        self.columns.Y_adjoint(products, rows[kind].swapaxes(0, 1))

    def _into_w(self, sums, from_x, from_y):
        for x, y, out in zip(from_x, from_y, sums):
            np.matmul(_matrix(x).T, _matrix(y), out=out)

    def _products(self, name, rows):
        """Buffers for the products of some rows, (columns, rows, n, channels) for each kind of the width."""
        number, _, n, channels = rows.shape
        buffer = parallel.scratch(name, (self.columns.products, number, n, channels), rows)
        return [buffer[kind] for kind in self.columns.kinds]

    # The kernel.

    @functools.cached_property
    def _kernels(self):
        """W along both axes: (kinds of the height, kinds of the width, depth, O). Made once for both directions."""
        (s, t), h, v = self.stride, len(self.rows.kinds), len(self.columns.kinds)
        taps = self.w.reshape(2, s, 2, t * self.C, self.O).transpose(2, 0, 1, 3, 4)
        columns = parallel.scratch("w columns", (v, 2, *taps.shape[2:]), self.w)
        both = np.empty((h, v, *taps.shape[2:]), self.w.dtype)
        W(taps, columns)
        W(columns.swapaxes(0, 1), both)
        return both.reshape(h, v, self.depth, self.O)

    def _sum(self, x, block):
        return parallel.sum_over_batch(x, block, self.each, self.most, finish=self._kernels_adjoint)

    def _new_sums(self, like):
        return np.empty((len(self.rows.kinds), len(self.columns.kinds), self.depth, self.O), like.dtype)

    def _kernels_adjoint(self, kernels):
        (s, t), h, v = self.stride, len(self.rows.kinds), len(self.columns.kinds)
        columns = parallel.scratch("w columns", (2, v, s, t * self.C, self.O), kernels)
        w = np.empty((2, s, 2, t * self.C, self.O), kernels.dtype)
        W_adjoint(kernels.reshape(h, v, *columns.shape[2:]), columns)
        W_adjoint(columns.swapaxes(0, 1), w.transpose(2, 0, 1, 3, 4))
        return w.reshape(2 * s, 2 * t, self.C, self.O)


def _matrix(products):
    """(columns, rows, n, channels) with one row per position and sample."""
    return products.reshape(-1, products.shape[-1])
