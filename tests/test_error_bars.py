"""Half-sampling: the error is the spread of new samples."""

import math

import numpy as np
import pytest

from minigan import backend
from minigan.metrics import (class_divergence, frechet_distance, half_sampling, kernel_distance, mode_coverage,
                             precision_recall)
from helpers import COMPARISONS, GRID, pair

__all__ = ["pair"]  # the fixture


def test_the_value_is_that_of_all_samples_and_the_error_has_its_fields(pair, rng):
    found = half_sampling(precision_recall, *pair, rng=rng)
    assert found.value == precision_recall(*pair)
    assert 0 < found.standard_error.precision < 0.2 and 0 < found.standard_error.recall < 0.2
    assert isinstance(half_sampling(kernel_distance, *pair, rng=rng).standard_error, float)


def test_the_error_of_a_mean_is_the_deviation_over_the_root_of_n(rng):
    x = rng.exponential(size=(100, 1))
    found = half_sampling(lambda x: float(x.mean()), x, rng=rng, halves=4000)
    np.testing.assert_allclose(found.standard_error, x.std(ddof=1) / 10, rtol=0.05)


def test_halves_are_drawn_without_replacement_and_of_each_array_for_itself(rng):
    seen = []
    half_sampling(lambda x, y: seen.append((x[:, 0], y[:, 0])) or 0.0, np.arange(10.0)[:, None],
                  np.arange(10.0, 17.0)[:, None], rng=rng, halves=50)
    [(x, y), *halves] = seen
    assert len(x) == 10 and len(y) == 7 and len(halves) == 50
    assert all(len(set(x)) == len(x) == 5 and len(set(y)) == len(y) == 3 for x, y in halves)
    assert set(np.concatenate([x for x, _ in halves])) == set(range(10))
    assert len({tuple(sorted(x)) for x, _ in halves}) > 25


@pytest.mark.parametrize("metric", COMPARISONS)
def test_the_error_is_the_spread_of_new_samples(metric):
    def fresh():
        return rng.standard_normal((200, 3)), 0.8 * rng.standard_normal((200, 3)) + 0.3
    rng = np.random.default_rng(0)
    spread = np.std([metric(*fresh()) for _ in range(100)], axis=0)
    errors = np.mean([half_sampling(metric, *fresh(), rng=rng).standard_error for _ in range(20)], axis=0)
    assert (0.7 < errors / spread).all() and (errors / spread < 1.6).all()


def test_the_same_stream_gives_the_same_error_of_twenty_halves_by_default(pair):
    def measured(**settings):
        return half_sampling(frechet_distance, *pair, rng=backend.Streams(3)["halves"], **settings)
    assert measured() == measured(halves=20) != measured(halves=10)


def test_a_metric_without_a_finite_value_has_no_error_and_nothing_warns(rng):
    p = np.eye(2)[[0, 0, 0, 0, 1, 1, 1, 1]]
    found = half_sampling(lambda p: class_divergence(p, [1.0, 0.0]), p, rng=rng)
    assert found.value == math.inf and math.isnan(found.standard_error)
    found = half_sampling(lambda x: mode_coverage(x, *GRID), np.full((10, 2), 50.0), rng=rng)
    assert math.isnan(found.standard_error.reverse_kl) and found.standard_error.modes == 0


def test_halves_of_nothing_are_refused(rng):
    for samples, halves in (((np.zeros((1, 2)),), 20), ((np.zeros((9, 2)), np.zeros((1, 2))), 20),
                            ((np.zeros((9, 2)),), 1)):
        with pytest.raises(ValueError, match=f"^half_sampling: expected .* got {halves}"):
            half_sampling(np.mean, *samples, rng=rng, halves=halves)
