"""Numbers at the edge: poles, overflow, empty axes, outliers, long sums, ties, logged scalars."""

import numpy as np
import pytest

import minigan as mg
from minigan import networks, nn, ops, optim, trainer
from minigan.normalize import batch_norm, layer_norm

pytestmark = pytest.mark.on_each_engine


@pytest.mark.parametrize("f", [ops.relu, lambda x: ops.maximum(x, 0.0), lambda x: ops.maximum(0.0, x),
                               lambda x: -ops.min(ops.concatenate(-x.reshape(1, 3), np.zeros((1, 3))), 0)])
def test_a_root_behind_a_relu_has_gradient_zero_and_not_nan(f):
    x = mg.Tensor(np.array([-1.0, -3.0, 4.0]), requires_grad=True)
    with np.errstate(divide="ignore"):  # 1/√0 is infinite; what the relu does not let through is 0 all the same
        [g] = mg.grad(ops.sqrt(f(x)).sum(), x)
    np.testing.assert_array_equal(g.data, [0.0, 0.0, 0.25])


@pytest.mark.parametrize("dtype, size", [(np.float32, 1e30), (np.float64, 1e200), (np.float32, 1e-30)])
def test_a_quotient_does_not_square_its_divisor(dtype, size):
    x, y = (mg.Tensor(np.array([value], dtype), requires_grad=True) for value in (size, 2 * size))
    for create_graph in (False, True):
        g_x, g_y = mg.grad(x / y, [x, y], create_graph=create_graph)
        np.testing.assert_allclose(g_x.data * size, [0.5], rtol=1e-6)
        np.testing.assert_allclose(g_y.data * size, [-0.25], rtol=1e-6)


@pytest.mark.parametrize("call, name", [
    (lambda x: x.mean(), "mean"), (lambda x: x.mean(0), "mean"), (lambda x: x.max(), "max"), (lambda x: x.min(), "min"),
    (lambda x: x.max(0), "max"), (lambda x: batch_norm(x, np.ones(3), np.ones(3)), "batch_norm"),
    (lambda x: layer_norm(x, np.ones(3), np.ones(3)), "layer_norm"), (lambda x: nn.BatchNorm(3)(x), "BatchNorm"),
    (lambda x: x.reshape(-1, 0), "reshape"), (lambda x: mg.ops.softmax(x, 0), "log_softmax"),
    (lambda x: mg.ops.log_softmax(x, 0), "log_softmax")])
def test_what_has_no_value_on_an_empty_array_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=rf"^{name}: .*\(0, 3\)"):
        call(mg.Tensor(np.ones((0, 3), np.float32)))


NUMBERS = {  # out of range: what makes it → what the error names
    "momentum": lambda p: nn.BatchNorm(2, momentum=-1), "momentum from 0 to 1": lambda p: nn.BatchNorm(2, momentum=1.5),
    "BatchNorm: eps": lambda p: nn.BatchNorm(2, eps=-1e-5), "LayerNorm: eps": lambda p: nn.LayerNorm(2, eps=np.nan),
    "LeakyReLU": lambda p: nn.LeakyReLU(np.nan), "SGD: learning rate": lambda p: optim.SGD([p], np.inf),
    "Adam: eps": lambda p: optim.Adam([p], eps=np.inf), "two betas": lambda p: optim.Adam([p], betas=0.5),
    "MovingAverage: decay": lambda p: optim.MovingAverage(nn.Dense(1, 1), nn.Dense(1, 1), 2.0),
    "gp_weight": lambda p: trainer.GANTrainer(*networks.mlp_pair(2, 2), gp_weight=np.nan),
    "clip": lambda p: trainer.GANTrainer(*networks.mlp_pair(2, 2), clip=np.inf)}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_out_of_range_are_refused_by_name(name):
    with pytest.raises(ValueError, match=name.replace(" from", ".* from")):
        NUMBERS[name](nn.Parameter(np.ones(2, np.float32)))


@pytest.mark.parametrize("number", [0, -1, 2.0, None, "3"])
@pytest.mark.parametrize("layer, what", [
    (lambda n: nn.Dense(n, 3), "Dense: in_features"), (lambda n: nn.Dense(3, n), "Dense: out_features"),
    (lambda n: nn.Conv2d(n, 3, 2), "Conv2d: in_channels"), (lambda n: nn.Conv2d(3, n, 2), "Conv2d: out_channels"),
    (lambda n: nn.Conv2d(3, 3, n), "Conv2d: kernel_size"),
    (lambda n: nn.ConvTranspose2d(n, 3, 2), "ConvTranspose2d: in_channels"),
    (lambda n: nn.ConvTranspose2d(3, n, 2), "ConvTranspose2d: out_channels"),
    (lambda n: nn.BatchNorm(n), "BatchNorm: channels"), (lambda n: nn.LayerNorm(n), "LayerNorm: channels"),
    (lambda n: nn.InstanceNorm(n), "InstanceNorm: channels"), (lambda n: nn.Embedding(n, 3), "Embedding: count"),
    (lambda n: nn.Embedding(3, n), "Embedding: features"),
    (lambda n: nn.ConditionalBatchNorm(n, 3), "ConditionalBatchNorm: channels"),
    (lambda n: nn.ConditionalBatchNorm(3, n), "ConditionalBatchNorm: classes")])
def test_a_layer_names_the_size_that_is_none(layer, what, number):
    with pytest.raises(ValueError, match=f"{what} is an integer ≥ 1.*, got {number!r}"):
        layer(number)
    layer(np.int64(2))


def test_a_gradient_that_is_an_array_gets_a_hint():
    p = nn.Parameter(np.ones(2, np.float32))
    p.grad = np.ones(2, np.float32)
    with pytest.raises(TypeError, match=r"a gradient is a Tensor, got ndarray: Tensor\(array\)"):
        optim.SGD([p], 0.1).step()


def test_a_network_that_is_frozen_as_a_whole_is_said_to_be():
    g, d = networks.mlp_pair(2, 2)
    d.requires_grad_(False)
    with pytest.raises(ValueError, match="all 8 weights of a network are frozen"):
        trainer.GANTrainer(g, d).step([np.ones((4, 2), np.float32)])


def test_what_has_a_value_on_an_empty_array_has_it():
    x = mg.Tensor(np.ones((0, 3)), requires_grad=True)
    assert ops.sum(x).item() == 0.0 and ops.norm(x).item() == 0.0
    for y in (ops.relu(x), ops.tanh(x), ops.sigmoid(x), ops.softplus(x), x @ np.ones((3, 2)), ops.concatenate(x, x)):
        assert y.size == 0 and mg.grad(y.sum(), x)[0].shape == (0, 3)
    assert ops.sum_to(x, (3,)).data.tolist() == [0.0] * 3


@pytest.mark.parametrize("f", [batch_norm, layer_norm])
@pytest.mark.parametrize("weight, bias", [((3,), (3,)), ((6,), (3,)), ((3,), (6,)), ((), ()), ((1,), (1,)),
                                          ((1, 6), (6,))])
def test_scales_of_another_number_of_channels_are_refused(f, weight, bias):
    with pytest.raises(ValueError, match=rf"{f.__name__}: .*\(4, 6\)"):
        f(np.ones((4, 6)), np.ones(weight), np.ones(bias))


@pytest.mark.parametrize("shape", [(64, 8), (16, 6, 6, 8), (2048, 8)])
def test_a_huge_outlier_leaves_batch_norm_in_float32_close_to_float64(shape, rng):
    x = rng.standard_normal(shape)
    x[0] += 1e6
    weight, bias = rng.uniform(0.5, 2.0, 8), rng.standard_normal(8)
    single = batch_norm(*[a.astype(np.float32) for a in (x, weight, bias)])
    double = batch_norm(x.astype(np.float32).astype(np.float64), weight, bias)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.data, double.data, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("f, scale", [
    (lambda x: ops.sum(x, 0), 2 ** 22), (lambda x: ops.sum_to(x, (x.shape[1],)), 2 ** 22),
    (lambda x: ops.mean(x, 0), 1), (lambda x: ops.sum_to(x, (1, x.shape[1])), 2 ** 22),
    (lambda x: ops.norm(x, 0), 2 ** 11)], ids=["sum", "sum_to", "mean", "sum_to with its axis", "norm"])
def test_long_sums_over_leading_axes_keep_their_digits(f, scale, columns):
    x = np.full((2 ** 22, columns), 0.1, np.float32)
    np.testing.assert_allclose(f(x).data.ravel(), np.full(columns, scale * float(np.float32(0.1))), rtol=1e-6)


def test_the_gradient_of_a_bias_keeps_its_digits():
    b = mg.Tensor(np.zeros(2, np.float32), requires_grad=True)
    [g] = mg.grad(np.zeros((2 ** 22, 2), np.float32) + b, b, np.full((2 ** 22, 2), 0.1, np.float32))
    np.testing.assert_allclose(g.data, np.full(2, 2 ** 22 * float(np.float32(0.1))), rtol=1e-6)


# The largest and the smallest

@pytest.mark.parametrize("axis, keepdims", [(None, False), (0, True), (1, False), (-1, True), ((0, 2), False)])
def test_the_largest_and_the_smallest(axis, keepdims, rng):
    x = rng.permutation(24.0 + np.arange(24.0)).reshape(2, 3, 4)
    for f, oracle in ((ops.max, np.max), (ops.min, np.min)):
        np.testing.assert_array_equal(f(x, axis, keepdims).data, oracle(x, axis=axis, keepdims=keepdims))
        mg.check_grads(lambda x: f(x, axis, keepdims), [x], order=2)
        mg.check_grads(lambda x: f(x * x, axis, keepdims), [x / 10], order=2)


def test_equals_share_the_gradient_of_the_largest():
    x = mg.Tensor(np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), requires_grad=True)
    [g] = mg.grad(x.max(1).sum(), x)
    np.testing.assert_allclose(g.data, [[0.0, 0.5, 0.5], [1 / 3] * 3], rtol=1e-15)
    [g] = mg.grad(x.min(1).sum(), x)
    np.testing.assert_allclose(g.data, [[1.0, 0.0, 0.0], [1 / 3] * 3], rtol=1e-15)


# What is logged

def test_a_scalar_can_be_formatted_and_read_as_a_float():
    loss = mg.Tensor(np.array(1.23456), requires_grad=True) * 2.0
    assert float(loss) == 2.46912 and type(float(loss)) is float
    assert f"{loss:.3f}" == "2.469" and f"{loss:8.2e}" == "2.47e+00" and f"{loss}" == repr(loss)
    for read in (float, "{:.3f}".format):
        with pytest.raises(ValueError):
            read(mg.Tensor([1.0, 2.0]))


def test_t_is_the_transpose():
    x = mg.Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    np.testing.assert_array_equal(x.T.data, x.data.T)
    np.testing.assert_array_equal(mg.grad((x.T @ np.array([[1.0], [2.0]])).sum(), x)[0].data, [[1.0] * 3, [2.0] * 3])


# Clipping a gradient's norm

def clipped(most):
    rng = np.random.default_rng(0)
    params = [nn.Parameter(np.zeros(shape, np.float32)) for shape in ((3, 2), (4,), (1,))]
    for p in params[:2]:
        p.grad = mg.Tensor(rng.standard_normal(p.shape).astype(np.float32))
    before = [p.grad.data.copy() for p in params[:2]]
    return params, before, optim.clip_gradient_norm(params, most)


@pytest.mark.parametrize("most", [0.5, 1e-3, 100.0])
def test_gradients_are_scaled_to_a_joint_norm(most):
    params, before, norm = clipped(most)
    expected = np.sqrt(sum((g.astype(float) ** 2).sum() for g in before))
    assert norm.shape == () and float(norm) == pytest.approx(expected, rel=1e-6)
    for p, g in zip(params, before):
        assert p.grad.dtype == np.float32
        np.testing.assert_allclose(p.grad.data, g * min(1.0, most / (expected + 1e-6)), rtol=1e-6)
    assert params[2].grad is None


def test_where_there_is_no_gradient_there_is_nothing_to_clip():
    assert float(optim.clip_gradient_norm([nn.Parameter(np.ones(2))], 1.0)) == 0.0


@pytest.mark.parametrize("most", [-1.0, float("nan")])
def test_a_norm_below_zero_is_refused(most):
    with pytest.raises(ValueError, match="clip_gradient_norm: expected a number ≥ 0"):
        clipped(most)


@pytest.mark.parametrize("most", [0.5, 100.0])
def test_clipping_a_norm_is_pytorchs(most):
    torch = pytest.importorskip("torch")
    params, before, norm = clipped(most)
    theirs = [torch.nn.Parameter(torch.zeros(g.shape)) for g in before]
    for p, g in zip(theirs, before):
        p.grad = torch.tensor(g)
    assert float(torch.nn.utils.clip_grad_norm_(theirs, most)) == pytest.approx(float(norm), rel=1e-6)
    for p, q in zip(params, theirs):
        np.testing.assert_allclose(p.grad.data, q.grad.numpy(), rtol=1e-5)


# Pictures

def naive_upsample(x, factor):
    N, H, W, C = x.shape
    y = np.empty((N, factor * H, factor * W, C))
    for a in range(factor * H):
        for b in range(factor * W):
            y[:, a, b] = x[:, a // factor, b // factor]
    return y


def naive_average_pool(x, factor):
    N, H, W, C = x.shape
    y = np.zeros((N, H // factor, W // factor, C))
    for a in range(H):
        for b in range(W):
            y[:, a // factor, b // factor] += x[:, a, b] / factor ** 2
    return y


@pytest.mark.parametrize("shape", [(2, 6, 12, 3), (1, 6, 6, 1), (3, 6, 18, 2)])
@pytest.mark.parametrize("factor", [1, 2, 3, 6])
@pytest.mark.parametrize("f, naive", [(ops.upsample, naive_upsample), (ops.average_pool, naive_average_pool)])
def test_pictures_are_enlarged_and_reduced_as_by_naive_loops(f, naive, factor, shape, rng):
    x = rng.standard_normal(shape)
    np.testing.assert_allclose(f(x, factor).data, naive(x, factor), rtol=1e-13)
    single = f(x.astype(np.float32), factor)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.data, naive(x, factor), rtol=0, atol=1e-6)
    mg.check_grads(lambda x: f(x, factor), [x], order=2, max_entries=8)


def test_upsampling_and_pooling_are_adjoint():
    mg.check_adjoint(lambda x: ops.upsample(x, 3), lambda y: ops.average_pool(y, 3) * 9.0, (2, 2, 4, 3))


def test_pictures_that_do_not_fit_are_refused():
    for f in (ops.upsample, ops.average_pool):
        with pytest.raises(ValueError, match=rf"{f.__name__}: .*\(N, H, W, C\), got shape \(4, 4\)"):
            f(np.ones((4, 4)), 2)
    with pytest.raises(ValueError, match="average_pool: sides of 4 × 5 are not multiples of 2"):
        ops.average_pool(np.ones((1, 4, 5, 1)), 2)


@pytest.mark.parametrize("size", [(7, 7), (8, 7), (8, 8), None])
def test_a_transposed_convolution_layer_chooses_among_sizes(size, rng):
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2, padding=1, output_size=size)
    y = layer(rng.standard_normal((1, 4, 4, 2)).astype(np.float32))
    assert y.shape == (1, *(size or (7, 7)), 3)
    assert nn.Conv2d(3, 2, 3, stride=2, padding=1)(y).shape == (1, 4, 4, 2)
