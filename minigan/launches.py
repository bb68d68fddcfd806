"""Batch norm and layer norm on a GPU, a few launches each way: what `normalize.Channels` and `normalize.Samples` do in
passes over blocks of memory on a CPU.

A launch sums, for every channel or for every sample, x − near and its square, or g and its product with x − near, where
`near` is one of the channel's or the sample's own numbers; another one does to every number what follows from its sums.
All arrays are raw.
"""

from math import gcd

from minigan import kernels, passes
from minigan.backend import xp_of

PARTS = 64  # CuPy sums 32 neighbouring channels in one block of threads: too few blocks, so the rows are cut in parts


class Channels:
    """Batch norm of x (N, …, C): see `normalize.Channels`."""

    def __init__(self, x, weight, bias, eps, slope):
        C, n = weight.size, x.size // weight.size
        parts = gcd(n, PARTS)
        self.slope, self.x, self.numbers, self.near = slope, x.reshape(parts, -1, C), (parts, C, n), x.reshape(n, C)[0]
        self.shift, self.mean, self.variance, self.inverse, self.scale, offset = self._vectors(6)
        kernels.BATCH_STATISTICS.on(x)(
            *self._sums(kernels.MOMENTS, self.x, self.near), *self.numbers, self.near, weight, bias, eps,
            self.shift, self.mean, self.variance, self.inverse, self.scale, offset)
        self.value = xp_of(x).empty(x.shape, x.dtype)
        passes.combine(self.value.reshape(n, C), [(x.reshape(n, C), self.scale)], offset, slope)

    def gradients(self, g, x_needed):
        gradient, g, value = xp_of(g).empty(g.shape, g.dtype), g.reshape(self.x.shape), self.value.reshape(self.x.shape)
        h_slope, h_sum, slant, offset = self._vectors(4)
        kernels.BATCH_SLOPES.on(g)(
            *self._sums(kernels.SLOPES, g, value, self.slope, 1.0, self.x, self.near), *self.numbers,
            self.shift, self.mean, self.inverse, self.scale, h_slope, h_sum, slant, offset)
        if x_needed:
            kernels.COMBINE_LEAKED.on(g)(g, value, self.slope, self.scale, self.x, slant, offset,
                                         gradient.reshape(g.shape))
        return gradient, h_slope, h_sum

    def _sums(self, kernel, *inputs):
        sums = _empty(self.x, 2, self.x.shape[0], self.x.shape[2])
        kernel.on(self.x)(*inputs, *sums, axis=1)
        return sums

    def _vectors(self, count):
        return _empty(self.x, count, self.x.shape[2])


class Samples:
    """Layer norm of x (N, …, C): see `normalize.Samples`."""

    def __init__(self, x, weight, eps):
        self.shape, self.x, self.weight = x.shape, x.reshape(len(x), -1, weight.size), weight
        self.near, self.n = self.x[:, :1, :1], x.size // len(x)
        self.shift, self.inverse = _empty(x, 2, len(x), 1, 1)
        kernels.SAMPLE_STATISTICS.on(x)(self.x, self.near, self.n, eps, self.shift.reshape(-1),
                                        self.inverse.reshape(-1), axis=(1, 2))
        self.standard = self.x, self.near, self.shift, self.inverse  # of which the kernels make x̂

    def value(self, bias):
        [value] = _empty(self.x, 1, *self.x.shape)
        kernels.STANDARDISE.on(value)(*self.standard, self.weight, bias, value)
        return value.reshape(self.shape)

    def gradients(self, g):
        g = g.reshape(self.x.shape)
        projected, slope = self._project(g, self._sums(g, self.weight))
        return projected.reshape(self.shape), self._per_channel(slope), self._per_channel(g)

    def projected(self, g):
        g = g.reshape(self.x.shape)
        return self._project(g, self._sums(g, self.weight))[0].reshape(self.shape)

    def projected_gradients(self, u, g):
        u, g = u.reshape(self.x.shape), g.reshape(self.x.shape)
        g_gradient, x_gradient, slope = _empty(u, 3, *u.shape)
        along = (u * g * self.weight).sum((1, 2), keepdims=True)
        kernels.PROJECT_SLOPES.on(u)(u, g, self.weight, *self.standard, *self._sums(u, 1.0),
                                     *self._sums(g, self.weight), along, self.n, g_gradient, x_gradient, slope)
        return g_gradient.reshape(self.shape), x_gradient.reshape(self.shape), self._per_channel(slope)

    def _sums(self, g, weight):
        """Per sample, Σ h and Σ h · (x − near) of h = g · weight."""
        sums = _empty(g, 2, len(g), 1, 1)
        kernels.SLOPES.on(g)(g, g, 1.0, weight, self.x, self.near, *[s.reshape(-1) for s in sums], axis=(1, 2))
        return sums

    def _project(self, g, sums):
        """P(g · weight) and g · x̂."""
        projected, slope = _empty(g, 2, *g.shape)
        kernels.PROJECT.on(g)(g, self.weight, *self.standard, *sums, self.n, projected, slope)
        return projected, slope

    def _per_channel(self, array):
        return passes.total(array.reshape(-1, self.weight.size))


def _empty(like, count, *shape):
    """So many uninitialised arrays."""
    arrays = xp_of(like).empty((count, *shape), like.dtype)
    return [arrays[k] for k in range(count)]
