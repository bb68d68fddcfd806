"""Softmax and its kin, rows of a table, padding: PyTorch's numbers, the tails, and what does not fit, by name."""

import numpy as np
import pytest

import minigan as mg
from minigan import ops
from minigan.objectives import cross_entropy
from helpers import torch

__all__ = ["torch"]  # the fixture
pytestmark = pytest.mark.on_each_engine
i = np.int64


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def of_both(torch, ours, theirs, x):
    """Value, gradient and the gradient of that one's square are the same."""
    a, b = mg.Tensor(x, requires_grad=True), torch.from_numpy(x.copy()).requires_grad_()
    y, z = ours(a), theirs(b)
    c = np.random.default_rng(1).standard_normal(y.shape)
    [g], [h] = mg.grad(y, a, c, create_graph=True), torch.autograd.grad(z, b, torch.from_numpy(c), create_graph=True)
    found, expected = [y.data, g.data], [z.detach().numpy(), h.detach().numpy()]
    if h.requires_grad:
        found += [mg.grad((g * g).sum(), a)[0].data]
        expected += [torch.autograd.grad((h * h).sum(), b)[0].numpy()]
    for mine, other in zip(found, expected):
        np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_and_its_logarithm(torch, name, axis):
    of_both(torch, lambda x: getattr(ops, name)(x, axis), lambda x: getattr(torch, name)(x, axis), 3 * draw(3, 4, 2))


@pytest.mark.parametrize("axis", [0, -1, (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_logsumexp(torch, axis, keepdims):
    of_both(torch, lambda x: ops.logsumexp(x, axis, keepdims), lambda x: torch.logsumexp(x, axis, keepdims),
            3 * draw(3, 4, 2))


def test_rows_of_a_table(torch):
    rows = np.array([[4, 0], [4, 4]])
    of_both(torch, lambda x: ops.take(x, rows) ** 2, lambda x: torch.nn.functional.embedding(
        torch.from_numpy(rows), x) ** 2, draw(5, 3))


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_padding_of_pictures(torch, mode):
    """PyTorch names the last axis first, and the channels stand elsewhere."""
    of_both(torch, lambda x: ops.pad(x, (0, (3, 1), (0, 2), 0), mode) ** 2,
            lambda x: torch.nn.functional.pad(x.permute(0, 3, 1, 2), (0, 2, 3, 1), mode).permute(0, 2, 3, 1) ** 2,
            draw(2, 4, 3, 2))


def test_cross_entropy(torch):
    labels = np.array([2, 0, 2, 1])
    of_both(torch, lambda x: cross_entropy(x, labels),
            lambda x: torch.nn.functional.cross_entropy(x, torch.from_numpy(labels)), 3 * draw(4, 3))


# The tails

@pytest.mark.on_each_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_of_ten_thousand_have_finite_values_and_slopes(dtype):
    x = mg.Tensor(np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 9999.0]], dtype), requires_grad=True)
    e = 1 / (2 + np.exp(-1.0))
    probabilities = [[1, 0, 0], [1 / 3] * 3, [e, e, e * np.exp(-1.0)]]
    logarithms = [[0, -2e4, -1e4], [-np.log(3)] * 3, [np.log(e), np.log(e), np.log(e) - 1]]
    rtol = 8 * np.finfo(dtype).eps
    np.testing.assert_allclose(ops.softmax(x).numpy(), probabilities, rtol=rtol)
    np.testing.assert_allclose(ops.log_softmax(x).numpy(), logarithms, rtol=rtol)
    np.testing.assert_allclose(ops.logsumexp(x, 1).numpy(), [1e4, -1e4 + np.log(3), 1e4 - np.log(e)], rtol=rtol)
    [slope] = mg.grad(ops.logsumexp(x, 1).sum(), x, create_graph=True)
    np.testing.assert_allclose(slope.numpy(), probabilities, rtol=rtol)
    assert np.isfinite(mg.grad((slope * slope).sum(), x)[0].numpy()).all()
    for f in (ops.softmax, ops.log_softmax):
        assert np.isfinite(mg.grad((f(x) * x).sum(), x)[0].numpy()).all()


def test_a_class_that_is_impossible_has_the_probability_0():
    x = mg.Tensor(np.array([0.0, -np.inf, 1.0]), requires_grad=True)
    expected = np.array([1, 0, np.e]) / (1 + np.e)
    np.testing.assert_allclose(mg.grad(ops.logsumexp(x), x)[0].data, expected, rtol=1e-14)
    np.testing.assert_allclose(ops.softmax(x).data, expected, rtol=1e-14)


def test_a_softmax_before_a_cross_entropy_is_told_from_none():
    """The mistake of much code: the loss cannot fall below ln(1 + (K − 1)/e), and where the classifier is sure and
    wrong its slope is gone. Without it the slope is softmax − truth, and the loss goes to 0."""
    labels, wrong = np.array([0, 1]), np.array([1, 0])
    x = mg.Tensor(np.array([[30.0, 0, 0], [0, 30.0, 0]]), requires_grad=True)
    assert cross_entropy(x, labels).item() < 1e-12
    np.testing.assert_allclose(mg.grad(cross_entropy(x, wrong), x)[0].data,
                               (ops.softmax(x).data - np.eye(3)[wrong]) / 2, atol=1e-15)
    twice = lambda labels: cross_entropy(ops.softmax(x), labels)
    assert twice(labels).item() == pytest.approx(np.log(1 + 2 / np.e))
    assert abs(mg.grad(twice(wrong), x)[0].data).max() < 1e-12


# What fits

def test_numpy_integers_are_as_good_as_pythons():
    x, table = mg.Tensor(draw(3, 4)), mg.Tensor(draw(5, 2))
    for f in (ops.softmax, ops.log_softmax, ops.logsumexp):
        np.testing.assert_array_equal(f(x, i(0)).data, f(x, 0).data)
    np.testing.assert_array_equal(ops.logsumexp(x, np.array([0, 1])).data, ops.logsumexp(x).data)
    for index in ([1, 4], (1, 4), np.array([1, 4], np.uint8), np.array([1, 4], np.int16)):
        np.testing.assert_array_equal(ops.take(table, index).data, table.data[[1, 4]])
    assert ops.take(table, i(3)).shape == (2,) and ops.take(table, np.zeros((0, 3), int)).shape == (0, 3, 2)
    expected = np.pad(x.data, ((1, 2), (0, 0)))
    for widths in ([(i(1), i(2)), i(0)], np.array([[1, 2], [0, 0]]), ([1, 2], [0, 0])):
        np.testing.assert_array_equal(ops.pad(x, widths).data, expected)


def test_rows_of_ones_and_zeros():
    rows = ops.one_hot(np.array([[2, 0], [1, 1]], np.uint8), 3)
    assert rows.dtype == np.float32 and rows.tolist() == np.eye(3)[[[2, 0], [1, 1]]].tolist()
    assert ops.one_hot(np.zeros(0, int), 3).shape == (0, 3)


@pytest.mark.parametrize("work, error, message", [
    (lambda: ops.softmax(draw(3), 1), ValueError, "axis 1 does not exist in an array of 1 axes"),
    (lambda: ops.logsumexp(draw(3, 2), (0, -2)), ValueError, "names an axis of .* twice"),
    (lambda: ops.logsumexp(np.zeros((0, 2)), 0), ValueError, r"logsumexp: x \(0, 2\) has no elements"),
    (lambda: ops.take(draw(3), [0]), ValueError, r"take: expected a table \(K, C\), got \(3,\)"),
    (lambda: ops.take(draw(3, 2), [3]), IndexError, "integers from 0 to 2 expected, got 3 … 3"),
    (lambda: ops.take(draw(3, 2), [0, -1]), IndexError, "got -1 … 0"),
    (lambda: ops.take(draw(3, 2), [1.0]), TypeError, "one_hot: integers expected, got float64"),
    (lambda: ops.one_hot(np.array([True]), 2), TypeError, "integers expected, got bool"),
    (lambda: ops.one_hot(None, 2), TypeError, "integers expected, got object"),
    (lambda: ops.pad(draw(3, 2), 1), TypeError, None),
    (lambda: ops.pad(draw(3, 2), (1,)), ValueError, r"pad: x \(3, 2\) expected a width ≥ 0, or two, for each axis"),
    (lambda: ops.pad(draw(3, 2), (1, -1)), ValueError, "pad: .*-1"),
    (lambda: ops.pad(draw(3, 2), (1, (1, 2, 3))), ValueError, "pad: "),
    (lambda: ops.pad(draw(3, 2), (1, 0.5)), TypeError, None),
    (lambda: ops.pad(draw(3, 2), (3, 0), "reflect"), ValueError, r"reflect with widths below the sides.*\(3, 2\)"),
    (lambda: ops.pad(draw(3, 2), (1, 0), "edge"), ValueError, "mode is constant, or reflect .*got edge"),
    (lambda: cross_entropy(mg.Tensor(draw(3, 2)), np.zeros(2, int)), ValueError, r"for each row .*\(3, 2\), got"),
    (lambda: cross_entropy(mg.Tensor(draw(3, 2)), np.zeros(3)), ValueError, "got float64"),
    (lambda: cross_entropy(mg.Tensor(draw(3, 2)), np.array([0, 1, 2])), ValueError, "labels from 0 to 1"),
])
def test_what_does_not_fit_is_named(work, error, message):
    with pytest.raises(error, match=message):
        work()
