"""Tensors: what they are, that old graphs are refused, and that memory is freed at once."""

import gc
import weakref
from contextlib import contextmanager

import numpy as np
import pytest

import minigan as mg
from minigan import nn, ops, optim
from operations import leaf, values_of

pytestmark = pytest.mark.on_each_engine


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
