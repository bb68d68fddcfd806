"""`grad` and `backward`: what is differentiated, what is left alone, and what is refused."""

import numpy as np
import pytest

import minigan as mg
from minigan import ops
from minigan.tensor import op
from operations import leaf, values_of

pytestmark = pytest.mark.on_each_engine


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
    with pytest.raises(TypeError, match="grad: .*float64.*float32"):
        mg.grad(y, x, mg.Tensor(np.ones(2, np.float32)))
    assert mg.grad(y, x, np.ones(2, np.float32))[0].dtype == np.float64  # a raw array takes on the dtype


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
