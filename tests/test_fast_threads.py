"""Threads in C: each part is done once, by whomever; nothing hangs, and a fork begins anew."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from benchmarks import works
from fast_helpers import drawn, some_threads
from minigan import fast
from minigan.fast import kernels, launch, native, threads, windows

pytestmark = pytest.mark.skipif(native.functions(np.dtype("f")) is None,
                                reason=f"no compiled kernels: {native.why_not}")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
PARTS = range(1, 10)
SIZES = [*range(12), 63, 64, 65, 100, 1001]


def whole(shape, seed):
    """Small whole numbers: their sums and products are exact in any order."""
    return np.random.default_rng(seed).integers(-8, 9, shape).astype(np.float32)


# Parts

@pytest.mark.parametrize("n", SIZES)
def test_each_number_is_changed_exactly_once(n):
    """p and v are changed in place: what is done twice, or not at all, shows."""
    g, p, v = (drawn(n, i) for i in range(3))
    new_v = 0.5 * v + g
    for parts in PARTS:
        found = np.full((2, n + 2), np.nan)
        found[:, 1:-1] = p, v
        with some_threads(parts):
            launch.run(kernels.SGD, (n,), g, 0.25, 0.5, found[0, 1:-1], found[1, 1:-1])
        np.testing.assert_array_equal(found[1, 1:-1], new_v)
        np.testing.assert_array_equal(found[0, 1:-1], p - 0.25 * new_v)
        assert np.isnan(found[:, [0, -1]]).all()


@pytest.mark.parametrize("rows", SIZES[1:])
def test_sums_of_parts_are_the_sum(rows):
    x = whole((rows, 37), 0)
    for parts in PARTS:
        with some_threads(parts):
            found = launch.sums(kernels.ROW_SUM, x.shape, x)
        assert found.shape == (min(parts, rows), 1, 37)
        np.testing.assert_array_equal(found.sum((0, 1)), x.sum(0))


@pytest.mark.parametrize("samples", [1, 2, 5, 8, 30])
def test_sums_of_samples_are_for_each_its_own(samples):
    x = whole((samples, 6, 5), 0)
    for parts in PARTS:
        mean, inverse = np.full((2, samples), np.nan, np.float32)
        with some_threads(parts):
            found = launch.sums(kernels.SAMPLE_STATISTICS, x.shape, x, 1 / 30, 0.0, mean, inverse)
        np.testing.assert_array_equal(found[0, 0], x.sum((1, 2)))
        np.testing.assert_allclose(mean, x.mean((1, 2)), rtol=1e-6)
        np.testing.assert_allclose(inverse, 1 / x.std((1, 2)), rtol=1e-5)


def test_small_work_is_one_part():
    with some_threads(3, small=1000):
        assert threads.parts_of(50, 999) == 1
        assert [threads.parts_of(n, 1000) for n in (0, 1, 2, 3, 50)] == [1, 1, 2, 3, 3]
    assert threads.parts_of(1 << 20, threads.SMALL) == threads.cores()


@pytest.mark.parametrize("n", [0, 1, 2, 5, 7, 40])
@pytest.mark.parametrize("each, most", [(1, 1), (3, 10), (10, 3), (1, 1000)])
def test_blocks_cover_a_batch_once(n, each, most):
    spans = windows.blocks(np.empty((n, 2)), each, most)
    assert [i for begin, end in spans for i in range(begin, end)] == list(range(n))
    lengths = [end - begin for begin, end in spans]
    assert max(lengths) - min(lengths) <= 1
    assert all(length <= 1 + most // each for length in lengths)


# How many

@pytest.mark.parametrize("asked, allowed, expected", [
    (None, 3, 3), (None, 70, threads.MOST), ("2", 3, 2), ("5", 3, 3), ("1", 3, 1), ("0", 3, 1),
    ("-4", 3, 1), ("70", 70, threads.MOST)])
def test_the_environment_says_how_many(monkeypatch, asked, allowed, expected):
    monkeypatch.setattr(threads, "_cores", None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(allowed)), raising=False)
    monkeypatch.delenv("MINIGAN_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("MINIGAN_THREADS", asked)
    assert threads.cores() == expected
    monkeypatch.setenv("MINIGAN_THREADS", "1")
    assert threads.cores() == expected  # asked once
    assert fast.about() == {"engine": "fast", "threads": expected}


# At once, and again

def trained(name="dcgan28-64", batch=5, steps=2):
    step = works.minigan_step(works.WORKS[name]._replace(batch=batch))
    return [float(value) for _ in range(steps) for value in step()]


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_the_same_bits_every_time(parts):
    with some_threads(parts):
        assert trained() == trained()


def at_once(works):
    """What each of the functions returns, called at the same time."""
    found, barrier = [None] * len(works), threading.Barrier(len(works))

    def call(i):
        barrier.wait()
        found[i] = works[i]()
    callers = [threading.Thread(target=call, args=(i,)) for i in range(len(works))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return found


def test_trainings_at_once_are_trainings_one_after_another():
    names = "dcgan28-64", "wgangp28-64", "mlp2d-64"
    jobs = [lambda name=name: trained(name, 6, 3) for name in names]
    with some_threads():
        expected = [job() for job in jobs]
        assert at_once(jobs) == expected


def test_kernels_at_once_from_three_threads():
    def job(seed):
        x, w = whole((199, 37), seed), whole((37, 21), seed)
        first = None
        for _ in range(200):
            y = launch.run(kernels.LEAKY, (x.size,), x, 0.5, np.empty_like(x))
            sums = launch.sums(kernels.ROW_SUM, x.shape, x).sum((0, 1))
            product = native.products(x[None], w[None], np.empty((1, 199, 21), np.float32))[0]
            first = first or (y, sums, product)
            for found, expected in zip((y, sums, product), first):
                np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(y, np.where(x > 0, x, x / 2))
        np.testing.assert_array_equal(sums, x.sum(0))
        np.testing.assert_array_equal(product, x @ w)
        return True
    with some_threads():
        assert at_once([lambda seed=seed: job(seed) for seed in range(3)]) == [True] * 3


# What goes wrong leaves the threads at work

def leaky_works():
    x = drawn(1001, 0)
    y = launch.run(kernels.LEAKY, (x.size,), x, 0.5, np.empty_like(x))
    return (y == np.where(x > 0, x, x / 2)).all()


def test_after_an_error_kernels_go_on():
    with some_threads():
        for _ in range(20):
            with pytest.raises(ValueError):
                launch.run(kernels.LEAKY, (9,), np.ones(9), 0.5, np.ones(8))
            with pytest.raises(ValueError):
                native.products(np.ones((1, 2, 3)), np.ones((1, 2, 3)), np.ones((1, 2, 3)))
            assert leaky_works()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_an_interruption_between_kernels_leaves_nothing_locked():
    class Interruption(Exception):
        pass

    def interrupt(*_):
        raise Interruption
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with some_threads():
            for i in range(10):
                with pytest.raises(Interruption):
                    signal.setitimer(signal.ITIMER_REAL, 0.003 + 0.001 * i)
                    while True:
                        leaky_works()
                assert leaky_works()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


HAMMER = """
import random, threading, time
import numpy as np
from minigan.fast import kernels, launch, threads
threads.SMALL = 0

def hammer(seed, cores):
    chance = random.Random(seed)
    arrays = [np.ones(n, np.float32) for n in (1, 2, 3, 50, 4000, 400000)]
    for i in range(3000):
        threads._cores = chance.randint(1, cores)
        p = arrays[chance.choice((0, 1, 2, 3, 3, 4)) if i % 50 else 5]
        launch.run(kernels.AVERAGE, p.shape, np.ones_like(p), 0.5, p)
        if i % 100 == 0:
            time.sleep(0.002)  # long enough to fall asleep
    assert all((p == 1).all() for p in arrays)

hammer(0, 9)
callers = [threading.Thread(target=hammer, args=(seed, 4)) for seed in range(3)]
for caller in callers: caller.start()
for caller in callers: caller.join()
print("well")
"""


def test_thousands_of_kernels_do_not_hang():
    done = subprocess.run([sys.executable, "-c", HAMMER], cwd=Path(__file__).parent.parent,
                          timeout=300, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("well\n", 0), done.stderr


# Forks

def in_a_fork(work):
    """work() in a forked child: whether it ended well."""
    child = os.fork()
    if child == 0:
        signal.alarm(120)  # a child that hangs is ended
        try:
            ended = bool(work())
        except BaseException:
            ended = False
        os._exit(0 if ended else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_trains_and_so_does_its_own_child():
    with some_threads():
        expected = trained()
        assert in_a_fork(lambda: trained() == expected and in_a_fork(lambda: trained() == expected))
        assert trained() == expected


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_while_a_kernel_runs_can_train():
    """The threads are another's at the time of the fork, in whose child they do not exist."""
    end, x = threading.Event(), np.ones(1 << 22, np.float32)

    def busy():
        while not end.is_set():
            launch.run(kernels.LEAKY, x.shape, x, 0.5, x)
    with some_threads():
        expected = trained(steps=1)
        other = threading.Thread(target=busy)
        other.start()
        try:
            assert all([in_a_fork(lambda: leaky_works() and trained(steps=1) == expected)
                        for _ in range(3)])
        finally:
            end.set()
            other.join()
        assert trained(steps=1) == expected
