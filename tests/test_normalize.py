"""Batch norm and layer norm: the formula, the running statistics, and derivatives to the third order."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minigan as mg
from minigan import nn
from minigan.normalize import batch_norm, layer_norm

pytestmark = pytest.mark.on_each_engine


def naive_batch_norm(x, weight, bias, eps):
    """Channel by channel, over everything else."""
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        values = x[..., c]
        y[..., c] = (values - np.mean(values)) / np.sqrt(np.var(values) + eps) * weight[c] + bias[c]
    return y


def naive_layer_norm(x, weight, bias, eps):
    """Sample by sample; weight and bias per channel."""
    y = np.empty_like(x)
    for n, sample in enumerate(x):
        y[n] = (sample - np.mean(sample)) / np.sqrt(np.var(sample) + eps) * weight + bias
    return y


BOTH = pytest.mark.parametrize("f, naive", [(batch_norm, naive_batch_norm), (layer_norm, naive_layer_norm)])
shapes = st.lists(st.integers(2, 4), min_size=2, max_size=4).map(tuple)
generators = st.integers(0, 2**16).map(np.random.default_rng)


def arrays(rng, shape):
    """x off centre and unevenly spread over the channels; weight and bias away from 1 and 0."""
    C = shape[-1]
    x = 3.0 + rng.standard_normal(shape) * np.arange(1.0, C + 1)
    return x, rng.uniform(0.5, 2.0, C), rng.standard_normal(C)


@BOTH
@given(shape=shapes, rng=generators, eps=st.sampled_from([1e-5, 0.1]))
def test_values_are_those_of_the_formula(f, naive, shape, rng, eps):
    x, weight, bias = arrays(rng, shape)
    np.testing.assert_allclose(f(x, weight, bias, eps).data, naive(x, weight, bias, eps), rtol=1e-11, atol=1e-11)


@BOTH
@settings(max_examples=6)
@given(shape=st.sampled_from([(4, 3), (3, 2, 2), (2, 2, 3, 2)]), rng=generators, eps=st.sampled_from([1e-5, 0.1]))
def test_derivatives_are_right_to_the_third_order(f, naive, shape, rng, eps):
    mg.check_grads(lambda x, weight, bias: f(x, weight, bias, eps), arrays(rng, shape), order=3, max_entries=4)


@BOTH
@given(shape=shapes, rng=generators)
def test_the_fast_first_derivative_is_that_of_the_definition(f, naive, shape, rng):
    leaves = [mg.Tensor(a, requires_grad=True) for a in arrays(rng, shape)]
    y = f(*leaves)
    for _ in range(3):  # one graph, new cotangents: nothing remembered of the last one may show
        c = rng.standard_normal(shape)
        for fast, composed in zip(mg.grad(y, leaves, c), mg.grad(y, leaves, c, create_graph=True)):
            np.testing.assert_allclose(fast.data, composed.data, rtol=1e-8, atol=1e-9)


@BOTH
def test_each_gradient_can_be_asked_for_alone(f, naive, rng):
    leaves = [mg.Tensor(a, requires_grad=True) for a in arrays(rng, (5, 3, 2))]
    c = rng.standard_normal((5, 3, 2))
    together = mg.grad(f(*leaves), leaves, c)
    for leaf, expected in zip(leaves, together):
        np.testing.assert_allclose(mg.grad(f(*leaves), leaf, c)[0].data, expected.data, rtol=1e-12)


@BOTH
def test_float32_stays_close_to_float64(f, naive, rng):
    """At the size of a DCGAN's batch; a mean far from 0 does not eat the digits of the variance."""
    x, weight, bias = arrays(rng, (16, 14, 14, 32))
    x += 100.0
    single = f(*[a.astype(np.float32) for a in (x, weight, bias)])
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.data, naive(x, weight, bias, 1e-5), rtol=0, atol=2e-3)


@BOTH
@pytest.mark.parametrize("shape", [(16, 14, 14, 32), (67, 5, 3, 64), (300, 200)])
def test_gradients_are_right_for_large_batches_too(f, naive, shape, rng):
    """In float64 those of the definition, in float32 close to them."""
    inputs, c = arrays(rng, shape), rng.standard_normal(shape)

    def gradients(dtype, create_graph):
        leaves = [mg.Tensor(a.astype(dtype), requires_grad=True) for a in inputs]
        return [g.data for g in mg.grad(f(*leaves), leaves, c.astype(dtype), create_graph=create_graph)]

    expected = gradients(np.float64, True)
    for double, single, g in zip(gradients(np.float64, False), gradients(np.float32, False), expected):
        assert double.dtype == np.float64 and single.dtype == np.float32
        np.testing.assert_allclose(double, g, rtol=0, atol=1e-11 * np.abs(g).max())
        np.testing.assert_allclose(single, g, rtol=0, atol=1e-5 * np.abs(g).max())


# BatchNorm

def test_batch_norm_starts_as_plain_normalisation(rng):
    x = rng.standard_normal((8, 3, 3, 2)).astype(np.float32) * 3.0 + 1.0
    y = nn.BatchNorm(2)(x).data
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0.0, atol=1e-6)
    np.testing.assert_allclose(y.var((0, 1, 2)), 1.0, rtol=1e-4)


def test_running_statistics_are_averaged_as_in_pytorch(rng):
    """running ← 0.9 · running + 0.1 · batch; the variance unbiased there, biased where it normalises."""
    layer = nn.BatchNorm(3).astype(np.float64)
    mean, var = np.zeros(3), np.ones(3)
    for n in (2, 5, 9):
        x, _, _ = arrays(rng, (n, 2, 3))
        y = layer(mg.Tensor(x))
        np.testing.assert_allclose(y.data, naive_batch_norm(x, np.ones(3), np.zeros(3), 1e-5), rtol=1e-11, atol=1e-11)
        values = x.reshape(-1, 3)
        mean = 0.9 * mean + 0.1 * values.mean(axis=0)
        var = 0.9 * var + 0.1 * values.var(axis=0, ddof=1)
        np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-12)
        np.testing.assert_allclose(layer.running_var, var, rtol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.3, 1.0])
def test_the_momentum_is_the_weight_of_the_new_batch(rng, momentum):
    layer = nn.BatchNorm(2, momentum=momentum).astype(np.float64)
    x = rng.standard_normal((4, 2))
    layer(mg.Tensor(x))
    np.testing.assert_allclose(layer.running_mean, momentum * x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(layer.running_var, 1.0 - momentum + momentum * x.var(0, ddof=1), rtol=1e-12)


def trained_batch_norm(rng, eps=1e-5):
    layer = nn.BatchNorm(2, momentum=0.5, eps=eps).astype(np.float64)
    layer.weight.data, layer.bias.data = np.array([2.0, 0.5]), np.array([1.0, -1.0])
    layer(mg.Tensor(arrays(rng, (6, 3, 2))[0]))
    return layer


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_in_evaluation_the_running_statistics_normalise(rng, eps):
    layer = trained_batch_norm(rng, eps).eval()
    x = rng.standard_normal((4, 3, 2))
    expected = ((x - layer.running_mean) / np.sqrt(layer.running_var + eps) * [2.0, 0.5] + [1.0, -1.0])
    np.testing.assert_allclose(layer(mg.Tensor(x)).data, expected, rtol=1e-12)
    np.testing.assert_allclose(layer(mg.Tensor(x[:1])).data, expected[:1], rtol=1e-12)  # no sample sees another
    assert layer(mg.Tensor(x[0, :1])).shape == (1, 2)  # one value per channel will do


def test_evaluation_moves_no_statistics(rng):
    layer = trained_batch_norm(rng).eval()
    mean, var = layer.running_mean.copy(), layer.running_var.copy()
    layer(mg.Tensor(rng.standard_normal((4, 2))))
    np.testing.assert_array_equal(layer.running_mean, mean)
    np.testing.assert_array_equal(layer.running_var, var)


def test_differentiating_moves_no_statistics(rng):
    """The definition, differentiated for second derivatives, computes everything again but observes nothing."""
    layer = trained_batch_norm(rng)
    x = mg.Tensor(rng.standard_normal((4, 2)), requires_grad=True)
    y = layer(x)
    mean, var = layer.running_mean.copy(), layer.running_var.copy()
    [g] = mg.grad((y * y * y).sum(), x, create_graph=True)
    mg.grad((g * g).sum(), [x, layer.weight])
    np.testing.assert_array_equal(layer.running_mean, mean)
    np.testing.assert_array_equal(layer.running_var, var)


def test_statistics_move_without_a_graph_too(rng):
    layer = nn.BatchNorm(2)
    with mg.no_grad():
        layer(rng.standard_normal((4, 2)).astype(np.float32) + 5.0)
    assert (layer.running_mean > 0.1).all()


def test_in_evaluation_derivatives_are_right(rng):
    layer = trained_batch_norm(rng).eval()

    def f(x, weight, bias):
        layer.weight, layer.bias = weight, bias
        return layer(x)

    mg.check_grads(f, [rng.standard_normal((3, 2)), np.array([2.0, 0.5]), np.array([1.0, -1.0])], order=2)


@pytest.mark.parametrize("shape", [(1, 2), (1, 1, 2), (1, 1, 1, 2)])
def test_one_value_per_channel_has_no_variance(shape):
    layer = nn.BatchNorm(2)
    with pytest.raises(ValueError, match="BatchNorm: .*one value per channel.*larger batch.*eval"):
        layer(np.zeros(shape, np.float32))
    assert not layer.running_mean.any() and (layer.running_var == 1).all()
    layer(np.zeros((1, 2, 1, 2), np.float32))  # two values per channel are enough, in however few samples


def test_statistics_keep_float32(rng):
    for momentum in (0.1, np.float64(0.1)):
        layer = nn.BatchNorm(2, momentum=momentum)
        x = mg.Tensor(rng.standard_normal((4, 2)).astype(np.float32), requires_grad=True)
        assert layer(x).dtype == np.float32
        assert layer.running_mean.dtype == layer.running_var.dtype == np.float32
        assert layer.eval()(x).dtype == np.float32


@pytest.mark.parametrize("layer", [nn.BatchNorm, nn.LayerNorm])
def test_a_float64_eps_does_not_leak(layer, rng):
    x = mg.Tensor(rng.standard_normal((4, 2)).astype(np.float32), requires_grad=True)
    y = layer(2, eps=np.float64(1e-5))(x)
    assert y.dtype == mg.grad(y.sum(), x)[0].dtype == np.float32


# LayerNorm

def test_layer_norm_starts_as_plain_normalisation_of_each_sample(rng):
    x = rng.standard_normal((3, 5, 4, 2)).astype(np.float32) * np.array([1.0, 5.0, 0.1], np.float32).reshape(3, 1, 1, 1)
    y = nn.LayerNorm(2)(x).data.reshape(3, -1)
    np.testing.assert_allclose(y.mean(1), 0.0, atol=1e-6)
    np.testing.assert_allclose(y.var(1), 1.0, rtol=2e-3)


def test_layer_norm_is_the_same_in_training_and_evaluation_and_keeps_nothing(rng):
    layer = nn.LayerNorm(2)
    x = rng.standard_normal((3, 4, 2)).astype(np.float32)
    np.testing.assert_array_equal(layer(x).data, layer.eval()(x).data)
    assert layer.buffers() == []


def test_in_layer_norm_no_sample_sees_another(rng):
    layer = nn.LayerNorm(2).astype(np.float64)
    x = rng.standard_normal((3, 4, 2))
    np.testing.assert_allclose(layer(mg.Tensor(x)).data[1:2], layer(mg.Tensor(x[1:2])).data, rtol=1e-12)
    leaf = mg.Tensor(x, requires_grad=True)
    [g] = mg.grad((layer(leaf) * layer(leaf) * layer(leaf))[1].sum(), leaf)
    assert g.data[1].any() and not g.data[[0, 2]].any()


def test_in_batch_norm_every_sample_sees_the_others(rng):
    """Which is why a gradient penalty per sample means nothing there."""
    leaf = mg.Tensor(rng.standard_normal((3, 4, 2)), requires_grad=True)
    y = nn.BatchNorm(2).astype(np.float64)(leaf)
    assert mg.grad((y * y * y)[1].sum(), leaf)[0].data[[0, 2]].any()


@pytest.mark.parametrize("layer", [nn.BatchNorm, nn.LayerNorm])
def test_other_numbers_of_channels_are_refused(layer):
    for shape in ((4, 2), (4, 3, 3, 5), (3,)):
        with pytest.raises(ValueError, match=r"(BatchNorm|layer_norm): expected x \(N, …, C\), weight "
                           rf"\(C,\) and bias \(C,\), got x {re.escape(str(shape))}, weight \(3,\)"):
            layer(3)(np.zeros(shape, np.float32))


@pytest.mark.parametrize("layer", [nn.BatchNorm, nn.LayerNorm])
def test_a_constant_channel_is_divided_by_the_eps_only(layer):
    y = layer(2)(mg.Tensor(np.full((4, 3, 2), 7.0, np.float32)))
    assert not y.data.any()
