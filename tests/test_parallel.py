"""Parts of a batch on threads: the same sums, in the same order, whatever the threads do."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigan as mg
from minigan import backend, conv, networks, parallel
from minigan.trainer import GANTrainer

LARGE = parallel.SMALL
OTHERS = [parallel._Worker() for _ in range(2)]


@pytest.fixture(params=[1, 2, 3])
def workers(request, monkeypatch):
    """So many threads, as `use_all_cores` would make them, but with the matrix library left alone."""
    monkeypatch.setattr(parallel, "workers", request.param)
    monkeypatch.setattr(parallel, "_others", OTHERS)
    return request.param


def test_parts_follow_one_another_and_leave_nothing_out(workers):
    for n in (1, 2, 3, 7, 64):
        parts = {}
        count = parallel.split(lambda part, begin, end: parts.update({part: range(begin, end)}), n, LARGE)
        assert count == min(workers, n) and sorted(parts) == list(range(count))
        assert [i for part in range(count) for i in parts[part]] == list(range(n))
        assert max(map(len, parts.values())) - min(map(len, parts.values())) <= 1


def test_small_work_wakes_no_thread(workers):
    threads = set()
    assert parallel.split(lambda *part: threads.add(threading.get_ident()), 8, LARGE - 1) == 1
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("bad", ["first", "last"])
def test_an_error_in_a_part_reaches_the_caller_when_all_parts_are_done(workers, bad):
    finished = []

    def work(part, begin, end):
        if (begin == 0 if bad == "first" else end == 8):
            raise ZeroDivisionError(f"in the {bad} part")
        time.sleep(0.02)
        finished.append(part)
    for _ in range(2):  # and the threads are there for the next call
        with pytest.raises(ZeroDivisionError, match=f"in the {bad} part"):
            parallel.split(work, 8, LARGE)
        assert len(finished) == workers - 1
        finished.clear()


def test_callers_on_several_threads_do_not_meet(workers):
    def sums(seed):
        values = np.random.default_rng(seed).standard_normal((64, 100))
        results = [parallel.sum_over_batch(values, lambda begin, end: values[begin:end].sum(0), LARGE)
                   for _ in range(50)]
        return all(np.allclose(result, values.sum(0)) for result in results)
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(sums, range(8)))


@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 64))
def test_blocks_cover_the_batch_and_are_not_larger_than_asked(n, each, most):
    covered = []
    parallel.over_batch(np.zeros(n), lambda begin, end: covered.append((begin, end)), each, most)
    assert [i for begin, end in covered for i in range(begin, end)] == list(range(n))
    assert all((end - begin) * each <= max(most, each) for begin, end in covered)


def test_a_sum_over_a_batch_is_added_in_order(workers):
    """Float32 sums depend on the order of their terms: the parts' sums must meet as if there were one thread a part."""
    values = np.random.default_rng(0).standard_normal((1000, 64)).astype(np.float32) * np.logspace(0, 6, 64, dtype="f")
    total = lambda: parallel.sum_over_batch(values, lambda begin, end: values[begin:end].sum(0), 64, most=640)
    first = total()
    assert all((total() == first).all() for _ in range(20))
    np.testing.assert_allclose(first, values.sum(0, dtype=np.float64), rtol=1e-4, atol=2.0)


def test_a_buffer_comes_back_by_name_and_thread_and_grows():
    like = np.zeros(0, np.float32)
    first = parallel.scratch("test", (4, 5), like)
    assert first.shape == (4, 5) and first.dtype == np.float32
    assert np.shares_memory(first, parallel.scratch("test", (2, 3), like))
    assert not np.shares_memory(first, parallel.scratch("other", (2, 3), like))
    assert not np.shares_memory(first, parallel.scratch("test", (2, 3), np.zeros(0)))
    assert parallel.scratch("test", (100, 5), like).shape == (100, 5)
    with ThreadPoolExecutor(1) as pool:
        assert not np.shares_memory(parallel.scratch("test", (2,), like),
                                    pool.submit(parallel.scratch, "test", (2,), like).result())


def test_threads_change_nothing_but_the_order_of_sums(workers):
    """A generator and a discriminator in float64, against the same computed by one thread."""
    def gradients():
        G, D = (net.astype("float64") for net in networks.dcgan_pair((28, 28, 1), latent=8, width=8,
                                                                     rng=np.random.default_rng(0)))
        noise = mg.Tensor(np.random.default_rng(1).standard_normal((33, 8)))
        return mg.grad((D(G(noise)) ** 2).mean(), G.parameters() + D.parameters())
    threaded = gradients()
    parallel.workers = 1
    for a, b in zip(threaded, gradients(), strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-9, atol=1e-12)


def test_the_same_call_gives_the_same_bits_on_threads(workers):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((33, 28, 28, 3)).astype(np.float32)
    w = rng.standard_normal((4, 4, 3, 16)).astype(np.float32)
    y = conv.conv2d(x, w, 2, 1).data
    dw = conv.conv2d_weight(x, y, 4, 2, 1).data
    for _ in range(10):
        assert (conv.conv2d(x, w, 2, 1).data == y).all() and (conv.conv2d_weight(x, y, 4, 2, 1).data == dw).all()


def test_all_cores_are_used_only_when_asked_and_then_agree():
    """In a process of its own, as it tells the matrix library for good."""
    code = """
import numpy as np, threading
from minigan import parallel
assert parallel.workers == 1 and threading.active_count() == 1
a = np.random.default_rng(0).standard_normal((300, 300))
before = a @ a
arranged = parallel.use_all_cores()
assert arranged == parallel.use_all_cores() and arranged["threads"] == parallel.workers >= 1
np.testing.assert_allclose(a @ a, before, rtol=1e-10, atol=1e-10)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_large_product_of_matrices_is_shared_and_the_same(workers, transposed, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((301, 200)), rng.standard_normal((200, 170))
    x = np.asfortranarray(x) if transposed else x
    shared, split = [], parallel.split
    monkeypatch.setattr(parallel, "split", lambda *a: shared.append(split(*a)))
    np.testing.assert_allclose(mg.ops.matmul(x, y).data, np.einsum("ij,jk->ik", x, y), rtol=0, atol=1e-11)
    np.testing.assert_allclose(mg.ops.affine(x, y, y[0]).data, np.einsum("ij,jk->ik", x, y) + y[0], rtol=0, atol=1e-11)
    assert shared == [workers, workers]


@pytest.mark.parametrize("objective", ["gan", "wgan-gp"])
def test_a_training_step_in_tiny_blocks_is_the_same_step(workers, objective, monkeypatch):
    """Networks, normalisations, optimizers and the moving average, all in many blocks and on all threads."""
    def weights():
        streams = backend.Streams(0)
        pair = networks.dcgan_pair((16, 16, 1), latent=5, width=6, penalised=objective == "wgan-gp",
                                   rng=streams["init"])
        trainer = GANTrainer(*[network.astype("float64") for network in pair], objective=objective, n_critic=1,
                             lr_g=0.05, lr_d=0.05, streams=streams)
        for _ in range(2):
            trainer.step([streams["data"].standard_normal((7, 16, 16, 1))])
        return trainer.state_dict()
    whole = weights()
    monkeypatch.setattr(parallel, "SMALL", 1)
    monkeypatch.setattr(parallel, "NEAR", 100)
    blocks = []
    cut = parallel._blocks
    monkeypatch.setattr(parallel, "_blocks", lambda *a: blocks.append(cut(*a)) or blocks[-1])
    for name, array in weights().items():
        np.testing.assert_allclose(array, whole[name], rtol=1e-7, atol=1e-9, err_msg=name)
    assert sum(len(cuts) > 3 for cuts in blocks) > 20
