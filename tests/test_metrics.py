"""`metrics`: closed forms, definitions written out slowly, and what each measure sees and misses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import backend, data
from minigan.metrics import (Moments, pairs, class_divergence, class_shares, density_coverage, frechet_distance,
                             frechet_distance_of_moments, half_sampling, inception_score, kernel_distance,
                             mode_coverage, mode_score, moments, nearest, precision_recall, realism)

generators = st.integers(0, 2 ** 32 - 1).map(np.random.default_rng)
COMPARISONS = [frechet_distance, kernel_distance, precision_recall, density_coverage]
EACH_SAMPLE = [realism, lambda real, fake: nearest(real, fake).distance]  # they tell of each fake


def orthogonal(d, rng):
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


def covariance(d, rng):
    A = rng.standard_normal((d, d + 2))
    return A @ A.T


# What all comparisons of real and fake features have in common

@pytest.fixture
def pair(rng):
    return rng.standard_normal((60, 5)), 0.7 * rng.standard_normal((45, 5)) + 0.3


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


bad = {
    "NaN": (lambda x: np.where(np.arange(5) == 3, np.nan, x), "NaN"),
    "infinity": (lambda x: x / np.where(np.arange(5) == 3, 0.0, 1.0), "infinity"),
    "one sample": (lambda x: x[:1], "(1, 5)"),
    "no sample": (lambda x: x[:0], "(0, 5)"),
    "no features": (lambda x: x[:, :0], "(20, 0)"),
    "another width": (lambda x: x[:, :4], "(20, 4)"),
    "images": (lambda x: x.reshape(10, 2, 5), "(10, 2, 5)"),
    "one feature without an axis": (lambda x: x[:, 0], "(20,)"),
    "text": (lambda x: x.astype(str), "<U"),
    "complex numbers": (lambda x: x + 1j, "complex"),
}


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


# The Fréchet distance

def test_moments_are_the_mean_and_the_unbiased_covariance(rng):
    x = rng.standard_normal((30, 4)) + 2
    np.testing.assert_allclose(moments(x).mean, x.mean(axis=0))
    np.testing.assert_allclose(moments(x).covariance, np.cov(x, rowvar=False))


@given(generators, st.integers(1, 6))
def test_gaussians_with_the_same_axes_have_the_distance_of_their_means_and_widths(rng, d):
    axes, (mu, nu), (a, b) = orthogonal(d, rng), rng.standard_normal((2, d)), rng.uniform(0, 3, (2, d))
    found = frechet_distance_of_moments((mu, axes * a ** 2 @ axes.T), (nu, axes * b ** 2 @ axes.T))
    np.testing.assert_allclose(found, np.sum((mu - nu) ** 2) + np.sum((a - b) ** 2), rtol=1e-7)


@given(generators)
def test_in_the_plane_the_trace_of_the_root_has_a_closed_form(rng):
    S, T = covariance(2, rng), covariance(2, rng)
    root = np.sqrt(np.trace(S @ T) + 2 * np.sqrt(np.linalg.det(S) * np.linalg.det(T)))
    found = frechet_distance_of_moments(Moments(np.zeros(2), S), Moments(np.zeros(2), T))
    np.testing.assert_allclose(found, np.trace(S) + np.trace(T) - 2 * root, rtol=1e-9, atol=1e-9)


@given(generators, st.integers(1, 8))
def test_the_distance_is_that_by_the_eigenvalues_of_the_product(rng, d):
    (mu, nu), S, T = rng.standard_normal((2, d)), covariance(d, rng), covariance(d, rng)
    root = np.sum(np.sqrt(np.linalg.eigvals(S @ T).astype(complex))).real
    np.testing.assert_allclose(frechet_distance_of_moments((mu, S), (nu, T)),
                               np.sum((mu - nu) ** 2) + np.trace(S + T) - 2 * root, rtol=1e-8)


@given(generators)
def test_a_translation_costs_its_squared_length(rng):
    x, shift = rng.standard_normal((50, 6)), rng.standard_normal(6)
    np.testing.assert_allclose(frechet_distance(x, x + shift), np.sum(shift ** 2), rtol=1e-9)


def test_samples_twice_as_wide_cost_the_variance(rng):
    x = rng.standard_normal((50, 6))
    x -= x.mean(axis=0)
    np.testing.assert_allclose(frechet_distance(x, 2 * x), np.trace(np.cov(x, rowvar=False)), rtol=1e-9)


@pytest.mark.parametrize("n", [200, 30, 3])
def test_the_distance_to_itself_is_zero_and_never_negative(n, rng):
    x = rng.standard_normal((n, 50))
    assert all(0 <= frechet_distance(x * scale, x * scale) <= 1e-11 * scale ** 2 for scale in (1e-3, 1.0, 1.1, 1e3))


def test_duplicated_data_has_a_slightly_smaller_covariance(rng):
    """The covariance's sums are divided by N − 1: with every sample twice it is smaller by (2N − 2)/(2N − 1)."""
    x = rng.standard_normal((10, 3))
    ratio = np.sqrt(18 / 19)
    np.testing.assert_allclose(frechet_distance(x, np.repeat(x, 2, axis=0)),
                               (1 - ratio) ** 2 * np.trace(np.cov(x, rowvar=False)), rtol=1e-9)


@given(generators, st.integers(2, 12), st.integers(2, 12))
def test_fewer_samples_than_dimensions_are_exact(rng, n, m):
    """Tr (CC′)^½ is the sum of the singular values of XYᵀ/√((N − 1)(M − 1)), X and Y the centred samples: no (d, d)
    matrix, no root."""
    real, fake = rng.standard_normal((n, 40)), 1 + rng.standard_normal((m, 40))
    X, Y = ((x - x.mean(axis=0)) / np.sqrt(len(x) - 1) for x in (real, fake))
    expected = (np.sum((real.mean(axis=0) - fake.mean(axis=0)) ** 2) + np.sum(X ** 2) + np.sum(Y ** 2)
                - 2 * np.sum(np.linalg.svd(X @ Y.T, compute_uv=False)))
    np.testing.assert_allclose(frechet_distance(real, fake), expected, rtol=1e-11)


def test_samples_in_orthogonal_directions_share_nothing(rng):
    """The product of their covariances is zero, exactly: no rounding error may be left of its root."""
    turn = orthogonal(80, rng)
    real, fake = (rng.standard_normal((20, 40)) @ turn[half] for half in (slice(40), slice(40, 80)))
    real, fake = real - real.mean(axis=0), fake - fake.mean(axis=0)
    np.testing.assert_allclose(frechet_distance(real, fake), np.sum(real ** 2) / 19 + np.sum(fake ** 2) / 19,
                               rtol=1e-12)


def test_samples_without_any_spread_are_at_the_distance_of_their_means():
    assert frechet_distance(np.ones((5, 3)), np.full((4, 3), 3.0)) == 12.0


def test_it_is_biased_upward_so_unequal_numbers_of_samples_cannot_be_compared():
    rng = np.random.default_rng(0)
    small, large = (np.mean([frechet_distance(*rng.standard_normal((2, n, 8))) for _ in range(30)]) for n in (50, 500))
    assert 7 < small / large < 14  # about 1/N


@pytest.mark.parametrize("mean, covariance, seen", [
    (np.zeros(2), np.eye(3), "(3, 3)"), (np.zeros((1, 2)), np.eye(2), "(1, 2)"), (np.zeros(2), np.ones(2), "(2,)"),
    (np.zeros(2), [[1.0, 0.5], [0.4, 1.0]], "symmetric"), (np.zeros(2), [[1.0, 2.0], [2.0, 1.0]], "eigenvalue -1"),
    (np.zeros(2), np.full((2, 2), np.nan), "NaN"), (np.array([np.inf, 0.0]), np.eye(2), "infinity"),
    (np.zeros(4), np.eye(4), "has 4"),
])
def test_moments_that_are_none_are_refused(mean, covariance, seen):
    good = Moments(np.zeros(2), np.eye(2))
    for pair in ((good, (mean, covariance)), ((mean, covariance), good)):
        with pytest.raises(ValueError, match="^frechet_distance: .*expected") as error:
            frechet_distance_of_moments(*pair)
        assert seen in str(error.value)


# The kernel distance

def slow_kernel_distance(real, fake):
    def k(x, y):
        return (sum(a * b for a, b in zip(x, y)) / len(x) + 1) ** 3
    N, M = len(real), len(fake)
    return (sum(k(real[i], real[j]) for i in range(N) for j in range(N) if i != j) / (N * (N - 1))
            + sum(k(fake[i], fake[j]) for i in range(M) for j in range(M) if i != j) / (M * (M - 1))
            - 2 * sum(k(x, y) for x in real for y in fake) / (N * M))


@given(generators, st.integers(2, 9), st.integers(2, 9), st.integers(1, 5))
def test_the_kernel_distance_is_its_definition(rng, n, m, d):
    real, fake = rng.standard_normal((n, d)), rng.standard_normal((m, d)) + 0.5
    np.testing.assert_allclose(kernel_distance(real, fake), slow_kernel_distance(real, fake), rtol=1e-9, atol=1e-9)


def test_two_points_have_the_distance_of_the_kernel():
    """All real samples at a, all fakes at b, in one dimension: k(a, a) + k(b, b) − 2k(a, b)."""
    assert kernel_distance(np.full((4, 1), 1.0), np.full((3, 1), 2.0)) == 8 + 125 - 2 * 27


def test_the_estimate_is_unbiased(rng):
    """The mean over all parts of a population is the population's own value."""
    real, fake = rng.standard_normal((5, 2)), rng.standard_normal((4, 2)) + 1
    parts = [kernel_distance(np.delete(real, [i, j], axis=0), np.delete(fake, l, axis=0))
             for i in range(5) for j in range(i) for l in range(4)]
    np.testing.assert_allclose(np.mean(parts), kernel_distance(real, fake), rtol=1e-12)


def test_identical_samples_are_below_zero(rng):
    """Each fake has its own copy among the real ones, nearer than an independent sample would be."""
    x = rng.standard_normal((20, 3))
    assert kernel_distance(x, x) < 0


# Class probabilities

def distributions(n, classes, rng):
    return rng.dirichlet(np.full(classes, 0.5), size=n)


def slow_kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q) if a > 0)


def slow_inception_score(p):
    mean = [sum(column) / len(p) for column in zip(*p)]
    return math.exp(sum(slow_kl(row, mean) for row in p) / len(p))


@given(generators, st.integers(2, 20), st.integers(1, 6))
def test_the_inception_score_is_its_definition(rng, n, classes):
    p = distributions(n, classes, rng)
    np.testing.assert_allclose(inception_score(p, splits=1), [slow_inception_score(p), 0.0], rtol=1e-12)


def test_the_inception_score_goes_from_one_to_the_number_of_classes():
    sure = np.repeat(np.eye(7), 3, axis=0)
    np.testing.assert_allclose(inception_score(sure, splits=1).mean, 7)
    np.testing.assert_allclose(inception_score(np.full((20, 7), 1 / 7)).mean, 1)
    np.testing.assert_allclose(inception_score(np.tile(np.eye(7)[0], (20, 1))).mean, 1)


def test_splits_are_consecutive_parts_and_the_spread_is_theirs():
    three_classes, two_classes, one_class = np.eye(3), np.eye(3)[[0, 0, 1, 1]], np.eye(3)[[2, 2, 2, 2]]
    found = inception_score(np.concatenate([three_classes[[0, 1, 2, 0, 1, 2]], two_classes, one_class]), splits=1)
    assert found.std == 0
    found = inception_score(np.concatenate([np.tile(three_classes, (4, 1)), np.tile(two_classes, (3, 1)),
                                            np.tile(one_class, (3, 1))]), splits=3)
    np.testing.assert_allclose(found, [2.0, np.std([1, 2, 3])])


def test_splits_need_not_divide_the_samples(rng):
    p = distributions(11, 4, rng)
    parts = [slow_inception_score(p[:4]), slow_inception_score(p[4:8]), slow_inception_score(p[8:])]
    np.testing.assert_allclose(inception_score(p, splits=3), [np.mean(parts), np.std(parts)])


def test_there_are_ten_splits_by_default(rng):
    p = distributions(40, 4, rng)
    assert inception_score(p) == inception_score(p, splits=10) != inception_score(p, splits=5)


@pytest.mark.parametrize("splits", [0, -1, 11, 2.5])
def test_splits_too_many_or_none_are_refused(splits):
    with pytest.raises(ValueError, match=f"^inception_score: splits is {splits}, expected .*10, .* 20 samples"):
        inception_score(np.full((20, 2), 0.5), splits=splits)


@given(generators, st.integers(2, 20), st.integers(1, 6))
def test_the_mode_score_is_its_definition(rng, n, classes):
    p, data_shares = distributions(n, classes, rng), rng.dirichlet(np.ones(classes))
    expected = slow_inception_score(p) * math.exp(-slow_kl(p.mean(axis=0), data_shares))
    np.testing.assert_allclose(mode_score(p, data_shares), expected, rtol=1e-9)


def test_the_mode_score_is_the_inception_score_where_the_classes_have_the_datas_shares(rng):
    p = distributions(30, 5, rng)
    np.testing.assert_allclose(mode_score(p, p.mean(axis=0)), inception_score(p, splits=1).mean)
    assert mode_score(p, np.full(5, 0.2)) < inception_score(p, splits=1).mean


def test_the_mode_score_sees_that_the_data_has_unequal_classes():
    """The Inception Score prefers what the data is not."""
    data_shares, uneven, even = [0.75, 0.25], np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 0, 1, 1]]
    assert mode_score(uneven, data_shares) > mode_score(even, data_shares)
    assert inception_score(uneven, splits=1).mean < inception_score(even, splits=1).mean


def test_a_class_that_the_data_lacks_makes_the_mode_score_zero_and_a_missing_one_does_not():
    assert mode_score(np.eye(2), [1.0, 0.0]) == 0
    np.testing.assert_allclose(mode_score(np.eye(2)[[0, 0]], [0.5, 0.5]), 0.5)


# Classes

@given(generators, st.integers(1, 20), st.integers(1, 6))
def test_the_shares_of_classes_are_counted_by_the_most_probable_one(rng, n, classes):
    p = distributions(n, classes, rng)
    expected = [sum(max(range(classes), key=lambda k: row[k]) == c for row in p) / n for c in range(classes)]
    np.testing.assert_allclose(class_shares(p), expected)


def test_a_class_without_a_sample_has_a_share_of_zero_and_all_have_one():
    assert class_shares([[0.1, 0.9, 0.0], [0.4, 0.6, 0.0]]).tolist() == [0, 1, 0]


@given(generators, st.integers(1, 20), st.integers(1, 6))
def test_the_class_divergence_is_its_definition(rng, n, classes):
    p, data_shares = distributions(n, classes, rng), rng.dirichlet(np.ones(classes))
    np.testing.assert_allclose(class_divergence(p, data_shares), slow_kl(class_shares(p), data_shares), rtol=1e-9,
                               atol=1e-12)


def test_classes_in_the_datas_shares_do_not_diverge_and_missing_ones_cost_their_logarithm():
    p = np.eye(8)
    assert class_divergence(p, np.full(8, 1 / 8)) == 0
    np.testing.assert_allclose(class_divergence(p[:4], np.full(8, 1 / 8)), math.log(2))
    np.testing.assert_allclose(class_divergence(p[:1], np.full(8, 1 / 8)), math.log(8))
    assert class_divergence(p[:2], np.eye(8)[0]) == math.inf  # the data has no second class


def test_how_sure_the_classifier_is_does_not_matter_to_the_class_divergence():
    assert class_divergence([[0.51, 0.49], [0.4, 0.6]], [0.5, 0.5]) == 0


def test_samples_of_the_data_diverge_by_chance_as_told():
    rng, classes, n = np.random.default_rng(0), 10, 500
    found = [class_divergence(np.eye(classes)[rng.integers(classes, size=n)], np.full(classes, 0.1))
             for _ in range(300)]
    np.testing.assert_allclose(np.mean(found), (classes - 1) / (2 * n), rtol=0.1)


bad_probabilities = {
    "negative": ([[1.5, -0.5], [0.5, 0.5]], "-0.5"), "sums": ([[0.5, 0.6], [0.5, 0.5]], "1.1"),
    "logits": ([[3.0, -2.0], [1.0, 4.0]], "softmax"), "NaN": ([[np.nan, 1.0], [0.5, 0.5]], "NaN"),
    "labels": ([0.0, 1.0, 1.0], "(3,)"), "one sample": ([[0.5, 0.5]], "(1, 2)"), "none": (np.zeros((0, 2)), "(0, 2)"),
    "no class": (np.zeros((3, 0)), "(3, 0)"),
}


@pytest.mark.parametrize("kind", bad_probabilities)
@pytest.mark.parametrize("name, score", [("inception_score", lambda p: inception_score(p, splits=1)),
                                         ("mode_score", lambda p: mode_score(p, [0.5, 0.5])),
                                         ("class_divergence", lambda p: class_divergence(p, [0.5, 0.5])),
                                         ("class_shares", class_shares)])
def test_what_is_no_probability_is_refused(name, score, kind):
    p, seen = bad_probabilities[kind]
    if kind == "one sample" and name.startswith("class"):
        score(p)  # one is enough to count
        return
    with pytest.raises(ValueError, match=f"^{name}: .*expected") as error:
        score(p)
    assert seen in str(error.value) and "probabilities" in str(error.value)


@pytest.mark.parametrize("data_shares", [[0.5, 0.6], [1.0], [0.2, 0.3, 0.5], [1.5, -0.5], [[0.5, 0.5]] * 2, [[[1.0]]],
                                         [np.nan, 1.0]])
@pytest.mark.parametrize("metric", [mode_score, class_divergence])
def test_shares_of_the_data_that_are_none_are_refused(metric, data_shares):
    with pytest.raises(ValueError, match=f"^{metric.__name__}: .*data_shares"):
        metric([[0.5, 0.5], [0.1, 0.9]], data_shares)


def test_probabilities_in_float32_are_close_enough_to_one():
    p = np.random.default_rng(0).dirichlet(np.ones(1000), size=100).astype(np.float32)
    assert inception_score(p).mean > 1


# Nearest neighbours

def squared(x, y):
    return sum((a - b) ** 2 for a, b in zip(x, y))


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


# Known mixtures

GRID, RING = data.MIXTURES["grid25"], data.MIXTURES["ring8"]


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


# Error bars

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
