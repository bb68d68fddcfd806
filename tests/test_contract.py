"""The contract of operations: maps, composed ones, what a faster engine may offer, and mistakes by name."""

import numpy as np
import pytest

import minigan as mg
from minigan import ops
from minigan.tensor import FAST, OPS, composed, op
from operations import leaf, values_of

pytestmark = pytest.mark.on_each_engine


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


# What a faster engine may offer

def offer(monkeypatch, function, fast):
    """The composed operation `function`, and `fast` offered for it."""
    monkeypatch.setitem(FAST, function, fast)
    return composed(function)


def fast_cube(monkeypatch, first=True, factor=3.0):
    """scale · x³ with a first derivative by hand, and how often that was used."""
    calls = []

    def cube_for_test(x, /, scale=1.0):
        return x * x * x * scale

    def fast(x, /, scale=1.0):
        def by_hand(g, needed):
            calls.append(needed)
            return [factor * scale * x.data ** 2 * g]
        return (scale * x.data ** 3, None, by_hand) if first else (scale * x.data ** 3, None)
    return offer(monkeypatch, cube_for_test, fast), calls


def test_first_derivatives_are_those_by_hand(monkeypatch):
    cube, calls = fast_cube(monkeypatch)
    x = leaf([1.0, 2.0])
    assert values_of(mg.grad(cube(x, 2.0).sum(), x)) == [[6.0, 24.0]]
    assert calls == [[True]]


def test_what_is_to_be_differentiated_again_goes_through_the_definition(monkeypatch):
    cube, calls = fast_cube(monkeypatch)
    x = leaf([1.0, 2.0])
    [g] = mg.grad(cube(x, scale=2.0).sum(), x, create_graph=True)
    assert values_of([g]) == [[6.0, 24.0]]
    assert values_of(mg.grad(g.sum(), x)) == [[12.0, 24.0]]
    assert calls == []
    mg.check_grads(cube, [np.array([0.5, -1.5])], order=3)


def test_a_value_alone_will_do(monkeypatch):
    """Without maps and without derivatives by hand the definition is differentiated, the first time too."""
    cube, _ = fast_cube(monkeypatch, first=False)
    x = leaf([1.0, 2.0])
    cube(x, 2.0).sum().backward()
    assert values_of([x.grad]) == [[6.0, 24.0]]
    mg.check_grads(cube, [np.array([0.5, -1.5])], order=3)


def test_nothing_offered_for_these_arguments_means_the_plain_function(monkeypatch):
    asked = []
    square = offer(monkeypatch, lambda x, /: x * x, lambda x: asked.append(x.shape))
    assert square(leaf([3.0])).data.tolist() == [9.0] and asked == [(1,)]
    assert square(leaf([3.0])).node.name == "mul"


def test_maps_are_used_where_a_gradient_must_be_differentiable(monkeypatch):
    calls = []

    @op
    def product_for_test(x, y, /):
        raise AssertionError("the plain function is not needed")

    def fast(x, y, /):
        def first(g, needed):
            calls.append(needed)
            return g * y.data, g * x.data
        return x.data * y.data, (lambda g: g * y, lambda g: g * x), first

    monkeypatch.setitem(FAST, product_for_test.__wrapped__, fast)
    x, y = leaf([2.0, 3.0]), leaf([5.0, 7.0])
    gradients = mg.grad(product_for_test(x, y).sum(), [x, y], create_graph=True)
    assert values_of(gradients) == [[5.0, 7.0], [2.0, 3.0]] and calls == []
    assert values_of(mg.grad(gradients[0].sum(), y)) == [[1.0, 1.0]]
    assert values_of(mg.grad(product_for_test(x, y).sum(), [x, y])) == [[5.0, 7.0], [2.0, 3.0]]
    assert calls == [[True, True]]


def test_a_function_in_the_place_of_maps_is_the_definition(monkeypatch):
    """Batch norm's, which must not observe the batch a second time."""
    def square_for_test(x, /):
        raise AssertionError("another definition was given")

    square = offer(monkeypatch, square_for_test,
                   lambda x: (x.data ** 2, lambda x: x * x, lambda g, needed: [2.0 * g * x.data]))
    mg.check_grads(square, [np.array([0.5, -1.5])], order=3)


def test_what_is_returned_for_an_argument_nobody_needs_is_ignored(monkeypatch):
    def wasteful_for_test(x, y, /):
        return x * y

    product = offer(monkeypatch, wasteful_for_test, lambda x, y: (
        x.data * y.data, None, lambda g, needed: (g * y.data, None if needed[1] else "waste")))
    x, y = leaf([2.0, 3.0]), leaf([5.0, 7.0])
    assert values_of(mg.grad(product(x, y).sum(), x)) == [[5.0, 7.0]]
    twice = product(x, y) + product(x, y)  # the waste is not added up either
    assert values_of(mg.grad(twice.sum(), x)) == [[10.0, 14.0]]
    product(x, y.detach()).sum().backward()
    assert values_of([x.grad]) == [[5.0, 7.0]] and y.grad is None


def test_the_arguments_may_depend_on_each_other(monkeypatch):
    def entangled_for_test(x, y, /):
        return x * y

    product = offer(monkeypatch, entangled_for_test, lambda x, y: (
        x.data * y.data, None, lambda g, needed: (g * y.data, g * x.data)))
    x = leaf([2.0, 3.0])
    y = x * x
    for create_graph in (False, True):
        gradients = mg.grad(product(x, y).sum(), [x, y], create_graph=create_graph)
        assert values_of(gradients) == [[12.0, 27.0], [2.0, 3.0]]
        assert values_of(mg.grad(product(x, x).sum(), x, create_graph=create_graph)) == [[4.0, 6.0]]


@pytest.mark.parametrize("name", ["tanh", "matmul", "fused", "watched", "batch_norm"])
@pytest.mark.parametrize("make", [op, composed])
def test_an_operation_of_ones_own_may_have_any_name(monkeypatch, make, name):
    """None of the package's functions takes its place."""
    for table in (OPS, FAST):
        if name in table:
            monkeypatch.setitem(table, name, table[name])

    def function(x, /):
        return (x.data * 3.0, (lambda g: g * 3.0,)) if make is op else x * 3.0

    function.__name__ = name
    x = leaf([1.0, 2.0])
    y = make(function)(x)
    assert y.data.tolist() == [3.0, 6.0] and values_of(mg.grad(y.sum(), x)) == [[3.0, 3.0]]


def test_a_wrong_derivative_by_hand_is_found_by_the_gradient_check(monkeypatch):
    cube, _ = fast_cube(monkeypatch, factor=2.0)
    with pytest.raises(AssertionError, match="order 1"):
        mg.check_grads(cube, [np.array([1.0, 2.0])], order=1)


# Mistakes are named with the operation

def mistaken(function):
    function.__name__ = "mistaken_for_test"
    return op(function)


def test_tensors_stand_before_a_slash():
    for make in (op, composed):
        with pytest.raises(TypeError, match="mistaken_for_test: an operation's tensors stand before a slash"):
            def mistaken_for_test(x, option=1):
                return x.data, (lambda g: g,)
            make(mistaken_for_test)


@pytest.mark.parametrize("found", [
    lambda x, y: x.data, lambda x, y: (x.data, lambda g: g), lambda x, y: (x.data, [lambda g: g] * 2),
    lambda x, y: (x.data, (lambda g: g,)), lambda x, y: (x.data, (lambda g: g,) * 3), lambda x, y: None,
    lambda x, y: (x.data, (lambda g: g, None))],
    ids=["no maps", "not a tuple", "a list", "too few", "too many", "nothing", "no function"])
def test_maps_are_a_tuple_with_one_for_each_tensor(found):
    with pytest.raises(TypeError, match="mistaken_for_test: .*its value and a tuple of 2 maps"):
        mistaken(lambda x, y, /: found(x, y))(leaf([1.0]), leaf([2.0]))


def test_the_value_is_an_array():
    with pytest.raises(TypeError, match=r"mistaken_for_test: the value is a Tensor, .*x\.data"):
        mistaken(lambda x, /: (x * 2.0, (lambda g: g * 2.0,)))(leaf([1.0]))


def test_a_map_returns_a_tensor():
    y = mistaken(lambda x, /: (x.data * 2.0, (lambda g: g.data * 2.0,)))(leaf([1.0]))
    with pytest.raises(TypeError, match="mistaken_for_test: map 0 returned ndarray, expected a Tensor"):
        y.backward()


@pytest.mark.parametrize("g", [lambda g: g[:1], lambda g: g.reshape(1, 3, 1), lambda g: ops.concatenate(g, g)])
def test_a_map_returns_a_gradient_of_its_arguments_shape(g):
    y = mistaken(lambda x, /: (x.data * 2.0, (g,)))(leaf([1.0, 2.0, 3.0]))
    with pytest.raises(ValueError, match=r"mistaken_for_test: map 0 returned a gradient .* for an argument \(3,\)"):
        y.backward(np.ones(3))


def test_a_map_returns_a_gradient_of_its_arguments_dtype():
    x = mg.Tensor(np.ones(2, np.float32), requires_grad=True)
    y = mistaken(lambda x, /: (x.data * 2, (lambda g: mg.Tensor(g.data.astype("float64")),)))(x)
    with pytest.raises(TypeError, match="map 0 returned a gradient of float64 for an argument of float32"):
        y.sum().backward()


@pytest.mark.parametrize("g, why", [(lambda g: lambda: g, "takes 0 positional arguments"),
                                    (lambda g: lambda g, x: g, "missing 1 required positional argument"),
                                    (lambda g: lambda *, g: g, "takes 0 positional arguments")])
def test_a_map_takes_one_gradient(g, why):
    y = mistaken(lambda x, y, /: (x.data + y.data, (lambda g: g, g(x))))(leaf([1.0]), leaf([2.0]))
    for create_graph in (False, True):
        with pytest.raises(TypeError, match=f"mistaken_for_test: map 1 cannot be called with one gradient: .*{why}"):
            mg.grad(y.sum(), y.node.args[1], create_graph=create_graph)


def test_a_type_error_that_arises_inside_a_map_stays_what_it_is():
    def inner():
        return 1.0

    y = mistaken(lambda x, /: (x.data * 2.0, (lambda g: g * inner(x),)))(leaf([1.0]))
    with pytest.raises(TypeError, match=r"^[^:]*inner\(\) takes 0 positional arguments but 1 was given$"):
        y.backward()
