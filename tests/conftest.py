"""What all tests share: the same examples, the same random numbers and the same backend in every run."""

import numpy as np
import pytest
from hypothesis import settings

import minigan as mg
import strict
from minigan import backend

backend.register("strict", strict.load)

# Derandomized: an example that fails here fails everywhere, and one that passes here does not fail tomorrow.
settings.register_profile("minigan", derandomize=True, deadline=None, max_examples=25)
settings.load_profile("minigan")


def pytest_configure(config):
    config.addinivalue_line("markers", "on_each_backend: run on NumPy, on the stand-in for CuPy, and on CuPy")


def pytest_generate_tests(metafunc):
    if metafunc.definition.get_closest_marker("on_each_backend"):
        metafunc.parametrize("backend_name", ["numpy", "strict", "cupy"], indirect=True)


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
