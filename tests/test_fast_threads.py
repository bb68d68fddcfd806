"""All cores: parts cover everything once, errors come home, and nothing is left behind."""

import gc
import os
import signal
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import works
from fast_helpers import drawn, three_threads
from minigan.fast import kernels, launch, native, threads, windows

needs_kernels = pytest.mark.skipif(native.functions(np.dtype("f")) is None,
                                   reason=f"no compiled kernels: {native.why_not}")


@pytest.fixture
def three():
    with three_threads():
        yield


# Parts

@pytest.mark.parametrize("n", [*range(12), 100, 101])
def test_parts_cover_the_range_once_in_order(three, n):
    seen, callers = {}, set()

    def work(part, begin, end):
        seen[part] = begin, end
        callers.add(threading.current_thread())
    parts = threads.split(work, n, 1)
    assert parts == max(1, min(n, 3)) == len(seen) == threads.parts_of(n, 1)
    spans = [seen[part] for part in range(parts)]
    assert [i for begin, end in spans for i in range(begin, end)] == list(range(n))
    lengths = [end - begin for begin, end in spans]
    assert max(lengths) - min(lengths) <= 1
    assert threading.current_thread() in callers


def test_small_work_is_one_part():
    assert threads.parts_of(1000, threads.SMALL - 1) == 1
    assert threads.parts_of(1000, threads.SMALL) == threads.pool().size


def test_a_part_is_not_split_again(three):
    found = []
    threads.split(lambda *part: found.append(threads.split(lambda *part: None, 10, 1)), 6, 1)
    assert found == [1, 1, 1]
    assert threads.parts_of(10, 1) == 3


@given(begin=st.integers(0, 5), length=st.integers(0, 40), most=st.integers(1, 12))
def test_blocks_cover_a_part_once(begin, length, most):
    blocks = windows._blocks(begin, begin + length, most)
    assert [i for b, e in blocks for i in range(b, e)] == list(range(begin, begin + length))
    assert all(e - b <= most for b, e in blocks)


# Errors

@pytest.mark.parametrize("guilty", [0, 1, 2])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_is_raised_to_the_caller_and_the_pool_goes_on(three, guilty, kind):
    done = []

    def work(part, begin, end):
        if part == guilty:
            raise kind("mine")
        done.append(part)
    for _ in range(3):
        with pytest.raises(kind, match="mine"):
            threads.split(work, 9, 1)
    assert sorted(done) == sorted([p for p in range(3) if p != guilty] * 3)
    assert threads.split(lambda *part: done.append(part), 9, 1) == 3
    assert {(0, 0, 3), (1, 3, 6), (2, 6, 9)} <= set(done)
    assert threads.parts_of(9, 1) == 3  # this thread is not taken to be busy


def test_workers_do_not_warn(three):
    """In the caller's thread NumPy warns as it is told to; from a worker nobody could catch it."""
    with np.errstate(all="ignore"):
        threads.split(lambda *part: np.array([1.0]) / np.array([0.0]), 3, 1)


# Nothing is left

def test_nothing_is_kept_alive(three):
    class Thing:
        pass

    def once():
        thing = Thing()
        threads.split(lambda *part: str(thing), 3, 1)
        return weakref.ref(thing)
    dead = once()
    gc.collect()
    for _ in range(1000):  # a worker has put its answer before it lets go
        if dead() is None:
            break
        threading.Event().wait(0.001)
    assert dead() is None


def test_release_gives_openblas_its_threads_back():
    pool = threads.pool()
    if pool.blas is None:
        pytest.skip("NumPy has another matrix library")
    assert pool.blas.get_num_threads() == 1
    threads.release()
    assert pool.blas.get_num_threads() == pool.blas_threads
    again = threads.pool()
    assert again is not pool and again.blas_threads == pool.blas_threads
    assert again.blas.get_num_threads() == 1


def test_release_can_be_called_twice():
    threads.release()
    threads.release()
    assert threads.pool() is threads.pool()


def test_workers_end_when_their_pool_is_released():
    """on() and off() many times do not gather threads."""
    threads.release()
    with_one = None
    for _ in range(4):
        threads.pool()
        threads.release()
        gc.collect()
        threading.Event().wait(0.05)
        with_one = with_one or threading.active_count()
    assert threading.active_count() <= with_one


# At once, and again

@needs_kernels
def test_the_same_bits_every_time(three):
    def once():
        step = works.minigan_step(works.WORKS["dcgan28-64"]._replace(batch=5))
        return [float(value) for _ in range(2) for value in step()]
    assert once() == once()


@needs_kernels
def test_two_threads_call_kernels_at_once(three):
    errors = []

    def work(seed):
        x = drawn((999, 37), seed, np.float32)
        expected = x.sum(0, dtype=np.float64)
        for _ in range(200):
            y = launch.run(kernels.LEAKY, (x.size,), x, 0.2, np.empty_like(x))
            found = launch.sums(kernels.ROW_SUM, x.shape, x).sum((0, 1))
            leaky = np.where(x > 0, x, np.float32(0.2) * x)
            if abs(found - expected).max() > 1e-3 or (y != leaky).any():
                errors.append(seed)
    callers = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert errors == []


def _in_a_fork(work):
    """work() in a forked child: whether it ended well."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # a child that hangs is ended
        try:
            ended = bool(work())
        except BaseException:
            ended = False
        os._exit(0 if ended else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@needs_kernels
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_can_run_a_step():
    def step():
        return [float(value) for value in works.minigan_step(
            works.WORKS["dcgan28-64"]._replace(batch=5))()]
    with three_threads():
        expected = step()
        assert _in_a_fork(lambda: step() == expected)
        assert step() == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_forked_in_the_middle_of_a_part_can_split(three):
    """The forking thread is at work on a part; its child begins anew."""
    ended = []

    def work(part, begin, end):
        if part == 0:
            ended.append(_in_a_fork(lambda: threads.split(lambda *part: None, 9, 1) >= 1))
    threads.split(work, 9, 1)
    assert ended == [True]
