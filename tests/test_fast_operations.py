"""Each fast function is the plain operation: value, first and second derivatives, over shapes that
are drawn, in every layout of memory and for every subset of arguments; and it was really used."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from fast_helpers import (LAYOUTS, agree, derivatives, drawn, kernels_called, plain_engine,
                          some_threads)
from minigan import conv, normalize, ops
from minigan.autograd import sum_to
from minigan.fast import native, norms, products
from minigan.tensor import FAST

pytestmark = pytest.mark.skipif(native.functions(np.dtype("f")) is None,
                                reason=f"no compiled kernels: {native.why_not}")

few, size = st.integers(1, 3), st.integers(1, 5)
channels = st.sampled_from([1, 2, 3, 31, 32, 33, 70])
slopes = st.sampled_from([0.0, 0.2, 1.0, 1.7])


@st.composite
def any_shape(draw):
    return tuple(draw(st.lists(size, max_size=3))) + (draw(channels),)


# name: draw → (function, shapes of its arguments, the kernels that the value needs)

def _unary(name, *kernels):
    return lambda draw: (getattr(ops, name), [draw(any_shape())], set(kernels))


def _leaky(draw):
    slope = draw(st.sampled_from([0.0, 0.2, 1.0, 1.7, -0.5]))
    return lambda x: ops.leaky_relu(x, slope), [draw(any_shape())], {"leaky_relu"}


def _sum_to(draw):
    shape = (draw(size), *draw(any_shape()))
    return lambda x: sum_to(x, shape[-1:]), [shape], {"row_sum"} if shape[-1] > 1 else set()


def _matmul(draw):
    n, k, m = draw(size), draw(st.sampled_from([1, 2, 4, 8, 9])), draw(channels)
    stack = draw(st.sampled_from([(), (3,), (2, 3)]))
    fast = not stack or min(k, m) >= products.NARROW
    return ops.matmul, [(*stack, n, k), (*stack, k, m)], {"products"} if fast else set()


def _softmax(draw):
    shape = draw(any_shape())
    axis = draw(st.sampled_from([-1, len(shape) - 1]))
    return lambda x: ops.softmax(x, axis), [shape], {"less_largest", "softmax"}


def _convolution(draw):
    stride, kernel, size = (draw(st.tuples(few, few)) for _ in range(3))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    image = [(m - 1) * s + k - 2 * p + draw(st.integers(0, s - 1))
             for m, s, k, p in zip(size, stride, kernel, padding)]
    image = [max(n, k - 2 * p, 1) for n, k, p in zip(image, kernel, padding)]
    N, C, O = draw(few), draw(st.sampled_from([1, 2, 5])), draw(st.sampled_from([1, 3, 4]))
    size = conv.convolved_size(image, kernel, stride, padding)
    own = kernel == stride == (1, 1) and padding == (0, 0)  # pixels are their own windows
    return stride, padding, tuple(image), (N, *image, C), (*kernel, C, O), (N, *size, O), own


def _conv2d(draw):
    stride, padding, _, x, w, _, own = _convolution(draw)
    return lambda x, w: conv.conv2d(x, w, stride, padding), [x, w], set() if own else {"gather"}


def _conv_transpose2d(draw):
    stride, padding, image, _, w, y, own = _convolution(draw)
    return (lambda y, w: conv.conv_transpose2d(y, w, stride, padding, image), [y, w],
            set() if own else {"scatter"})


def _conv2d_weight(draw):
    stride, padding, _, x, w, y, own = _convolution(draw)
    return (lambda x, y: conv.conv2d_weight(x, y, w[:2], stride, padding), [x, y],
            set() if own else {"gather"})


def _normalisation(function, kernels, *options):
    def case(draw):
        shape, C = (draw(st.integers(2, 5)), *draw(st.lists(size, max_size=2))), draw(channels)
        more = [draw(option) for option in options]
        return (lambda x, w, b: function(x, w, b, 1e-2, *more), [(*shape, C), (C,), (C,)], kernels)
    return case


def _layer_norm_gradient(draw):
    shape, C = (draw(size), draw(st.integers(2, 5))), draw(channels)
    return (lambda g, x, w: norms.layer_norm_gradient(g, x, w, 1e-2),
            [(*shape, C), (*shape, C), (C,)], {"sample_statistics", "layer_sums", "layer_gradient"})


def _spectral_norm(draw):
    shape, C, positive = (draw(size), *draw(st.lists(few, max_size=2))), draw(channels), lambda x: 0.5 + x * x
    return (lambda w, v, u: normalize.spectral_norm(positive(w), positive(v), positive(u)),
            [(*shape, C), (int(np.prod(shape)),), (C,)], {"spectral"})


def _dense_leaky(draw):
    n, k, m, slope = draw(size), draw(st.integers(1, 4)), draw(channels), draw(slopes)
    return (lambda x, w, b: products.dense_leaky(x, w, b, slope), [(n, k), (k, m), (m,)],
            {"products"})


def _add_leaky(draw):
    shape, slope = (draw(size), *draw(any_shape())), draw(slopes)
    return lambda x, b: products.add_leaky(x, b, slope), [shape, shape[-1:]], {"add_row"}


def _pictures(f, kernel, grow):
    def case(draw):
        factor, (N, H, W), C = draw(few), draw(st.tuples(few, few, few)), draw(channels)
        h, w = (H, W) if grow else (H * factor, W * factor)
        return lambda x: f(x, factor), [(N, h, w, C)], {kernel}
    return case


BATCH = {"moments", "batch_statistics", "batch_norm"}
CASES = {
    "leaky_relu": _leaky, "relu": _unary("relu", "leaky_relu"), "tanh": _unary("tanh"),
    "sigmoid": _unary("sigmoid", "sigmoid"), "softplus": _unary("softplus", "softplus"),
    "sum_to": _sum_to, "matmul": _matmul, "softmax": _softmax, "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d, "conv2d_weight": _conv2d_weight,
    "batch_norm": _normalisation(normalize.batch_norm, BATCH),
    "batch_norm_leaky": _normalisation(norms.batch_norm_leaky, BATCH, slopes),
    "layer_norm": _normalisation(normalize.layer_norm, {"sample_statistics", "layer_norm"}),
    "layer_norm_gradient": _layer_norm_gradient, "spectral_norm": _spectral_norm, "dense_leaky": _dense_leaky,
    "add_leaky": _add_leaky, "upsample": _pictures(ops.upsample, "upsample", True),
    "average_pool": _pictures(ops.average_pool, "pool", False)}
ON_A_GPU_ONLY = {"sum", "mean"}


def test_every_fast_operation_has_a_case():
    functions = {name for name in FAST if isinstance(name, str)}
    assert CASES.keys() | ON_A_GPU_ONLY | {"fused", "watched", "average"} == functions


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_it_is_the_plain_operation(name, data):
    f, shapes, kernels = CASES[name](data.draw)
    dtype = data.draw(st.sampled_from([np.float64, np.float64, np.float32]))
    layout = st.sampled_from(LAYOUTS)
    arrays = [drawn(shape, i, dtype, data.draw(layout)) for i, shape in enumerate(shapes)]
    subsets = list(itertools.product([False, True], repeat=len(arrays)))[1:]
    with plain_engine():
        y = f(*map(mg.Tensor, arrays))
    cotangent = drawn(y.shape, 50, dtype, data.draw(layout))
    for needed in subsets:
        with kernels_called() as called:
            fast = derivatives(f, arrays, cotangent, needed, all(needed))
        with plain_engine():
            plain = derivatives(f, arrays, cotangent, needed, all(needed))
        assert kernels <= set(called), called
        agree(fast, plain, 1e-10 if dtype is np.float64 else 3e-4)


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_in_parts_it_is_the_same(name, data):
    """Cut into as many parts as the first axis allows, at most three."""
    f, shapes, _ = CASES[name](data.draw)
    arrays = [drawn(shape, i) for i, shape in enumerate(shapes)]
    with plain_engine():
        cotangent = drawn(f(*map(mg.Tensor, arrays)).shape, 50)
        plain = derivatives(f, arrays, cotangent, [True] * len(arrays))
    with some_threads():
        fast = derivatives(f, arrays, cotangent, [True] * len(arrays))
        again = derivatives(f, arrays, cotangent, [True] * len(arrays))
    agree(fast, plain, 1e-10)
    for a, b in zip(fast, again):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", CASES)
def test_first_derivatives_come_in_one_call(name):
    """Where a function offers `first`, a derivative that need not be differentiable uses it."""
    class Draw:
        def __call__(self, strategy):
            return _smallest(strategy)
    f, shapes, _ = CASES[name](Draw())
    leaves = [mg.Tensor(drawn(shape, i), requires_grad=True) for i, shape in enumerate(shapes)]
    node = f(*leaves).node
    assert node.name == name if name != "relu" else node.name in ("relu", "leaky_relu")
    without = {"sigmoid", "sum_to", "conv2d_weight"}
    assert (node.first is None) == (name in without)


def _smallest(strategy):
    from hypothesis import find, settings
    return find(strategy, lambda value: True, settings=settings(database=None))


# What has no kernels

@pytest.mark.parametrize("dtype", [np.float16, np.longdouble])
@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_other_dtypes_are_computed_plainly(name, dtype, data):
    f, shapes, _ = CASES[name](data.draw)
    leaves = [mg.Tensor(drawn(shape, i, dtype), requires_grad=True)
              for i, shape in enumerate(shapes)]
    with kernels_called() as called:
        y = f(*leaves)
        gradients = mg.grad(y, leaves, drawn(y.shape, 50, dtype))
    assert called == [] and all(g.dtype == dtype for g in [y, *gradients])


@pytest.mark.parametrize("f, shapes", [
    (ops.relu, [(0, 3)]), (ops.leaky_relu, [(0,)]), (ops.tanh, [(2, 0)]), (ops.sigmoid, [(0, 3)]),
    (ops.softplus, [(0, 3)]), (lambda x: sum_to(x, (3,)), [(0, 3)]),
    (lambda x: sum_to(x, (0,)), [(3, 0)]), (ops.matmul, [(0, 3), (3, 2)]),
    (ops.matmul, [(2, 0), (0, 3)]), (ops.matmul, [(20, 0), (0, 30)]), (ops.matmul, [(0, 2, 3), (0, 3, 4)]),
    (ops.matmul, [(2, 3, 0), (2, 0, 4)]), (conv.conv2d, [(0, 4, 4, 2), (3, 3, 2, 3)]),
    (conv.conv_transpose2d, [(0, 4, 4, 3), (3, 3, 2, 3)]),
    (lambda x, y: conv.conv2d_weight(x, y, 3), [(0, 4, 4, 2), (0, 2, 2, 3)]),
    (products.dense_leaky, [(0, 3), (3, 2), (2,)]), (products.add_leaky, [(0, 3), (3,)]),
    (ops.upsample, [(0, 2, 2, 3)])])
def test_nothing_in_nothing_out(f, shapes):
    arrays, needed = [np.ones(shape) for shape in shapes], [True] * len(shapes)
    with plain_engine():
        cotangent = np.ones(f(*map(mg.Tensor, arrays)).shape)
        plain = derivatives(f, arrays, cotangent, needed)
    agree(derivatives(f, arrays, cotangent, needed), plain, 0.0)


@pytest.mark.parametrize("f, shapes", [
    (ops.matmul, [(2, 3), (2, 3)]), (ops.matmul, [(3,), (3, 2)]), (ops.matmul, [(2, 2, 3), (2, 2, 3)]),
    (ops.upsample, [(2, 3)]),
    (ops.average_pool, [(1, 3, 4, 1)]), (ops.average_pool, [(0, 2, 2, 3)]),
    (lambda x: sum_to(x, (2,)), [(4, 3)]),
    (normalize.batch_norm, [(4, 3), (2,), (3,)]), (normalize.batch_norm, [(0, 3), (3,), (3,)]),
    (normalize.layer_norm, [(3,), (3,), (3,)]), (normalize.spectral_norm, [(4, 3), (3,), (3,)]),
    (normalize.spectral_norm, [(4, 3), (4,), (4,)]), (normalize.spectral_norm, [(0, 3), (0,), (3,)]),
    (conv.conv2d, [(1, 4, 4, 2), (3, 3, 3, 2)]), (conv.conv2d, [(1, 2, 2, 2), (3, 3, 2, 2)]),
    (lambda x, y: conv.conv2d_weight(x, y, 3), [(1, 4, 4, 2), (1, 3, 3, 2)])])
def test_what_does_not_fit_is_refused_in_the_same_words(f, shapes):
    arrays = [np.ones(shape) for shape in shapes]
    with pytest.raises(ValueError) as fast:
        f(*map(mg.Tensor, arrays))
    with plain_engine(), pytest.raises(ValueError) as plain:
        f(*map(mg.Tensor, arrays))
    assert str(fast.value) == str(plain.value)


# Numbers at the edge

EDGE = [0.0, -0.0, 1e-30, -1e-30, 1.0, -1.0, 88.0, -88.0, 1e4, -1e4, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("f", [ops.relu, ops.leaky_relu, ops.tanh, ops.sigmoid, ops.softplus])
def test_infinite_numbers_and_nan_are_treated_alike(f, dtype):
    x, g = np.array(EDGE, dtype), np.full(len(EDGE), 3.0, dtype)

    def both():
        leaf = mg.Tensor(x, requires_grad=True)
        y = f(leaf)
        return y.data, mg.grad(y, leaf, g)[0].data
    with np.errstate(all="ignore"):
        fast = both()
        with plain_engine():
            plain = both()
    for a, e in zip(fast, plain):
        np.testing.assert_allclose(a, e, rtol=1e-5 if dtype is np.float32 else 1e-13)


@pytest.mark.parametrize("f", [normalize.batch_norm, normalize.layer_norm])
def test_a_far_mean_does_not_eat_the_digits(f):
    """In float32, where a square of 1000 has no place for the square of 1 beside it."""
    x = 1000.0 + drawn((64, 7, 4), 0)
    with plain_engine():
        expected = f(x, np.ones(4), np.zeros(4)).data
    found = f(*[a.astype(np.float32) for a in (x, np.ones(4), np.zeros(4))]).data
    assert abs(found - expected).max() < 1e-3


def test_another_thread_uses_the_fast_engine_too():
    import threading
    found = []
    thread = threading.Thread(target=lambda: found.append(ops.relu(
        mg.Tensor(np.ones(3), requires_grad=True)).node.first))
    thread.start()
    thread.join()
    assert found[0] is not None


def test_off_and_on():
    assert mg.fast.is_on()
    mg.fast.off()
    try:
        assert not mg.fast.is_on() and not FAST
        with kernels_called() as called:
            ops.relu(np.ones(3))
        assert called == []
    finally:
        mg.fast.on()
    with kernels_called() as called:
        ops.relu(np.ones(3))
    assert called == ["leaky_relu"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 7, 33, 70])
def test_a_softmax_overflows_nowhere_wherever_the_largest_number_is(n, dtype):
    for sign in (1, -1):
        x = mg.Tensor(sign * 1000 * (2 * np.eye(n, dtype=dtype) - 1))
        expected = np.eye(n) if sign == 1 or n == 1 else (1 - np.eye(n)) / (n - 1)
        np.testing.assert_allclose(ops.softmax(x).numpy(), expected, rtol=1e-6)
