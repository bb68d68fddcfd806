"""Optimizers: each follows its published rule number by number."""

from math import sqrt

import numpy as np
import pytest

import minigan as mg
from minigan import nn, optim
from operations import SHAPES, each_optimizer, gradients, parameters, take_step

pytestmark = pytest.mark.on_each_engine


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
