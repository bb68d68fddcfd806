"""What all tests share: the same examples, the same random numbers and the same backend in every run."""

import numpy as np
import pytest
from hypothesis import settings

import minigan as mg

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
