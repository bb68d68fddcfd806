"""After `backward` each gradient is an array of its own: writing on one changes nothing else."""

import itertools

import numpy as np
import pytest

import minigan as mg
from minigan import nn, ops
from operations import leaf

pytestmark = pytest.mark.on_each_engine


def check_apart(leaves, *others):
    arrays = [t.grad.data for t in leaves]
    for a, b in itertools.combinations([*arrays, *others, *[t.data for t in leaves]], 2):
        assert not np.shares_memory(a, b)
    for a in arrays:
        assert a.flags.writeable
        a += 1.0


@pytest.mark.parametrize("f", [
    lambda x, y: x + y, lambda x, y: x - y, lambda x, y: x + y + x, lambda x, y: ops.concatenate(x, y)[1:3] + x,
    lambda x, y: x.reshape(3, 2).reshape(2, 3).sum(0) + y.transpose().transpose(), lambda x, y: ops.relu(x) + y],
    ids=range(6))
def test_gradients_share_no_memory(f):
    for times in (1, 2):
        x, y, c = leaf(np.ones((2, 3))), leaf(np.full((2, 3), 2.0)), np.ones((2, 3))
        for _ in range(times):
            f(x, y).backward(c)
        check_apart([x, y], c)
        np.testing.assert_array_equal(c, 1.0)


@pytest.mark.parametrize("wrap", [lambda c: c, mg.Tensor], ids=["array", "tensor"])
def test_the_callers_cotangent_stays_the_callers(wrap):
    x = leaf([1.0, 2.0])
    c = np.array([1.0, 10.0])
    (x + 0.0).backward(wrap(c))
    check_apart([x], c)
    assert c.tolist() == [1.0, 10.0]


def test_a_leaf_that_is_the_output_gets_a_copy():
    x, c = leaf([1.0, 2.0]), np.array([3.0, 4.0])
    x.backward(c)
    check_apart([x], c)
    assert c.tolist() == [3.0, 4.0]


def test_a_broadcast_gradient_can_be_written_on():
    x = leaf(np.ones((3, 4)))
    x.sum().backward()
    check_apart([x])
    assert x.grad.data.tolist() == [[2.0] * 4] * 3


def test_those_of_layers_are_apart_too():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm(2), nn.LeakyReLU(), nn.Flatten(), nn.Dense(32, 3),
                        nn.LayerNorm(3), nn.ReLU())
    x = mg.Tensor(np.random.default_rng(0).standard_normal((4, 4, 4, 1)).astype(np.float32), requires_grad=True)
    net(x).sum().backward()
    check_apart([x, *net.parameters()])
