"""Convolutions: each of the three operations does what naive loops do, and each is the others' derivative."""

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigan as mg
from minigan.conv import conv2d, conv2d_weight, conv_transpose2d

pytestmark = pytest.mark.on_each_engine


# The naive versions

def out_size(size, kernel_size, stride, padding):
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel_size, stride, padding))


def meetings(size, kernel_size, stride, padding):
    """Every output (i, j), kernel offset (u, v) and pixel (a, b) that meet."""
    (H, W), (KH, KW), (OH, OW) = size, kernel_size, out_size(size, kernel_size, stride, padding)
    for i in range(OH):
        for j in range(OW):
            for u in range(KH):
                for v in range(KW):
                    a, b = stride[0] * i + u - padding[0], stride[1] * j + v - padding[1]
                    if 0 <= a < H and 0 <= b < W:
                        yield i, j, u, v, a, b


def naive_conv2d(x, w, stride, padding):
    y = np.zeros((len(x), *out_size(x.shape[1:3], w.shape[:2], stride, padding), w.shape[3]))
    for i, j, u, v, a, b in meetings(x.shape[1:3], w.shape[:2], stride, padding):
        y[:, i, j] += x[:, a, b] @ w[u, v]
    return y


def naive_conv_transpose2d(y, w, stride, padding, size):
    x = np.zeros((len(y), *size, w.shape[2]))
    for i, j, u, v, a, b in meetings(size, w.shape[:2], stride, padding):
        x[:, a, b] += y[:, i, j] @ w[u, v].T
    return x


def naive_conv2d_weight(x, y, kernel_size, stride, padding):
    w = np.zeros((*kernel_size, x.shape[3], y.shape[3]))
    for i, j, u, v, a, b in meetings(x.shape[1:3], kernel_size, stride, padding):
        w[u, v] += x[:, a, b].T @ y[:, i, j]
    return w


# Drawn geometries

class Geometry:
    """Sizes of a convolution that has at least one output, and arrays that fit it."""

    def __init__(self, N, C, D, kernel_size, stride, padding, extra, seed):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        # The smallest image is one window, less what padding gives; `extra` pixels more on each axis.
        self.size = tuple(max(1, k - 2 * p) + n for k, p, n in zip(kernel_size, padding, extra))
        self.out_size = out_size(self.size, kernel_size, stride, padding)
        rng = np.random.default_rng(seed)
        self.x = rng.standard_normal((N, *self.size, C))
        self.w = rng.standard_normal((*kernel_size, C, D))
        self.y = rng.standard_normal((N, *self.out_size, D))

    def __repr__(self):
        return (f"Geometry(x {self.x.shape}, w {self.w.shape}, y {self.y.shape}, stride {self.stride}, "
                f"padding {self.padding})")


def geometries(largest=5, pixels=6, count=3):
    pairs = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))
    counts = st.integers(1, count)
    return st.builds(Geometry, counts, counts, counts, kernel_size=pairs(1, largest), stride=pairs(1, 3),
                     padding=pairs(0, 3), extra=pairs(0, pixels), seed=st.integers(0, 2**16))


def meeting(**limits):
    """Geometries in which some window meets some pixel: all but those that see padding only."""
    return geometries(**limits).filter(
        lambda g: any(True for _ in meetings(g.size, g.kernel_size, g.stride, g.padding)))


close = {"rtol": 1e-12, "atol": 1e-12}


@settings(max_examples=150)
@given(geometries())
def test_convolution_is_what_naive_loops_compute(g):
    y = conv2d(g.x, g.w, g.stride, g.padding)
    np.testing.assert_allclose(y.data, naive_conv2d(g.x, g.w, g.stride, g.padding), **close)


@settings(max_examples=150)
@given(geometries())
def test_transposed_convolution_is_what_naive_loops_compute(g):
    x = conv_transpose2d(g.y, g.w, g.stride, g.padding, g.size)
    np.testing.assert_allclose(x.data, naive_conv_transpose2d(g.y, g.w, g.stride, g.padding, g.size), **close)


@settings(max_examples=150)
@given(geometries())
def test_the_kernel_gradient_is_what_naive_loops_compute(g):
    w = conv2d_weight(g.x, g.y, g.kernel_size, g.stride, g.padding)
    np.testing.assert_allclose(w.data, naive_conv2d_weight(g.x, g.y, g.kernel_size, g.stride, g.padding), **close)


# The trilinear form

@settings(max_examples=100)
@given(meeting())
def test_transposed_convolution_is_the_adjoint(g):
    """of convolution in x, for every image size that gives this output."""
    mg.check_adjoint(lambda x: conv2d(x, g.w, g.stride, g.padding),
                     lambda y: conv_transpose2d(y, g.w, g.stride, g.padding, g.size), g.x.shape, g.y.shape)


@settings(max_examples=100)
@given(meeting())
def test_the_kernel_gradient_is_the_adjoint(g):
    """of convolution in w."""
    mg.check_adjoint(lambda w: conv2d(g.x, w, g.stride, g.padding),
                     lambda y: conv2d_weight(g.x, y, g.kernel_size, g.stride, g.padding), g.w.shape, g.y.shape)


@settings(max_examples=100)
@given(meeting())
def test_transposed_convolution_and_the_kernel_gradient_are_adjoint(g):
    """with y held fixed: the third pair."""
    mg.check_adjoint(lambda w: conv_transpose2d(g.y, w, g.stride, g.padding, g.size),
                     lambda x: conv2d_weight(x, g.y, g.kernel_size, g.stride, g.padding), g.w.shape, g.x.shape)


small = {"largest": 3, "pixels": 2, "count": 2}


@settings(max_examples=20)
@given(meeting(**small))
def test_convolution_has_right_derivatives_to_the_third_order(g):
    mg.check_grads(lambda x, w: conv2d(x, w, g.stride, g.padding), [g.x, g.w], order=3, max_entries=2)


@settings(max_examples=20)
@given(meeting(**small))
def test_transposed_convolution_has_right_derivatives_to_the_third_order(g):
    mg.check_grads(lambda y, w: conv_transpose2d(y, w, g.stride, g.padding, g.size), [g.y, g.w], order=3,
                   max_entries=2)


@settings(max_examples=20)
@given(meeting(**small))
def test_the_kernel_gradient_has_right_derivatives_to_the_third_order(g):
    mg.check_grads(lambda x, y: conv2d_weight(x, y, g.kernel_size, g.stride, g.padding), [g.x, g.y], order=3,
                   max_entries=2)


# Sizes

def test_one_number_stands_for_both_axes(rng):
    x, w = rng.standard_normal((2, 7, 6, 2)), rng.standard_normal((3, 3, 2, 3))
    y = conv2d(x, w, 2, 1)
    np.testing.assert_array_equal(y.data, conv2d(x, w, (2, 2), (1, 1)).data)
    np.testing.assert_array_equal(conv_transpose2d(y, w, 2, 1, (7, 6)).data,
                                  conv_transpose2d(y, w, (2, 2), (1, 1), (7, 6)).data)
    np.testing.assert_array_equal(conv2d_weight(x, y, 3, 2, 1).data, conv2d_weight(x, y, (3, 3), (2, 2), (1, 1)).data)


def test_stride_one_without_padding_is_the_default(rng):
    x, w = rng.standard_normal((1, 4, 5, 2)), rng.standard_normal((2, 3, 2, 1))
    y = conv2d(x, w)
    assert y.shape == (1, 3, 3, 1)
    np.testing.assert_allclose(y.data, naive_conv2d(x, w, (1, 1), (0, 0)), **close)
    assert conv_transpose2d(y, w).shape == x.shape
    assert conv2d_weight(x, y, (2, 3)).shape == w.shape


@given(geometries())
def test_the_default_size_is_the_smallest_that_gives_the_output(g):
    smallest = tuple((o - 1) * s + k - 2 * p for o, s, k, p in zip(g.out_size, g.stride, g.kernel_size, g.padding))
    if min(smallest) < 1:
        with pytest.raises(ValueError, match="conv_transpose2d"):
            conv_transpose2d(g.y, g.w, g.stride, g.padding)
    else:
        x = conv_transpose2d(g.y, g.w, g.stride, g.padding)
        assert x.shape[1:3] == smallest
        assert conv2d(x, g.w, g.stride, g.padding).shape == g.y.shape


def test_output_size_chooses_among_the_sizes_a_stride_confuses(rng):
    y, w = rng.standard_normal((1, 2, 3, 1)), rng.standard_normal((3, 3, 1, 1))
    for H in (6, 7, 8):
        for W in (9, 10, 11):
            x = conv_transpose2d(y, w, 3, 0, (H, W))
            assert x.shape == (1, H, W, 1)
            assert conv2d(x, w, 3).shape == y.shape
    for wrong in ((5, 9), (9, 9), (6, 8), (6, 12), 5):
        with pytest.raises(ValueError, match=r"conv_transpose2d: output_size .*expected 6…8 × 9…11"):
            conv_transpose2d(y, w, 3, 0, wrong)


def test_pixels_no_window_reaches_get_nothing(rng):
    """A 2×2 kernel at stride 3 on 6×7 pixels: rows 2, 5 and columns 2, 5, 6 are never looked at."""
    x, w = mg.Tensor(rng.standard_normal((2, 6, 7, 2)), requires_grad=True), rng.standard_normal((2, 2, 2, 3))
    y = conv2d(x, w, 3)
    assert y.shape == (2, 2, 2, 3)
    unseen = np.ones((6, 7), bool)
    unseen[np.ix_([0, 1, 3, 4], [0, 1, 3, 4])] = False
    [g] = mg.grad(y.sum(), x)
    assert not g.data[:, unseen].any() and g.data[:, ~unseen].all()
    assert not conv_transpose2d(y, w, 3, 0, (6, 7)).data[:, unseen].any()
    changed = x.data.copy()
    changed[:, unseen] = 1e6
    np.testing.assert_array_equal(conv2d(changed, w, 3).data, y.data)


def test_padding_may_exceed_the_kernel():
    """Then the outermost outputs see zeros only."""
    y = conv2d(np.ones((1, 2, 2, 1)), np.ones((1, 1, 1, 1)), 1, 2)
    np.testing.assert_array_equal(y.data[0, :, :, 0], np.pad(np.ones((2, 2)), 2))


def test_a_kernel_as_large_as_the_image_is_a_matrix_product(rng):
    x, w = rng.standard_normal((3, 2, 4, 5)), rng.standard_normal((2, 4, 5, 6))
    np.testing.assert_allclose(conv2d(x, w).data.reshape(3, 6), x.reshape(3, 40) @ w.reshape(40, 6), **close)


# The shapes of a DCGAN

DCGAN = pytest.mark.parametrize("size, C, D", [((28, 28), 1, 64), ((14, 14), 64, 128), ((16, 8), 32, 64)])


def dcgan_arrays(rng, N, size, C, D):
    """float64 values that are exact in float32, of the size they have in a network."""
    x = rng.standard_normal((N, *size, C))
    w = rng.standard_normal((4, 4, C, D)) / sqrt(16 * C)
    y = rng.standard_normal((N, size[0] // 2, size[1] // 2, D))
    return [a.astype(np.float32).astype(np.float64) for a in (x, w, y)]


@DCGAN
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_at_dcgan_shapes_the_three_are_what_naive_loops_compute(rng, size, C, D, dtype, tolerance):
    x, w, y = dcgan_arrays(rng, 2, size, C, D)
    x_, w_, y_ = (a.astype(dtype) for a in (x, w, y))
    for value, expected in (
            (conv2d(x_, w_, 2, 1), naive_conv2d(x, w, (2, 2), (1, 1))),
            (conv_transpose2d(y_, w_, 2, 1), naive_conv_transpose2d(y, w, (2, 2), (1, 1), size)),
            (conv2d_weight(x_, y_, 4, 2, 1), naive_conv2d_weight(x, y, (4, 4), (2, 2), (1, 1)))):
        assert value.dtype == dtype
        np.testing.assert_allclose(value.data, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@DCGAN
@pytest.mark.parametrize("N", [1, 5, 32])
def test_at_dcgan_shapes_float32_stays_close_to_float64(rng, size, C, D, N):
    """At the batch sizes of training, gradients included."""
    x, w, y = dcgan_arrays(rng, N, size, C, D)

    def everything(dtype):
        x_, w_, y_ = (mg.Tensor(a.astype(dtype), requires_grad=True) for a in (x, w, y))
        down, up = conv2d(x_, w_, 2, 1), conv_transpose2d(y_, w_, 2, 1)
        return [down, up, *mg.grad(down, [x_, w_], y_), *mg.grad(up, [y_, w_], x_)]

    for single, double in zip(everything(np.float32), everything(np.float64)):
        assert single.dtype == np.float32 and single.shape == double.shape
        np.testing.assert_allclose(single.data, double.data, rtol=0, atol=1e-5 * np.abs(double.data).max())


@DCGAN
def test_at_dcgan_shapes_the_three_are_adjoint(rng, size, C, D):
    x, w, y = dcgan_arrays(rng, 2, size, C, D)
    mg.check_adjoint(lambda x: conv2d(x, w, 2, 1), lambda y: conv_transpose2d(y, w, 2, 1), x.shape, y.shape)
    mg.check_adjoint(lambda w: conv2d(x, w, 2, 1), lambda y: conv2d_weight(x, y, 4, 2, 1), w.shape, y.shape)
    mg.check_adjoint(lambda w: conv_transpose2d(y, w, 2, 1), lambda x: conv2d_weight(x, y, 4, 2, 1), w.shape, x.shape)


@settings(max_examples=3)
@given(st.integers(0, 2**16))
def test_derivatives_are_right_at_kernel_4_stride_2_padding_1(seed):
    rng = np.random.default_rng(seed)
    x, w, y = (rng.standard_normal(shape) for shape in ((2, 8, 6, 2), (4, 4, 2, 3), (2, 4, 3, 3)))
    mg.check_grads(lambda x, w: conv2d(x, w, 2, 1), [x, w], order=3, max_entries=2)
    mg.check_grads(lambda y, w: conv_transpose2d(y, w, 2, 1), [y, w], order=3, max_entries=2)
    mg.check_grads(lambda x, y: conv2d_weight(x, y, 4, 2, 1), [x, y], order=3, max_entries=2)


@pytest.mark.parametrize("N", [0, 1, 3, 45, 101])
@DCGAN
def test_a_batch_is_its_samples_one_by_one(rng, size, C, D, N):
    """However many there are, and whatever the others are; the kernel gradient is the sum over them."""
    x, w, y = dcgan_arrays(rng, N, size, C, D)
    down, up, kernel = conv2d(x, w, 2, 1), conv_transpose2d(y, w, 2, 1), conv2d_weight(x, y, 4, 2, 1)
    assert down.shape == y.shape and up.shape == x.shape and kernel.shape == w.shape
    total = np.zeros_like(w)
    for n in range(N):
        sample = slice(n, n + 1)
        np.testing.assert_allclose(down.data[sample], conv2d(x[sample], w, 2, 1).data, rtol=0, atol=1e-12)
        np.testing.assert_allclose(up.data[sample], conv_transpose2d(y[sample], w, 2, 1).data, rtol=0, atol=1e-11)
        total += conv2d_weight(x[sample], y[sample], 4, 2, 1).data
    np.testing.assert_allclose(kernel.data, total, rtol=0, atol=1e-10)


@DCGAN
def test_the_same_call_gives_the_same_bits(rng, size, C, D):
    """Whatever was computed in between: a resumed run depends on it."""
    x, w, y = (a.astype(np.float32) for a in dcgan_arrays(rng, 33, size, C, D))

    def everything():
        return [f.data for f in (conv2d(x, w, 2, 1), conv_transpose2d(y, w, 2, 1), conv2d_weight(x, y, 4, 2, 1))]

    first = everything()
    conv2d(np.full((3, 9, 11, 5), 1e9, np.float32), np.full((5, 3, 5, 2), 1e9, np.float32), 1, 2)
    for before, after in zip(first, everything()):
        np.testing.assert_array_equal(before, after)


# Errors name the shapes

def images(N=64, H=28, W=28, C=1):
    return np.zeros((N, H, W, C), np.float32)


@pytest.mark.parametrize("call, message", [
    (lambda: conv2d(images(C=3), images(4, 4, 1, 64)),
     "conv2d: x has 3 channels, w expects 1 (x (64, 28, 28, 3), w (4, 4, 1, 64))"),
    (lambda: conv_transpose2d(images(2, 7, 7, 3), images(4, 4, 1, 64)),
     "conv_transpose2d: y has 3 channels, w expects 64 (y (2, 7, 7, 3), w (4, 4, 1, 64))"),
    (lambda: conv2d(np.zeros((28, 28, 1)), np.zeros((4, 4, 1, 64))),
     "conv2d: x holds images (N, H, W, C), got shape (28, 28, 1)"),
    (lambda: conv2d(np.zeros((1, 28, 28, 1)), np.zeros((16, 64))),
     "conv2d: w is a kernel (KH, KW, in, out), got shape (16, 64)"),
    (lambda: conv_transpose2d(np.zeros((28, 28, 1)), np.zeros((4, 4, 1, 64))),
     "conv_transpose2d: y holds images (N, H, W, C), got shape (28, 28, 1)"),
    (lambda: conv_transpose2d(np.zeros((1, 28, 28, 1)), np.zeros((16, 1))),
     "conv_transpose2d: w is a kernel (KH, KW, in, out), got shape (16, 1)"),
    (lambda: conv2d_weight(np.zeros((28, 28, 1)), np.zeros((1, 7, 7, 1)), 4),
     "conv2d_weight: x holds images (N, H, W, C), got shape (28, 28, 1)"),
    (lambda: conv2d_weight(np.zeros((1, 28, 28, 1)), np.zeros((7, 7, 1)), 4),
     "conv2d_weight: y holds images (N, H, W, C), got shape (7, 7, 1)"),
    (lambda: conv2d(images(1, 5, 3), images(4, 4, 1, 1)),
     "conv2d: a (4, 4) kernel does not fit into (5, 3) images with padding (0, 0)"),
    (lambda: conv2d_weight(images(1, 3, 5), images(1, 1, 1), 6, padding=1),
     "conv2d_weight: a (6, 6) kernel does not fit into (3, 5) images with padding (1, 1)"),
    (lambda: conv2d_weight(images(2, 8, 8, 3), images(2, 3, 4, 5), 4, 2, 1),
     "conv2d_weight: x (2, 8, 8, 3) convolved with a (4, 4) kernel, stride (2, 2), padding (1, 1), gives "),
    (lambda: conv2d_weight(images(2, 8, 8, 3), images(2, 3, 4, 5), 4, 2, 1), "(2, 4, 4), but y is (2, 3, 4, 5)"),
    (lambda: conv2d_weight(images(2, 8, 8, 3), images(1, 4, 4, 5), 4, 2, 1), "(2, 4, 4), but y is (1, 4, 4, 5)"),
    (lambda: conv_transpose2d(images(1, 7, 7, 1), images(4, 4, 1, 1), 2, 1, (13, 14)),
     "conv_transpose2d: output_size (13, 14) is not reached from (7, 7) by a (4, 4) kernel with stride (2, 2), padding "
     "(1, 1): expected 14…15 × 14…15"),
])
def test_shapes_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)


@pytest.mark.parametrize("option, values, least", [
    ("stride", [0, -1, (1, 0), (1, 2, 3), (), 1.5, "2", None], 1), ("padding", [-1, (0, -1), (1,), (0.5, 1), 1.0], 0)])
def test_strides_and_paddings_are_whole_numbers_or_pairs(option, values, least):
    x, w, y = images(1, 4, 4), images(2, 2, 1, 1), images(1, 3, 3)
    for value in values:
        for f, arguments in ((conv2d, (x, w)), (conv_transpose2d, (y, w)), (conv2d_weight, (x, y, 2))):
            with pytest.raises(ValueError, match=rf"{f.__name__}: {option} is an integer ≥ {least} or a pair \(H, W\)"):
                f(*arguments, **{option: value})


def test_kernel_sizes_are_whole_numbers_or_pairs():
    for size in (0, (2, 0), (2, 2, 2)):
        with pytest.raises(ValueError, match="conv2d_weight: kernel_size is an integer ≥ 1"):
            conv2d_weight(images(1, 4, 4), images(1, 3, 3), size)
