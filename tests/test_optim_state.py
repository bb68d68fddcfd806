"""What an optimizer keeps is saved and restored exactly, and what does not fit is refused."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn, optim
from operations import SHAPES, each_optimizer, gradients, parameters, take_step

pytestmark = pytest.mark.on_each_engine


# State

@each_optimizer
def test_a_restored_optimizer_continues_exactly(make):
    steps = gradients(25, np.float32)
    params = parameters(np.float32)
    optimizer = make(params)
    for arrays in steps[:12]:
        take_step(optimizer, params, arrays)
    state = optimizer.state_dict()
    twin_params = [nn.Parameter(p.data) for p in params]
    twin = make(twin_params)
    twin.lr = 123.0
    for arrays in steps[12:]:
        take_step(optimizer, params, arrays)
    twin.load_state_dict(state)  # what happened to the first one since does not show: the state is a copy
    for arrays in steps[12:]:
        take_step(twin, twin_params, arrays)
    for p, q in zip(params, twin_params):
        np.testing.assert_array_equal(p.data, q.data)
    for (name, array), (other, twins) in zip(optimizer.state_dict().items(), twin.state_dict().items(), strict=True):
        assert name == other and array.dtype == twins.dtype
        np.testing.assert_array_equal(array, twins)
    state_before = {name: array.copy() for name, array in twin.state_dict().items()}
    for array in state.values():
        if array.ndim:
            array += 1.0  # nor does the twin's state share memory with what it was loaded from
    for name, array in twin.state_dict().items():
        np.testing.assert_array_equal(array, state_before[name])


@each_optimizer
def test_a_state_holds_numpy_arrays_under_plain_names(make):
    params = parameters(np.float32)
    optimizer = make(params)
    take_step(optimizer, params, gradients(1, np.float32)[0])
    state = optimizer.state_dict()
    assert state["steps"] == 1 and state["lr"] == optimizer.lr
    for name, array in state.items():
        assert isinstance(array, (np.ndarray, np.generic))
        if name not in ("steps", "lr"):
            position, slot = name.split(".")
            assert array.shape == SHAPES[int(position)] and array.dtype == np.float32 and slot.isidentifier()


@each_optimizer
def test_a_state_that_does_not_fit_changes_nothing(make):
    params = parameters()
    optimizer = make(params)
    for arrays in gradients(3):
        take_step(optimizer, params, arrays)
    before = optimizer.state_dict()
    slot = next(name for name in before if name.startswith("1."))
    missing = {name: array for name, array in before.items() if name != slot}
    for state in (missing, before | {"9.v": np.ones(2)}, before | {slot: np.ones(5)}, {}):
        with pytest.raises(ValueError, match=f"{type(optimizer).__name__}.load_state_dict"):
            optimizer.load_state_dict({name: array + 1 for name, array in state.items()})
        for name, array in optimizer.state_dict().items():
            np.testing.assert_array_equal(array, before[name])


@each_optimizer
def test_the_state_takes_the_dtype_of_the_parameter(make):
    layer = nn.Dense(3, 2)
    optimizer = make(layer.parameters())
    layer.astype(np.float64)  # converted after the optimizer was made
    layer(mg.Tensor(np.ones((2, 3)))).sum().backward()
    optimizer.step()
    assert {p.dtype for p in layer.parameters()} == {np.dtype(np.float64)}
    arrays = [array for name, array in optimizer.state_dict().items() if "." in name]
    assert arrays and {array.dtype for array in arrays} == {np.dtype(np.float64)}


@each_optimizer
def test_a_state_is_restored_in_the_dtype_of_the_parameter(make):
    params, arrays = parameters(), gradients(2)
    optimizer = make(params)
    take_step(optimizer, params, arrays[0])
    twins = [nn.Parameter(p.data.astype(np.float32)) for p in params]
    twin = make(twins)
    for p, q in zip(params, twins):  # converted to float64 after the optimizer was made
        q.data = p.data.copy()
    twin.load_state_dict(optimizer.state_dict())
    take_step(optimizer, params, arrays[1])
    take_step(twin, twins, arrays[1])
    for p, q in zip(params, twins):
        np.testing.assert_array_equal(p.data, q.data)


@each_optimizer
def test_float64_options_do_not_leak_into_float32(make):
    params = parameters(np.float32)
    optimizer = make(params)
    for option in ("lr", "momentum", "alpha", "eps"):
        if hasattr(optimizer, option):
            setattr(optimizer, option, np.float64(getattr(optimizer, option)))
    take_step(optimizer, params, gradients(1, np.float32)[0])
    assert all(p.dtype == np.float32 for p in params)
    assert all(array.dtype == np.float32 for name, array in optimizer.state_dict().items() if "." in name)


@each_optimizer
def test_a_gradient_of_another_dtype_is_refused(make):
    params = parameters(np.float32)
    optimizer = make(params)
    with pytest.raises(TypeError, match="parameter is float32, its gradient float64"):
        take_step(optimizer, params, gradients(1, np.float64)[0])


# What comes in

@each_optimizer
def test_parameters_come_in_an_order(make):
    """That of a set changes with the addresses of the objects, and so would a run."""
    params = parameters()
    for unordered in (set(params), {p: i for i, p in enumerate(params)}, iter(params), params[0]):
        with pytest.raises(TypeError, match="parameters come in a list"):
            make(unordered)
    take_step(make(tuple(params)), params, gradients(1)[0])


@each_optimizer
def test_a_list_of_different_parameters_is_expected(make):
    params = parameters()
    for wrong in ([], [params[0], params[0]], [params[0].data], [None]):
        with pytest.raises(ValueError, match="non-empty list of different parameters"):
            make(wrong)


@pytest.mark.parametrize("make", [optim.SGD, optim.RMSprop, optim.Adam])
@pytest.mark.parametrize("lr", [-1e-3, float("nan")])
def test_a_learning_rate_is_not_negative(make, lr):
    with pytest.raises(ValueError, match=f"{make.__name__}: learning rate: expected a number ≥ 0"):
        make(parameters(), lr=lr)


@pytest.mark.on_each_backend
def test_an_optimizer_of_ones_own_needs_no_kernel():
    class SignDescent(optim.Optimizer):
        slots = ("steps_of",)

        def update(self, p, g, lr, t, n):
            return p - lr * backend.xp_of(g).sign(g), n + 1.0

    p = mg.Tensor(backend.asarray(np.array([1.0, 2.0])), requires_grad=True)
    p.grad = mg.Tensor(backend.asarray(np.array([0.5, -3.0])))
    optimizer = SignDescent([p], lr=0.25)
    optimizer.step()
    np.testing.assert_array_equal(backend.to_numpy(p.data), [0.75, 2.25])
    np.testing.assert_array_equal(optimizer.state_dict()["0.steps_of"], [1.0, 1.0])


@each_optimizer
@pytest.mark.parametrize("shape", [(2, 3), (6,), (3, 1), ()])
def test_a_gradient_of_another_shape_is_refused(make, shape):
    params = parameters()
    optimizer, before = make(params), [p.data.copy() for p in params]
    params[0].grad = mg.Tensor(np.ones(shape))
    with pytest.raises(ValueError, match=r"a parameter is \(3, 2\), its gradient"):
        optimizer.step()
    for p, array in zip(params, before):
        np.testing.assert_array_equal(p.data, array)


@pytest.mark.parametrize("make, options", [
    (optim.SGD, {"momentum": -1.0}), (optim.SGD, {"momentum": 1.0}), (optim.SGD, {"momentum": float("nan")}),
    (optim.RMSprop, {"alpha": 1.0}), (optim.RMSprop, {"alpha": -0.5}), (optim.RMSprop, {"eps": -1e-8}),
    (optim.Adam, {"betas": (1.0, 0.9)}), (optim.Adam, {"betas": (0.5, -0.1)}), (optim.Adam, {"betas": (0.5, 1.5)}),
    (optim.Adam, {"betas": (0.5,)}), (optim.Adam, {"betas": (0.5, 0.9, 0.9)}), (optim.Adam, {"eps": -1.0}),
    (optim.Adam, {"eps": float("nan")})])
def test_settings_out_of_range_are_refused(make, options):
    [name] = options
    with pytest.raises(ValueError, match=f"{make.__name__}: .*{name}|{make.__name__}: {name}"):
        make(parameters(), lr=0.1, **options)


@each_optimizer
@pytest.mark.parametrize("damage", [{"steps": -1}, {"lr": -0.1}, {"lr": float("nan")}])
def test_a_state_with_numbers_out_of_range_changes_nothing(make, damage):
    params = parameters()
    optimizer = make(params)
    take_step(optimizer, params, gradients(1)[0])
    before = optimizer.state_dict()
    changed = before | {name: type(before[name])(value) for name, value in damage.items()}
    with pytest.raises(ValueError, match=f"{type(optimizer).__name__}.load_state_dict: expected steps ≥ 0"):
        optimizer.load_state_dict(changed)
    for name, array in optimizer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@each_optimizer
@pytest.mark.parametrize("number", [-1e-9, float("nan")])
def test_a_mean_of_squares_is_not_negative(make, number):
    """A momentum may be."""
    optimizer = make(parameters())
    state = optimizer.state_dict()
    state["1.v"] = np.full_like(state["1.v"], number)
    if isinstance(optimizer, optim.SGD):
        optimizer.load_state_dict(state)
        return
    with pytest.raises(ValueError, match="load_state_dict: .*squares ≥ 0"):
        optimizer.load_state_dict(state)
    assert not any((array < 0).any() or np.isnan(array).any() for array in optimizer.state_dict().values())


@each_optimizer
def test_state_lies_in_lists_one_array_a_parameter(make):
    params = parameters(np.float32)
    optimizer = make(params)
    take_step(optimizer, params, gradients(1, np.float32)[0])
    assert optimizer.params == params and set(optimizer.state) == set(optimizer.slots)
    for slot in optimizer.slots:
        assert type(optimizer.state[slot]) is list
        assert [a.shape for a in optimizer.state[slot]] == SHAPES and all(a.any() for a in optimizer.state[slot])


@each_optimizer
def test_an_update_is_a_function_of_arrays(make):
    """update(p, g, lr, t, *slots) → (p, *slots) writes on none of them."""
    optimizer, arrays = make(parameters()), [np.array([1.0, 2.0]), np.array([0.5, -3.0])]
    slots = [np.zeros(2) for _ in optimizer.slots]
    for array in (*arrays, *slots):
        array.setflags(write=False)
    p, *new = optimizer.update(*arrays, 0.1, 1, *slots)
    assert (p != arrays[0]).all() and len(new) == len(slots) and all(array.any() for array in new)
