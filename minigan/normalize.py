"""Batch norm and layer norm: subtract a mean, divide by a standard deviation, scale and shift each channel.

The two differ only in the axes over which mean and variance are taken. Both are fused: beside the definition, which is
what is differentiated when a gradient must itself be differentiable, stands the first derivative worked out by hand.
With x̂ = (x − μ)/s, s = √(σ² + eps), h = g · weight and means over the same axes as μ's,

    ∂/∂x = (h − mean(h) − x̂ · mean(h · x̂)) / s      ∂/∂weight = Σ g · x̂      ∂/∂bias = Σ g

where the two means are what flows back through μ and σ².
"""

from math import prod

import numpy as np

from minigan import ops, parallel
from minigan.backend import xp_of
from minigan.parallel import NEAR
from minigan.tensor import once_per_cotangent, op


def definition(x, weight, bias, axes, eps):
    """(x − μ)/√(σ² + eps) · weight + bias, μ and σ² (biased) over `axes`, weight and bias (C,) along the last axis."""
    centred = x - x.mean(axes, keepdims=True)
    variance = (centred * centred).mean(axes, keepdims=True)
    return centred / ops.sqrt(variance + eps) * weight + bias


def _batch_axes(x):
    return tuple(range(x.ndim - 1))


def _sample_axes(x):
    return tuple(range(1, x.ndim))


@op(definition=lambda x, weight, bias, eps=1e-5, observe=None: definition(x, weight, bias, _batch_axes(x), eps))
def batch_norm(x, weight, bias, /, eps=1e-5, observe=None):
    """x (N, …, C) normalised per channel over all axes but the last; weight, bias (C,).

    `observe(mean, variance)`, if given, is called with the batch's mean and biased variance, raw arrays of shape (C,).
    Both directions are, per channel, a sum over rows and then a linear function of the row, so two passes over the
    memory: half the time of the definition forward, a third backward. Source: Ioffe & Szegedy 2015, arXiv:1502.03167,
    Alg. 1.
    """
    channels, xp = x.shape[-1], x.xp
    rows = x.data.reshape(-1, channels)
    n, gamma = len(rows), weight.data
    most = min(n, NEAR // channels + 1)  # rows in a block
    mean = _sum_rows(rows) / n
    centre = _spread(mean, most)

    def squares(begin, end):
        out = parallel.scratch("norm", (end - begin, channels), rows)
        xp.subtract(rows[begin:end], centre[:end - begin], out=out)
        return _ones(rows, end - begin) @ xp.multiply(out, out, out=out)

    variance = parallel.sum_over_batch(rows, squares, channels, NEAR) / n
    if observe is not None:
        observe(mean, variance)
    inverse = 1.0 / xp.sqrt(variance + eps)

    @once_per_cotangent
    def sums(g):
        """Σ g and Σ g · x̂ over the rows."""
        g_rows = g.data.reshape(-1, channels)

        def along(begin, end):
            out = parallel.scratch("norm", (end - begin, channels), rows)
            xp.subtract(rows[begin:end], centre[:end - begin], out=out)
            return _ones(rows, end - begin) @ xp.multiply(out, g_rows[begin:end], out=out)
        return _sum_rows(g_rows), parallel.sum_over_batch(rows, along, channels, NEAR) * inverse

    def map_x(g):
        g_sum, g_slope = sums(g)
        scale = gamma * inverse
        slant = scale * inverse * g_slope * (-1.0 / n)
        shift = scale * g_sum * (-1.0 / n) - slant * mean
        return _linear(g.data, [(g.data.reshape(-1, channels), scale), (rows, slant)], shift, most)

    scale = gamma * inverse
    return _linear(x.data, [(rows, scale)], bias.data - mean * scale, most), (
        map_x, lambda g: sums(g)[1], lambda g: sums(g)[0])


def _sum_rows(rows):
    """Σ over rows (n, C) → (C,), as a product with ones, which the matrix library sums fastest."""
    return parallel.sum_over_batch(rows, lambda begin, end: _ones(rows, end - begin) @ rows[begin:end], rows.shape[1])


def _linear(like, terms, shift, most):
    """Σ rows · coefficients + shift per channel, in the shape of `like`; terms are (rows (n, C), coefficients (C,))."""
    xp, (first, scale), more = xp_of(like), terms[0], terms[1:]
    result = xp.empty(like.shape, like.dtype)
    out = result.reshape(first.shape)
    scale, shift, more = _spread(scale, most), _spread(shift, most), [(rows, _spread(c, most)) for rows, c in more]

    def block(begin, end):
        n, y = end - begin, out[begin:end]
        xp.multiply(first[begin:end], scale[:n], out=y)
        for rows, coefficients in more:
            term = parallel.scratch("norm", y.shape, like)
            y += xp.multiply(rows[begin:end], coefficients[:n], out=term)
        y += shift[:n]
    parallel.over_batch(first, block, first.shape[1], NEAR)
    return result


def _spread(vector, most):
    """(C,) as (most, C) on a CPU, where an operation with equal shapes runs over the whole block in one loop instead of
    one per row, twice as fast; as (1, C) on a GPU."""
    if isinstance(vector, np.ndarray):
        return np.ascontiguousarray(np.broadcast_to(vector, (most, vector.size)))
    return vector.reshape(1, -1)


def _ones(like, n):
    return xp_of(like).ones(n, like.dtype)


@op(definition=lambda x, weight, bias, eps=1e-5: definition(x, weight, bias, _sample_axes(x), eps))
def layer_norm(x, weight, bias, /, eps=1e-5):
    """x (N, …, C) normalised per sample over all its axes; weight, bias (C,). No sample sees another one, so a gradient
    penalty may be put on it. Source: Ba et al. 2016, arXiv:1607.06450, §3; over all axes as in arXiv:1704.00028, §4.
    """
    axes, xp, gamma = _sample_axes(x), x.xp, weight.data
    normalised = x.data - x.data.mean(axis=axes, keepdims=True)
    terms = prod(x.shape[1:])
    inverse = 1.0 / xp.sqrt((normalised * normalised).sum(axis=axes, keepdims=True) * (1.0 / terms) + eps)
    normalised *= inverse

    def map_x(g):
        h = g.data * gamma
        slope = (h * normalised).mean(axis=axes, keepdims=True)
        h -= h.mean(axis=axes, keepdims=True)
        h -= normalised * slope
        h *= inverse
        return h

    value = normalised * gamma
    value += bias.data
    return value, (map_x, lambda g: (g.data * normalised).sum(axis=_batch_axes(x)),
                   lambda g: g.data.sum(axis=_batch_axes(x)))
