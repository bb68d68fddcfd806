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
in w is Wᵀ[(X x)(Y y)]: six small functions serve all three. They work along the first axis of arrays ordered
(position, position, sample, channel), in which every addition runs over long stretches of memory; otherwise they would
eat the gain.

Against the direct products this takes 17 to 40 % off the time, at about one and a half times their rounding error.
"""

from math import prod

import numpy as np

from minigan import parallel

LEAST_CHANNELS = 64     # below, the sums and differences cost more than the multiplications saved
LEAST_OUTPUTS = 1024    # below, transforming the kernel, four times its size, does


def pays(x_shape, w_shape, y_shape, stride, padding):
    """Whether a convolution x ∗ w → y can be filtered, and gains by it: a kernel of twice the stride on an image of
    whole blocks, with enough channels and outputs."""
    whole = all(k == 2 * s and n + 2 * p == s * (m + 1) and m > 1
                for k, s, p, n, m in zip(w_shape, stride, padding, x_shape[1:3], y_shape[1:3]))
    return whole and min(prod(stride) * w_shape[2], w_shape[3]) >= LEAST_CHANNELS and (
        prod(y_shape[:3]) >= LEAST_OUTPUTS)


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
        begins = [3 * i for i in range(a)] + [3 * a + 2 * i for i in range(self.pairs)]
        for tile, begin in enumerate(begins[1:], 1):
            np.add(r[tile - 1], p[tile], out=d[begin])

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


class _Plan:
    """The two axes of a convolution with outputs of `size`, and buffers of the right shapes."""

    def __init__(self, like, stride, size, C, O):
        self.like, self.stride, self.size, self.C, self.O = like, stride, size, C, O
        self.rows, self.columns = Axis(size[0]), Axis(size[1])
        self.depth = prod(stride) * C                                          # numbers in a block
        self.each = self.rows.products * (size[1] + 1) * self.depth            # numbers to work on per sample,
        self.most = max(parallel.BLOCK, 32 * self.each)                        # and at a time

    def new(self, name, *shape):
        return parallel.scratch(name, shape, self.like)

    def blocks(self, n):
        """A buffer for n padded images, (n, H, W, C), and the view of it in blocks, (OH + 1, OW + 1, n, s, s·C)."""
        (s, t), (OH, OW) = self.stride, self.size
        buffer = self.new("blocks", n, OH + 1, s, OW + 1, t * self.C)
        return buffer.reshape(n, (OH + 1) * s, (OW + 1) * t, self.C), buffer.transpose(1, 3, 0, 2, 4)

    def x_rows(self, x, padding):
        """X along the height: (products, OW + 1, n, depth)."""
        (N, H, W, _), (ph, pw) = x.shape, padding
        padded, blocks = self.blocks(N)
        padded[:, :ph] = padded[:, ph + H:] = 0
        padded[:, :, :pw] = padded[:, :, pw + W:] = 0
        padded[:, ph:ph + H, pw:pw + W] = x
        out = self.x_buffer(N)
        split = out.reshape(*out.shape[:3], *blocks.shape[3:])
        self.rows.X(blocks, [split[kind] for kind in self.rows.kinds])
        return out

    def x_buffer(self, n):
        return self.new("x rows", self.rows.products, self.size[1] + 1, n, self.depth)

    def y_rows(self, y):
        """Y along the height: (products, OW, n, O)."""
        out = self.y_buffer(len(y))
        self.rows.Y(y.transpose(1, 2, 0, 3), [out[kind] for kind in self.rows.kinds])
        return out

    def y_buffer(self, n):
        return self.new("y rows", self.rows.products, self.size[1], n, self.O)

    def products(self, name, kind, n, channels):
        """Buffers for the products of one `kind` of the height: for each kind of the width, (columns, rows, n,
        channels), the width now first."""
        buffer = self.new(name, self.columns.products, kind.stop - kind.start, n, channels)
        return [buffer[k] for k in self.columns.kinds]

    def kernels(self, w):
        """W along both axes: (kinds of the height, kinds of the width, depth, O)."""
        (s, t), h, v = self.stride, len(self.rows.kinds), len(self.columns.kinds)
        taps = w.reshape(2, s, 2, t * self.C, self.O).transpose(2, 0, 1, 3, 4)
        columns, both = self.new("w columns", v, 2, *taps.shape[2:]), self.new("w", h, v, *taps.shape[2:])
        W(taps, columns)
        W(columns.swapaxes(0, 1), both)
        return both.reshape(h, v, self.depth, self.O)

    def kernels_adjoint(self, kernels):
        (s, t), h, v = self.stride, len(self.rows.kinds), len(self.columns.kinds)
        columns = self.new("w columns", 2, v, s, t * self.C, self.O)
        w = np.empty((2, s, 2, t * self.C, self.O), self.like.dtype)
        W_adjoint(kernels.reshape(h, v, *columns.shape[2:]), columns)
        W_adjoint(columns.swapaxes(0, 1), w.transpose(2, 0, 1, 3, 4))
        return w.reshape(2 * s, 2 * t, self.C, self.O)


def _matrix(products):
    """(columns, rows, n, channels) with one row per position and sample."""
    return products.reshape(-1, products.shape[-1])


def convolve(x, w, stride, padding, size):
    """conv2d: Yᵀ[(X x)(W w)]."""
    plan = _Plan(x, stride, size, *w.shape[2:])
    kernels, y = plan.kernels(w), np.empty((len(x), *size, plan.O), x.dtype)

    def block(begin, end):
        n = end - begin
        x_rows, y_rows = plan.x_rows(x[begin:end], padding), plan.y_buffer(n)
        for i, kind in enumerate(plan.rows.kinds):
            from_x = plan.products("x products", kind, n, plan.depth)
            to_y = plan.products("y products", kind, n, plan.O)
            plan.columns.X(x_rows[kind].swapaxes(0, 1), from_x)
            for j, (left, out) in enumerate(zip(from_x, to_y)):
                np.matmul(_matrix(left), kernels[i, j], out=_matrix(out))
            plan.columns.Y_adjoint(to_y, y_rows[kind].swapaxes(0, 1))
        plan.rows.Y_adjoint([y_rows[kind] for kind in plan.rows.kinds], y[begin:end].transpose(1, 2, 0, 3))
    parallel.over_batch(x, block, plan.each, plan.most)
    return y


def convolve_transposed(y, w, stride, padding, size):
    """conv_transpose2d: Xᵀ[(Y y)(W w)]."""
    (N, OH, OW, _), (ph, pw) = y.shape, padding
    plan = _Plan(y, stride, (OH, OW), *w.shape[2:])
    kernels, x = plan.kernels(w), np.empty((N, *size, plan.C), y.dtype)

    def block(begin, end):
        n = end - begin
        y_rows, x_rows = plan.y_rows(y[begin:end]), plan.x_buffer(n)
        for i, kind in enumerate(plan.rows.kinds):
            from_y = plan.products("y products", kind, n, plan.O)
            to_x = plan.products("x products", kind, n, plan.depth)
            plan.columns.Y(y_rows[kind].swapaxes(0, 1), from_y)
            for j, (left, out) in enumerate(zip(from_y, to_x)):
                np.matmul(_matrix(left), kernels[i, j].T, out=_matrix(out))
            plan.columns.X_adjoint(to_x, x_rows[kind].swapaxes(0, 1))
        padded, blocks = plan.blocks(n)
        split = x_rows.reshape(*x_rows.shape[:3], *blocks.shape[3:])
        plan.rows.X_adjoint([split[kind] for kind in plan.rows.kinds], blocks)
        x[begin:end] = padded[:, ph:ph + size[0], pw:pw + size[1]]
    parallel.over_batch(y, block, plan.each, plan.most)
    return x


def correlate(x, y, stride, padding):
    """conv2d_weight: Wᵀ[(X x)(Y y)]."""
    plan = _Plan(x, stride, y.shape[1:3], x.shape[3], y.shape[3])

    def block(begin, end):
        n = end - begin
        x_rows, y_rows = plan.x_rows(x[begin:end], padding), plan.y_rows(y[begin:end])
        sums = np.empty((len(plan.rows.kinds), len(plan.columns.kinds), plan.depth, plan.O), x.dtype)
        for i, kind in enumerate(plan.rows.kinds):
            from_x = plan.products("x products", kind, n, plan.depth)
            from_y = plan.products("y products", kind, n, plan.O)
            plan.columns.X(x_rows[kind].swapaxes(0, 1), from_x)
            plan.columns.Y(y_rows[kind].swapaxes(0, 1), from_y)
            for j, (left, right) in enumerate(zip(from_x, from_y)):
                np.matmul(_matrix(left).T, _matrix(right), out=sums[i, j])
        return sums
    return plan.kernels_adjoint(parallel.sum_over_batch(x, block, plan.each, plan.most))
