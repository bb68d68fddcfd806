"""`metrics`: what all comparisons of real and fake features have in common."""

import numpy as np
import pytest

from minigan import backend
from minigan.metrics import density_coverage, frechet_distance, kernel_distance, pairs, precision_recall
from helpers import COMPARISONS, bad, orthogonal, pair

__all__ = ["pair"]  # the fixture


@pytest.mark.parametrize("metric", COMPARISONS)
def test_the_order_of_the_samples_does_not_matter(metric, pair, rng):
    real, fake = pair
    np.testing.assert_allclose(metric(rng.permutation(real), rng.permutation(fake)), metric(real, fake), rtol=1e-12)


@pytest.mark.parametrize("metric", [frechet_distance, precision_recall, density_coverage])
def test_a_rigid_motion_of_both_changes_nothing(metric, pair, rng):
    """The kernel has an origin, so the kernel distance is no such measure."""
    turn, shift = orthogonal(5, rng), 1e5 * rng.standard_normal(5)
    moved = [x @ turn + shift for x in pair]
    np.testing.assert_allclose(metric(*moved), metric(*pair), rtol=1e-6)


@pytest.mark.parametrize("metric", [frechet_distance, kernel_distance])
def test_a_distance_is_symmetric(metric, pair):
    np.testing.assert_allclose(metric(*pair), metric(*pair[::-1]), rtol=1e-12)


@pytest.mark.parametrize("metric", COMPARISONS)
def test_samples_may_be_float32_and_are_judged_in_float64(metric, pair):
    real, fake = (x.astype(np.float32) for x in pair)
    assert metric(real, fake) == metric(real.astype(np.float64), fake.astype(np.float64))


@pytest.mark.parametrize("metric", COMPARISONS)
def test_results_are_python_floats_and_samples_stay_as_they_are(metric, pair):
    copies = [x.copy() for x in pair]
    assert {type(value) for value in np.atleast_1d(np.array(metric(*pair), object))} == {float}
    np.testing.assert_array_equal(pair[0], copies[0])
    np.testing.assert_array_equal(pair[1], copies[1])


@pytest.mark.parametrize("metric", COMPARISONS)
def test_arrays_of_any_backend_are_taken(metric, pair, monkeypatch):
    class Device:
        def __init__(self, array):
            self.array = array
    monkeypatch.setitem(backend._by_type, Device, backend.Backend("device", np, Device, lambda x: x.array))
    assert metric(*map(Device, pair)) == metric(*pair) == metric(*(x.tolist() for x in pair))


@pytest.mark.parametrize("metric", [kernel_distance, precision_recall, density_coverage])
@pytest.mark.parametrize("block", [1, 45 * 7, 60 * 45])
def test_blocks_do_not_change_the_result(metric, block, pair, monkeypatch):
    whole = metric(*pair)
    monkeypatch.setattr(pairs, "BLOCK", block)
    np.testing.assert_allclose(metric(*pair), whole, rtol=1e-12)


def test_no_block_is_larger_than_it_should_be(monkeypatch, rng):
    monkeypatch.setattr(pairs, "BLOCK", 100)
    shapes = [products.shape for _, products in pairs.products(rng.random((33, 2)), rng.random((20, 2)))]
    assert shapes == [(5, 20)] * 6 + [(3, 20)]


@pytest.mark.parametrize("metric", COMPARISONS)
@pytest.mark.parametrize("side", ["real", "fake"])
@pytest.mark.parametrize("kind", bad)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_samples_that_cannot_be_judged_are_refused_by_name(metric, side, kind):
    spoil, seen = bad[kind]
    good = 1 + np.arange(100.0).reshape(20, 5)
    with pytest.raises(ValueError, match=f"^{metric.__name__}: .*expected") as error:
        metric(**{"real": good, "fake": good} | {side: spoil(good)})
    assert seen in str(error.value) and (side in str(error.value))
