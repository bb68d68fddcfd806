"""Optimizers: each follows its published rule number by number, keeps its own state, and restores it exactly."""

from math import sqrt

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn, optim


# The rules, one number at a time, as PyTorch documents them

def naive_sgd(p, gradients, lr, momentum=0.0):
    velocity = None
    for g in gradients:
        velocity = g if velocity is None else momentum * velocity + g
        p = p - lr * velocity
    return p


def naive_rmsprop(p, gradients, lr, alpha=0.99, eps=1e-8):
    square_average = 0.0
    for g in gradients:
        square_average = alpha * square_average + (1 - alpha) * g * g
        p = p - lr * g / (sqrt(square_average) + eps)
    return p


def naive_adam(p, gradients, lr=2e-4, betas=(0.5, 0.999), eps=1e-8):
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        p = p - lr * m_hat / (sqrt(v_hat) + eps)
    return p


RULES = {
    "SGD": (optim.SGD, naive_sgd, {"lr": 0.1}),
    "SGD with momentum": (optim.SGD, naive_sgd, {"lr": 0.1, "momentum": 0.9}),
    "RMSprop": (optim.RMSprop, naive_rmsprop, {"lr": 0.01}),
    "RMSprop of WGAN": (optim.RMSprop, naive_rmsprop, {"lr": 5e-5, "alpha": 0.9, "eps": 1e-3}),
    "Adam": (optim.Adam, naive_adam, {}),
    "Adam of WGAN-GP": (optim.Adam, naive_adam, {"lr": 1e-4, "betas": (0.0, 0.9)}),
    "Adam with a large eps": (optim.Adam, naive_adam, {"lr": 0.1, "betas": (0.9, 0.99), "eps": 0.1}),
}
each_rule = pytest.mark.parametrize("make, naive, options", RULES.values(), ids=RULES)
each_optimizer = pytest.mark.parametrize("make", [
    lambda params: optim.SGD(params, lr=0.1, momentum=0.9), lambda params: optim.RMSprop(params, lr=0.01),
    lambda params: optim.Adam(params)], ids=["SGD", "RMSprop", "Adam"])

SHAPES = [(3, 2), (2,), (2, 1, 2, 2)]


def parameters(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [nn.Parameter(rng.standard_normal(shape).astype(dtype)) for shape in SHAPES]


def gradients(steps, dtype=np.float64):
    """Of very different sizes, as they are in a GAN; some are exactly zero."""
    rng = np.random.default_rng(1)
    scales = [1.0, 1e-3, 10.0]
    return [[(scale * rng.standard_normal(shape) * (rng.random(shape) > 0.1)).astype(dtype)
             for scale, shape in zip(scales, SHAPES)] for _ in range(steps)]


def take_step(optimizer, params, arrays):
    for p, g in zip(params, arrays, strict=True):
        p.grad = mg.Tensor(g)
    optimizer.step()


@each_rule
@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_thirty_steps_follow_the_published_rule(make, naive, options, dtype, tolerance):
    params = parameters(dtype)
    starts = [p.data.copy() for p in params]
    steps = gradients(30, dtype)
    optimizer = make(params, **options)
    for arrays in steps:
        take_step(optimizer, params, arrays)
    for i, (p, start) in enumerate(zip(params, starts)):
        assert p.dtype == dtype and p.shape == start.shape
        for index in np.ndindex(start.shape):
            history = [float(arrays[i][index]) for arrays in steps]
            moved = naive(float(start[index]), history, **options) - float(start[index])
            assert float(p.data[index]) - float(start[index]) == pytest.approx(
                moved, rel=tolerance, abs=tolerance if dtype == np.float32 else 1e-14)


def test_the_defaults_are_those_of_dcgan_and_wgan():
    [p] = parameters()[:1]
    adam, rmsprop, sgd = optim.Adam([p]), optim.RMSprop([p], lr=0.1), optim.SGD([p], lr=0.1)
    assert (adam.lr, adam.betas, adam.eps) == (2e-4, (0.5, 0.999), 1e-8)
    assert (rmsprop.alpha, rmsprop.eps) == (0.99, 1e-8) and sgd.momentum == 0.0


def test_the_first_step_of_adam_has_the_length_of_the_learning_rate():
    """Whatever the gradient: without the bias corrections it would not."""
    p = nn.Parameter(np.zeros(3))
    take_step(optim.Adam([p], lr=0.01, eps=0.0), [p], [np.array([1e-6, -1.0, 1e6])])
    np.testing.assert_allclose(p.data, [-0.01, 0.01, -0.01], rtol=1e-12)


@each_optimizer
def test_a_learning_rate_of_zero_moves_nothing(make):
    params = parameters()
    before = [p.data.copy() for p in params]
    optimizer = make(params)
    optimizer.lr = 0.0
    for arrays in gradients(3):
        take_step(optimizer, params, arrays)
    for p, array in zip(params, before):
        np.testing.assert_array_equal(p.data, array)
    assert type(optimizer)(params, lr=0.0).lr == 0.0


@each_optimizer
def test_the_learning_rate_may_change_between_steps(make):
    params = parameters()
    optimizer = make(params)
    take_step(optimizer, params, gradients(1)[0])
    optimizer.lr = 0.0
    before = [p.data.copy() for p in params]
    take_step(optimizer, params, gradients(1)[0])
    assert all(np.array_equal(p.data, array) for p, array in zip(params, before))


@each_optimizer
def test_a_step_leaves_the_gradients_as_they_are(make):
    params, arrays = parameters(), gradients(1)[0]
    copies = [array.copy() for array in arrays]
    optimizer = make(params)
    for array in arrays:
        array.setflags(write=False)
    take_step(optimizer, params, arrays)
    take_step(optimizer, params, arrays)
    for p, array, copy in zip(params, arrays, copies):
        assert p.grad.data is array
        np.testing.assert_array_equal(array, copy)


@each_optimizer
def test_a_parameter_without_a_gradient_stays(make):
    params = parameters()
    before = params[1].data.copy()
    params[0].grad = mg.Tensor(np.ones(SHAPES[0]))
    make(params).step()
    assert (params[0].data != parameters()[0].data).all()
    np.testing.assert_array_equal(params[1].data, before)


@each_optimizer
def test_a_missing_gradient_between_others_shifts_nothing(make):
    """Parameters small and large, in the second step some without a gradient: each moves as it would alone."""
    rng = np.random.default_rng(2)
    sizes = [5, 50_000, 1, 33_000, 70_001]
    starts, steps = [rng.standard_normal(n) for n in sizes], [[rng.standard_normal(n) for n in sizes] for _ in range(3)]

    def train(positions, missing):
        params = [nn.Parameter(starts[i]) for i in positions]
        optimizer = make(params)
        for number, arrays in enumerate(steps):
            for i, p in zip(positions, params):
                p.grad = None if number == 1 and i in missing else mg.Tensor(arrays[i])
            optimizer.step()
        return [p.data for p in params]

    for missing in ([], [0], [1, 2], [3], [0, 2, 4]):
        for i, together in enumerate(train(range(5), missing)):
            np.testing.assert_allclose(together, train([i], missing)[0], rtol=1e-13)


@each_optimizer
def test_new_data_of_a_parameter_is_what_the_next_step_starts_from(make):
    """Weights that were loaded, clipped or assigned since the last step."""
    params, twins = parameters(), parameters()
    optimizer, twin = make(params), make(twins)
    first, second = gradients(2)
    take_step(optimizer, params, first)
    take_step(twin, twins, first)
    params[1].data = params[1].data + 5.0
    take_step(optimizer, params, second)
    take_step(twin, twins, second)
    np.testing.assert_allclose(params[1].data, twins[1].data + 5.0, rtol=1e-12)
    for p, q in zip(params[::2], twins[::2]):
        np.testing.assert_array_equal(p.data, q.data)


def test_two_optimizers_may_share_a_parameter():
    shared, own, other = parameters()
    one, two = optim.SGD([shared, own], lr=0.5), optim.SGD([other, shared], lr=0.25)
    start = shared.data.copy()
    for _ in range(2):
        for p in (shared, own, other):
            p.grad = mg.Tensor(np.ones_like(p.data))
        one.step()
        two.step()
    np.testing.assert_allclose(shared.data, start - 1.5, rtol=1e-12)


@each_optimizer
def test_making_an_optimizer_changes_no_parameter_and_no_graph(make):
    params = parameters()
    before = [p.data.copy() for p in params]
    loss = (params[0] * params[0]).sum()
    make(params)
    loss.backward()
    for p, array in zip(params, before):
        assert p.shape == array.shape
        np.testing.assert_array_equal(p.data, array)


@each_optimizer
def test_parameters_of_two_dtypes_are_refused(make):
    params = [*parameters(np.float32)[:1], *parameters(np.float64)[1:]]
    with pytest.raises(TypeError, match="float32.*float64"):
        make(params)
    assert [p.dtype for p in params] == [np.float32, np.float64, np.float64]


@each_optimizer
def test_every_step_makes_older_graphs_stale(make):
    p = nn.Parameter(np.ones(2))
    optimizer = make([p])
    loss = (p * p).sum()
    loss.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="was changed"):
        loss.backward()


@each_optimizer
def test_zero_grad_forgets_the_gradients(make):
    params = parameters()
    optimizer = make(params)
    take_step(optimizer, params, gradients(1)[0])
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


@each_optimizer
def test_it_descends(make):
    p = nn.Parameter(np.array([3.0, -2.0]))
    optimizer = make([p])
    optimizer.lr = 0.02
    for _ in range(600):
        optimizer.zero_grad()
        (p * p).sum().backward()
        optimizer.step()
    assert np.abs(p.data).max() < 0.05


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
    with pytest.raises(ValueError, match=f"{make.__name__}: expected a learning rate ≥ 0"):
        make(parameters(), lr=lr)


@pytest.mark.on_each_backend
def test_an_optimizer_of_ones_own_needs_no_kernel():
    class SignDescent(optim.Optimizer):
        def update(self, p, g, t):
            p -= self.lr * backend.xp_of(g).sign(g)

    p = mg.Tensor(backend.asarray(np.array([1.0, 2.0])), requires_grad=True)
    p.grad = mg.Tensor(backend.asarray(np.array([0.5, -3.0])))
    SignDescent([p], lr=0.25).step()
    np.testing.assert_array_equal(backend.to_numpy(p.data), [0.75, 2.25])
