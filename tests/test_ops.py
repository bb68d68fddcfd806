"""Every operation: its value is NumPy's, its derivatives are right to the second order and beyond, its dtype stays.

The table in `operations.py` has a case for every operation there is; what holds for all is tested over the table.
"""

import gc
import weakref

import numpy as np
import pytest

import minigan as mg
from minigan import backend, ops
from minigan.tensor import OPS
from operations import TABLE, package_ops

pytestmark = pytest.mark.on_each_engine
all_cases = pytest.mark.parametrize("case", TABLE, ids=[f"{case.op}{i}" for i, case in enumerate(TABLE)])


# What holds for every operation

def test_every_operation_has_a_case():
    assert package_ops() == {case.op for case in TABLE}
    assert all(case.order >= 2 for case in TABLE)


def test_every_convolution_and_normalisation_is_checked_to_the_third_order():
    modules = {"minigan.conv", "minigan.normalize", "minigan.fast.norms"}
    demanding = {name for name in package_ops() if OPS[name].__module__ in modules}
    assert {case.op for case in TABLE if case.order == 3} == demanding


def test_every_public_operation_is_in_ops():
    homes = "minigan.ops", "minigan.shapes"
    expected = {name for name in package_ops() if OPS[name].__module__ in homes} | {"broadcast_to", "sum_to"}
    assert set(ops.__all__) == expected | {"one_hot", "one_hot_largest"}  # which make arrays
    assert all(getattr(ops, name) is OPS[name] for name in expected)


@pytest.mark.on_each_backend
@all_cases
def test_derivatives_are_right(case):
    """In some entries, and along a random direction, in which every other entry has its part."""
    mg.check_grads(case, case.arrays, order=case.order, max_entries=6 if case.order == 2 else 3)


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


@pytest.fixture(scope="module")
def frozen():
    """The collector looks through what there is now once, and not again in each test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@all_cases
def test_no_reference_cycle_is_left_behind(case, frozen):
    """Dropping an operation's result and its gradients to the second order frees them without the collector."""
    leaves = case.leaves()
    gc.collect()
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
