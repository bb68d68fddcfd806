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

from minigan import filtering, kernels, parallel
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
    image, kernel_size = x.shape[1:3], w.shape[:2]
    size = convolved_size(image, kernel_size, stride, padding)
    way = _way(x.data, w.data, w.shape, image, size, stride, padding)

    def fused(g, needed):
        if all(needed):
            return way.x_and_w(x.data, g)
        return way.x_from(g) if needed[0] else None, way.w_from(x.data, g) if needed[1] else None
    return way.y_from(x.data), (
        lambda g: conv_transpose2d(g, w, stride, padding, image),
        lambda g: conv2d_weight(x, g, kernel_size, stride, padding)), fused


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
    size, kernel_size = y.shape[1:3], w.shape[:2]
    image = transposed_size(size, kernel_size, stride, padding, output_size)
    way = _way(y.data, w.data, w.shape, image, size, stride, padding)

    def fused(g, needed):
        if all(needed):
            return way.y_and_w(g, y.data)
        return way.y_from(g) if needed[0] else None, way.w_from(g, y.data) if needed[1] else None
    return way.x_from(y.data), (
        lambda g: conv2d(g, w, stride, padding),
        lambda g: conv2d_weight(g, y, kernel_size, stride, padding)), fused


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
    image, size = x.shape[1:3], convolved_size(x.shape[1:3], kernel_size, stride, padding, "conv2d_weight")
    if y.shape[:3] != (x.shape[0], *size):
        raise ValueError(f"conv2d_weight: x {x.shape} convolved with a {kernel_size} kernel, stride {stride}, padding "
                         f"{padding}, gives (N, H, W) {(x.shape[0], *size)}, but y is {y.shape}")
    way = _way(x.data, None, (*kernel_size, x.shape[3], y.shape[3]), image, size, stride, padding)
    return way.w_from(x.data, y.data), (
        lambda g: conv_transpose2d(y, g, stride, padding, image),
        lambda g: conv2d(x, g, stride, padding))


# The values, on arrays.

def _way(like, w, w_shape, image, size, stride, padding):
    """How to compute: with half the multiplications where that pays on a CPU, or plainly, as it is tested against."""
    filtered = isinstance(like, np.ndarray) and filtering.pays(len(like), w_shape, image, size, stride, padding)
    return (filtering.Filter if filtered else Windows)(w, w_shape, image, size, stride, padding)


class Windows:
    """The plain way of one convolution: images x (N, H, W, C), outputs y (N, OH, OW, O), kernel w of `w_shape`
    (KH, KW, C, O), all raw arrays; `image` is (H, W), `size` (OH, OW). `w_from` does without w, which may be None.

    All windows of an image, a row each, times the kernel as a matrix are the outputs. The products are made for a
    block of samples at a time, as all windows of a batch would be many times the images.
    """

    def __init__(self, w, w_shape, image, size, stride, padding):
        self.kernel = None if w is None else w.reshape(-1, w_shape[3])
        self.w_shape, self.image, self.size, self.stride, self.padding = w_shape, image, size, stride, padding
        self.each = prod(size) * prod(w_shape[:3])  # numbers in the windows of a sample

    def y_from(self, x):
        """conv2d."""
        y, O = xp_of(x).empty((len(x), *self.size, self.w_shape[3]), x.dtype), self.w_shape[3]

        def block(begin, end):
            xp_of(x).matmul(self._gather(x[begin:end]), self.kernel, out=y[begin:end].reshape(-1, O))
        parallel.over_batch(x, block, self.each)
        return y

    def x_from(self, y):
        """conv_transpose2d."""
        x, O = xp_of(y).empty((len(y), *self.image, self.w_shape[2]), y.dtype), self.w_shape[3]

        def block(begin, end):
            windows = parallel.scratch("windows", (end - begin, *self.size, *self.w_shape[:3]), y)
            xp_of(y).matmul(y[begin:end].reshape(-1, O), self.kernel.T, out=windows.reshape(-1, len(self.kernel)))
            self._scatter(windows, x[begin:end])
        parallel.over_batch(y, block, self.each)
        return x

    def w_from(self, x, y):
        """conv2d_weight."""
        def block(begin, end):
            return self._gather(x[begin:end]).T @ y[begin:end].reshape(-1, self.w_shape[3])
        return parallel.sum_over_batch(x, block, self.each).reshape(self.w_shape)

    def x_and_w(self, x, y):
        """`x_from(y)` and `w_from(x, y)`."""
        return self.x_from(y), self.w_from(x, y)

    def y_and_w(self, x, y):
        """`y_from(x)` and `w_from(x, y)`, which have their windows in common."""
        y_out, O = xp_of(y).empty(y.shape, y.dtype), self.w_shape[3]

        def block(begin, end):
            windows = self._gather(x[begin:end])
            xp_of(x).matmul(windows, self.kernel, out=y_out[begin:end].reshape(-1, O))
            return windows.T @ y[begin:end].reshape(-1, O)
        return y_out, parallel.sum_over_batch(x, block, self.each).reshape(self.w_shape)

    def _gather(self, x):
        """A copy of every window of x (N, H, W, C), a row each: (N·OH·OW, KH·KW·C)."""
        if kernel := kernels.GATHER.on(x):
            windows = xp_of(x).empty((len(x), *self.size, *self.w_shape[:3]), x.dtype)
            kernel(x, *self._numbers(), windows)
            return windows.reshape(-1, prod(self.w_shape[:3]))
        (N, H, W, C), (ph, pw), (sh, sw) = x.shape, self.padding, self.stride
        if ph or pw:
            padded = parallel.scratch("padded", (N, H + 2 * ph, W + 2 * pw, C), x)
            padded[:, :ph] = padded[:, ph + H:] = 0
            padded[:, :, :pw] = padded[:, :, pw + W:] = 0
            padded[:, ph:ph + H, pw:pw + W] = x
            x = padded
        shape, (n, h, w, c) = (N, *self.size, *self.w_shape[:3]), x.strides
        windows = parallel.scratch("windows", shape, x)
        if isinstance(x, np.ndarray) and x.flags.c_contiguous:
            # The numbers of a window's row are neighbours: copied as one item, a fifth of the time for one channel.
            numbers = prod(shape[4:])
            item = np.dtype((np.void, numbers * x.itemsize))
            items = np.ndarray(shape[:4], item, buffer=x, strides=(n, h * sh, w * sw, h))
            windows.reshape(*shape[:4], numbers).view(item)[..., 0] = items
        else:
            windows[...] = xp_of(x).lib.stride_tricks.as_strided(x, shape, (n, h * sh, w * sw, h, w, c))
        return windows.reshape(-1, prod(shape[3:]))

    def _scatter(self, windows, x):
        """The adjoint of `_gather`: into x (N, H, W, C), windows (N, OH, OW, KH, KW, C) added up where they overlap.
        One slice per kernel offset, so that no two elements of one addition meet."""
        if kernel := kernels.SCATTER.on(x):
            return kernel(windows, *self._numbers(), x)
        (N, OH, OW, KH, KW, C), (_, H, W, _) = windows.shape, x.shape
        (ph, pw), (sh, sw) = self.padding, self.stride
        padded = parallel.scratch("padded", (N, H + 2 * ph, W + 2 * pw, C), x)
        padded[...] = 0
        for u in range(KH):
            for v in range(KW):
                padded[:, u:u + sh * OH:sh, v:v + sw * OW:sw] += windows[:, :, :, u, v]
        x[...] = padded[:, ph:ph + H, pw:pw + W]

    def _numbers(self):
        """As the kernels want to know them: H, W, C, KH, KW, OH, OW, strides, paddings."""
        KH, KW, C = self.w_shape[:3]
        return *self.image, C, KH, KW, *self.size, *self.stride, *self.padding


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
