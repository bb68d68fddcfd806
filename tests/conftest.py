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


@pytest.fixture(autouse=True)
def fresh_state():
    """Each test begins on NumPy with the random streams at their start, whatever ran before it."""
    with mg.use_backend("numpy"):
        mg.seed(0)
        yield


@pytest.fixture
def rng():
    """A generator for the test's own data."""
    return np.random.default_rng(0)


def why_not_cupy():
    """What is missing for the tests on a GPU, or None."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    return None if cupy.cuda.is_available() else "CuPy finds no GPU"


@pytest.fixture(params=["numpy", "strict", "cupy"])
def each_backend(request):
    """The test runs on each backend: NumPy, the stand-in for CuPy, which knows no mercy, and CuPy if it can work."""
    if request.param == "cupy" and (reason := why_not_cupy()):
        pytest.skip(reason)
    strict.violations.clear()
    with mg.use_backend(request.param):
        yield request.param
    assert strict.violations == []
