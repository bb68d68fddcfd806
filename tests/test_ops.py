"""Every operation: its value is NumPy's, its derivatives are right to the second order and beyond, its dtype stays.

The table below has a case for every operation there is; what holds for all of them is tested over the table.
"""

import gc
import weakref
from dataclasses import dataclass
from typing import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import minigan as mg
from minigan import backend, ops
from minigan.tensor import OPS

rng = np.random.default_rng(0)


def draw(*shape):
    return rng.standard_normal(shape)


def away_from_zero(*shape):
    x = draw(*shape)
    return x + np.where(x >= 0, 0.2, -0.2)


def positive(*shape):
    return rng.uniform(0.3, 3.0, shape)


@dataclass
class Case:
    """An operation, arrays to call it with, its options; and what NumPy says, where a line can say it."""
    op: str
    arrays: list
    options: dict
    value: Callable = None
    order: int = 2

    def __call__(self, *arguments):
        options = {name: backend.asarray(option) if isinstance(option, np.ndarray) else option
                   for name, option in self.options.items()}
        return OPS[self.op](*arguments, **options)

    def leaves(self, dtype=np.float64):
        return [mg.Tensor(x.astype(dtype), requires_grad=True) for x in self.arrays]


def case(op, *arrays, value=None, order=2, **options):
    return Case(op, arrays, options, value, order)


def assigned(shape, index, y):
    x = np.zeros(shape)
    x[index] = y
    return x


def leaky(x, slope):
    return np.where(x > 0, x, slope * x)


KINK = np.array([[-1.0, 2.0, 0.0, -0.5], [3.0, -2.0, 1.0, 0.25], [-0.0, 1.0, -3.0, 4.0]])

TABLE = [
    case("add", draw(3, 4), draw(3, 4), value=lambda x, y: x + y),
    case("add", draw(2, 1, 3), draw(4, 1), value=lambda x, y: x + y),
    case("sub", draw(3, 4), draw(3, 4), value=lambda x, y: x - y),
    case("sub", draw(), draw(2, 3), value=lambda x, y: x - y),
    case("neg", draw(3, 4), value=lambda x: -x),
    case("mul", draw(3, 4), draw(3, 4), value=lambda x, y: x * y),
    case("mul", draw(4), draw(3, 1), value=lambda x, y: x * y),
    case("div", draw(3, 4), away_from_zero(3, 4), value=lambda x, y: x / y),
    case("div", draw(3, 1), away_from_zero(1, 2), value=lambda x, y: x / y),
    case("power", draw(3, 4), n=3, value=lambda x: x * x * x),
    case("power", draw(3, 4), n=2, value=lambda x: x * x),
    case("power", draw(3, 4), n=1, value=lambda x: x),
    case("power", away_from_zero(3, 4), n=-2, value=lambda x: 1 / (x * x)),
    case("power", positive(3, 4), n=0.5, value=np.sqrt),
    case("exp", draw(3, 4), value=np.exp),
    case("log", positive(3, 4), value=np.log),
    case("sqrt", positive(3, 4), value=np.sqrt),
    case("abs", away_from_zero(3, 4), value=np.abs),
    case("tanh", draw(3, 4), value=np.tanh),
    case("sigmoid", draw(3, 4), value=lambda x: 1 / (1 + np.exp(-x))),
    case("softplus", draw(3, 4), value=lambda x: np.log(1 + np.exp(x))),
    case("relu", away_from_zero(3, 4), value=lambda x: np.maximum(x, 0)),
    case("leaky_relu", away_from_zero(3, 4), value=lambda x: np.where(x > 0, x, 0.2 * x)),
    case("leaky_relu", away_from_zero(3, 4), slope=0.01, value=lambda x: np.where(x > 0, x, 0.01 * x)),
    case("leaky_relu", away_from_zero(3, 4), slope=1.5, value=lambda x: np.where(x > 0, x, 1.5 * x)),
    case("leaky_relu", away_from_zero(3, 4), slope=-0.5, value=lambda x: np.where(x > 0, x, -0.5 * x)),
    case("leak", draw(3, 4), kink=KINK, slope=0.2, value=lambda x: np.where(KINK > 0, x, 0.2 * x)),
    case("leak", draw(3, 4), kink=KINK, slope=0.0, value=lambda x: np.where(KINK > 0, x, 0.0)),
    case("maximum", draw(3, 4), draw(3, 4), value=np.maximum),
    case("maximum", draw(3, 1), draw(4), value=np.maximum),
    case("sum", draw(3, 4), value=np.sum),
    case("sum", draw(2, 3, 4), axis=1, value=lambda x: x.sum(1)),
    case("sum", draw(2, 3, 4), axis=(0, -1), keepdims=True, value=lambda x: x.sum((0, 2), keepdims=True)),
    case("mean", draw(3, 4), value=np.mean),
    case("mean", draw(2, 3, 4), axis=-1, value=lambda x: x.mean(2)),
    case("mean", draw(2, 3, 4), axis=(0, 1), keepdims=True, value=lambda x: x.mean((0, 1), keepdims=True)),
    case("norm", draw(3, 4), value=np.linalg.norm),
    case("norm", draw(3, 4), axis=1, value=lambda x: np.linalg.norm(x, axis=1)),
    case("norm", draw(2, 3, 4), axis=(0, 2), keepdims=True, value=lambda x: np.sqrt((x**2).sum((0, 2), keepdims=True))),
    case("reshape", draw(3, 4), shape=(2, 6), value=lambda x: x.reshape(2, 6)),
    case("reshape", draw(3, 4), shape=(2, -1, 1), value=lambda x: x.reshape(2, 6, 1)),
    case("transpose", draw(2, 3, 4), value=lambda x: x.T),
    case("transpose", draw(2, 3, 4), axes=(1, -1, 0), value=lambda x: x.transpose(1, 2, 0)),
    case("broadcast_to", draw(3, 1), shape=(2, 3, 4), value=lambda x: np.broadcast_to(x, (2, 3, 4))),
    case("sum_to", draw(2, 3, 4), shape=(3, 1), value=lambda x: x.sum((0, 2)).reshape(3, 1)),
    case("sum_to", draw(2, 3), shape=(), value=np.sum),
    case("concatenate", draw(2, 3), draw(1, 3), draw(4, 3), value=lambda *xs: np.concatenate(xs)),
    case("concatenate", draw(2, 1, 3), draw(2, 4, 3), axis=-2, value=lambda *xs: np.concatenate(xs, 1)),
    case("getitem", draw(3, 4), index=(1, slice(None, None, 2)), value=lambda x: x[1, ::2]),
    case("getitem", draw(3, 4), index=-1, value=lambda x: x[-1]),
    case("getitem", draw(2, 3, 4), index=(..., slice(3, 0, -1), 2), value=lambda x: x[:, 3:0:-1, 2]),
    case("getitem_adjoint", draw(2), index=(1, slice(0, 2)), shape=(3, 4),
         value=lambda y: assigned((3, 4), (1, slice(0, 2)), y)),
    case("alias", draw(3, 4), value=lambda x: x),
    case("affine", draw(4, 3), draw(3, 2), draw(2), value=lambda x, w, b: x @ w + b),
    case("affine", draw(4, 3), draw(3, 2), draw(2), slope=0.2, value=lambda x, w, b: leaky(x @ w + b, 0.2)),
    case("affine", draw(4, 3), draw(3, 2), draw(2), slope=0.0, value=lambda x, w, b: leaky(x @ w + b, 0.0)),
    case("add_bias", draw(2, 3, 4), draw(4), value=lambda x, b: x + b),
    case("add_bias", draw(5, 4), draw(4), slope=0.2, value=lambda x, b: leaky(x + b, 0.2)),
    case("add_bias", draw(2, 2, 3), draw(3), slope=1.5, value=lambda x, b: leaky(x + b, 1.5)),
    case("matmul", draw(2, 3), draw(3, 4), value=np.matmul),
    case("matmul", draw(2, 1, 2, 3), draw(4, 3, 1), value=np.matmul),
    # Convolutions and normalisations have their own files, where their values are compared with naive ones.
    case("conv2d", draw(2, 4, 3, 2), draw(3, 2, 2, 2), stride=(2, 1), padding=(1, 0), order=3),
    case("conv_transpose2d", draw(2, 2, 2, 2), draw(3, 2, 2, 2), stride=(2, 1), padding=(1, 0), output_size=(4, 3),
         order=3),
    case("conv2d_weight", draw(2, 4, 3, 2), draw(2, 2, 2, 2), kernel_size=(3, 2), stride=(2, 1), padding=(1, 0),
         order=3),
    case("batch_norm", draw(3, 2, 2), draw(2), draw(2), order=3),
    case("batch_norm", draw(4, 2), draw(2), draw(2), eps=0.5, order=3),
    case("batch_norm", draw(3, 2, 2), draw(2), draw(2), slope=0.2, order=3),
    case("batch_norm", draw(3, 2, 2), draw(2), draw(2), slope=0.0, order=3),
    case("layer_norm", draw(2, 3, 2), draw(2), draw(2), order=3),
    case("layer_norm_slope", draw(2, 3, 2), draw(2, 3, 2), draw(2), order=3),
    case("layer_norm_slope", draw(3, 4), draw(3, 4), draw(4), eps=0.5, order=3),
]
all_cases = pytest.mark.parametrize("case", TABLE, ids=[f"{case.op}{i}" for i, case in enumerate(TABLE)])


def package_ops():
    """Every operation that importing minigan defines (other tests define some of their own)."""
    return {name for name, function in OPS.items() if function.__module__.split(".")[0] == "minigan"}


# What holds for every operation

def test_every_operation_has_a_case():
    assert package_ops() == {case.op for case in TABLE}
    assert all(case.order >= 2 for case in TABLE)


def test_every_convolution_and_normalisation_is_checked_to_the_third_order():
    modules = {"minigan.conv", "minigan.normalize"}
    demanding = {name for name in package_ops() if OPS[name].__module__ in modules}
    assert {case.op for case in TABLE if case.order == 3} == demanding


def test_every_public_operation_is_in_ops():
    assert set(ops.__all__) == {name for name in package_ops() if OPS[name].__module__ == "minigan.ops"} | {
        "broadcast_to", "sum_to"}
    assert all(getattr(ops, name) is OPS[name] for name in ops.__all__)


@pytest.mark.parametrize("slope", [-0.5, float("nan")])
@pytest.mark.parametrize("name, shapes", [("affine", [(4, 3), (3, 2), (2,)]), ("add_bias", [(4, 3), (3,)]),
                                          ("batch_norm", [(4, 3), (3,), (3,)])])
def test_a_slope_below_zero_is_refused_where_the_derivative_is_read_off_the_result(name, shapes, slope):
    with pytest.raises(ValueError, match=f"{name}: expected a slope ≥ 0"):
        OPS[name](*[draw(*shape) for shape in shapes], slope=slope)


@pytest.mark.on_each_backend
@all_cases
def test_derivatives_are_right(case):
    mg.check_grads(case, case.arrays, order=case.order)


@pytest.mark.on_each_backend
@pytest.mark.parametrize("case", [case for case in TABLE if case.value], ids=lambda case: case.op)
def test_values_are_those_of_numpy(case):
    expected = case.value(*case.arrays)
    value = case(*[mg.Tensor(x) for x in case.arrays])
    assert value.shape == expected.shape
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.on_each_backend
@all_cases
def test_the_first_derivative_is_the_same_with_and_without_create_graph(case):
    """For a fused operation these are two pieces of code."""
    leaves = case.leaves()
    y = case(*leaves)
    c = mg.Tensor(np.random.default_rng(1).standard_normal(y.shape))
    for fast, composed in zip(mg.grad(y, leaves, c), mg.grad(y, leaves, c, create_graph=True)):
        assert fast.shape == composed.shape
        np.testing.assert_allclose(fast.numpy(), composed.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.on_each_backend
@pytest.mark.parametrize("case", [case for case in TABLE if len(case.arrays) > 1], ids=lambda case: case.op)
def test_a_gradient_asked_for_alone_is_the_one_asked_for_with_others(case):
    leaves = case.leaves()
    c = mg.Tensor(np.random.default_rng(1).standard_normal(case(*leaves).shape))
    for leaf, expected in zip(leaves, mg.grad(case(*leaves), leaves, c)):
        frozen = [x if x is leaf else x.detach() for x in leaves]
        for arguments in (leaves, frozen):
            [alone] = mg.grad(case(*arguments), leaf, c)
            np.testing.assert_allclose(alone.numpy(), expected.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.on_each_backend
@all_cases
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_gradients_of_every_order_keep_the_dtype(case, dtype):
    leaves = case.leaves(dtype)
    y, kind = case(*leaves), backend.current().array_type
    assert type(y.data) is kind and y.dtype == dtype
    c = mg.Tensor(np.ones(y.shape, dtype), requires_grad=True)
    for create_graph in (False, True):
        gradients = mg.grad(y, leaves, c, create_graph=create_graph)
        assert all(type(g.data) is kind and g.dtype == dtype for g in gradients)
    differentiable = [g for g in gradients if g.requires_grad]
    second = mg.grad(differentiable, [*leaves, c], [mg.Tensor(np.ones(g.shape, dtype)) for g in differentiable],
                     allow_unused=True)
    assert all(g.dtype == dtype for g in second if g is not None)


@pytest.mark.parametrize("case", [case for case in TABLE if len(case.arrays) > 1], ids=lambda case: case.op)
def test_mixed_dtypes_are_refused(case):
    first, *others = case.leaves()
    with pytest.raises(TypeError, match=f"{case.op}: .*float32.*float64"):
        case(mg.Tensor(first.data.astype(np.float32)), *others)
    with pytest.raises(TypeError, match=f"{case.op}: .*float64.*float32"):
        case(first, *[mg.Tensor(x.data.astype(np.float32)) for x in others])


@all_cases
def test_arguments_and_cotangents_are_not_written_on(case):
    leaves = case.leaves()
    for t in leaves:
        t.data.setflags(write=False)  # an attempt raises
    y = case(*leaves)
    y.data.setflags(write=False)
    c = mg.Tensor(np.random.default_rng(1).standard_normal(y.shape))
    c.data.setflags(write=False)
    before = y.data.copy()
    mg.grad(y, leaves, c)
    mg.grad(y, leaves, c, create_graph=True)
    np.testing.assert_array_equal(y.data, before)


@all_cases
def test_a_result_is_not_overwritten_by_the_next_call(case):
    leaves = case.leaves()
    others = [mg.Tensor(2.0 * x.data + 0.125, requires_grad=True) for x in leaves]
    y = case(*leaves)
    gradients = mg.grad(y, leaves, np.ones(y.shape))
    results = [y, *gradients]
    before = [t.data.copy() for t in results]
    mg.grad(case(*others), others, np.full(y.shape, 3.0))
    for t, copy in zip(results, before):
        np.testing.assert_array_equal(t.data, copy)


@all_cases
def test_memory_order_does_not_matter(case):
    """Slices, transposes and reversed views are as good as fresh arrays."""
    def strided(x):
        wide = np.zeros([2 * n for n in x.shape]).transpose()
        view = wide[(*[slice(None, None, -2)] * x.ndim, ...)].transpose()
        view[...] = x
        return view

    leaves, views = case.leaves(), [mg.Tensor(strided(x), requires_grad=True) for x in case.arrays]
    y, z = case(*leaves), case(*views)
    np.testing.assert_allclose(z.data, y.data, rtol=1e-13, atol=1e-15)
    c = np.random.default_rng(1).standard_normal(y.shape)
    for expected, g in zip(mg.grad(y, leaves, c), mg.grad(z, views, strided(c))):
        np.testing.assert_allclose(g.data, expected.data, rtol=1e-12, atol=1e-14)


@all_cases
def test_no_reference_cycle_is_left_behind(case):
    """Dropping an operation's result and its gradients to the second order frees them without the collector."""
    leaves = case.leaves()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        y = case(*leaves)
        c = mg.Tensor(np.ones(y.shape), requires_grad=True)
        first = mg.grad(y, leaves, c)
        composed = mg.grad(y, leaves, c, create_graph=True)
        differentiable = [g for g in composed if g.requires_grad]
        second = mg.grad(differentiable, [*leaves, c], [np.ones(g.shape) for g in differentiable], create_graph=True,
                         allow_unused=True)
        freed = [weakref.ref(t) for t in (y, c, *first, *composed, *second) if t is not None]
        del y, c, first, composed, differentiable, second
        assert all(ref() is None for ref in freed)
        assert gc.collect() == 0
    finally:
        gc.enable()
        gc.unfreeze()


# Drawn shapes

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
    mg.check_grads(lambda x: [f(x), x], [x], order=2, max_entries=6)  # x too, as the slope of f may be zero


@pytest.mark.parametrize("name", BINARY)
@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), generator=generators)
def test_functions_of_two_numbers_broadcast_as_in_numpy(name, shapes, generator):
    x, y = (drawn(generator, shape) for shape in shapes.input_shapes)
    f = getattr(ops, name)
    value = f(x, y)
    assert value.shape == shapes.result_shape
    np.testing.assert_allclose(value.data, BINARY[name](x, y), rtol=1e-13, atol=1e-15)
    mg.check_grads(lambda x, y: [f(x, y), x, y], [x, y], order=2, max_entries=6)


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
        mg.check_grads(lambda x: f(x, axis, keepdims), [x], order=2, max_entries=6)


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
    mg.check_grads(ops.matmul, [x, y], order=2, max_entries=6)


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
    mg.check_grads(lambda x: ops.transpose(x, axes), [x], order=2, max_entries=6)


# Operators and methods of Tensor

def test_operators_are_the_operations():
    x, y = mg.Tensor(draw(2, 3)), mg.Tensor(away_from_zero(2, 3))
    for value, expected in ((x + y, x.data + y.data), (x - y, x.data - y.data), (x * y, x.data * y.data),
                            (x / y, x.data / y.data), (-x, -x.data), (x ** 2, x.data ** 2),
                            (x @ y.transpose(), x.data @ y.data.T), (x[0], x.data[0])):
        np.testing.assert_array_equal(value.data, expected)


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
    x = mg.Tensor([[1.0, 2.0]])
    for f in (ops.add, ops.sub, ops.mul, ops.div, ops.maximum):
        for arguments in ((x, other), (other, x)):
            with pytest.raises(TypeError, match=f"{f.__name__}: .*float(32|64).*float(32|64)"):
                f(*arguments)
    for refused in (lambda: x + other, lambda: other * x, lambda: other - x, lambda: x / other):
        with pytest.raises(TypeError):
            refused()


def test_a_float64_option_does_not_leak_into_float32():
    x = mg.Tensor([[1.0, 2.0]])
    assert ops.leaky_relu(x, np.float64(0.1)).dtype == np.float32
    with pytest.raises(TypeError, match="power"):
        x ** np.float64(2.0)


def test_integer_and_boolean_arrays_become_float32():
    x = mg.Tensor([1.0, 2.0])
    for other in (np.arange(2), np.array([True, False]), np.int64(3), [1, 0], True):
        assert (x * other).dtype == (other * x).dtype == np.float32
        np.testing.assert_array_equal((x * other).data, x.data * np.asarray(other, np.float32))
    with pytest.raises(TypeError, match="float64.*float32"):
        mg.Tensor(np.ones(2)) * np.arange(2)


def test_what_is_not_numbers_is_refused():
    x = mg.Tensor([1.0])
    for other in ("text", None, np.ones(1, complex), object()):
        with pytest.raises(TypeError, match="add: .*not a tensor, an array or a number"):
            ops.add(x, other)
    with pytest.raises(TypeError, match="concatenate: expected at least one tensor"):
        ops.concatenate()


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
    (lambda x: ops.affine(x, x, x[0]), r"affine: .*\(2, 3\) @ \(2, 3\) \+ \(3,\)"),
    (lambda x: ops.affine(x, x.transpose(), x[0]), r"affine: .*\(2, 3\) @ \(3, 2\) \+ \(3,\)"),
    (lambda x: ops.affine(x, x.transpose(), 1.0), r"affine: .*\(2, 3\) @ \(3, 2\) \+ \(\)"),
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


def test_a_power_is_a_python_number():
    x = mg.Tensor([1.0])
    for n in (x, np.ones(1), np.float32(2.0), "2", True):
        with pytest.raises(TypeError, match="power: the exponent is a Python number"):
            ops.power(x, n)
