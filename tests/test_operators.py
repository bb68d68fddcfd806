"""Operators and methods of a tensor, dtypes, and what is refused."""

import numpy as np
import pytest

import minigan as mg
from minigan import ops
from operations import away_from_zero, draw, positive

pytestmark = pytest.mark.on_each_engine


# Operators and methods of Tensor

def test_operators_are_the_operations():
    x, y = mg.Tensor(draw(2, 3)), mg.Tensor(away_from_zero(2, 3))
    for value, expected in ((x + y, x.data + y.data), (x - y, x.data - y.data), (x * y, x.data * y.data),
                            (x / y, x.data / y.data), (-x, -x.data), (x ** 2, x.data ** 2),
                            (x @ y.transpose(), x.data @ y.data.T), (x[0], x.data[0])):
        np.testing.assert_allclose(value.data, expected, rtol=1e-14)  # products are summed in another order


@pytest.mark.parametrize("other", [
    2, 2.5, np.float64(2.5), np.array([1.0, 2.0, 4.0]), np.array(3.0), np.array([[2.0], [5.0]])], ids=repr)
def test_numbers_and_arrays_work_from_either_side(other):
    """In particular `array * tensor` is a tensor, never an array of objects."""
    x = mg.Tensor(away_from_zero(2, 3), requires_grad=True)
    for value, expected in ((x + other, x.data + other), (other + x, other + x.data), (x - other, x.data - other),
                            (other - x, other - x.data), (x * other, x.data * other), (other * x, other * x.data),
                            (x / other, x.data / other), (other / x, other / x.data)):
        assert type(value) is mg.Tensor and value.requires_grad
        np.testing.assert_allclose(value.data, expected, rtol=1e-15)


def test_an_array_may_be_the_left_factor_of_a_matrix_product():
    a, x = draw(2, 3), mg.Tensor(draw(3, 4))
    value = a @ x
    assert type(value) is mg.Tensor
    np.testing.assert_allclose(value.data, a @ x.data, rtol=1e-14)


def test_the_other_side_of_an_operator_is_differentiated_too():
    x = away_from_zero(2, 3)
    mg.check_grads(lambda x: [2.0 - x, 3.0 / x, 2.0 * x, 1.0 + x], [x])
    mg.check_grads(lambda x: [np.ones((2, 2)) @ x, np.ones(3) - x, np.ones(3) / x], [x])


def test_reshape_and_transpose_take_numbers_or_a_tuple():
    x = mg.Tensor(draw(2, 3, 4))
    for reshaped in (x.reshape(6, 4), x.reshape((6, 4)), x.reshape([6, 4]), x.reshape(-1, 4)):
        assert reshaped.shape == (6, 4)
    assert x.transpose(2, 0, 1).shape == x.transpose((2, 0, 1)).shape == (4, 2, 3)
    assert x.transpose().shape == (4, 3, 2)
    assert x.sum(1).shape == x.mean(axis=1).shape == (2, 4) and x.sum().shape == x.mean().shape == ()


def test_operations_take_plain_arrays_and_numbers():
    assert type(ops.exp(np.ones(2))) is mg.Tensor and ops.exp(np.ones(2)).dtype == np.float64
    assert ops.add(1, 2).item() == 3.0 and ops.add(1, 2).dtype == np.float32
    assert ops.maximum(0.0, mg.Tensor([-1.0, 1.0])).data.tolist() == [0.0, 1.0]


# dtypes

@pytest.mark.parametrize("number", [2, 2.5, -1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (2, 3)], ids=["scalar", "matrix"])
def test_python_numbers_take_on_the_dtype_of_the_tensor(number, dtype, shape):
    x = mg.Tensor(positive(*shape).astype(dtype), requires_grad=True)
    for f in (ops.add, ops.sub, ops.mul, ops.div, ops.maximum):
        for y in (f(x, number), f(number, x)):
            assert y.dtype == dtype and y.shape == shape
            for create_graph in (False, True):
                assert mg.grad(y, x, np.ones(shape, dtype), create_graph=create_graph)[0].dtype == dtype
    y = x ** number
    assert y.dtype == dtype and mg.grad(y, x, np.ones(shape, dtype))[0].dtype == dtype


@pytest.mark.parametrize("other", [np.float64(2.0), np.array(2.0), np.ones(2), np.ones((1, 2))], ids=repr)
def test_float64_does_not_leak_into_float32(other):
    """A raw array takes on the dtype of the tensor it meets; a tensor of another dtype is refused."""
    x = mg.Tensor([[1.0, 2.0]])
    for f in (ops.add, ops.sub, ops.mul, ops.div, ops.maximum):
        for arguments in ((x, other), (other, x)):
            assert f(*arguments).dtype == np.float32
            tensors = [mg.Tensor(argument) for argument in arguments]
            with pytest.raises(TypeError, match=f"{f.__name__}: .*float(32|64).*float(32|64)"):
                f(*tensors)
    for value in (x + other, other * x, other - x, x / other):
        assert value.dtype == np.float32


def test_a_float64_option_does_not_leak_into_float32():
    x = mg.Tensor([[1.0, 2.0]])
    assert ops.leaky_relu(x, np.float64(0.1)).dtype == np.float32
    assert (x ** np.float64(2.0)).dtype == np.float32


def test_integer_and_boolean_arrays_become_float32():
    x = mg.Tensor([1.0, 2.0])
    for other in (np.arange(2), np.array([True, False]), np.int64(3), [1, 0], True):
        assert (x * other).dtype == (other * x).dtype == np.float32
        np.testing.assert_array_equal((x * other).data, x.data * np.asarray(other, np.float32))
    assert (mg.Tensor(np.ones(2)) * np.arange(2)).dtype == np.float64


def test_what_is_not_numbers_is_refused():
    x = mg.Tensor([1.0])
    for other in ("text", None, np.ones(1, complex), object()):
        with pytest.raises(TypeError, match="add: .*not a tensor, an array or a number"):
            ops.add(x, other)
    with pytest.raises(TypeError, match="concatenate: expected at least one tensor"):
        ops.concatenate()


# Errors

def test_an_index_is_integers_slices_and_an_ellipsis():
    x = mg.Tensor(draw(3, 4))
    for index in (None, [0, 1], np.array([0, 1]), x.data > 0, True, 1.0, "a", (0, None), mg.Tensor(1.0)):
        with pytest.raises(TypeError, match="getitem: .*integers, slices"):
            x[index]


def test_an_index_out_of_range_is_refused_before_the_array_sees_it():
    x = mg.Tensor(draw(3, 4))
    for index in (3, -4, (0, 4), (..., -5), (slice(None), 4)):
        with pytest.raises(IndexError, match=r"getitem: index -?\d is out of range for axis \d of \(3, 4\)"):
            x[index]
    for index in ((0, 0, 0), (..., ...)):
        with pytest.raises(IndexError, match=r"getitem: .*does not fit shape \(3, 4\)"):
            x[index]


def test_numpy_integers_may_index():
    x = mg.Tensor(draw(3, 4))
    np.testing.assert_array_equal(x[np.int64(-1), np.int32(2)].data, x.data[-1, 2])


@pytest.mark.parametrize("f", [ops.add, ops.sub, ops.mul, ops.div, ops.maximum], ids=lambda f: f.__name__)
def test_shapes_that_do_not_broadcast_are_named_with_the_operation(f):
    with pytest.raises(ValueError, match=rf"{f.__name__}\b.*\(2, ?3\).*\(4, ?3\)"):
        f(draw(2, 3), draw(4, 3))


@pytest.mark.parametrize("call, message", [
    (lambda x: ops.matmul(x, x), r"matmul: .*\(2, 3\) @ \(2, 3\)"),
    (lambda x: ops.matmul(x, x[0]), r"matmul: .*\(2, 3\) @ \(3,\)"),
    (lambda x: x @ 2.0, r"matmul: .*\(2, 3\) @ \(\)"),
    (lambda x: x.reshape(4, 2), r"reshape: \(2, 3\) has 6 elements.*\(4, 2\)"),
    (lambda x: ops.broadcast_to(x, (3, 2)), r"broadcast_to: \(2, 3\).*\(3, 2\)"),
    (lambda x: ops.sum_to(x, (2,)), r"sum_to: \(2,\).*\(2, 3\)"),
    (lambda x: ops.sum_to(x, (1, 2, 3)), r"sum_to: \(1, 2, 3\).*\(2, 3\)"),
    (lambda x: ops.concatenate(x, x.reshape(3, 2)), r"concatenate: \(2, 3\) and \(3, 2\).*axis 0"),
    (lambda x: ops.concatenate(x, x, axis=2), r"concatenate: \(2, 3\) and \(2, 3\).*axis 2"),
])
def test_shapes_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(mg.Tensor(draw(2, 3)))


@pytest.mark.parametrize("axes", [(0, 0), (0,), (0, 1, 2), (2, 1), (-3, 1)])
def test_transposing_along_axes_that_are_not_there_is_refused(axes):
    with pytest.raises(ValueError):
        ops.transpose(draw(2, 3), axes)


@pytest.mark.parametrize("f", [ops.sum, ops.mean, ops.norm], ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape, axis", [((), 0), ((2, 3), 2), ((2, 3), (0, -3)), ((2, 3), (0, 0))])
def test_reducing_along_axes_that_are_not_there_is_refused(f, shape, axis):
    with pytest.raises(ValueError):
        f(draw(*shape), axis)


def test_an_exponent_is_a_number():
    x = mg.Tensor([1.0])
    for n in (x, np.ones(1), "2"):
        with pytest.raises(TypeError, match=f"power: the exponent is {type(n).__name__}, no number"):
            ops.power(x, n)
