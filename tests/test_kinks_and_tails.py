"""Subgradients at kinks are PyTorch's, and numbers stay right in the far tails."""

import numpy as np
import pytest

import minigan as mg
from minigan import ops

pytestmark = pytest.mark.on_each_engine


# Kinks: PyTorch's subgradients

def slope_at(f, *values):
    leaves = [mg.Tensor(np.array(value, np.float64), requires_grad=True) for value in values]
    y = f(*leaves)
    return [g.data.tolist() for g in mg.grad(y, leaves, np.ones(y.shape))]


def test_subgradients_at_zero():
    for zero in (0.0, -0.0):
        assert slope_at(ops.relu, zero) == [0.0]
        assert slope_at(ops.leaky_relu, zero) == [0.2]
        assert slope_at(lambda x: ops.leaky_relu(x, 0.01), zero) == [0.01]
        assert slope_at(ops.abs, zero) == [0.0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_leaky_relu_lets_positive_numbers_through_exactly(dtype):
    for slope in [n / 100 for n in range(101)]:
        x = mg.Tensor(np.array([1.0, 3.0], dtype), requires_grad=True)
        y = ops.leaky_relu(x, slope)
        assert y.data.tolist() == [1.0, 3.0] and mg.grad(y.sum(), x)[0].data.tolist() == [1.0, 1.0]


def test_the_larger_of_two_equals_shares():
    assert slope_at(ops.maximum, [1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]]
    assert slope_at(ops.maximum, 2.0, 2.0) == [0.5, 0.5]
    assert slope_at(lambda x: ops.maximum(x, x), [1.0, 2.0]) == [[1.0, 1.0]]
    assert slope_at(lambda x: ops.maximum(x, 0.0), [-1.0, 0.0, 1.0]) == [[0.0, 0.5, 1.0]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("axis, keepdims", [(None, False), (1, False), ((0, 1), True)])
def test_the_norm_of_zero_has_derivatives_zero(dtype, axis, keepdims):
    """To the second order, without a 0/0 on the way (warnings are errors here)."""
    x = mg.Tensor(np.zeros((2, 3), dtype), requires_grad=True)
    y = ops.norm(x, axis, keepdims)
    assert not y.data.any()
    c = np.ones(y.shape, dtype)
    assert not mg.grad(y, x, c)[0].data.any()
    [g] = mg.grad(y, x, c, create_graph=True)
    [h] = mg.grad(g, x, np.ones(x.shape, dtype), create_graph=True)
    assert not g.data.any() and not h.data.any()
    [third] = mg.grad(h, x, np.ones(x.shape, dtype))
    assert not third.data.any()


def test_a_zero_row_leaves_the_others_alone():
    x = np.array([[0.0, 0.0], [3.0, 4.0]])
    leaf = mg.Tensor(x, requires_grad=True)
    [g] = mg.grad(ops.norm(leaf, axis=1).sum(), leaf, create_graph=True)
    np.testing.assert_allclose(g.data, [[0.0, 0.0], [0.6, 0.8]], rtol=1e-15)
    [h] = mg.grad(g[:, 0].sum(), leaf)
    np.testing.assert_allclose(h.data, [[0.0, 0.0], [0.128, -0.096]], rtol=1e-14)  # (1 − 0.6²)/5, −0.6·0.8/5


def test_no_eps_bends_the_norm():
    x = mg.Tensor(np.array([3e-150, 4e-150]), requires_grad=True)
    y = ops.norm(x)
    assert y.item() == pytest.approx(5e-150, rel=1e-15)
    np.testing.assert_allclose(mg.grad(y, x)[0].data, [0.6, 0.8], rtol=1e-12)


@pytest.mark.parametrize("n, derivatives", [(0, [0.0, 0.0, 0.0]), (1, [1.0, 0.0, 0.0]), (2, [0.0, 2.0, 0.0]),
                                            (3, [0.0, 0.0, 6.0])])
def test_whole_powers_have_no_pole_at_zero(n, derivatives):
    x = mg.Tensor(np.zeros(()), requires_grad=True)
    y = x ** n + x * x * x * x  # of which only the fourth derivative is not 0 there
    for expected in derivatives:
        [y] = mg.grad(y, x, create_graph=True)
        assert y.item() == expected


# Stability in the tails

LOGITS = [-1e4, -50.0, -20.0, 0.0, 20.0, 50.0, 1e4]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softplus_and_sigmoid_are_accurate_in_both_tails(dtype):
    x = mg.Tensor(np.array(LOGITS, dtype), requires_grad=True)
    e20, e50 = np.exp(-20.0), np.exp(-50.0)
    softplus = [0.0, e50, np.log1p(e20), np.log(2.0), 20.0 + e20, 50.0, 1e4]
    sigmoid = [0.0, e50, e20 / (1 + e20), 0.5, 1 / (1 + e20), 1.0, 1.0]
    slope = [0.0, e50, e20, 0.25, e20, e50, 0.0]  # of σ: σ(x) σ(−x), not σ(1 − σ), which is 0 at 50
    rtol = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(ops.softplus(x).data, softplus, rtol=rtol)
    np.testing.assert_allclose(ops.sigmoid(x).data, sigmoid, rtol=rtol)
    [first] = mg.grad(ops.softplus(x), x, np.ones(7, dtype), create_graph=True)
    np.testing.assert_allclose(first.data, sigmoid, rtol=rtol)
    [second] = mg.grad(first, x, np.ones(7, dtype), create_graph=True)
    np.testing.assert_allclose(second.data, slope, rtol=1e-6)
    [of_sigmoid] = mg.grad(ops.sigmoid(x), x, np.ones(7, dtype))
    np.testing.assert_allclose(of_sigmoid.data, slope, rtol=1e-6)
    [third] = mg.grad(second, x, np.ones(7, dtype))
    np.testing.assert_allclose(third.data, np.array(slope) * -np.tanh(np.array(LOGITS) / 2), rtol=1e-6)
