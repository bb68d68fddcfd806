"""Batch norm and layer norm: subtract a mean, divide by a standard deviation, scale and shift each channel.

The two differ only in the axes over which mean and variance are taken. Both are fused: beside the definition, which is
what is differentiated when a gradient must itself be differentiable, stands the first derivative worked out by hand.
"""

from minigan import ops
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
    Source: Ioffe & Szegedy 2015, arXiv:1502.03167, Alg. 1.
    """
    value, maps, mean, variance = _normalise(x, weight, bias, _batch_axes(x), eps)
    if observe is not None:
        observe(mean.reshape(-1), variance.reshape(-1))
    return value, maps


@op(definition=lambda x, weight, bias, eps=1e-5: definition(x, weight, bias, _sample_axes(x), eps))
def layer_norm(x, weight, bias, /, eps=1e-5):
    """x (N, …, C) normalised per sample over all its axes; weight, bias (C,). No sample sees another one, so a gradient
    penalty may be put on it. Source: Ba et al. 2016, arXiv:1607.06450, §3; over all axes as in arXiv:1704.00028, §4.
    """
    value, maps, _, _ = _normalise(x, weight, bias, _sample_axes(x), eps)
    return value, maps


def _normalise(x, weight, bias, axes, eps):
    """Value and first-order maps. With x̂ = (x − μ)/s, s = √(σ² + eps), and h = g · weight, means over `axes`:

        ∂/∂x = (h − mean(h) − x̂ · mean(h · x̂)) / s      ∂/∂weight = Σ g · x̂      ∂/∂bias = Σ g

    The two means are what flows back through μ and σ².
    """
    xp, channels = x.xp, weight.data
    mean = x.data.mean(axis=axes, keepdims=True)
    normalised = x.data - mean
    variance = (normalised * normalised).mean(axis=axes, keepdims=True)
    inverse = 1.0 / xp.sqrt(variance + eps)
    normalised *= inverse
    per_channel = _batch_axes(x)

    @once_per_cotangent
    def products(g):
        return g.data * channels, g.data * normalised

    def map_x(g):
        h, g_normalised = products(g)
        h_mean = h.mean(axis=axes, keepdims=True)
        h_slope = (g_normalised * channels).mean(axis=axes, keepdims=True)
        return (h - h_mean - normalised * h_slope) * inverse

    return normalised * channels + bias.data, (
        map_x, lambda g: products(g)[1].sum(axis=per_channel), lambda g: g.data.sum(axis=per_channel)), mean, variance
