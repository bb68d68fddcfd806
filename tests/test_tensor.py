"""The graph and `grad`: what is differentiated, what is left alone, and what is refused."""

import gc
import weakref
from contextlib import contextmanager

import numpy as np
import pytest

import minigan as mg
from minigan import nn, ops, optim
from minigan.tensor import op


def leaf(values):
    return mg.Tensor(np.array(values, dtype=np.float64), requires_grad=True)


def values_of(tensors):
    return [t.data.tolist() for t in tensors]


# What a tensor is

def test_a_tensor_tells_its_shape_and_dtype():
    x = mg.Tensor([[1, 2, 3], [4, 5, 6]])
    assert (x.shape, x.ndim, x.size, x.dtype, x.xp) == ((2, 3), 2, 6, np.float32, np)
    assert len(x) == 2 and x.grad is None and not x.requires_grad


def test_a_scalar_tensor_has_an_item_and_no_length():
    x = mg.Tensor(2.5)
    assert type(x.item()) is float and x.item() == 2.5
    with pytest.raises(TypeError, match="scalar"):
        len(x)
    with pytest.raises(ValueError):
        mg.Tensor([1.0, 2.0]).item()


def test_numpy_gives_the_array():
    array = np.array([1.0, 2.0])
    x = mg.Tensor(array)
    assert type(x.numpy()) is np.ndarray
    np.testing.assert_array_equal(x.numpy(), array)


def test_a_tensor_has_no_accidental_truth_value():
    for x in (mg.Tensor(1.0), mg.Tensor([]), mg.Tensor([1.0, 2.0])):
        with pytest.raises(TypeError, match="truth value"):
            bool(x)


def test_a_tensor_cannot_be_iterated():
    with pytest.raises(TypeError):
        iter(mg.Tensor([1.0, 2.0]))
    with pytest.raises(TypeError):
        1.0 in mg.Tensor([1.0, 2.0])


def test_a_tensor_does_not_turn_into_an_array_silently():
    x = mg.Tensor([1.0, 2.0])
    for convert in (np.asarray, np.array, np.sin, np.sum, lambda x: np.asarray([x, x])):
        with pytest.raises(TypeError):
            convert(x)
    with pytest.raises(TypeError, match=r"\.numpy\(\)"):
        np.asarray(x)


@pytest.mark.parametrize("x, parts", [
    (lambda: mg.Tensor([1.0, -2.5]), ["1.", "-2.5", "shape (2,)", "float32"]),
    (lambda: leaf([[0.25]]), ["0.25", "shape (1, 1)", "float64", "requires_grad"]),
    (lambda: leaf([3.0]) * 2.0, ["6.", "shape (1,)", "float64", "from mul"]),
    (lambda: mg.Tensor(np.zeros((100, 100))), ["...", "shape (100, 100)"]),
], ids=["constant", "leaf", "result", "large"])
def test_repr_tells_values_shape_dtype_and_origin(x, parts):
    text = repr(x())
    assert text.startswith("Tensor(") and len(text) < 300
    assert all(part in text for part in parts), text


def test_repr_of_a_constant_claims_no_gradient():
    assert "requires_grad" not in repr(mg.Tensor(1.0)) and "from" not in repr(mg.Tensor(1.0))


def test_data_takes_float_arrays_only():
    x = leaf([1.0, 2.0])
    x.data = np.array([3.0, 4.0])
    assert values_of([x]) == [[3.0, 4.0]]
    for wrong in ([1.0], 1.0, np.arange(2), mg.Tensor([1.0]), np.float64(1.0)):
        with pytest.raises(TypeError, match="array of floats"):
            x.data = wrong
    assert values_of([x]) == [[3.0, 4.0]]


def test_detach_is_the_same_value_with_nothing_behind_it():
    x = leaf([2.0, 3.0])
    y = x * x
    z = y.detach()
    assert not z.requires_grad and values_of([z]) == values_of([y])
    assert values_of(mg.grad((z * x).sum(), x)) == [[4.0, 9.0]]


# What grad computes

def test_a_single_tensor_counts_as_a_list_of_one():
    x = leaf(3.0)
    y = x * x
    for gradients in (mg.grad(y, x), mg.grad([y], [x]), mg.grad(y, [x]), mg.grad((y,), (x,))):
        assert type(gradients) is list and values_of(gradients) == [6.0]


def test_gradients_come_back_in_the_order_of_the_inputs_with_their_shapes_and_dtype():
    x, w, b = leaf(np.ones((4, 3))), leaf(np.ones((3, 2))), leaf(np.zeros(2))
    y = (x @ w + b).sum()
    for inputs in ([x, w, b], [b, x, w]):
        gradients = mg.grad(y, inputs)
        assert [g.shape for g in gradients] == [t.shape for t in inputs]
        assert all(isinstance(g, mg.Tensor) and g.dtype == np.float64 for g in gradients)


def test_the_gradients_of_several_outputs_add_up():
    x = leaf([1.0, 2.0])
    y, z = x * 3.0, x * x
    assert values_of(mg.grad([y.sum(), z.sum()], x)) == [[5.0, 7.0]]
    assert values_of(mg.grad([y, z], x, [np.array([1.0, 0.0]), np.array([0.0, 10.0])])) == [[3.0, 40.0]]
    assert values_of(mg.grad([y, y], x, [np.ones(2), np.ones(2)])) == [[6.0, 6.0]]


@pytest.mark.parametrize("wrap", [mg.Tensor, lambda a: a, lambda a: [mg.Tensor(a)], lambda a: [a]],
                         ids=["tensor", "array", "list of a tensor", "list of an array"])
def test_grad_outputs_weigh_the_output(wrap):
    x = leaf([1.0, 2.0])
    assert values_of(mg.grad(x * x, x, wrap(np.array([10.0, 0.5])))) == [[20.0, 2.0]]


def test_an_output_of_one_element_in_any_shape_is_a_scalar():
    x = leaf([[2.0]])
    assert values_of(mg.grad(x * x, x)) == [[[4.0]]]


def test_an_intermediate_result_can_be_an_input():
    x = leaf([1.0, 2.0])
    y = x * 2.0
    z = (y * y * x).sum()
    assert values_of(mg.grad(z, y)) == [[4.0, 16.0]]  # 2yx, x held fixed
    assert values_of(mg.grad(z, [x, y])) == [[12.0, 48.0], [4.0, 16.0]]  # of 4x³, and 2yx


def test_an_output_can_be_its_own_input():
    x = leaf(2.0)
    y = x * x
    assert values_of(mg.grad(y, [y, x])) == [1.0, 4.0]
    assert values_of(mg.grad(x, x)) == [1.0]


def test_an_input_may_be_asked_for_twice():
    x = leaf(2.0)
    assert values_of(mg.grad(x * x, [x, x])) == [4.0, 4.0]


def test_only_what_was_asked_for_is_differentiated():
    x, y = leaf(2.0), leaf(3.0)
    assert values_of(mg.grad(x * y, [y])) == [2.0]


def test_without_create_graph_gradients_are_constants():
    x = leaf(2.0)
    [g] = mg.grad(x * x * x, x)
    assert not g.requires_grad and g.node is None
    with pytest.raises(ValueError, match="no graph"):
        mg.grad(g, x)


def test_with_create_graph_gradients_have_gradients_of_every_order():
    x = leaf(3.0)
    derivative, orders = x * x * x * x, []
    for _ in range(4):
        [derivative] = mg.grad(derivative, x, create_graph=True)
        orders.append(derivative.item())
    assert orders == [108.0, 108.0, 72.0, 24.0]


def test_gradients_depend_on_grad_outputs_too():
    x, c = leaf([1.0, 2.0]), leaf([5.0, 7.0])
    [g] = mg.grad(x * x, x, c, create_graph=True)  # 2xc
    assert values_of(mg.grad(g.sum(), [c, x])) == [[2.0, 4.0], [10.0, 14.0]]


def test_the_graph_may_be_walked_any_number_of_times():
    x = leaf([1.0, 2.0])
    y = (ops.tanh(x) * x).sum()
    assert values_of(mg.grad(y, x)) == values_of(mg.grad(y, x))


def test_every_path_of_a_diamond_counts_once():
    x = leaf(5.0)
    a, b = x * 2.0, x * 3.0
    assert values_of(mg.grad(a * b + a, [x])) == [62.0]  # 6x² + 2x


def test_two_to_the_sixtieth_paths_take_sixty_steps():
    x = leaf(1.0)
    y = x
    for _ in range(60):
        y = y + y
    assert values_of(mg.grad(y, x)) == [2.0 ** 60]


def test_a_graph_100_000_operations_deep_needs_no_deep_stack():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1.0
    assert values_of(mg.grad(y, x)) == [1.0]
    del y  # frees them one inside the other


def test_a_deep_graph_may_be_differentiated_twice():
    x = leaf(1.0)
    y = x
    for _ in range(5_000):
        y = y * x
    [g] = mg.grad(y, x, create_graph=True)
    assert values_of(mg.grad(g, x)) == [5_001.0 * 5_000.0]
    del g


# What grad leaves alone

def test_nothing_is_written_on_tensors():
    x, w = leaf([[1.0, 2.0]]), leaf([[3.0], [4.0]])
    y = x @ w
    z = (y * y + y).sum()
    before = values_of([x, w, y, z])
    mg.grad(z, [x, w], create_graph=True)
    assert values_of([x, w, y, z]) == before
    assert all(t.grad is None for t in (x, w, y, z))


def test_sums_are_out_of_place():
    """x and y get the same cotangent from x + y; what x gets elsewhere must not reach y, nor the caller's array."""
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    c = np.array([1.0, 1.0])
    assert values_of(mg.grad(x + y + x * 10.0, [x, y, x], c)) == [[11.0, 11.0], [1.0, 1.0], [11.0, 11.0]]
    assert c.tolist() == [1.0, 1.0]


def test_no_grad_records_nothing_and_ends_with_its_block():
    x = leaf(2.0)
    with mg.no_grad():
        with mg.no_grad():
            pass
        y = x * x
    assert y.item() == 4.0 and not y.requires_grad
    assert (x * x).requires_grad
    with pytest.raises(ZeroDivisionError), mg.no_grad():
        1 / 0
    assert (x * x).requires_grad


def test_grad_works_inside_no_grad():
    x = leaf(3.0)
    y = x * x * x
    with mg.no_grad():
        [g] = mg.grad(y, x, create_graph=True)
        assert values_of(mg.grad(g, x)) == [18.0]
        assert not (x * x).requires_grad
    assert (x * x).requires_grad


def test_recording_goes_on_after_grad_has_failed():
    @op
    def broken_map(x, /):
        return x.data * 1.0, (lambda g: 1 / 0,)

    x = leaf(1.0)
    y = broken_map(x)
    with pytest.raises(ZeroDivisionError):
        mg.grad(y, x)
    assert (x * x).requires_grad


# What grad refuses

def test_an_output_without_a_graph_is_refused():
    x = leaf(1.0)
    with mg.no_grad():
        unrecorded = x * x
    for output in (mg.Tensor(1.0), mg.Tensor(1.0) * 2.0, x.detach() * 2.0, unrecorded):
        with pytest.raises(ValueError, match="grad: .*no graph"):
            mg.grad(output, x)
        with pytest.raises(ValueError, match="grad: .*no graph"):
            mg.grad([x * x, output], x)


def test_an_output_that_is_no_scalar_needs_grad_outputs():
    x = leaf([1.0, 2.0])
    with pytest.raises(ValueError, match=r"grad: .*shape \(2,\).*scalar"):
        mg.grad(x * x, x)


def test_grad_outputs_must_fit_the_outputs():
    x = leaf([1.0, 2.0])
    y = x * x
    with pytest.raises(ValueError, match="grad: 2 outputs but 1 grad_outputs"):
        mg.grad([y, y], x, [np.ones(2)])
    with pytest.raises(ValueError, match=r"grad: .*\(2,\).*\(1,\)"):
        mg.grad(y, x, np.ones(1))
    with pytest.raises(ValueError, match="grad: .*float64.*float32"):
        mg.grad(y, x, np.ones(2, np.float32))


def test_an_input_no_output_depends_on_is_refused_or_none():
    x, other = leaf([1.0, 2.0]), leaf(np.ones((3, 4)))
    y = (x * x).sum()
    with pytest.raises(ValueError, match=r"grad: .*input 1 \(3, 4\).*allow_unused"):
        mg.grad(y, [x, other])
    gradients = mg.grad(y, [other, x], allow_unused=True)
    assert gradients[0] is None and values_of(gradients[1:]) == [[2.0, 4.0]]
    later = y * 2.0  # computed from y, not the other way round
    assert mg.grad(y, later, allow_unused=True) == [None]
    constant = mg.Tensor(np.array([1.0, 2.0]))
    assert mg.grad((x * constant).sum(), constant, allow_unused=True) == [None]


# backward

def test_backward_adds_into_the_leaves():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    y = x * w
    y.sum().backward()
    first = x.grad
    assert isinstance(first, mg.Tensor) and values_of([x.grad, w.grad]) == [[3.0, 4.0], [1.0, 2.0]]
    (x * x).sum().backward()
    assert values_of([x.grad, w.grad]) == [[5.0, 8.0], [1.0, 2.0]]
    assert first.data.tolist() == [3.0, 4.0]  # the sum is a new array
    assert y.grad is None


def test_backward_with_a_cotangent_and_without_a_graph():
    x = leaf([1.0, 2.0])
    (x * x).backward(np.array([1.0, 10.0]))
    assert values_of([x.grad]) == [[2.0, 40.0]]
    with pytest.raises(ValueError, match="scalar"):
        (x * x).backward()
    with pytest.raises(ValueError, match="no graph"):
        mg.Tensor(1.0).backward()
    assert values_of([x.grad]) == [[2.0, 40.0]]


def test_backward_leaves_frozen_leaves_alone():
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    w.requires_grad = False
    (x * w).sum().backward()
    assert w.grad is None and values_of([x.grad]) == [[3.0, 4.0]]


# Maps are lazy

def counted_product():
    """A product that counts how often the map of each argument is called."""
    calls = {"x": 0, "y": 0}

    def count(name, g):
        calls[name] += 1
        return g

    @op
    def product_that_counts(x, y, /):
        return x.data * y.data, (lambda g: count("x", g) * y, lambda g: count("y", g) * x)

    return product_that_counts, calls


def test_the_maps_of_frozen_arguments_are_never_called():
    product, calls = counted_product()
    x, weight = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    weight.requires_grad = False
    y = ops.tanh(product(ops.tanh(product(x, weight)), weight)).sum()
    y.backward()
    mg.grad(y, x, create_graph=True)
    assert calls == {"x": 4, "y": 0}


def test_the_maps_of_arguments_that_lead_to_no_input_are_never_called():
    product, calls = counted_product()
    x, weight = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    mg.grad(product(x, weight * 2.0).sum(), x)
    assert calls == {"x": 1, "y": 0}


def test_nothing_below_an_intermediate_input_is_differentiated():
    product, calls = counted_product()
    x, weight = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    hidden = product(x, weight)
    mg.grad((hidden * hidden).sum(), hidden)
    assert calls == {"x": 0, "y": 0}


def test_an_operation_used_by_many_is_differentiated_once():
    product, calls = counted_product()
    x, y = leaf(2.0), leaf(3.0)
    z = product(x, y)
    assert values_of(mg.grad(z + z * z + ops.exp(z * 0.0), [x, y])) == [39.0, 26.0]
    assert calls == {"x": 1, "y": 1}


# The op contract

def test_an_operation_defined_outside_differentiates_to_every_order():
    @op
    def cube_for_test(x, /):
        return x.data ** 3, (lambda g: g * 3.0 * x * x,)

    mg.check_grads(cube_for_test, [np.array([0.5, -1.5, 2.0])], order=3)


def test_options_come_by_position_or_by_name():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    assert values_of([ops.sum(x, 0, True)]) == values_of([ops.sum(x, axis=0, keepdims=True)]) == [[[4.0, 6.0]]]


def test_an_operation_that_returns_another_dtype_is_refused():
    @op
    def leaks_float64(x, /):
        return x.data * np.float64(2.0), (lambda g: g * 2.0,)

    assert leaks_float64(mg.Tensor(np.ones(2))).dtype == np.float64
    with pytest.raises(TypeError, match="leaks_float64: .*float64 from float32"):
        leaks_float64(mg.Tensor([1.0, 2.0]))


def test_broadcasting_is_undone_for_every_operation():
    @op
    def weighted_sum_for_test(x, y, /):
        return x.data + 2.0 * y.data, (lambda g: g, lambda g: 2.0 * g)

    x, y = leaf(np.ones((3, 1))), leaf(np.ones((2, 1, 4)))
    gradients = mg.grad(weighted_sum_for_test(x, y).sum(), [x, y])
    assert values_of(gradients) == [[[8.0]] * 3, [[[6.0] * 4]] * 2]


def fused_cube(definition=lambda x, scale=1.0: x * x * x * scale):
    """scale · x³ with a first derivative by hand, and how often that was used."""
    calls = []

    @op(definition=definition)
    def fused_cube_for_test(x, /, scale=1.0):
        def fused(g, needed):
            calls.append(needed)
            return [3.0 * scale * x.data ** 2 * g]
        return scale * x.data ** 3, None, fused

    return fused_cube_for_test, calls


def test_a_fused_operation_takes_its_fast_path_for_first_derivatives():
    cube, calls = fused_cube()
    x = leaf([1.0, 2.0])
    assert values_of(mg.grad(cube(x, 2.0).sum(), x)) == [[6.0, 24.0]]
    assert calls == [[True]]


def test_a_fused_operation_is_differentiated_through_its_definition():
    cube, calls = fused_cube()
    x = leaf([1.0, 2.0])
    [g] = mg.grad(cube(x, scale=2.0).sum(), x, create_graph=True)
    assert values_of([g]) == [[6.0, 24.0]]
    assert values_of(mg.grad(g.sum(), x)) == [[12.0, 24.0]]
    assert calls == []
    mg.check_grads(cube, [np.array([0.5, -1.5])], order=3)


def test_a_fused_operation_with_maps_is_differentiated_through_them():
    calls = []

    @op
    def fused_with_maps_for_test(x, y, /):
        def fused(g, needed):
            calls.append(needed)
            return g * y.data, g * x.data
        return x.data * y.data, (lambda g: g * y, lambda g: g * x), fused

    x, y = leaf([2.0, 3.0]), leaf([5.0, 7.0])
    gradients = mg.grad(fused_with_maps_for_test(x, y).sum(), [x, y], create_graph=True)
    assert values_of(gradients) == [[5.0, 7.0], [2.0, 3.0]] and calls == []
    assert values_of(mg.grad(gradients[0].sum(), y)) == [[1.0, 1.0]]
    assert values_of(mg.grad(fused_with_maps_for_test(x, y).sum(), [x, y])) == [[5.0, 7.0], [2.0, 3.0]]
    assert calls == [[True, True]]


def test_what_a_fused_operation_returns_for_an_argument_nobody_needs_is_ignored():
    @op(definition=lambda x, y: x * y)
    def wasteful_product_for_test(x, y, /):
        return x.data * y.data, None, lambda g, needed: (g * y.data, None if needed[1] else "waste")

    x, y = leaf([2.0, 3.0]), leaf([5.0, 7.0])
    assert values_of(mg.grad(wasteful_product_for_test(x, y).sum(), x)) == [[5.0, 7.0]]
    twice = wasteful_product_for_test(x, y) + wasteful_product_for_test(x, y)  # the waste is not added up either
    assert values_of(mg.grad(twice.sum(), x)) == [[10.0, 14.0]]
    wasteful_product_for_test(x, y.detach()).sum().backward()
    assert values_of([x.grad]) == [[5.0, 7.0]] and y.grad is None


def test_the_arguments_of_a_fused_operation_may_depend_on_each_other():
    @op(definition=lambda x, y: x * y)
    def fused_product_for_test(x, y, /):
        return x.data * y.data, None, lambda g, needed: (g * y.data, g * x.data)

    x = leaf([2.0, 3.0])
    y = x * x
    for create_graph in (False, True):
        gradients = mg.grad(fused_product_for_test(x, y).sum(), [x, y], create_graph=create_graph)
        assert values_of(gradients) == [[12.0, 27.0], [2.0, 3.0]]
        assert values_of(mg.grad(fused_product_for_test(x, x).sum(), x, create_graph=create_graph)) == [[4.0, 6.0]]


def test_a_wrong_fast_path_is_found_by_the_gradient_check():
    @op(definition=lambda x: x * x)
    def wrongly_fused_square(x, /):
        return x.data ** 2, None, lambda g, needed: [x.data * g]

    with pytest.raises(AssertionError, match="order 1"):
        mg.check_grads(wrongly_fused_square, [np.array([1.0, 2.0])], order=1)


# Stale weights

def step(w):
    w.grad = mg.Tensor(np.ones_like(w.data))
    optim.SGD([w], lr=0.1).step()


def assign(w):
    w.data = w.data * 2.0


@pytest.mark.parametrize("change", [step, assign])
def test_a_graph_recorded_before_a_weight_changed_is_refused(change):
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    y = (x * w).sum()
    change(w)
    for inputs in ([x], [w]):
        with pytest.raises(RuntimeError, match=r"mul: argument 1 \(2,\) was changed.*forward computation again"):
            mg.grad(y, inputs)
        with pytest.raises(RuntimeError, match="was changed"):
            mg.grad(y, inputs, create_graph=True)
    mg.grad((x * w).sum(), [x, w])  # recorded anew, it is fine


def test_loading_weights_makes_older_graphs_stale():
    layer = nn.Dense(2, 1)
    y = layer(mg.Tensor([[1.0, 2.0]])).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="was changed"):
        y.backward()


def test_a_frozen_weight_that_changed_is_noticed_too():
    """The generator's loss is recorded through a frozen discriminator; a discriminator step comes before backward."""
    x, w = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    step(w)
    w.requires_grad = False
    y = (x * w).sum()
    mg.grad(y, x)  # what changed before does not matter
    w.requires_grad = True
    step(w)
    with pytest.raises(RuntimeError, match="was changed"):
        mg.grad(y, x)


def test_a_reshaped_weight_that_changed_is_noticed_too():
    """The result of reshape shares the weight's memory, which the step overwrites."""
    x, w = leaf([[1.0, 2.0]]), leaf([3.0, 4.0])
    y = (x @ w.reshape(2, 1)).sum()
    step(w)
    with pytest.raises(RuntimeError, match="was changed"):
        mg.grad(y, x)


# Memory

@contextmanager
def nothing_for_the_garbage_collector():
    """Fails if the block leaves behind unreachable objects that only the garbage collector can free."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
        assert gc.collect() == 0, "reference cycles were left behind"
    finally:
        gc.enable()
        gc.unfreeze()


def test_dropping_the_output_frees_the_graph_at_once():
    with nothing_for_the_garbage_collector():
        x = leaf([1.0, 2.0])
        hidden = ops.tanh(x * 3.0)
        y = (hidden * hidden).sum()
        freed = [weakref.ref(hidden), weakref.ref(hidden.data), weakref.ref(y)]
        del hidden
        assert all(ref() is not None for ref in freed)  # the graph keeps what it needs
        del y
        assert all(ref() is None for ref in freed)


def test_dropping_gradients_of_gradients_frees_their_graphs_at_once():
    with nothing_for_the_garbage_collector():
        x = leaf([1.0, 2.0])
        y = ops.tanh(x * 3.0).sum()
        [g] = mg.grad(y, x, create_graph=True)
        z = (g * g).sum()
        [h] = mg.grad(z, x, create_graph=True)
        freed = [weakref.ref(t) for t in (y, g, z, h)]
        del y, g, z, h
        assert all(ref() is None for ref in freed)


def test_a_training_step_with_a_penalty_leaves_nothing_behind():
    critic = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.LayerNorm(2), nn.LeakyReLU(), nn.Flatten(),
                           nn.Dense(32, 1))
    optimizer = optim.Adam(critic.parameters())
    images = np.random.default_rng(0).standard_normal((2, 4, 4, 1)).astype(np.float32)
    with nothing_for_the_garbage_collector():
        penalty = mg.objectives.gradient_penalty(critic, images, -images, np.full((2, 1, 1, 1), 0.5, np.float32))
        (critic(images).mean() + penalty).backward()
        optimizer.step()
        optimizer.zero_grad()
        freed = weakref.ref(penalty)
        del penalty
        assert freed() is None


def test_the_nothing_left_behind_tests_can_fail():
    with pytest.raises(AssertionError, match="cycles"), nothing_for_the_garbage_collector():
        cycle = []
        cycle.append(cycle)
        del cycle
