"""What all tests share: the same examples, random numbers, backend and engine in every run."""

import os
from functools import cache

if "PYTEST_XDIST_WORKER" in os.environ:  # `pytest -n auto`: a process for each core, so one thread in each
    os.environ |= {"MINIGAN_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np
import pytest
from hypothesis import settings

# Before they are imported: their asserts show values too.
pytest.register_assert_rewrite("helpers", "operations", "pages", "trainers")

import minigan as mg  # noqa: E402
import strict  # noqa: E402
from minigan import backend  # noqa: E402
from minigan.fast import native  # noqa: E402
from minigan.metrics import classifiers, lenet  # noqa: E402
from minigan.tensor import FAST  # noqa: E402

backend.register("strict", strict.load)

# Derandomized: an example that fails here fails everywhere, and one that passes here does not fail tomorrow.
settings.register_profile("minigan", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("minigan")


def pytest_configure(config):
    config.addinivalue_line("markers", "on_each_backend: run on NumPy, on the stand-in for CuPy, and on CuPy")
    config.addinivalue_line("markers", "on_each_engine: run on the plain engine and on the fast one")
    for dtype in (np.float32, np.float64):  # now: commands that tests run would say on stderr that they compile
        native.functions(np.dtype(dtype))


def pytest_generate_tests(metafunc):
    """On the stand-in, where the fast engine has no kernels, it would be the plain one again."""
    backends, engines = (metafunc.definition.get_closest_marker(name) for name in ("on_each_backend", "on_each_engine"))
    if backends and engines:
        pairs = [("numpy", "plain"), ("numpy", "fast"), ("strict", "plain"), ("cupy", "plain"), ("cupy", "fast")]
        metafunc.parametrize("backend_name, engine", pairs, indirect=True)
    elif backends:
        metafunc.parametrize("backend_name", ["numpy", "strict", "cupy"], indirect=True)
    elif engines:
        metafunc.parametrize("engine", ["plain", "fast"], indirect=True)


@pytest.fixture(scope="session", autouse=True)
def unsynced():
    """Waiting for the disk takes a third of a short run's time, and only in other processes may the power fail."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # it too wants an open file
        yield


@pytest.fixture(autouse=True)
def engine(request):
    """The fast engine, unless the test is marked `on_each_engine`; afterwards the one that was there before."""
    name, before = getattr(request, "param", "fast"), dict(FAST)
    (mg.fast.on if name == "fast" else mg.fast.off)()
    during = dict(FAST)
    yield name
    left = dict(FAST)
    FAST.clear()
    FAST.update(before)
    assert left == during, "the test left another engine behind"


@pytest.fixture(autouse=True)
def backend_name(request):
    """Each test begins with the random streams at their start, and on NumPy unless it is marked `on_each_backend`.

    On the stand-in it fails if there was any violation, even one whose error was caught. On CuPy it runs where there is
    a GPU.
    """
    name = getattr(request, "param", "numpy")
    if name == "cupy" and (reason := why_not_cupy()):
        pytest.skip(reason)
    strict.violations.clear()
    with mg.use_backend(name):
        mg.seed(0)
        yield name
    assert strict.violations == []


@cache
def why_not_cupy():
    """What is missing for tests on a GPU, or None."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    return None if cupy.cuda.is_available() else "CuPy finds no GPU"


@pytest.fixture
def rng():
    """A generator for the test's own data."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def digits():
    """(a classifier trained on the bundled digits, its test images and labels, the losses of its epochs)."""
    streams = backend.Streams(0)
    training, test = lenet.train_and_test("digits", None, streams)
    network = lenet.LeNet((8, 8, 1), 10, streams["init"])
    losses = list(lenet.fit(network, training.x, training.labels, 30, streams))
    found = classifiers.Classifier(network, "LeNet-digits", training.classes, (8, 8, 1), 0.0, "a test")
    found.accuracy = found.share_right(test.x, test.labels)
    return found, test, losses
