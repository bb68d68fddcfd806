"""The Fréchet and the kernel distance: closed forms, definitions written out slowly, what they see and miss."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minigan.metrics import Moments, frechet_distance, frechet_distance_of_moments, kernel_distance, moments
from helpers import generators, orthogonal


def covariance(d, rng):
    A = rng.standard_normal((d, d + 2))
    return A @ A.T


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
