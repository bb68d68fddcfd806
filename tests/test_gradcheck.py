"""The gradient check finds what is wrong, passes what is right, and refuses to pass when it has seen nothing."""

import re

import numpy as np
import pytest

import minigan as mg
from minigan import ops
from minigan.tensor import FAST, composed, op

pytestmark = pytest.mark.on_each_engine


def wrong(value, *maps):
    """An operation with the given value and maps, of as many arguments as there are maps."""
    if len(maps) == 1:
        @op
        def wrong_operation(x, /):
            return value(x.data), (lambda g: maps[0](g, x),)
    else:
        @op
        def wrong_operation(x, y, /):
            return value(x.data, y.data), (lambda g: maps[0](g, x, y), lambda g: maps[1](g, x, y))
    return wrong_operation


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# What is right passes

def test_right_gradients_pass_at_every_order():
    for order in (1, 2, 3, 4):
        mg.check_grads(lambda x, y: ops.tanh(x * y) / (1.0 + x * x), [draw(2, 3), draw(3)], order=order)


def test_functions_may_return_several_tensors():
    mg.check_grads(lambda x: [x * x, ops.exp(x)], [draw(3)])
    mg.check_grads(lambda x: (x * x, ops.exp(x)), [draw(3)])


def test_a_single_input_needs_no_list():
    mg.check_grads(ops.tanh, draw(2, 3))
    mg.check_grads(ops.tanh, mg.Tensor(draw(2, 3)))


def test_linear_functions_pass_to_the_second_order():
    """Their second derivative is zero in x, but not in the cotangent."""
    mg.check_grads(lambda x: 3.0 * x, [draw(2, 3)], order=2)
    mg.check_grads(ops.matmul, [draw(2, 3), draw(3, 2)], order=3)


# What is wrong is found

square = lambda x: x * x

WRONG = {
    "factor": wrong(square, lambda g, x: g * x),
    "sign": wrong(square, lambda g, x: -2.0 * g * x),
    "a thousandth": wrong(square, lambda g, x: 2.002 * g * x),
    "zero": wrong(square, lambda g, x: g * 0.0),
    "constant": wrong(square, lambda g, x: g * 0.0 + 1.0),
    "ignores the cotangent": wrong(square, lambda g, x: 2.0 * x + 0.0 * g),
    "nan": wrong(square, lambda g, x: g * np.nan),
    "missing term": wrong(lambda x: x * x + x, lambda g, x: 2.0 * g * x),
    "transposed": wrong(lambda x: x @ np.arange(4.0).reshape(2, 2), lambda g, x: g @ np.arange(4.0).reshape(2, 2)),
    "one entry": wrong(square, lambda g, x: 2.0 * g * x * np.array([[1.0, 1.0], [1.0, 1.001]])),
    "rolled": wrong(square, lambda g, x: ops.concatenate((2.0 * g * x)[1:], (2.0 * g * x)[:1])),
}


@pytest.mark.parametrize("f", WRONG.values(), ids=WRONG)
def test_a_wrong_gradient_is_found(f):
    with pytest.raises(AssertionError, match="check_grads: order 1, input 0"):
        mg.check_grads(f, [draw(2, 2)], order=1)


def test_the_wrong_input_is_named():
    f = wrong(lambda x, y: x * y, lambda g, x, y: g * y, lambda g, x, y: g * x * 1.01)
    with pytest.raises(AssertionError, match=r"input 1 \(2, 3\)"):
        mg.check_grads(f, [draw(2, 3), draw(2, 3, seed=1)], order=1)


def test_a_gradient_of_the_wrong_shape_is_found():
    f = wrong(np.sum, lambda g, x: g)
    with pytest.raises((AssertionError, ValueError), match="wrong_operation: map 0 returned a gradient"):
        mg.check_grads(f, [draw(2, 3)], order=1)


def test_a_wrong_second_derivative_is_found_at_the_second_order_only():
    """The map computes the right number 3x²g, but hides how it depends on x, or on g."""
    hides_x = wrong(lambda x: x ** 3, lambda g, x: g * (3.0 * x.data ** 2))
    hides_g = wrong(lambda x: x ** 3, lambda g, x: 3.0 * g.data * x ** 2)
    for f in (hides_x, hides_g):
        mg.check_grads(f, [draw(3)], order=1)
        with pytest.raises(AssertionError, match="check_grads: order 2"):
            mg.check_grads(f, [draw(3)], order=2)


def test_a_wrong_third_derivative_is_found_at_the_third_order_only():
    slope = wrong(lambda x: 3.0 * x ** 2, lambda g, x: 6.0 * g * x.data)
    cube = wrong(lambda x: x ** 3, lambda g, x: g * slope(x))
    mg.check_grads(cube, [draw(3)], order=2)
    with pytest.raises(AssertionError, match="check_grads: order 3"):
        mg.check_grads(cube, [draw(3)], order=3)


def test_a_wrong_derivative_of_a_bilinear_operation_is_found_at_the_second_order():
    """Its gradients are linear; only the cotangent and the other factor tell."""
    f = wrong(lambda x, y: x * y, lambda g, x, y: g * y.data, lambda g, x, y: g * x)
    mg.check_grads(f, [draw(3), draw(3, seed=1)], order=1)
    with pytest.raises(AssertionError, match="check_grads: order 2"):
        mg.check_grads(f, [draw(3), draw(3, seed=1)], order=2)


def test_the_entries_compared_of_a_large_input_lie_anywhere_in_it():
    f = wrong(square, lambda g, x: 2.0 * g * x * np.where(np.arange(1000) < 500, 1.0, 3.0))
    messages = []
    for seed in range(10):
        with pytest.raises(AssertionError) as caught:
            mg.check_grads(f, [draw(1000)], order=1, max_entries=20, seed=seed)
        messages.append(str(caught.value))
    assert any(re.search(r"index \(\d+,\)", message) for message in messages)


def test_one_wrong_entry_of_a_large_input_is_found_along_a_random_direction():
    error = np.ones((30, 40))
    error[17, 23] = 1.1
    f = wrong(square, lambda g, x: 2.0 * g * x * error)
    mg.check_grads(lambda x: x * x, [draw(30, 40)], order=1, max_entries=5)
    with pytest.raises(AssertionError, match="along a random direction"):
        mg.check_grads(f, [draw(30, 40)], order=1, max_entries=5)


def test_a_constant_cotangent_would_not_see_what_is_wrong_with_this_batch_norm():
    """The term that flows back through the variance is missing. The gradient of the plain sum is zero even so."""
    def normalised(x):
        return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)

    def without_the_variance(g, x):
        return (g - g.mean(0, keepdims=True)) / np.sqrt(x.data.var(0) + 1e-5)

    batch_norm = wrong(normalised, without_the_variance)
    x = mg.Tensor(draw(6, 2), requires_grad=True)
    y = batch_norm(x)
    assert abs(y.data.sum()) < 1e-12  # whatever x is, so the gradient of the sum is zero,
    [g] = mg.grad(y.sum(), x)
    np.testing.assert_allclose(g.data, 0.0, atol=1e-12)  # and a check with a cotangent of ones passes;
    with pytest.raises(AssertionError, match="check_grads: order 1"):
        mg.check_grads(batch_norm, [x], order=1)  # this one does not


# The message

NUMBER = r"(-?[\d.e+-]+)"


def test_the_message_has_the_worst_index_and_both_values():
    error = np.ones((3, 4))
    error[1, 2], error[2, 0] = 3.0, 1.5
    f = wrong(lambda x: 2.0 * x, lambda g, x: 2.0 * g * error)
    with pytest.raises(AssertionError) as caught:
        mg.check_grads(f, [draw(3, 4)], order=1)
    message = re.fullmatch(rf"check_grads: order 1, input 0 \(3, 4\), index \(1, 2\): the gradient is {NUMBER}, "
                           rf"finite differences give {NUMBER}", str(caught.value))
    actual, expected = map(float, message.groups())
    assert actual == pytest.approx(3.0 * expected, rel=1e-6)


def test_the_finite_differences_are_exact_to_the_fourth_order():
    """At eps = 1e-3 a central difference alone would be off by eps²/6 of the third derivative, that is 1.7e-7."""
    twice = wrong(np.exp, lambda g, x: 2.0 * g * ops.exp(x))
    with pytest.raises(AssertionError) as caught:
        mg.check_grads(twice, [draw(3)], order=1, eps=1e-3)
    actual, expected = map(float, re.findall(rf"(?:is|give) {NUMBER}", str(caught.value)))
    assert actual == pytest.approx(2.0 * expected, rel=1e-9)


def failure(seed):
    with pytest.raises(AssertionError) as caught:
        mg.check_grads(WRONG["factor"], [np.ones((20, 20))], order=1, max_entries=10, seed=seed)
    return str(caught.value)


def test_the_check_is_the_same_every_time_and_another_with_another_seed():
    assert failure(0) == failure(0)
    assert failure(0) != failure(1)


def test_the_check_draws_nothing_from_the_streams_of_the_package():
    expected = mg.backend.Streams(0)["init"].random(4)
    mg.check_grads(ops.tanh, [draw(3)])
    np.testing.assert_array_equal(mg.backend.streams["init"].random(4), expected)


@pytest.mark.parametrize("scale", [1.0, 1e-4])
def test_a_random_function_is_said_to_be_one(scale):
    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="order 1: f has another value at each call: is it random"):
        mg.check_grads(lambda x: x * (1.0 + scale * rng.standard_normal(x.shape)), [draw(3)])


# Kinks

def with_zeros(zeros, size):
    x = np.linspace(0.5, 1.5, size) * np.where(np.arange(size) % 2, 1.0, -1.0)
    x[:zeros] = 0.0
    return x


@pytest.mark.parametrize("f", [ops.abs, ops.relu, ops.leaky_relu, lambda x: ops.maximum(x, 0.0),
                               lambda x: ops.maximum(0.0, -x)], ids=["abs", "relu", "leaky", "maximum", "−maximum"])
def test_kinks_are_skipped_and_counted(f):
    mg.check_grads(f, [with_zeros(2, 10)])
    for zeros in (3, 10):
        with pytest.raises(AssertionError, match=rf"order 1: {zeros} of 10 comparisons lie at kinks"):
            mg.check_grads(f, [with_zeros(zeros, 10)])


def test_a_kink_of_a_derivative_counts_at_its_order():
    """The slope of x²|x| is smooth enough, that of its slope is not; there the 10 cotangents are compared as well."""
    f = lambda x: x * x * ops.abs(x)
    mg.check_grads(f, [with_zeros(9, 10)], order=1)
    mg.check_grads(f, [with_zeros(4, 10)], order=2)
    with pytest.raises(AssertionError, match="order 2: 5 of 20 comparisons lie at kinks"):
        mg.check_grads(f, [with_zeros(5, 10)], order=2)


@pytest.mark.parametrize("distance", [1e-7, 3e-6, -3e-6, 9e-6, -9e-6])
def test_a_kink_close_by_is_recognised(distance):
    x = with_zeros(0, 10)
    x[4] = distance
    mg.check_grads(ops.abs, [x])


def test_a_wrong_gradient_beside_a_kink_is_found():
    f = wrong(np.abs, lambda g, x: g * np.sign(x.data) * np.where(x.data > 1.0, 1.01, 1.0))
    with pytest.raises(AssertionError, match=r"index \(9,\)"):
        mg.check_grads(f, [with_zeros(2, 10)], order=1)


def test_strong_curvature_is_no_kink():
    """The slopes to the left and right differ here too, but ever less with a smaller step."""
    mg.check_grads(lambda x: ops.exp(x * 30.0), [np.linspace(-0.1, 0.1, 5)])
    f = wrong(lambda x: np.exp(30.0 * x), lambda g, x: 30.01 * g * ops.exp(x * 30.0))
    with pytest.raises(AssertionError, match="the gradient is"):
        mg.check_grads(f, [np.linspace(-0.1, 0.1, 5)], order=1)


# What a faster engine offers

def fast_silu(monkeypatch, factor, definition):
    """x σ(x), its first derivative by hand, times `factor`; further ones come from the definition."""
    def fast(x, /):
        s = 1.0 / (1.0 + np.exp(-x.data))
        return x.data * s, None, lambda g, needed: [g * factor * (s + x.data * s * (1.0 - s))]

    def silu_for_test(x, /):
        return definition(x)

    monkeypatch.setitem(FAST, silu_for_test, fast)
    return composed(silu_for_test)


def test_a_fast_operation_is_checked_by_hand_and_by_its_definition(monkeypatch):
    mg.check_grads(fast_silu(monkeypatch, 1.0, lambda x: x * ops.sigmoid(x)), [draw(4)], order=3)
    with pytest.raises(AssertionError, match="finite differences give"):
        mg.check_grads(fast_silu(monkeypatch, 1.001, lambda x: x * ops.sigmoid(x)), [draw(4)], order=1)


@pytest.mark.parametrize("definition", [lambda x: 1.001 * x * ops.sigmoid(x), lambda x: x * ops.sigmoid(1.001 * x),
                                        lambda x: 0.0 * x, lambda x: 1e200 * (1e200 * x)])
def test_a_definition_that_is_another_function_is_found_though_it_agrees_with_itself(monkeypatch, definition):
    with np.errstate(all="ignore"), pytest.raises(AssertionError, match="order 1, input 0.*is another function"):
        mg.check_grads(fast_silu(monkeypatch, 1.0, definition), [draw(4)], order=2)


# References that say nothing

def test_a_reference_that_is_zero_throughout_is_refused():
    constant = wrong(lambda x: np.ones_like(x), lambda g, x: g * 0.0)
    for f in (constant, lambda x: x * 0.0, lambda x: mg.Tensor(np.ones(3))):
        with pytest.raises(AssertionError, match=r"input 0 \(3,\): the finite differences are zero throughout"):
            mg.check_grads(f, [draw(3)])


def test_an_input_that_does_not_matter_is_refused():
    with pytest.raises(AssertionError, match=r"input 1 \(2,\): the finite differences are zero throughout"):
        mg.check_grads(lambda x, y: x * x, [draw(3), draw(2)])


def test_a_saturated_function_is_refused():
    with pytest.raises(AssertionError, match="zero throughout"):
        mg.check_grads(ops.relu, [np.array([-1.0, -2.0])])


def test_kinks_among_zeros_are_refused():
    x = -np.arange(10.0)
    with pytest.raises(AssertionError, match="order 1: the finite differences are zero throughout"):
        mg.check_grads(ops.relu, [x], order=1)


def test_zeros_beside_other_values_are_fine():
    mg.check_grads(ops.relu, [np.array([-1.0, 2.0])])


# Inputs

def test_inputs_are_left_as_they_are():
    array = draw(2, 3).astype(np.float32)
    tensor = mg.Tensor(draw(3), requires_grad=True)
    before = array.copy(), tensor.data.copy(), tensor.data
    mg.check_grads(lambda x, y: x * ops.tanh(y), [array, tensor], order=2)
    with pytest.raises(AssertionError):
        mg.check_grads(lambda x, y: WRONG["factor"](x) * y, [array, tensor])
    assert array.dtype == np.float32 and tensor.data is before[2] and tensor.version == 0
    assert tensor.grad is None and tensor.requires_grad and tensor.node is None
    np.testing.assert_array_equal(array, before[0])
    np.testing.assert_array_equal(tensor.data, before[1])


def test_float32_and_integer_inputs_are_checked_in_float64():
    seen = set()

    def f(x):
        seen.add(x.dtype)
        return x * x

    mg.check_grads(f, [draw(3).astype(np.float32)])
    mg.check_grads(f, [np.arange(3)])
    mg.check_grads(f, [[1.0, 2.0]])
    assert seen == {np.dtype(np.float64)}


def test_a_float32_constant_inside_is_reported():
    weight = mg.Tensor(np.ones(3, np.float32))
    with pytest.raises(TypeError, match="mul: .*float64.*float32"):
        mg.check_grads(lambda x: x * weight, [draw(3)])
    with pytest.raises(AssertionError, match="float32 from float64 inputs.*astype"):
        mg.check_grads(lambda x: mg.Tensor(x.data.astype(np.float32)), [draw(3)])
    with pytest.raises(AssertionError, match="float32 from float64 inputs"):
        mg.check_grads(lambda x: [x * x, weight * weight], [draw(3)])


def test_a_computation_in_float32_inside_does_not_pass():
    f = wrong(lambda x: (x.astype(np.float32) ** 2).astype(np.float64), lambda g, x: 2.0 * g * x)
    with pytest.raises(AssertionError):
        mg.check_grads(f, [draw(3)], order=1)


# Adjoints

M = draw(4, 3)


def test_a_matrix_and_its_transpose_are_adjoint():
    mg.check_adjoint(lambda x: M @ x, lambda y: M.T @ y, (3, 2))
    mg.check_adjoint(lambda x: M @ x, lambda y: M.T @ y, (3, 2), (4, 2))


@pytest.mark.parametrize("At", [lambda y: 1.0001 * (M.T @ y), lambda y: -(M.T @ y), lambda y: (M.T @ y) * 0.0,
                                lambda y: M.T @ y + 1.0, lambda y: M.T @ (y + 0.001), lambda y: (M ** 2).T @ y,
                                lambda y: (M.T @ y) * np.nan])
def test_a_wrong_adjoint_is_found(At):
    with pytest.raises(AssertionError, match="check_adjoint: ⟨Ax, y⟩ = .*, but ⟨x, Aᵀy⟩ = "):
        mg.check_adjoint(lambda x: M @ x, At, (3, 2))


def test_an_adjoint_of_the_wrong_shape_is_found():
    with pytest.raises(AssertionError, match=r"A maps \(3, 2\) to \(4, 2\), At maps \(4, 2\) to \(4, 2\)"):
        mg.check_adjoint(lambda x: M @ x, lambda y: y, (3, 2))
    with pytest.raises(AssertionError, match=r"A maps \(3, 2\) to \(4, 2\), At maps \(4,\)"):
        mg.check_adjoint(lambda x: M @ x, lambda y: M.T @ y.reshape(4, 1), (3, 2), (4,))


def test_zero_is_no_adjoint_pair():
    with pytest.raises(AssertionError, match="zero, which says nothing"):
        mg.check_adjoint(lambda x: x * 0.0, lambda y: y * 0.0, (3,))


def test_the_adjoint_message_is_the_same_every_time():
    def message(seed):
        with pytest.raises(AssertionError) as caught:
            mg.check_adjoint(lambda x: M @ x, lambda y: M.T @ y * 2.0, (3, 2), seed=seed)
        return str(caught.value)

    assert message(0) == message(0) != message(1)
