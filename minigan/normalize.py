"""Batch norm and layer norm: subtract a mean, divide by a standard deviation, scale and shift each channel.

The two differ only in the axes over which mean and variance are taken. Both are fused: beside the definition, which is
what is differentiated when a gradient must itself be differentiable, stands the first derivative worked out by hand.
With x̂ = (x − μ)/s, s = √(σ² + eps), h = g · weight and means over the same axes as μ's,

    ∂/∂x = (h − mean(h) − x̂ · mean(h · x̂)) / s      ∂/∂weight = Σ g · x̂      ∂/∂bias = Σ g

where the two means are what flows back through μ and σ².
"""

from minigan import ops, parallel, passes
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


def _mean_of_some(x):
    """A number per channel near the mean of x (N, …, C): that of the first sample's."""
    return x[0].reshape(-1, x.shape[-1]).mean(0)


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
    xp, gamma = x.xp, weight.data
    rows, C, n = passes.long_rows(x.data), gamma.size, x.size // gamma.size
    near = passes.repeated(_mean_of_some(x.data), rows)

    def deviations(begin, end):
        out = parallel.scratch("deviations", (end - begin, rows.shape[1]), rows)
        return xp.subtract(rows[begin:end], near, out=out)

    def moments(begin, end):
        out = deviations(begin, end)
        total = passes.total(out)
        return xp.stack([total, passes.total(xp.multiply(out, out, out=out))])

    def sum_over_blocks(block):
        return passes.folded(parallel.sum_over_batch(rows, block, rows.shape[1], parallel.NEAR), C)

    # One pass for both: σ² = mean (x − c)² − (mean (x − c))² for any c, and no digits are lost with c near μ.
    shift, square = sum_over_blocks(moments) / n
    variance = xp.maximum(square - shift * shift, 0.0)
    mean = near[:C] + shift
    if observe is not None:
        observe(mean, variance)
    inverse = 1.0 / xp.sqrt(variance + eps)
    scale, value = gamma * inverse, xp.empty(rows.shape, rows.dtype)
    passes.combine(value, [(rows, scale)], bias.data - mean * scale, slope)

    def fused(g, needed):
        g_rows, h = g.reshape(rows.shape), xp.empty(rows.shape, rows.dtype)  # h is g, leaked; then the result

        def sums(begin, end):
            out, h_block = deviations(begin, end), h[begin:end]
            passes.leak(xp, h_block, g_rows[begin:end], value[begin:end], slope)
            return xp.stack([passes.total(h_block), passes.total(xp.multiply(out, h_block, out=out))])
        h_sum, h_slope = sum_over_blocks(sums)
        h_slope = (h_slope - h_sum * shift) * inverse
        if needed[0]:
            slant = scale * inverse * h_slope * (-1.0 / n)
            passes.combine(h, [(h, scale), (rows, slant)], scale * h_sum * (-1.0 / n) - slant * mean)
        return h.reshape(x.shape), h_slope, h_sum

    return value.reshape(x.shape), None, fused


@op(definition=lambda x, weight, bias, eps=1e-5: definition(x, weight, bias, _sample_axes(x), eps))
def layer_norm(x, weight, bias, /, eps=1e-5):
    """x (N, …, C) normalised per sample over all its axes; weight, bias (C,). No sample sees another one, so a gradient
    penalty may be put on it, and each sample is done from beginning to end while it is in the cache: half the
    definition's time forward, a third with the gradient or the gradient's. Source: Ba et al. 2016, arXiv:1607.06450,
    §3; over all axes as in arXiv:1704.00028, §4.
    """
    samples = _Samples(x.data, weight.data, eps)
    value, shift = x.xp.empty_like(samples.x), samples.per_number(bias.data)

    def block(part):
        out = x.xp.multiply(samples.standardised(part), samples.weight, out=value[part])
        out += shift
    samples.each(block)

    def fused(g, needed):
        gradient, g_rows = x.xp.empty_like(samples.x), g.reshape(samples.x.shape)

        def block(part):
            x_hat, g = samples.standardised(part), g_rows[part]
            samples.project(g * samples.weight, x_hat, part, out=gradient[part])
            return x.xp.stack([samples.per_channel(g * x_hat), samples.per_channel(g)])
        return gradient.reshape(x.shape), *samples.sum(block)

    return value.reshape(x.shape), (
        lambda g: layer_norm_slope(g, x, weight, eps),
        lambda g: sum_to(g * ops.div(*_centred(x, _sample_axes(x), eps)), weight.shape),
        lambda g: sum_to(g, bias.shape)), fused


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
    samples, xp = _Samples(x.data, weight.data, eps), x.xp
    value, g_rows = xp.empty_like(samples.x), g.data.reshape(samples.x.shape)
    samples.each(lambda part: samples.project(
        g_rows[part] * samples.weight, samples.standardised(part), part, out=value[part]))

    def fused(u, needed):
        g_gradient, x_gradient, u_rows = xp.empty_like(value), xp.empty_like(value), u.reshape(value.shape)

        def block(part):
            x_hat, u, h = samples.standardised(part), u_rows[part], g_rows[part] * samples.weight
            projected = samples.project(u, x_hat, part, out=g_gradient[part])
            mixed = _mean(h * x_hat) * u
            mixed += _mean(u * x_hat) * h
            out = samples.project(mixed, x_hat, part, out=x_gradient[part])
            out += _mean(projected * h) * x_hat
            out *= -samples.inverse[part]
            weight_gradient = samples.per_channel(projected * g_rows[part])
            projected *= samples.weight
            return weight_gradient
        weight_gradient = samples.sum(block)
        return g_gradient.reshape(x.shape), x_gradient.reshape(x.shape), weight_gradient

    return value.reshape(x.shape), None, fused


class _Samples:
    """The samples of x (N, …, C), a row of M numbers each, with their means and 1/s; all of them (N, 1).

    Parts are blocks of samples that stay in the cache; on a GPU there is one part with all of them.
    """

    def __init__(self, x, weight, eps):
        self.x, self.channels = x.reshape(len(x), -1), x.shape[-1]
        self.weight = self.per_number(weight)
        xp = xp_of(x)
        self.mean, self.inverse = xp.empty((len(x), 1), x.dtype), xp.empty((len(x), 1), x.dtype)

        def block(part):
            self.mean[part] = _mean(self.x[part])
            centred = self.x[part] - self.mean[part]
            centred *= centred
            self.inverse[part] = 1.0 / xp.sqrt(_mean(centred) + eps)
        self.each(block)

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
