"""Normalisation: subtract a mean, divide by a standard deviation, scale and shift each channel.

These kinds differ only in the axes over which mean and variance are taken. A weight is divided by
its largest singular value. Each is written as its definition, so that its derivatives of every
order are those of the operations in it.
"""

from minigan import ops
from minigan.tensor import composed


@composed
def batch_norm(x, weight, bias, /, eps=1e-5, observe=None):
    """x (N, …, C) normalised per channel over all axes but the last; weight, bias (C,).

    `observe(mean, variance)`, if given, is called with the batch's mean and biased variance, raw
    arrays (C,). Source: Ioffe & Szegedy 2015, arXiv:1502.03167, Alg. 1.
    """
    check_channels("batch_norm", x, weight, bias)
    return _normalised(x, weight, bias, tuple(range(x.ndim - 1)), eps, observe)


@composed
def layer_norm(x, weight, bias, /, eps=1e-5):
    """x (N, …, C) normalised per sample over all its axes; weight, bias (C,).

    No sample sees another one, so a gradient penalty may be put on it. Source: Ba et al. 2016,
    arXiv:1607.06450, §3; over all axes as in Gulrajani et al. 2017, arXiv:1704.00028, §4.
    """
    check_channels("layer_norm", x, weight, bias)
    return _normalised(x, weight, bias, tuple(range(1, x.ndim)), eps)


@composed
def instance_norm(x, /, eps=1e-5):
    """x (N, …, C) normalised per sample and channel over the axes between. Source: Ulyanov et al.
    2016, arXiv:1607.08022.
    """
    return _normalised(x, 1.0, 0.0, tuple(range(1, x.ndim - 1)), eps)


@composed
def pixel_norm(x, /, eps=1e-8):
    """Each vector along the last axis to mean square 1: x / √(mean x² + eps). Source: Karras et al.
    2018, arXiv:1710.10196, §4.2.
    """
    return x / ops.sqrt((x * x).mean(-1, keepdims=True) + eps)


def _normalised(x, weight, bias, axes, eps, observe=None):
    """(x − μ)/√(σ² + eps) · weight + bias, with μ and σ² (biased) over `axes`."""
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    variance = (centred * centred).mean(axes, keepdims=True)
    if observe is not None:
        observe(mean.data.reshape(-1), variance.data.reshape(-1))
    return centred / ops.sqrt(variance + eps) * weight + bias


@composed
def spectral_norm(weight, v, u, /):
    """W/σ of a weight (…, outputs), W the matrix (inputs, outputs) of its numbers, σ = vᵀ W u.

    σ is W's largest singular value where v (inputs,) and u (outputs,) are its singular vectors.
    Source: Miyato et al. 2018, arXiv:1802.05957, eq. 8 and appendix A.
    """
    check_vectors(weight, v, u)
    W = weight.reshape(-1, weight.shape[-1])
    sigma = v.reshape(1, -1) @ W @ u.reshape(-1, 1)
    return weight / sigma.reshape(())


def check_vectors(weight, v, u):
    if weight.ndim < 2 or weight.size == 0 or u.shape != weight.shape[-1:] or (
            v.shape != (weight.size // u.size,)):
        raise ValueError("spectral_norm: expected a weight (…, outputs), v (inputs,) and u "
                         f"(outputs,), got weight {weight.shape}, v {v.shape} and u {u.shape}")


def check_channels(name, x, weight, bias):
    if x.ndim < 2 or x.size == 0 or weight.shape != x.shape[-1:] or bias.shape != x.shape[-1:]:
        raise ValueError(f"{name}: expected x (N, …, C), weight (C,) and bias (C,), got x "
                         f"{x.shape}, weight {weight.shape} and bias {bias.shape}")
