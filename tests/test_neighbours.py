"""Measures on neighbours: definitions written out slowly, every tie decided, and what they see and miss."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minigan.metrics import density_coverage, nearest, pairs, precision_recall, realism
from helpers import bad, generators, orthogonal, pair, squared

__all__ = ["pair"]  # the fixture
EACH_SAMPLE = [realism, lambda real, fake: nearest(real, fake).distance]  # they tell of each fake


def slow_reach(xs, k):
    return [sorted(squared(x, other) for j, other in enumerate(xs) if j != i)[k - 1] for i, x in enumerate(xs)]


def slow_share_inside(points, xs, k):
    """The share of the points that lie in any ball of the set xs."""
    reach = slow_reach(xs, k)
    return sum(any(squared(p, x) <= r for x, r in zip(xs, reach)) for p in points) / len(points)


def slow_density_coverage(real, fake, k):
    reach = slow_reach(real, k)
    inside = [[squared(x, y) <= r for y in fake] for x, r in zip(real, reach)]
    return sum(map(sum, inside)) / (k * len(fake)), sum(map(any, inside)) / len(real)


# On a lattice of few points distances are often equal, and samples often the same: every tie is decided.
lattices = st.tuples(generators, st.integers(4, 15), st.integers(4, 15), st.integers(1, 3), st.integers(1, 3)).map(
    lambda s: (s[0].integers(0, 4, (s[1], s[3])), s[0].integers(0, 4, (s[2], s[3])) + s[0].integers(0, 2), s[4]))


@given(lattices)
def test_precision_and_recall_are_their_definition_ties_and_duplicates_included(drawn):
    real, fake, k = drawn
    np.testing.assert_allclose(precision_recall(real / 3, fake / 3, k),
                               [slow_share_inside(fake, real, k), slow_share_inside(real, fake, k)])


@given(lattices)
def test_density_and_coverage_are_their_definition_ties_and_duplicates_included(drawn):
    real, fake, k = drawn
    np.testing.assert_allclose(density_coverage(real / 3, fake / 3, k), slow_density_coverage(real, fake, k))


@given(generators, st.integers(5, 12), st.integers(5, 12))
def test_neighbours_of_any_samples_are_those_of_the_definitions(rng, n, m):
    real, fake = rng.standard_normal((n, 3)), rng.standard_normal((m, 3))
    np.testing.assert_allclose(precision_recall(real, fake, 2),
                               [slow_share_inside(fake, real, 2), slow_share_inside(real, fake, 2)])
    np.testing.assert_allclose(density_coverage(real, fake, 4), slow_density_coverage(real, fake, 4))


def test_the_customary_numbers_of_neighbours_are_three_and_five(pair):
    assert precision_recall(*pair) == precision_recall(*pair, k=3) != precision_recall(*pair, k=5)
    assert density_coverage(*pair) == density_coverage(*pair, k=5) != density_coverage(*pair, k=3)


def test_precision_and_recall_change_places_with_real_and_fake(pair):
    assert precision_recall(*pair) == precision_recall(*pair[::-1])[::-1]


@pytest.mark.parametrize("k", [1, 3, 600])
@pytest.mark.parametrize("block", [1, 1 << 14, 1 << 22])
def test_copies_of_the_real_samples_score_best(k, block, monkeypatch):
    """They lie exactly where balls end, which rounding in blocks of any size must not decide."""
    monkeypatch.setattr(pairs, "BLOCK", block)
    rng = np.random.default_rng(k)
    real = 100 + rng.standard_normal((700, 64))
    assert precision_recall(real, real[::-1], k) == (1.0, 1.0)
    found = density_coverage(real, rng.permutation(real), k)
    np.testing.assert_allclose(found, [(k + 1) / k, 1.0])  # each ball holds its own centre and the k neighbours


def test_duplicated_real_samples_have_balls_without_extent(rng):
    real = np.repeat(100 + rng.standard_normal((20, 6)), 4, axis=0)
    near = real + 1e-3
    assert precision_recall(real, near, 3) == (0.0, 0.0) and density_coverage(real, near, 3) == (0.0, 0.0)
    assert precision_recall(real, real, 3) == (1.0, 1.0)
    assert precision_recall(real, near, 4)[0] == 1.0  # the fourth neighbour is no duplicate


def test_fakes_far_away_score_nothing(pair):
    real, fake = pair
    assert precision_recall(real, fake + 100) == (0, 0) and density_coverage(real, fake + 100) == (0, 0)


def test_one_of_two_clusters_has_full_precision_and_half_the_recall():
    grid = np.array([(x, y) for x in range(5) for y in range(5)], float)
    real = np.concatenate([grid, grid + 100])
    assert precision_recall(real, grid + 0.5) == (1.0, 0.5)
    assert density_coverage(real, grid + 0.5).coverage == 0.5


def test_a_collapsed_generator_has_precision_and_no_recall(rng):
    real = rng.standard_normal((50, 3))
    collapsed = np.tile(real[7], (50, 1))
    assert precision_recall(real, collapsed) == (1.0, 1 / 50)


def test_a_real_outliers_ball_makes_everything_near_it_right_and_adds_little_density(rng):
    real = np.concatenate([rng.standard_normal((200, 2)), [[40.0, 0.0]]])
    fake = rng.standard_normal((100, 2)) + [30.0, 0.0]
    assert precision_recall(real, fake, k=5).precision == 1
    assert density_coverage(real, fake, k=5) == (1 / 5, 1 / 201)


@pytest.mark.parametrize("N, M, k, d", [(20, 15, 3, 2), (12, 30, 5, 7)])
def test_fakes_from_the_real_distribution_have_density_one_and_the_known_coverage(N, M, k, d):
    rng = np.random.default_rng(0)
    found = np.array([density_coverage(rng.standard_normal((N, d)), rng.standard_normal((M, d)), k)
                      for _ in range(1500)])
    i = np.arange(1, k + 1)
    expected = [1.0, 1 - np.prod((N - i) / (M + N - i))]
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - expected) < 4 * error).all() and (error < 0.02).all()


def slow_realism(real, fake, k):
    reach = slow_reach(real, k)
    middle = sorted(reach)
    middle = (middle[(len(middle) - 1) // 2] + middle[len(middle) // 2]) / 2
    core = [(x, r) for x, r in zip(real, reach) if r <= middle]
    return [max(math.inf if squared(x, y) == 0 else math.sqrt(r / squared(x, y)) for x, r in core) for y in fake]


@given(lattices)
def test_realism_is_its_definition_ties_and_duplicates_included(drawn):
    real, fake, k = drawn
    np.testing.assert_allclose(realism(real, fake, k), slow_realism(real, fake, k), rtol=1e-6, atol=1e-5)


@given(generators, st.integers(5, 12), st.integers(5, 12))
def test_realism_of_any_samples_is_that_of_the_definition(rng, n, m):
    real, fake = rng.standard_normal((n, 3)), rng.standard_normal((m, 3))
    np.testing.assert_allclose(realism(real, fake, 2), slow_realism(real, fake, 2), rtol=1e-9)


def test_a_sample_is_real_looking_by_how_deep_it_lies_in_a_ball():
    """Reaches of 3 around 0 … 9 on a line, so that the ends have farther to go: 3 for 0, 2 within."""
    real = np.arange(10.0)[:, None]
    found = realism(real, [[4.5], [4.25], [11.0], [4.0]], k=3)
    np.testing.assert_allclose(found, [2 / 0.5, 2 / 0.25, 2 / 3, np.inf])  # 8 is the last of the core


def test_an_outlier_makes_nothing_real_looking(rng):
    real = np.concatenate([rng.standard_normal((200, 2)), [[40.0, 0.0]]])
    assert precision_recall(real, [[30.0, 0.0]] * 4).precision == 1
    assert (realism(real, [[30.0, 0.0]] * 4) < 0.2).all()


@pytest.mark.parametrize("block", [1, 1 << 22])
def test_what_is_real_looking_lies_on_the_manifold_of_the_core(pair, block, monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK", block)
    real, fake = pair
    inside = slow_realism(real, fake, 3)
    assert 0 < sum(value >= 1 for value in inside) < len(fake)
    np.testing.assert_allclose(realism(real, fake), inside, rtol=1e-9)  # three neighbours, if not told
    assert np.mean(realism(real, fake) >= 1) <= precision_recall(real, fake).precision


def test_copies_of_duplicates_are_real_looking_too(rng):
    """Their balls have no extent, and the distance is zero: not 0/0."""
    real = np.repeat(rng.standard_normal((4, 2)), 5, axis=0)
    assert (realism(real, real) == np.inf).all() and (realism(np.ones((6, 2)), np.ones((4, 2))) == np.inf).all()


@given(lattices)
def test_the_nearest_is_at_the_least_distance(drawn):
    real, fake, _ = drawn
    found = nearest(real / 3, fake / 3)
    np.testing.assert_allclose(found.distance, [math.sqrt(min(squared(x, y) for x in real)) / 3 for y in fake],
                               atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(real[found.index] - fake, axis=1) / 3, found.distance, atol=1e-12)
    assert found.distance.shape == found.index.shape == (len(fake),) and found.index.dtype.kind == "i"


@pytest.mark.parametrize("block", [1, 1000, 1 << 22])
def test_copies_are_found_at_a_distance_of_zero(block, monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK", block)
    rng = np.random.default_rng(0)
    real = 1e4 + rng.standard_normal((300, 64))
    order = rng.permutation(300)[:50]
    found = nearest(real, real[order])
    assert (found.distance == 0).all() and (found.index == order).all()


def test_one_of_each_is_enough_to_be_nearest():
    found = nearest([[0.0, 0.0]], [[3.0, 4.0]])
    assert found.distance.tolist() == [5.0] and found.index.tolist() == [0]


@pytest.mark.parametrize("metric", EACH_SAMPLE)
def test_each_samples_own_figure_goes_with_it_and_rigid_motions_change_none(metric, pair, rng):
    real, fake = pair
    order, turn, shift = rng.permutation(len(fake)), orthogonal(5, rng), 1e3 * rng.standard_normal(5)
    np.testing.assert_allclose(metric(rng.permutation(real), fake[order]), metric(real, fake)[order], rtol=1e-9)
    np.testing.assert_allclose(metric(real @ turn + shift, fake @ turn + shift), metric(real, fake), rtol=1e-6)
    single = [x.astype(np.float32) for x in pair]
    np.testing.assert_array_equal(metric(*single), metric(*(x.astype(np.float64) for x in single)))


@pytest.mark.parametrize("metric", [realism, nearest])
@pytest.mark.parametrize("side", ["real", "fake"])
@pytest.mark.parametrize("kind", sorted(bad.keys() - {"one sample"}))
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_samples_without_neighbours_are_refused_by_name(metric, side, kind):
    spoil, seen = bad[kind]
    good = 1 + np.arange(100.0).reshape(20, 5)
    with pytest.raises(ValueError, match=f"^{metric.__name__}: .*expected") as error:
        metric(**{"real": good, "fake": good} | {side: spoil(good)})
    assert seen in str(error.value) and (side in str(error.value))


@pytest.mark.parametrize("metric", [precision_recall, density_coverage, realism])
@pytest.mark.parametrize("k", [0, -1, 45, 60, 1.5])
def test_more_neighbours_than_there_are_others_are_refused(metric, k, pair):
    with pytest.raises(ValueError, match=f"^{metric.__name__}: k is {k}, expected .* 1 to 44, .*60 real .*45 fake"):
        metric(*pair, k=k)


@pytest.mark.parametrize("extent", [1e4, 1e6, 1e9])
def test_clusters_far_apart_are_measured_as_those_nearby(extent, rng):
    """However far, only a cluster's own samples are neighbours: centring all of them is no help."""
    sides = np.where(np.arange(80)[:, None] < 40, -0.5, 0.5)
    real, fake = rng.standard_normal((80, 3)), rng.standard_normal((80, 3))
    for f in (density_coverage, precision_recall, realism, lambda *pair: nearest(*pair).distance):
        expected = f(real + 1e3 * sides, fake + 1e3 * sides)
        np.testing.assert_allclose(f(real + extent * sides, fake + extent * sides), expected, rtol=1e-6)
