"""Operations on drawn shapes: values are NumPy's, derivatives right to the second order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import minigan as mg
from minigan import ops

pytestmark = pytest.mark.on_each_engine
shapes = st.lists(st.integers(1, 3), max_size=3).map(tuple)
generators = st.integers(0, 2**16).map(np.random.default_rng)

UNARY = {
    "neg": np.negative, "exp": np.exp, "tanh": np.tanh, "abs": np.abs, "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x), "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "log": np.log, "sqrt": np.sqrt,  # these two of |x|
}
BINARY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "maximum": np.maximum}


def drawn(generator, shape):
    x = generator.standard_normal(shape)
    return x + np.where(x >= 0, 0.2, -0.2)


@pytest.mark.parametrize("name", UNARY)
@given(shape=shapes, generator=generators)
def test_functions_of_one_number_on_any_shape(name, shape, generator):
    x = drawn(generator, shape)
    x = np.abs(x) if name in ("log", "sqrt") else x
    f = getattr(ops, name)
    np.testing.assert_allclose(f(x).data, UNARY[name](x), rtol=1e-13, atol=1e-15)
    mg.check_grads(lambda x: [f(x), x], [x], order=2, max_entries=3)  # x too, as the slope of f may be zero


@pytest.mark.parametrize("name", BINARY)
@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), generator=generators)
def test_functions_of_two_numbers_broadcast_as_in_numpy(name, shapes, generator):
    x, y = (drawn(generator, shape) for shape in shapes.input_shapes)
    f = getattr(ops, name)
    value = f(x, y)
    assert value.shape == shapes.result_shape
    np.testing.assert_allclose(value.data, BINARY[name](x, y), rtol=1e-13, atol=1e-15)
    mg.check_grads(lambda x, y: [f(x, y), x, y], [x, y], order=2, max_entries=3)


@given(shape=shapes, generator=generators, data=st.data())
def test_reductions_over_any_axes(shape, generator, data):
    axis = data.draw(st.none() | st.lists(st.integers(-len(shape), len(shape) - 1), unique_by=lambda a: a % len(shape))
                     .map(tuple) if shape else st.none())
    keepdims = data.draw(st.booleans())
    x = drawn(generator, shape)
    for f, oracle in ((ops.sum, np.sum), (ops.mean, np.mean),
                      (ops.norm, lambda x, **options: np.sqrt(np.sum(x * x, **options)))):
        expected = oracle(x, axis=axis, keepdims=keepdims)
        value = f(x, axis=axis, keepdims=keepdims)
        assert value.shape == expected.shape
        np.testing.assert_allclose(value.data, expected, rtol=1e-13, atol=1e-15)
        mg.check_grads(lambda x: f(x, axis, keepdims), [x], order=2, max_entries=3)


@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), generator=generators)
def test_broadcasting_and_summing_back_are_adjoint(shapes, generator):
    shape = shapes.input_shapes[0]
    mg.check_adjoint(lambda x: ops.broadcast_to(x, shapes.result_shape), lambda y: ops.sum_to(y, shape), shape)


@given(n=st.integers(1, 4), k=st.integers(1, 4), m=st.integers(1, 4), generator=generators,
       batch=mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=2))
def test_matrix_products_of_any_shape(n, k, m, generator, batch):
    x = generator.standard_normal((*batch.input_shapes[0], n, k))
    y = generator.standard_normal((*batch.input_shapes[1], k, m))
    np.testing.assert_allclose(ops.matmul(x, y).data, x @ y, rtol=1e-12, atol=1e-14)
    mg.check_grads(ops.matmul, [x, y], order=2, max_entries=3)


indices = st.integers(-3, 2) | st.slices(3) | st.just(...)


@given(index=st.lists(indices, max_size=3).map(tuple).filter(lambda index: index.count(...) <= 1), generator=generators)
def test_indexing_is_that_of_numpy(index, generator):
    x = generator.standard_normal((3, 3, 3))
    np.testing.assert_array_equal(mg.Tensor(x)[index].data, x[index])
    if x[index].size:
        mg.check_adjoint(lambda x: x[index], lambda y: ops.getitem_adjoint(y, index, x.shape), x.shape)
        mg.check_grads(lambda x: x[index] * x[index], [x], order=1)


@given(shape=shapes, generator=generators, data=st.data())
def test_transposing_is_that_of_numpy(shape, generator, data):
    axes = data.draw(st.permutations(range(len(shape))))
    x = generator.standard_normal(shape)
    np.testing.assert_array_equal(ops.transpose(x, axes).data, x.transpose(axes))
    mg.check_grads(lambda x: ops.transpose(x, axes), [x], order=2, max_entries=3)
