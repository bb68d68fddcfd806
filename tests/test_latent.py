"""`latent`: the way from noise to noise, and the perceptual path length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigan import Tensor, backend, networks
from minigan.metrics.latent import perceptual_path_length, slerp

# The way

directions = st.integers(0, 2 ** 32 - 1).map(lambda seed: np.random.default_rng(seed).standard_normal((2, 3, 6)))


@given(directions)
def test_a_way_begins_and_ends_at_its_ends(ends):
    a, b = ends
    way = slerp(a, b, [0.0, 1.0])
    assert way.shape == (3, 2, 6)
    np.testing.assert_allclose(way[:, 0], a, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(way[:, 1], b, rtol=1e-12, atol=1e-12)


@given(directions)
def test_between_ends_of_equal_length_the_length_stays_and_the_angle_grows_evenly(ends):
    a, b = (2.5 * x / np.linalg.norm(x, axis=1, keepdims=True) for x in ends)
    t = np.linspace(0, 1, 7)
    way = slerp(a, b, t)
    np.testing.assert_allclose(np.linalg.norm(way, axis=2), 2.5, rtol=1e-12)
    whole = np.arccos(np.clip((a * b).sum(1) / 6.25, -1, 1))
    angles = np.arccos(np.clip((a[:, None] * way).sum(2) / 6.25, -1, 1))
    np.testing.assert_allclose(angles, whole[:, None] * t, atol=1e-6)


@given(directions)
def test_there_and_back_is_the_same_way(ends):
    a, b = ends
    t = np.linspace(0, 1, 5)
    np.testing.assert_allclose(slerp(a, b, t), slerp(b, a, t)[:, ::-1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1.0, 3.0, 1.0 + 1e-9])
def test_between_parallel_ends_the_way_is_straight(dtype, factor):
    a = np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 3.0]], dtype)
    way = slerp(a, (factor * a).astype(dtype), np.linspace(0, 1, 5))
    expected = (1 + (factor - 1) * np.linspace(0, 1, 5))[None, :, None] * a[:, None]
    assert way.dtype == dtype
    np.testing.assert_allclose(way, expected, rtol=1e-3 if dtype == np.float32 else 1e-7)


def test_in_one_dimension_where_ends_can_be_opposite_the_way_stays_between_them():
    a, b = np.array([[1.0], [2.0], [-1.0]], np.float32), np.array([[3.0], [-1.5], [-2.0]], np.float32)
    way = slerp(a, b, np.linspace(0, 1, 5))[..., 0]
    assert (way >= np.minimum(a, b) - 1e-3).all() and (way <= np.maximum(a, b) + 1e-3).all()
    np.testing.assert_allclose(way[:, [0, -1]], np.hstack([a, b]), rtol=1e-3)


@given(directions)
def test_each_way_can_have_fractions_of_its_own(ends):
    a, b = ends
    t = np.random.default_rng(0).random((3, 2))
    apart = [slerp(a[i:i + 1], b[i:i + 1], t[i])[0] for i in range(3)]
    np.testing.assert_array_equal(slerp(a, b, t), apart)


# The perceptual path length

LATENT = 8


def length(generator, features=lambda x: x, seed=0, **settings):
    return perceptual_path_length(generator, features, LATENT, backend.Streams(seed)["path length"], **settings)


def same(z):
    return z


def bent(z):
    return np.tanh(z @ np.random.default_rng(0).standard_normal((LATENT, 5)))


def test_the_length_is_the_mean_squared_speed_along_the_way():
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 20_000, LATENT))
    t = rng.random((20_000, 1))
    cosine = np.sum(a * b, axis=1, keepdims=True) / np.sqrt(np.sum(a * a, 1) * np.sum(b * b, 1))[:, None]
    angle = np.arccos(cosine)
    speed = angle / np.sin(angle) * (np.cos(t * angle) * b - np.cos((1 - t) * angle) * a)
    squares = np.sum(speed ** 2, axis=1)
    found = length(same, n=20_000)
    error = np.hypot(found.standard_error, squares.std() / np.sqrt(20_000))
    assert abs(found.mean - squares.mean()) < 4 * error < 0.1 * found.mean


def test_features_twice_as_far_apart_make_four_times_the_length():
    np.testing.assert_allclose(length(bent, lambda x: 2 * x, n=50), 4 * np.array(length(bent, n=50)), rtol=1e-9)


def test_a_small_step_measures_a_speed_so_its_size_does_not_matter():
    np.testing.assert_allclose(length(bent, n=500, epsilon=1e-4).mean, length(bent, n=500, epsilon=1e-5).mean,
                               rtol=1e-3)


def test_a_collapsed_generator_scores_best():
    assert length(lambda z: np.ones((len(z), 3)), n=10) == (0.0, 0.0)
    assert length(bent, n=10).mean > 0


def test_a_step_is_taken_anywhere_on_a_way_between_normal_noise():
    seen = []
    length(lambda z: seen.append(z) or z, n=100, block=100)
    stream = backend.Streams(0)["path length"]
    (a, b), t = stream.standard_normal((2, 100, LATENT)), stream.random((100, 1))
    np.testing.assert_array_equal(seen, [slerp(a, b, t)[:, 0], slerp(a, b, t + 1e-4)[:, 0]])


@pytest.mark.parametrize("block", [1, 7, 100])
def test_neither_blocks_nor_other_streams_change_the_length(block):
    sizes = []
    found = length(lambda z: sizes.append(len(z)) or np.sin(z), n=20, block=block)
    assert found == length(np.sin, n=20) and max(sizes) == min(block, 20)
    assert found != length(np.sin, n=20, seed=1)


def test_the_standard_error_is_the_spread_of_repeated_measurements():
    runs = [length(bent, n=100, seed=seed) for seed in range(200)]
    means, errors = np.array(runs).T
    assert 0.8 < errors.mean() / means.std() < 1.25


def test_networks_in_float64_are_measured_and_in_float32_refused():
    generator, critic = networks.mlp_pair(latent=LATENT, width=8, rng=np.random.default_rng(0))
    with pytest.raises(TypeError):
        length(lambda z: generator(Tensor(z)), lambda x: critic(x).numpy(), n=10)
    generator.astype("float64"), critic.astype("float64")
    assert length(lambda z: generator(Tensor(z)), lambda x: critic(x).numpy(), n=10).mean > 0


@pytest.mark.parametrize("features, message", [
    (lambda x: x.astype(np.float32), "float32 (10, 8)"), (lambda x: x[:, 0], "float64 (10,)"),
    (lambda x: x[:5], "float64 (5, 8)"), (lambda x: x * np.nan, "NaN"),
])
def test_features_that_cannot_be_compared_are_refused(features, message):
    with pytest.raises(ValueError, match="^perceptual_path_length") as error:
        length(same, features, n=10)
    assert message in str(error.value)


@pytest.mark.parametrize("settings", [{"n": 1}, {"epsilon": 0.0}, {"epsilon": np.nan}])
def test_settings_that_measure_nothing_are_refused(settings):
    with pytest.raises(ValueError, match="^perceptual_path_length.*got n"):
        length(same, **settings)
