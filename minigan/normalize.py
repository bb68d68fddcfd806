"""Batch norm and layer norm: subtract a mean, divide by a standard deviation, scale and shift each channel.

The two differ only in the axes over which mean and variance are taken. Both are fused: beside the definition, which is
what is differentiated when a gradient must itself be differentiable, stands the first derivative worked out by hand.
With x̂ = (x − μ)/s, s = √(σ² + eps), h = g · weight and means over the same axes as μ's,

    ∂/∂x = (h − mean(h) − x̂ · mean(h · x̂)) / s      ∂/∂weight = Σ g · x̂      ∂/∂bias = Σ g

where the two means are what flows back through μ and σ². The arrays are computed by `Channels` and `Samples` below, in
passes over blocks of memory on a CPU; on a GPU, by those of `launches`.
"""

from minigan import kernels, launches, ops, parallel, passes
from minigan.backend import xp_of
from minigan.tensor import op, sum_to


def definition(x, weight, bias, axes, eps):
    """(x − μ)/√(σ² + eps) · weight + bias, μ and σ² (biased) over `axes`, weight and bias (C,) along the last axis."""
    centred, deviation = _centred(x, axes, eps)
    return centred / deviation * weight + bias


def _centred(x, axes, eps):
    """x − μ and s = √(σ² + eps)."""
    centred = x - x.mean(axes, keepdims=True)
    return centred, ops.sqrt((centred * centred).mean(axes, keepdims=True) + eps)


def _batch_axes(x):
    return tuple(range(x.ndim - 1))


def _sample_axes(x):
    return tuple(range(1, x.ndim))


def _batch_definition(x, weight, bias, eps=1e-5, slope=1.0, observe=None):
    return ops.leaky_relu(definition(x, weight, bias, _batch_axes(x), eps), slope)


@op(definition=_batch_definition)
def batch_norm(x, weight, bias, /, eps=1e-5, slope=1.0, observe=None):
    """leaky_relu(y, slope) for y = x (N, …, C) normalised per channel over all axes but the last; weight, bias (C,).
    The slope, not below 0, is 1 for y itself.

    `observe(mean, variance)`, if given, is called with the batch's mean and biased variance, raw arrays of shape (C,).
    Both directions are, per channel, sums over rows and then a linear function of the row, so a few passes over the
    memory, of which the leaky ReLU needs none of its own: half the definition's time forward, with the gradient a
    quarter. Source: Ioffe & Szegedy 2015, arXiv:1502.03167, Alg. 1.
    """
    ops.check_slope("batch_norm", slope)
    way = launches.Channels if kernels.MOMENTS.on(x.data) else Channels
    channels = way(x.data, weight.data, bias.data, eps, slope)
    if observe is not None:
        observe(channels.mean, channels.variance)
    return channels.value.reshape(x.shape), None, lambda g, needed: channels.gradients(g, needed[0])


@op(definition=lambda x, weight, bias, eps=1e-5: definition(x, weight, bias, _sample_axes(x), eps))
def layer_norm(x, weight, bias, /, eps=1e-5):
    """x (N, …, C) normalised per sample over all its axes; weight, bias (C,). No sample sees another one, so a gradient
    penalty may be put on it, and each sample is done from beginning to end while it is in the cache: half the
    definition's time forward, a third with the gradient or the gradient's. Source: Ba et al. 2016, arXiv:1607.06450,
    §3; over all axes as in arXiv:1704.00028, §4.
    """
    samples = _samples(x.data, weight.data, eps)
    return samples.value(bias.data), (
        lambda g: layer_norm_slope(g, x, weight, eps),
        lambda g: sum_to(g * ops.div(*_centred(x, _sample_axes(x), eps)), weight.shape),
        lambda g: sum_to(g, bias.shape)), lambda g, needed: samples.gradients(g)


def _samples(x, weight, eps):
    return (launches.Samples if kernels.MOMENTS.on(x) else Samples)(x, weight, eps)


def _slope_definition(g, x, weight, eps=1e-5):
    axes, h = _sample_axes(x), g * weight
    centred, deviation = _centred(x, axes, eps)
    x_hat = centred / deviation
    return (h - h.mean(axes, keepdims=True) - x_hat * (h * x_hat).mean(axes, keepdims=True)) / deviation


@op(definition=_slope_definition)
def layer_norm_slope(g, x, weight, /, eps=1e-5):
    """∂/∂x of layer norm, applied to g: P(g · weight), where P(h) = (h − mean(h) − x̂ · mean(h · x̂)) / s.

    An operation of its own, because a gradient penalty differentiates it once more. P is linear and symmetric. So with
    the cotangent u and the sample's M numbers, ⟨u, P(h)⟩ = ⟨P(u), h⟩ gives at once

        ∂/∂g = P(u) · weight      ∂/∂weight = Σ P(u) · g

    and with dx̂ = P(dx) and ds = mean(x̂ · dx), where P depends on x through x̂ and s,

        ∂/∂x = −(x̂ · mean(P(u) · h) + P(mean(h · x̂) · u + mean(u · x̂) · h)) / s
    """
    samples = _samples(x.data, weight.data, eps)
    return samples.projected(g.data), None, lambda u, needed: samples.projected_gradients(u, g.data)


# On arrays, in blocks

class Channels:
    """Batch norm of x (N, …, C), with a leaky ReLU: `value`, and each channel's `mean` and biased `variance`."""

    def __init__(self, x, weight, bias, eps, slope):
        xp, self.rows, self.slope, self.n = xp_of(x), passes.long_rows(x), slope, x.size // weight.size
        self.C = C = weight.size
        a_mean = x[0].reshape(-1, C).mean(0)  # near that of the batch
        self.near = passes.repeated(a_mean, self.rows)

        def moments(begin, end):
            out = self._deviations(begin, end)
            total = passes.total(out)
            return xp.stack([total, passes.total(xp.multiply(out, out, out=out))])

        # One pass for both: σ² = mean (x − c)² − (mean (x − c))² for any c, and no digits are lost with c near μ.
        self.shift, square = self._sum_over_blocks(moments) / self.n
        self.variance = xp.maximum(square - self.shift * self.shift, 0.0)
        self.mean = a_mean + self.shift
        self.inverse = 1.0 / xp.sqrt(self.variance + eps)
        self.scale, self.value = weight * self.inverse, xp.empty(self.rows.shape, x.dtype)
        passes.combine(self.value, [(self.rows, self.scale)], bias - self.mean * self.scale, slope)

    def gradients(self, g, x_needed):
        """Of x (or anything), weight and bias, for g = ∂/∂value."""
        xp, g_rows = xp_of(g), g.reshape(self.rows.shape)
        h = xp.empty(self.rows.shape, g.dtype)  # g, leaked; then the result

        def sums(begin, end):
            out, h_block = self._deviations(begin, end), h[begin:end]
            passes.leak(xp, h_block, g_rows[begin:end], self.value[begin:end], self.slope)
            return xp.stack([passes.total(h_block), passes.total(xp.multiply(out, h_block, out=out))])
        h_sum, h_slope = self._sum_over_blocks(sums)
        h_slope = (h_slope - h_sum * self.shift) * self.inverse
        if x_needed:
            slant = self.scale * self.inverse * h_slope * (-1.0 / self.n)
            offset = self.scale * h_sum * (-1.0 / self.n) - slant * self.mean
            passes.combine(h, [(h, self.scale), (self.rows, slant)], offset)
        return h.reshape(g.shape), h_slope, h_sum

    def _deviations(self, begin, end):
        out = parallel.scratch("deviations", (end - begin, self.rows.shape[1]), self.rows)
        return xp_of(out).subtract(self.rows[begin:end], self.near, out=out)

    def _sum_over_blocks(self, block):
        return passes.folded(parallel.sum_over_batch(self.rows, block, self.rows.shape[1], parallel.NEAR), self.C)


class Samples:
    """Layer norm of x (N, …, C): the samples, a row of M numbers each, with their means and 1/s; all of them (N, 1).

    Parts are blocks of samples that stay in the cache; without kernels, on a GPU there is one part with all of them.
    """

    def __init__(self, x, weight, eps):
        self.shape, self.x, self.channels = x.shape, x.reshape(len(x), -1), x.shape[-1]
        self.weight = self.per_number(weight)
        xp = xp_of(x)
        self.mean, self.inverse = xp.empty((len(x), 1), x.dtype), xp.empty((len(x), 1), x.dtype)

        def block(part):
            self.mean[part] = _mean(self.x[part])
            centred = self.x[part] - self.mean[part]
            centred *= centred
            self.inverse[part] = 1.0 / xp.sqrt(_mean(centred) + eps)
        self.each(block)

    def value(self, bias):
        """x̂ · weight + bias."""
        xp, shift = xp_of(bias), self.per_number(bias)
        value = xp.empty_like(self.x)

        def block(part):
            out = xp.multiply(self.standardised(part), self.weight, out=value[part])
            out += shift
        self.each(block)
        return value.reshape(self.shape)

    def gradients(self, g):
        """Of x, weight and bias, for g = ∂/∂value."""
        xp, gradient, g_rows = xp_of(g), xp_of(g).empty_like(self.x), g.reshape(self.x.shape)

        def block(part):
            x_hat, g = self.standardised(part), g_rows[part]
            self.project(g * self.weight, x_hat, part, out=gradient[part])
            return xp.stack([self.per_channel(g * x_hat), self.per_channel(g)])
        return gradient.reshape(self.shape), *self.sum(block)

    def projected(self, g):
        """P(g · weight), as in `layer_norm_slope`."""
        value, g_rows = xp_of(g).empty_like(self.x), g.reshape(self.x.shape)
        self.each(lambda part: self.project(
            g_rows[part] * self.weight, self.standardised(part), part, out=value[part]))
        return value.reshape(self.shape)

    def projected_gradients(self, u, g):
        """Of g, x and weight, for u = ∂/∂P(g · weight)."""
        xp, g_rows, u_rows = xp_of(u), g.reshape(self.x.shape), u.reshape(self.x.shape)
        g_gradient, x_gradient = xp.empty_like(self.x), xp.empty_like(self.x)

        def block(part):
            x_hat, u, h = self.standardised(part), u_rows[part], g_rows[part] * self.weight
            projected = self.project(u, x_hat, part, out=g_gradient[part])
            mixed = _mean(h * x_hat) * u
            mixed += _mean(u * x_hat) * h
            out = self.project(mixed, x_hat, part, out=x_gradient[part])
            out += _mean(projected * h) * x_hat
            out *= -self.inverse[part]
            weight_gradient = self.per_channel(projected * g_rows[part])
            projected *= self.weight
            return weight_gradient
        weight_gradient = self.sum(block)
        return g_gradient.reshape(self.shape), x_gradient.reshape(self.shape), weight_gradient

    def each(self, work):
        parallel.over_batch(self.x, lambda begin, end: work(slice(begin, end)), self.x.shape[1], parallel.NEAR)

    def sum(self, work):
        return parallel.sum_over_batch(
            self.x, lambda begin, end: work(slice(begin, end)), self.x.shape[1], parallel.NEAR)

    def standardised(self, part):
        """x̂ of a part."""
        x_hat = self.x[part] - self.mean[part]
        x_hat *= self.inverse[part]
        return x_hat

    def project(self, h, x_hat, part, out):
        """P(h) = (h − mean(h) − x̂ · mean(h · x̂)) / s, into `out`."""
        xp_of(h).subtract(h, _mean(h), out=out)
        out -= x_hat * _mean(h * x_hat)
        out *= self.inverse[part]
        return out

    def per_number(self, vector):
        """A vector per channel (C,) repeated for all numbers of a sample, (M,)."""
        return xp_of(vector).tile(vector, self.x.shape[1] // self.channels)

    def per_channel(self, rows):
        """Numbers (n, M) summed over samples and positions, (C,)."""
        return passes.total(rows.reshape(-1, self.channels))


def _mean(rows):
    """The mean of every row, (n, 1)."""
    ones = xp_of(rows).ones(rows.shape[1], rows.dtype)
    return (rows @ ones / len(ones)).reshape(-1, 1)
