"""Mode coverage: its definition written out slowly, and what chance makes of it."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minigan.metrics import mode_coverage
from helpers import GRID, RING, generators, slow_kl, squared


def slow_mode_coverage(points, modes, sigma):
    counts = [0] * len(modes)
    for point in points:
        distances = [math.sqrt(squared(point, mode)) for mode in modes]
        if min(distances) <= 3 * sigma:
            counts[distances.index(min(distances))] += 1
    good = sum(counts)
    shares = [count / good for count in counts]
    return sum(c > 0 for c in counts), good / len(points), slow_kl(shares, [1 / len(modes)] * len(modes))


@given(generators, st.integers(1, 40))
def test_mode_coverage_is_its_definition(rng, n):
    modes = rng.uniform(-3, 3, (5, 2))
    points = np.concatenate([modes[:1], rng.uniform(-3, 3, (n, 2))])
    np.testing.assert_allclose(mode_coverage(points, modes, 0.4), slow_mode_coverage(points, modes, 0.4), atol=1e-12)


@pytest.mark.parametrize("mixture, kl", [(GRID, 0.0049), (RING, 0.0014)], ids=["grid", "ring"])
def test_a_perfect_sampler_covers_all_with_the_share_and_the_divergence_of_chance(mixture, kl):
    rng = np.random.default_rng(0)
    runs = np.array([mode_coverage(mixture.sample(2500, rng)[0], *mixture) for _ in range(100)])
    assert (runs[:, 0] == len(mixture.modes)).all()
    np.testing.assert_allclose(runs[:, 1].mean(), 1 - np.exp(-4.5), atol=0.001)
    np.testing.assert_allclose(runs[:, 2].mean(), kl, rtol=0.15)  # (K − 1)/2N, N = 2500 · 98.9 %


def test_missing_modes_cost_the_logarithm_of_their_number():
    assert mode_coverage(np.repeat(GRID.modes, 4, axis=0), *GRID) == (25, 1.0, 0.0)
    np.testing.assert_allclose(mode_coverage(np.tile(GRID.modes[3], (9, 1)), *GRID), [1, 1.0, np.log(25)])
    np.testing.assert_allclose(mode_coverage(np.repeat(RING.modes[:4], 5, axis=0), *RING), [4, 1.0, np.log(2)])


def test_uneven_modes_cost_their_divergence_from_equal_shares():
    points = RING.modes[[0, 0, 0, 1]]
    np.testing.assert_allclose(mode_coverage(points, RING.modes[:2], 0.01).reverse_kl,
                               0.75 * np.log(1.5) + 0.25 * np.log(0.5))


def test_only_samples_within_three_sigma_count():
    modes = np.array([[0.0, 0.0], [10.0, 0.0]])
    points = np.array([[0.0, 1.5], [10.0, -1.4], [0.0, 1.6], [5.0, 0.0], [10.0, 1.6]])
    assert mode_coverage(points, modes, 0.5) == (2, 0.4, 0.0)


def test_without_any_good_sample_there_is_no_divergence():
    found = mode_coverage(np.full((10, 2), 50.0), *GRID)
    assert found[:2] == (0, 0.0) and math.isnan(found.reverse_kl)


def test_a_sample_counts_for_its_nearest_mode_only():
    assert mode_coverage([[0.4]], [[0.0], [1.0]], sigma=1.0).modes == 1


@pytest.mark.parametrize("points, modes, sigma, seen", [
    (np.zeros((0, 2)), np.zeros((3, 2)), 1.0, "(0, 2)"), (np.zeros((3, 2)), np.zeros((0, 2)), 1.0, "(0, 2)"),
    (np.zeros(2), np.zeros((3, 2)), 1.0, "(2,)"), (np.zeros((3, 1)), np.zeros((3, 2)), 1.0, "(3, 1)"),
    (np.full((3, 2), np.nan), np.zeros((3, 2)), 1.0, "NaN"), (np.zeros((3, 2)), np.zeros((3, 2)), 0.0, "sigma"),
    (np.zeros((3, 2)), np.zeros((3, 2)), np.nan, "sigma"),
])
def test_points_that_cannot_be_counted_are_refused(points, modes, sigma, seen):
    with pytest.raises(ValueError, match="^mode_coverage: .*expected") as error:
        mode_coverage(points, modes, sigma)
    assert seen in str(error.value)
