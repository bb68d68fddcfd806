"""Nearest upsampling and average pooling: each is the other's adjoint, up to a factor."""

from minigan import ops
from minigan.fast import kernels
from minigan.fast.elementwise import contiguous, empty
from minigan.fast.launch import run, serves


def upsample(x, /, factor=2):
    if x.ndim != 4 or x.size == 0 or not serves(x.data):
        return None
    return _enlarged(x.data, factor, 1.0), (
        lambda g: ops.average_pool(g, factor) * float(factor ** 2),), lambda g, needed: [
            _pooled(g, factor, 1.0)]


def average_pool(x, /, factor=2):
    if x.ndim != 4 or x.size == 0 or x.shape[1] % factor or x.shape[2] % factor or (
            not serves(x.data)):
        return None
    share = 1.0 / factor ** 2
    return _pooled(x.data, factor, share), (
        lambda g: ops.upsample(g, factor) * share,), lambda g, needed: [
            _enlarged(g, factor, share)]


def _enlarged(x, factor, scale):
    N, H, W, C = x.shape
    sizes = N, H * factor, W * factor, C
    return run(kernels.UPSAMPLE, sizes, contiguous(x), factor, scale, empty(x, *sizes))


def _pooled(x, factor, scale):
    N, H, W, C = x.shape
    sizes = N, H // factor, W // factor, C
    return run(kernels.POOL, sizes, contiguous(x), factor, scale, empty(x, *sizes))
