"""Convolution: one trilinear form, three operations.

    T(x, w, y) = Σ y[n,i,j,o] · x[n, s·i+u−p, s·j+v−p, c] · w[u,v,c,o]

summed over everything: samples n, outputs (i, j), kernel offsets (u, v), channels c in and o out.
s is the stride, p the padding, and x counts as zero outside its borders. T is linear in each
argument, so it has three derivatives:

    ∂T/∂y = conv2d(x, w)              the convolution
    ∂T/∂x = conv_transpose2d(y, w)    its adjoint in x, the transposed convolution
    ∂T/∂w = conv2d_weight(x, y)       its adjoint in w, the gradient of the kernel

Each is linear in its own two arguments. So the derivative of each is made of the other two, and
derivatives of every order stay within the three.

Images are (N, H, W, C), kernels (KH, KW, in, out). In this order a row of a window is contiguous in
memory, and the product of all windows with the kernel is already the output.
"""

from math import prod
from operator import index as as_integer

import numpy as np

from minigan import backend
from minigan.tensor import op


@op
def conv2d(x, w, /, stride=1, padding=0):
    """x ∗ w: y[n,i,j,o] = Σ x[n, s·i+u−p, s·j+v−p, c] · w[u,v,c,o] over u, v, c.

    x (N, H, W, C), w (KH, KW, C, O) → (N, ⌊(H + 2p − KH)/s⌋ + 1, the same for W, O). `stride` and
    `padding` are integers or pairs (H, W). ValueError, naming the shapes, if they do not fit.
    """
    stride, padding, size = conv2d_geometry(x, w, stride, padding)
    windows = _windows(x, w.shape[:2], stride, padding)
    y = windows @ w.data.reshape(windows.shape[1], w.shape[3])
    return y.reshape(len(x), *size, w.shape[3]), conv2d_maps(x, w, stride, padding)


def conv2d_maps(x, w, stride, padding):
    return (lambda g: conv_transpose2d(g, w, stride, padding, x.shape[1:3]),
            lambda g: conv2d_weight(x, g, w.shape[:2], stride, padding))


@op
def conv_transpose2d(y, w, /, stride=1, padding=0, output_size=None):
    """The adjoint of x ↦ conv2d(x, w): every y[n,i,j] spreads a copy of the kernel.

    y (N, OH, OW, O), w (KH, KW, C, O), the kernel of the convolution it is the adjoint of →
    (N, H, W, C). For a stride above 1 several H give the same OH: `output_size` (H, W) chooses one,
    the smallest (OH − 1)·s + KH − 2p by default. Pixels that no window reaches are zero.
    ValueError, naming the shapes, if they do not fit.
    """
    stride, padding, image = conv_transpose2d_geometry(y, w, stride, padding, output_size)
    kernel = w.data.reshape(-1, w.shape[3])
    windows = y.data.reshape(-1, y.shape[3]) @ kernel.T
    x = _overlapped(windows.reshape(*y.shape[:3], *w.shape[:3]), image, stride, padding)
    return x, conv_transpose2d_maps(y, w, stride, padding)


def conv_transpose2d_maps(y, w, stride, padding):
    return (lambda g: conv2d(g, w, stride, padding),
            lambda g: conv2d_weight(g, y, w.shape[:2], stride, padding))


@op
def conv2d_weight(x, y, /, kernel_size, stride=1, padding=0):
    """The adjoint of w ↦ conv2d(x, w), Σ x[n, s·i+u−p, s·j+v−p, c] · y[n,i,j,o] over n, i, j.

    x (N, H, W, C), y (N, OH, OW, O), `kernel_size` (KH, KW) → (KH, KW, C, O). ValueError, naming
    the shapes, if y does not have the shape of a convolution of x.
    """
    stride, padding, kernel_size = conv2d_weight_geometry(x, y, kernel_size, stride, padding)
    windows = _windows(x, kernel_size, stride, padding)
    w = windows.T @ y.data.reshape(-1, y.shape[3])
    w = w.reshape(*kernel_size, x.shape[3], y.shape[3])
    return w, conv2d_weight_maps(x, y, stride, padding)


def conv2d_weight_maps(x, y, stride, padding):
    return (lambda g: conv_transpose2d(y, g, stride, padding, x.shape[1:3]),
            lambda g: conv2d(x, g, stride, padding))


# On arrays: all windows, a row each, times the kernel as a matrix are the outputs

def _windows(x, kernel_size, stride, padding):
    """A copy of every window of x (N, H, W, C): (N·OH·OW, KH·KW·C)."""
    (ph, pw), (sh, sw), xp = padding, stride, x.xp
    padded = xp.pad(x.data, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    size = convolved_size(x.shape[1:3], kernel_size, stride, padding)
    n, h, w, c = padded.strides
    shape = len(x), *size, *kernel_size, x.shape[3]
    view = xp.lib.stride_tricks.as_strided(padded, shape, (n, h * sh, w * sw, h, w, c))
    return view.reshape(-1, prod(shape[3:]))


def _overlapped(windows, image, stride, padding):
    """The adjoint of `_windows`: windows (N, OH, OW, KH, KW, C) added up where they overlap in
    images (N, H, W, C). One slice per kernel offset: no two numbers of one addition meet."""
    (N, OH, OW, KH, KW, C), (H, W) = windows.shape, image
    (ph, pw), (sh, sw) = padding, stride
    padded = backend.xp_of(windows).zeros((N, H + 2 * ph, W + 2 * pw, C), windows.dtype)
    for u in range(KH):
        for v in range(KW):
            padded[:, u:u + sh * OH:sh, v:v + sw * OW:sw] += windows[:, :, :, u, v]
    return padded[:, ph:ph + H, pw:pw + W]


# Sizes

def conv2d_geometry(x, w, stride, padding):
    """(stride, padding, output size) as pairs. ValueError if anything does not fit."""
    stride, padding = _geometry("conv2d", stride, padding, x=x, w=w)
    if x.shape[3] != w.shape[2]:
        channels_first = ": images are (N, H, W, C), these look like (N, C, H, W)"
        raise ValueError(f"conv2d: x has {x.shape[3]} channels, w expects {w.shape[2]} (x {x.shape}"
                         f", w {w.shape}){channels_first if x.shape[1] == w.shape[2] else ''}")
    return stride, padding, convolved_size(x.shape[1:3], w.shape[:2], stride, padding)


def conv_transpose2d_geometry(y, w, stride, padding, output_size):
    """(stride, padding, image size) as pairs. ValueError if anything does not fit."""
    stride, padding = _geometry("conv_transpose2d", stride, padding, y=y, w=w)
    if y.shape[3] != w.shape[3]:
        raise ValueError(f"conv_transpose2d: y has {y.shape[3]} channels, w expects {w.shape[3]} "
                         f"(y {y.shape}, w {w.shape})")
    return stride, padding, transposed_size(y.shape[1:3], w.shape[:2], stride, padding, output_size)


def conv2d_weight_geometry(x, y, kernel_size, stride, padding):
    """(stride, padding, kernel size) as pairs. ValueError if anything does not fit."""
    stride, padding = _geometry("conv2d_weight", stride, padding, x=x, y=y)
    kernel_size = pair("conv2d_weight: kernel_size", kernel_size)
    expected = x.shape[0], *convolved_size(
        x.shape[1:3], kernel_size, stride, padding, "conv2d_weight")
    if y.shape[:3] != expected:
        raise ValueError(f"conv2d_weight: x {x.shape} convolved with a {kernel_size} kernel, stride"
                         f" {stride}, padding {padding}, gives {expected}, but y is {y.shape}")
    return stride, padding, kernel_size


def _geometry(name, stride, padding, **arguments):
    for argument, t in arguments.items():
        if t.ndim != 4:
            holds = "is a kernel (KH, KW, in, out)" if argument == "w" else (
                "holds images (N, H, W, C)")
            raise ValueError(f"{name}: {argument} {holds}, got shape {t.shape}")
    return pair(f"{name}: stride", stride), pair(f"{name}: padding", padding, least=0)


def convolved_size(size, kernel_size, stride, padding, name="conv2d"):
    """⌊(H + 2p − KH)/s⌋ + 1, per axis. ValueError, on behalf of the operation `name`, if the kernel
    does not fit."""
    result = tuple([(n + 2 * p - k) // s + 1
                    for n, k, s, p in zip(size, kernel_size, stride, padding)])
    if min(result) < 1:
        raise ValueError(f"{name}: a {tuple(kernel_size)} kernel does not fit into {tuple(size)} "
                         f"images with padding {padding}")
    return result


def transposed_size(output_size, kernel_size, stride, padding, size=None):
    """The smallest image whose convolution has `output_size`, or `size` if that one has it too."""
    smallest = tuple([(o - 1) * s + k - 2 * p
                      for o, k, s, p in zip(output_size, kernel_size, stride, padding)])
    size = smallest if size is None else pair("conv_transpose2d: output_size", size)
    fits = all(low <= n < low + s for n, low, s in zip(size, smallest, stride))
    if not fits or min(size) < 1:
        ranges = " × ".join(f"{low}…{low + s - 1}" for low, s in zip(smallest, stride))
        raise ValueError(f"conv_transpose2d: output_size {size} is not reached from "
                         f"{tuple(output_size)} by a {tuple(kernel_size)} kernel with stride "
                         f"{stride}, padding {padding}: expected {ranges}")
    return size


def pair(what, value, least=1):
    """An integer for both axes, or a pair (H, W), as a pair. ValueError below `least`."""
    try:
        numbers = tuple([as_integer(n) for n in (value if np.ndim(value) else (value, value))])
    except TypeError:
        numbers = ()
    if len(numbers) != 2 or min(numbers) < least:
        raise ValueError(f"{what} is an integer ≥ {least} or a pair (H, W) of them, got {value!r}")
    return numbers
