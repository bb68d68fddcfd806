"""Convolution: one trilinear form, three operations.

    T(x, w, y) = Σ y[n,i,j,o] · x[n, s·i+u−p, s·j+v−p, c] · w[u,v,c,o]

summed over everything: samples n, outputs (i, j), kernel offsets (u, v), channels c in and o out; s is the stride, p
the padding, and x counts as zero outside its borders. T is linear in each argument, so it has three derivatives:

    ∂T/∂y = conv2d(x, w)              the convolution
    ∂T/∂x = conv_transpose2d(y, w)    its adjoint in x, the transposed convolution
    ∂T/∂w = conv2d_weight(x, y)       its adjoint in w, the gradient of the kernel

Each is linear in its own two arguments and T does not care which argument is called a gradient, so the derivative of
each operation is made of the other two, and derivatives of every order stay within the three.

Images are (N, H, W, C), kernels (KH, KW, in, out). In this order a row of a window is contiguous in memory, so that
gathering windows is a fast copy and the product of windows with the kernel is already the output.
"""

from math import prod

import numpy as np

from minigan import filtering, parallel
from minigan.backend import xp_of
from minigan.tensor import op


@op
def conv2d(x, w, /, stride=1, padding=0):
    """x ∗ w: y[n,i,j,o] = Σ x[n, s·i+u−p, s·j+v−p, c] · w[u,v,c,o] over u, v, c.

    x (N, H, W, C), w (KH, KW, C, O) → (N, ⌊(H + 2p − KH)/s⌋ + 1, the same for W, O). `stride` and `padding` are ints
    or pairs (H, W). ValueError, naming the shapes, if they do not fit.
    """
    stride, padding = _geometry("conv2d", stride, padding)
    _check_images("conv2d", "x", x)
    _check_kernel("conv2d", w)
    if x.shape[3] != w.shape[2]:
        raise ValueError(f"conv2d: x has {x.shape[3]} channels, w expects {w.shape[2]} (x {x.shape}, w {w.shape})")
    size, kernel_size = x.shape[1:3], w.shape[:2]
    return _convolve(x.data, w.data, stride, padding), (
        lambda g: conv_transpose2d(g, w, stride, padding, size),
        lambda g: conv2d_weight(x, g, kernel_size, stride, padding))


@op
def conv_transpose2d(y, w, /, stride=1, padding=0, output_size=None):
    """The adjoint of x ↦ conv2d(x, w): every y[n,i,j] spreads a copy of the kernel.

    y (N, OH, OW, O), w (KH, KW, C, O), the kernel of the convolution it is the adjoint of → (N, H, W, C). For a
    stride above 1 several H give the same OH: `output_size` (H, W) chooses one, the smallest (OH − 1)·s + KH − 2p by
    default. Pixels that no window reaches are zero. ValueError, naming the shapes, if they do not fit.
    """
    stride, padding = _geometry("conv_transpose2d", stride, padding)
    _check_images("conv_transpose2d", "y", y)
    _check_kernel("conv_transpose2d", w)
    if y.shape[3] != w.shape[3]:
        raise ValueError(f"conv_transpose2d: y has {y.shape[3]} channels, w expects {w.shape[3]} "
                         f"(y {y.shape}, w {w.shape})")
    kernel_size = w.shape[:2]
    size = transposed_size(y.shape[1:3], kernel_size, stride, padding, output_size)
    return _convolve_transposed(y.data, w.data, stride, padding, size), (
        lambda g: conv2d(g, w, stride, padding),
        lambda g: conv2d_weight(g, y, kernel_size, stride, padding))


@op
def conv2d_weight(x, y, /, kernel_size, stride=1, padding=0):
    """The adjoint of w ↦ conv2d(x, w): w[u,v,c,o] = Σ x[n, s·i+u−p, s·j+v−p, c] · y[n,i,j,o] over n, i, j.

    x (N, H, W, C), y (N, OH, OW, O), `kernel_size` (KH, KW) → (KH, KW, C, O). ValueError, naming the shapes, if y
    does not have the shape of a convolution of x.
    """
    stride, padding = _geometry("conv2d_weight", stride, padding)
    kernel_size = _pair("conv2d_weight", "kernel_size", kernel_size, 1)
    _check_images("conv2d_weight", "x", x)
    _check_images("conv2d_weight", "y", y)
    size, expected = x.shape[1:3], convolved_size(x.shape[1:3], kernel_size, stride, padding, "conv2d_weight")
    if y.shape[:3] != (x.shape[0], *expected):
        raise ValueError(f"conv2d_weight: x {x.shape} convolved with a {kernel_size} kernel, stride {stride}, padding "
                         f"{padding}, gives (N, H, W) {(x.shape[0], *expected)}, but y is {y.shape}")
    return _correlate(x.data, y.data, kernel_size, stride, padding), (
        lambda g: conv_transpose2d(y, g, stride, padding, size),
        lambda g: conv2d(x, g, stride, padding))


# The values, on arrays. A convolution is one matrix product with all windows, each a row; the products are made for a
# block of samples at a time, as all windows of a batch would be sixteen times the images for the usual 4×4 kernel.

def _convolve(x, w, stride, padding):
    size, O = convolved_size(x.shape[1:3], w.shape[:2], stride, padding), w.shape[3]
    if _filtered(x, x.shape, w.shape, (len(x), *size, O), stride, padding):
        return filtering.convolve(x, w, stride, padding, size)
    xp, kernel = xp_of(x), w.reshape(-1, O)
    y = xp.empty((len(x), *size, O), x.dtype)

    def block(begin, end):
        windows = _gather(x[begin:end], w.shape[:2], size, stride, padding)
        xp.matmul(windows, kernel, out=y[begin:end].reshape(-1, O))
    parallel.over_batch(x, block, prod(size) * len(kernel))
    return y


def _convolve_transposed(y, w, stride, padding, size):
    (KH, KW, C, O), (N, OH, OW, _) = w.shape, y.shape
    if _filtered(y, (N, *size, C), w.shape, y.shape, stride, padding):
        return filtering.convolve_transposed(y, w, stride, padding, size)
    xp, kernel = xp_of(y), w.reshape(-1, O).T
    x = xp.empty((N, *size, C), y.dtype)

    def block(begin, end):
        windows = parallel.scratch("windows", (end - begin, OH, OW, KH, KW, C), y)
        xp.matmul(y[begin:end].reshape(-1, O), kernel, out=windows.reshape(-1, KH * KW * C))
        _scatter(windows, x[begin:end], stride, padding)
    parallel.over_batch(y, block, OH * OW * KH * KW * C)
    return x


def _correlate(x, y, kernel_size, stride, padding):
    size, O = y.shape[1:3], y.shape[3]
    if _filtered(x, x.shape, (*kernel_size, x.shape[3], O), y.shape, stride, padding):
        return filtering.correlate(x, y, stride, padding)

    def block(begin, end):
        windows = _gather(x[begin:end], kernel_size, size, stride, padding)
        return windows.T @ y[begin:end].reshape(-1, O)
    rows = prod(kernel_size) * x.shape[3]
    return parallel.sum_over_batch(x, block, prod(size) * rows).reshape(*kernel_size, x.shape[3], O)


def _filtered(like, *geometry):
    """Whether to take the way with half the multiplications, on a CPU; the plain way is what it is tested against."""
    return isinstance(like, np.ndarray) and filtering.pays(*geometry)


def _gather(x, kernel_size, size, stride, padding):
    """A copy of every window of x (N, H, W, C), a row each: (N·OH·OW, KH·KW·C)."""
    (N, H, W, C), (ph, pw), (sh, sw) = x.shape, padding, stride
    if ph or pw:
        padded = parallel.scratch("padded", (N, H + 2 * ph, W + 2 * pw, C), x)
        padded[:, :ph] = padded[:, ph + H:] = 0
        padded[:, :, :pw] = padded[:, :, pw + W:] = 0
        padded[:, ph:ph + H, pw:pw + W] = x
        x = padded
    n, h, w, c = x.strides
    view = xp_of(x).lib.stride_tricks.as_strided(x, (N, *size, *kernel_size, C), (n, h * sh, w * sw, h, w, c))
    windows = parallel.scratch("windows", view.shape, x)
    windows[...] = view
    return windows.reshape(-1, prod(kernel_size) * C)


def _scatter(windows, x, stride, padding):
    """The adjoint of `_gather`: into x (N, H, W, C), windows (N, OH, OW, KH, KW, C) added up where they overlap. One
    slice per kernel offset, so that no two elements of one addition meet."""
    (N, OH, OW, KH, KW, C), (_, H, W, _), (ph, pw), (sh, sw) = windows.shape, x.shape, padding, stride
    padded = parallel.scratch("padded", (N, H + 2 * ph, W + 2 * pw, C), x)
    padded[...] = 0
    for u in range(KH):
        for v in range(KW):
            padded[:, u:u + sh * OH:sh, v:v + sw * OW:sw] += windows[:, :, :, u, v]
    x[...] = padded[:, ph:ph + H, pw:pw + W]


# Sizes

def convolved_size(size, kernel_size, stride, padding, name="conv2d"):
    """⌊(H + 2p − KH)/s⌋ + 1, per axis. ValueError, on behalf of the operation `name`, if the kernel does not fit."""
    result = tuple([(n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel_size, stride, padding)])
    if min(result) < 1:
        raise ValueError(f"{name}: a {kernel_size} kernel does not fit into {size} images with padding {padding}")
    return result


def transposed_size(output_size, kernel_size, stride, padding, size=None):
    """The image size to go back to: the smallest whose convolution has `output_size`, or `size` if that has it too."""
    smallest = tuple([(o - 1) * s + k - 2 * p for o, k, s, p in zip(output_size, kernel_size, stride, padding)])
    size = smallest if size is None else _pair("conv_transpose2d", "output_size", size, 1)
    if any(not low <= n < low + s for n, low, s in zip(size, smallest, stride)) or min(size) < 1:
        ranges = " × ".join(f"{low}…{low + s - 1}" for low, s in zip(smallest, stride))
        raise ValueError(f"conv_transpose2d: output_size {size} is not reached from {output_size} by a {kernel_size} "
                         f"kernel with stride {stride}, padding {padding}: expected {ranges}")
    return size


def _geometry(name, stride, padding):
    return _pair(name, "stride", stride, 1), _pair(name, "padding", padding, 0)


def _pair(name, option, value, least):
    """An int for both axes, or a pair (H, W)."""
    pair = (value, value) if isinstance(value, int) else tuple(value) if isinstance(value, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(n, int) and n >= least for n in pair):
        raise ValueError(f"{name}: {option} is an int ≥ {least} or a pair (H, W) of them, got {value}")
    return pair


def _check_images(name, argument, x):
    if x.ndim != 4:
        raise ValueError(f"{name}: {argument} holds images (N, H, W, C), got shape {x.shape}")


def _check_kernel(name, w):
    if w.ndim != 4:
        raise ValueError(f"{name}: w is a kernel (KH, KW, in, out), got shape {w.shape}")
