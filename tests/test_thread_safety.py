"""What one thread sets is not seen in another; two trainings at once do as one after the other."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minigan as mg
from minigan import backend, networks
from minigan.trainer import GANTrainer
from operations import leaf, values_of
from trainers import assert_equal

pytestmark = pytest.mark.on_each_engine


def elsewhere(function):
    """The result of `function` in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(30)


def test_another_thread_records_while_this_one_does_not():
    def gradient():
        x = leaf([2.0])
        return values_of(mg.grad(x * x, x))

    with mg.no_grad():
        assert elsewhere(gradient) == [[4.0]]
        assert not (leaf([1.0]) * 2.0).requires_grad


def test_exits_that_overlap_leave_nothing_off():
    """One thread enters no_grad first and leaves it first, while the other is inside."""
    entered, left = threading.Event(), threading.Event()

    def inside():
        with mg.no_grad():
            entered.set()
            assert left.wait(30)
        return (leaf([1.0]) * 2.0).requires_grad

    with ThreadPoolExecutor(1) as pool:
        with mg.no_grad():
            other = pool.submit(inside)
            assert entered.wait(30)
        assert (leaf([1.0]) * 2.0).requires_grad
        left.set()
        assert other.result(30)
    assert (leaf([1.0]) * 2.0).requires_grad


def test_one_context_may_be_entered_twice():
    w, context = mg.Tensor([1.0], requires_grad=True), mg.no_grad()
    with context:
        with context:
            assert not (w * w).requires_grad
        assert not (w * w).requires_grad
    assert (w * w).requires_grad


def test_a_gradient_in_one_thread_does_not_stop_recording_in_another():
    x, walking, done = leaf([3.0]), threading.Event(), threading.Event()

    @mg.tensor.op
    def slow_for_test(x, /):
        def pull_back(g):
            walking.set()
            assert done.wait(30)
            return g
        return x.data * 1.0, (pull_back,)

    with ThreadPoolExecutor(1) as pool:
        gradient = pool.submit(mg.grad, slow_for_test(x), x)
        assert walking.wait(30)
        recorded = (x * x).requires_grad
        done.set()
        assert values_of(gradient.result(30)) == [[1.0]] and recorded


def test_a_backend_is_chosen_for_this_thread():
    ready, go = threading.Event(), threading.Event()

    def name_in_use():
        assert backend.current().name == "numpy"
        ready.set()
        assert go.wait(30)
        return backend.current().name

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(name_in_use)
        assert ready.wait(30)
        with mg.use_backend("strict"):
            go.set()
            assert other.result(30) == "numpy"

            def leave():
                with mg.use_backend("numpy"):
                    pass
            elsewhere(leave)
            assert backend.current().name == "strict"
    assert backend.current().name == "numpy"


def trained(seed, kind):
    streams = backend.Streams(seed)
    if kind == "points":
        nets = networks.mlp_pair(2, 3, width=64, depth=2, rng=streams["init"])
    else:
        nets = networks.dcgan_pair((16, 16, 1), 3, width=8, rng=streams["init"])
    trainer = GANTrainer(*nets, 3, streams=streams)
    x = streams["data"].uniform(-1, 1, (16, 2) if kind == "points" else (16, 16, 16, 1)).astype(np.float32)
    for _ in range(6):
        trainer.step([x])
        trainer.sample(np.zeros((2, 3)))  # which is under no_grad
    return trainer.state_dict()


@pytest.mark.parametrize("kind", ["points", "images"])
def test_two_trainings_at_once_are_as_one_after_the_other(kind):
    expected = [trained(seed, kind) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(trained, (1, 2), (kind, kind)))
    for state, alone in zip(found, expected):
        assert_equal(state, alone)
