"""The sliced Wasserstein distance and its Laplacian pyramid: closed forms, definitions written out slowly, what they
see and miss."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minigan.metrics import SlicedWasserstein, likeness
from helpers import few_patches, flat_pictures, generators, noise_pictures, sliced_distance

__all__ = ["few_patches"]  # the fixture


# The Laplacian pyramid

SIZES = [((32, 32), [(32, 32), (16, 16)]), ((28, 28), [(28, 28)]), ((16, 16), [(16, 16)]), ((31, 64), [(31, 64)]),
         ((64, 64), [(64, 64), (32, 32), (16, 16)]), ((33, 35), [(33, 35), (17, 18)]), ((64, 16), [(64, 16)])]


@pytest.mark.parametrize("size, sides", SIZES)
def test_the_pyramid_ends_at_16_and_sums_to_its_picture(size, sides, rng):
    x = noise_pictures(rng, 2, *size, 3)
    levels = likeness.laplacian_pyramid(x)
    assert [level.shape[1:3] for level in levels] == sides
    total = levels[-1]
    for level in levels[-2::-1]:
        total = likeness.up(total, level.shape) + level
    np.testing.assert_allclose(total, x, rtol=0, atol=1e-14)


def slow_blur(x):
    """Of one channel; pixels beyond the border are those as far within it."""
    def mirrored(i, side):
        return side - 1 - abs(side - 1 - abs(i))
    rows, columns = x.shape
    weights = [1, 4, 6, 4, 1]
    return np.array([[sum(weights[k + 2] * weights[l + 2] * x[mirrored(i + k, rows), mirrored(j + l, columns)]
                          for k in range(-2, 3) for l in range(-2, 3)) / 256 for j in range(columns)]
                     for i in range(rows)])


def slow_pyramid(x, count):
    """Of one channel, `count` levels."""
    levels = []
    for _ in range(count - 1):
        smaller = slow_blur(x)[::2, ::2]
        larger = np.zeros(x.shape)
        larger[::2, ::2] = smaller
        levels.append(x - 4 * slow_blur(larger))
        x = smaller
    return [*levels, x]


@pytest.mark.parametrize("size, sides", [SIZES[0], SIZES[1], SIZES[5]])
def test_the_pyramid_is_its_definition_for_each_channel(size, sides, rng):
    x = noise_pictures(rng, 1, *size, 2)
    levels = likeness.laplacian_pyramid(x)
    for channel in range(2):
        for level, expected in zip(levels, slow_pyramid(x[0, :, :, channel], len(sides)), strict=True):
            np.testing.assert_allclose(level[0, :, :, channel], expected, rtol=0, atol=1e-14)


def test_the_pyramid_is_that_of_scipys_convolutions(rng):
    """Where it is installed: mode "mirror" is what the authors' code takes."""
    ndimage = pytest.importorskip("scipy.ndimage")
    weights = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 256
    x = noise_pictures(rng, 3, 32, 48, 3)
    fine, coarse = likeness.laplacian_pyramid(x)
    smaller = ndimage.convolve(x, weights, mode="mirror")[:, ::2, ::2]
    larger = np.zeros(x.shape)
    larger[:, ::2, ::2] = smaller
    np.testing.assert_allclose(coarse, smaller, rtol=0, atol=1e-14)
    np.testing.assert_allclose(fine, x - ndimage.convolve(larger, 4 * weights, mode="mirror"), rtol=0, atol=1e-14)


# The sliced Wasserstein distance

def slow_sliced_wasserstein(real, fake, count, rng):
    """Of floats, with `count` levels, 3 patches a picture and 4 directions, as `few_patches` has them."""
    n, channels, found = len(real), real.shape[3], []
    pyramids = [[[slow_pyramid(x[:, :, c], count) for c in range(channels)] for x in pictures]
                for pictures in (real, fake)]
    for level in range(count):
        rows, columns = pyramids[0][0][0][level].shape
        tops, lefts = rng.integers(rows - 6, size=(n, 3)), rng.integers(columns - 6, size=(n, 3))
        directions = rng.standard_normal((4, 49 * channels))
        projections = []
        for pyramid in pyramids:
            patches = [[[pyramid[i][c][level][tops[i, j] + k, lefts[i, j] + l] for k in range(7) for l in range(7)]
                        for c in range(channels)] for i in range(n) for j in range(3)]
            for c in range(channels):
                values = [value for patch in patches for value in patch[c]]
                mean = sum(values) / len(values)
                deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
                for patch in patches:
                    patch[c] = [(value - mean) / deviation for value in patch[c]]
            # A patch's numbers in the order of its pixels, each with its channels.
            rows_of_numbers = [[patch[c][k] for k in range(49) for c in range(channels)] for patch in patches]
            projections.append([sorted(sum(a * b for a, b in zip(numbers, direction)) / math.hypot(*direction)
                                       for numbers in rows_of_numbers) for direction in directions])
        differences = [abs(p - q) for ps, qs in zip(*projections) for p, q in zip(ps, qs)]
        found.append(sum(differences) / len(differences))
    return found


@pytest.mark.parametrize("size, count", [((16, 18), 1), ((28, 28), 1), ((32, 33), 2)])
def test_the_sliced_wasserstein_distance_is_its_definition(size, count, few_patches):
    rng = np.random.default_rng(3)
    real, fake = noise_pictures(rng, 4, *size, 3), noise_pictures(rng, 4, *size, 3) ** 3
    expected = slow_sliced_wasserstein(real, fake, count, np.random.default_rng(7))
    found = sliced_distance(real, fake, 7)
    assert isinstance(found, SlicedWasserstein) and {type(x) for x in (*found.levels, found.mean)} == {float}
    np.testing.assert_allclose(found.levels, expected, rtol=1e-4)
    np.testing.assert_allclose(found.mean, sum(expected) / count, rtol=1e-4)


def test_the_numbers_are_the_papers():
    assert (likeness.COARSEST, likeness.SIDE, likeness.PATCHES, likeness.DIRECTIONS) == (16, 7, 128, 512)


def test_equal_sets_are_at_0_and_the_sets_may_be_exchanged(few_patches, rng):
    real, fake = noise_pictures(rng, 2, 6, 32, 32, 3)
    assert sliced_distance(real, real) == ((0, 0), 0)
    assert sliced_distance(real, fake) == sliced_distance(fake, real)
    assert min(sliced_distance(real, fake).levels) > 0


@given(generators, st.lists(st.floats(0.1, 0.5), min_size=3, max_size=3))
def test_the_brightness_and_contrast_of_a_whole_set_are_missed_channel_by_channel(rng, contrast):
    real = noise_pictures(rng, 6, 32, 32, 3)
    shifted = real * contrast + rng.uniform(-0.5, 0.5, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likeness, "DIRECTIONS", 8)
        np.testing.assert_allclose(sliced_distance(real, shifted).levels, 0, atol=1e-5)


def test_the_cast_of_single_pictures_is_not_missed(rng):
    real = noise_pictures(rng, 20, 16, 16, 1) / 2
    assert sliced_distance(real, real + rng.uniform(-0.5, 0.5, (20, 1, 1, 1))).mean > 0.01


def test_flat_pictures_of_two_and_of_three_values_have_a_closed_form(monkeypatch, rng):
    """Normalised, their patches are ±1 and 0, ±√2 in all of D = 49 numbers. Their quantiles differ by √2 − 1, 1, 1,
    √2 − 1, that is 1/√2 on average, times E |θ₁ + … + θ_D| = √D Γ(D/2)/(√π Γ((D + 1)/2)), θ uniform on the sphere."""
    monkeypatch.setattr(likeness, "DIRECTIONS", 20_000)
    real, fake = flat_pictures([-0.5, 0.5, -0.5, 0.5], 16, 16, 1), flat_pictures([0.1, -0.3, 0.1, 0.5], 16, 16, 1)
    length = 7 * math.exp(math.lgamma(24.5) - math.lgamma(25)) / math.sqrt(math.pi)
    np.testing.assert_allclose(sliced_distance(real, fake).levels, length / math.sqrt(2), rtol=0.02)


def test_noise_is_at_the_mean_of_a_half_normal_from_pictures_of_nothing(rng):
    """Projections of the one are N(0, 1), those of the other 0: E |z| = √(2/π). Nothing is no noise made large."""
    real, nothing = 0.2 * rng.standard_normal((64, 32, 32, 1)).clip(-5, 5), flat_pictures(np.full(64, 0.3), 32, 32, 1)
    found = sliced_distance(real, nothing)
    np.testing.assert_allclose(found.levels[1], math.sqrt(2 / math.pi), rtol=0.05)
    assert found.levels[0] > 0.5
    np.testing.assert_allclose(sliced_distance(nothing, nothing + 0.1).levels, 0, atol=1e-6)


@given(generators)
def test_the_order_of_flat_pictures_does_not_matter(rng):
    """Of others it decides which patches are drawn."""
    values = rng.uniform(-1, 1, (2, 12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likeness, "DIRECTIONS", 8)
        orders = [[flat_pictures(rng.permutation(x), 16, 16, 1) for x in values] for _ in range(2)]
        np.testing.assert_allclose(*[sliced_distance(*pair).levels for pair in orders], rtol=1e-4)


def test_in_another_order_a_set_is_nearer_to_itself_than_to_any_other(rng):
    real, other = noise_pictures(rng, 2, 60, 16, 16, 1)
    other = sum(np.roll(other, shift, axis=(1, 2)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1))) / 4
    assert 0 < 3 * sliced_distance(real, rng.permutation(real)).mean < sliced_distance(real, other).mean


def test_a_chequered_pattern_is_seen_by_the_finest_level_alone(few_patches, rng):
    """The binomial weights take away what changes its sign from pixel to pixel."""
    real = noise_pictures(rng, 10, 32, 32, 1) / 2
    pattern = (-1.0) ** np.add.outer(np.arange(32), np.arange(32))[:, :, None]
    fine, coarse = sliced_distance(real, real + 0.3 * pattern).levels
    assert fine > 0.1 and coarse < 1e-6


def test_the_brightness_of_each_picture_is_seen_by_the_coarsest_level_alone(few_patches, rng):
    real = noise_pictures(rng, 10, 32, 32, 1) / 2
    fine, coarse = sliced_distance(real, real + rng.uniform(-0.5, 0.5, (10, 1, 1, 1))).levels
    assert fine < 1e-6 and coarse > 0.1


def test_patches_come_from_every_place_and_from_no_other(rng):
    """A frame of one pixel is seen, and so is each of its sides."""
    real = noise_pictures(rng, 30, 16, 16, 1) / 4
    for side in (np.s_[:, 0], np.s_[:, -1], np.s_[:, :, 0], np.s_[:, :, -1]):
        fake = real.copy()
        fake[side] = 1
        assert sliced_distance(real, fake).mean > 0.05


def test_only_the_generator_decides_which_patches_and_directions(few_patches, rng):
    real, fake = noise_pictures(rng, 2, 4, 16, 16, 1)
    assert sliced_distance(real, fake, 1) == sliced_distance(real, fake, 1) != sliced_distance(real, fake, 2)
