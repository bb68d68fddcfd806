"""Batch norm and layer norm: sums over rows or over samples, and then one pass over the memory.
Spectral norm: products with vectors, and likewise.

Beside the value stands the first derivative worked out by hand. For batch and layer norm, with
x̂ = (x − μ)/s, s = √(σ² + eps), h = g · weight and means over the same axes as μ's,

    ∂/∂x = P(h) = (h − mean(h) − x̂ · mean(h · x̂)) / s     ∂/∂weight = Σ g · x̂     ∂/∂bias = Σ g

where the two means are what flows back through μ and σ².
"""

from minigan import backend, normalize, ops
from minigan.autograd import sum_to
from minigan.fast import kernels
from minigan.fast.elementwise import contiguous, empty
from minigan.fast.launch import run, serves, sums
from minigan.tensor import composed


def vectors(like, count, size):
    """So many uninitialised vectors."""
    return [empty(like, size) for _ in range(count)]


# Batch norm, with a leaky ReLU in the same pass

@composed
def batch_norm_leaky(x, weight, bias, /, eps=1e-5, slope=1.0, observe=None):
    """leaky_relu(batch_norm(x, weight, bias), slope); the slope, not below 0, is 1 for none."""
    y = normalize.batch_norm(x, weight, bias, eps, observe)
    return y if slope == 1.0 else ops.leaky_relu(y, slope)


def fast_batch_norm_leaky(x, weight, bias, /, eps=1e-5, slope=1.0, observe=None):
    normalize.check_channels("batch_norm", x, weight, bias)
    if not serves(x.data):
        return None
    array, (C,), n = contiguous(x.data), weight.shape, x.size // weight.size
    weight, bias = contiguous(weight.data), contiguous(bias.data)
    rows = n, C
    mean, variance, inverse, scale = vectors(array, 4, C)
    moments = sums(kernels.MOMENTS, rows, array)
    run(kernels.BATCH_STATISTICS, (C,), moments, len(moments), n, weight, float(eps),
        mean, variance, inverse, scale)
    if observe is not None:
        observe(mean, variance)
    value = empty(array)
    run(kernels.BATCH_NORM, rows, array, mean, scale, bias, slope, value)

    def first(g, needed):
        g = contiguous(g)
        weight_gradient, bias_gradient, slant, level = vectors(g, 4, C)
        found = sums(kernels.BATCH_SUMS, rows, g, value, slope, array, mean)
        run(kernels.BATCH_SLOPES, (C,), found, len(found), n, inverse, scale,
            weight_gradient, bias_gradient, slant, level)
        gradient = needed[0] and run(kernels.BATCH_GRADIENT, rows, g, value, slope, scale, array,
                                     mean, slant, level, empty(g))
        return gradient, weight_gradient, bias_gradient

    def definition(x, weight, bias):  # without `observe`, which has seen this batch
        y = normalize.batch_norm.__wrapped__(x, weight, bias, eps)
        return y if slope == 1.0 else ops.leaky_relu(y, slope)
    return value, definition, first


def fast_batch_norm(x, weight, bias, /, eps=1e-5, observe=None):
    return fast_batch_norm_leaky(x, weight, bias, eps, 1.0, observe)


# Layer norm

def fast_layer_norm(x, weight, bias, /, eps=1e-5):
    normalize.check_channels("layer_norm", x, weight, bias)
    if not serves(x.data):
        return None
    samples = Samples(x.data, weight.data, float(eps))
    value = run(kernels.LAYER_NORM, samples.sizes, samples.x, samples.mean, samples.inverse,
                samples.weight, contiguous(bias.data), empty(samples.x))

    def x_hat():
        axes = tuple(range(1, x.ndim))
        centred = x - x.mean(axes, keepdims=True)
        return centred / ops.sqrt((centred * centred).mean(axes, keepdims=True) + eps)

    def first(g, needed):
        g = contiguous(g)
        weight_gradient, bias_gradient = samples.per_channel(
            kernels.LAYER_WEIGHT_SUMS, g, samples.x, samples.mean, samples.inverse)
        return needed[0] and samples.projected(g), weight_gradient, bias_gradient
    return value, (lambda g: layer_norm_gradient(g, x, weight, eps),
                   lambda g: sum_to(g * x_hat(), weight.shape),
                   lambda g: sum_to(g, bias.shape)), first


@composed
def layer_norm_gradient(g, x, weight, /, eps=1e-5):
    """∂/∂x of layer norm, applied to g: P(g · weight). An operation of its own, as a gradient
    penalty differentiates it once more.

    P is linear and symmetric. So with the cotangent u and the sample's M numbers,
    ⟨u, P(h)⟩ = ⟨P(u), h⟩ gives at once

        ∂/∂g = P(u) · weight      ∂/∂weight = Σ P(u) · g

    and with dx̂ = P(dx) and ds = mean(x̂ · dx), where P depends on x through x̂ and s,

        ∂/∂x = −(x̂ · mean(P(u) · h) + P(mean(h · x̂) · u + mean(u · x̂) · h)) / s
    """
    axes, h = tuple(range(1, x.ndim)), g * weight
    centred = x - x.mean(axes, keepdims=True)
    deviation = ops.sqrt((centred * centred).mean(axes, keepdims=True) + eps)
    x_hat = centred / deviation
    return (h - h.mean(axes, keepdims=True)
            - x_hat * (h * x_hat).mean(axes, keepdims=True)) / deviation


def fast_layer_norm_gradient(g, x, weight, /, eps=1e-5):
    if not serves(x.data):
        return None
    samples, g_array = Samples(x.data, weight.data, float(eps)), contiguous(g.data)

    def first(u, needed):
        u, s = contiguous(u), samples.sizes[0]
        common = samples.x, samples.mean, samples.inverse
        found = sums(kernels.LAYER_SECOND_SUMS, samples.sizes, u, g_array, samples.weight, *common)
        g_gradient, x_gradient = empty(u), empty(u)
        run(kernels.LAYER_SECOND, samples.sizes, u, g_array, samples.weight, *common, found,
            samples.share, g_gradient, x_gradient)
        [weight_gradient] = samples.per_channel(
            kernels.LAYER_SECOND_WEIGHT_SUMS, u, g_array, *common, found,
            after=(s, samples.share))
        return g_gradient, x_gradient, weight_gradient
    return samples.projected(g_array), None, first


class Samples:
    """x (N, …, C) with the mean and 1/s of each sample."""

    def __init__(self, x, weight, eps):
        self.x, self.weight = contiguous(x), contiguous(weight)
        self.sizes = len(x), x[0].size // weight.size, weight.size
        self.share = len(x) / x.size
        self.mean, self.inverse = vectors(x, 2, len(x))
        sums(kernels.SAMPLE_STATISTICS, self.sizes, self.x, self.share, eps, self.mean,
             self.inverse)

    def projected(self, g):
        """P(g · weight)."""
        common = g, self.weight, self.x, self.mean, self.inverse
        found = sums(kernels.LAYER_SUMS, self.sizes, *common)
        return run(kernels.LAYER_GRADIENT, self.sizes, *common, found, self.share, empty(g))

    def per_channel(self, kernel, *arguments, after=()):
        """Sums over samples and positions, each (C,)."""
        s, p, c = self.sizes
        found = sums(kernel, (s * p, c), *arguments, p, *after)
        fold = kernels.FOLD[len(kernel.sums)]
        out = vectors(self.x, len(kernel.sums), c)
        run(fold, (c,), found, len(found), *out)
        return out


# Spectral norm

def fast_spectral_norm(weight, v, u, /):
    """With W/σ and σ = vᵀ W u, ∂/∂W = g/σ + s v uᵀ, ∂/∂v = s W u and ∂/∂u = s Wᵀ v, where
    s = −⟨g, W⟩/σ² is what flows back into σ. Einstein sums are loops of NumPy's own: the threads of
    a matrix library would wake for so little, and get in the way of ours."""
    normalize.check_vectors(weight, v, u)
    if not serves(weight.data):
        return None
    v, u, W = contiguous(v.data), contiguous(u.data), contiguous(weight.data).reshape(-1, u.size)
    einsum = backend.xp_of(W).einsum
    sigma = (einsum("io,i->o", W, v) * u).sum(keepdims=True)
    value = run(kernels.SPECTRAL, W.shape, W, sigma, empty(weight.data))

    def first(g, needed):
        g = contiguous(g)
        s = -einsum("io,io->i", g.reshape(W.shape), W).sum(keepdims=True) / (sigma * sigma)
        return (needed[0] and run(kernels.SPECTRAL_GRADIENT, W.shape, g, v, u, sigma, s, empty(g)),
                needed[1] and s * einsum("io,o->i", W, u),
                needed[2] and s * einsum("io,i->o", W, v))
    return value, None, first
