"""PSNR, SSIM and the sliced Wasserstein distance: closed forms, definitions written out slowly, what they see."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minigan import backend, data
from minigan.metrics import SlicedWasserstein, half_sampling, likeness, psnr, sliced_wasserstein, ssim
from helpers import generators

PAIRS = [psnr, ssim]


def noise(rng, *shape):
    return rng.uniform(-1, 1, shape)


def flat(values, *shape):
    """Pictures of one value each."""
    return np.array(values, float)[:, None, None, None] * np.ones(shape)


def distance(real, fake, seed=0):
    return sliced_wasserstein(real, fake, np.random.default_rng(seed))


@pytest.fixture
def few(monkeypatch):
    """Few patches and directions, for the loops of the definition."""
    monkeypatch.setattr(likeness, "PATCHES", 3)
    monkeypatch.setattr(likeness, "DIRECTIONS", 4)


# PSNR

@given(generators, st.integers(1, 255))
def test_a_constant_difference_has_a_closed_form(rng, step):
    a = rng.integers(0, 256 - step, (3, 5, 4, 2), dtype=np.uint8)
    np.testing.assert_allclose(psnr(a, a + np.uint8(step)), 20 * math.log10(255 / step), rtol=1e-12)
    a = rng.uniform(-1, 1 - step / 128, (3, 5, 4, 2))
    np.testing.assert_allclose(psnr(a, a + step / 128), 20 * math.log10(2 / (step / 128)), rtol=1e-12)


def slow_psnr(a, b):
    """Of floats, whose range is 2."""
    found = []
    for x, y in zip(a, b):
        squares = [(float(p) - float(q)) ** 2 for p, q in zip(x.flat, y.flat)]
        found.append(10 * math.log10(2 ** 2 / (sum(squares) / len(squares))))
    return found


@given(generators, st.integers(1, 4), st.integers(1, 3))
def test_psnr_is_its_definition_for_each_pair(rng, n, channels):
    a, b = noise(rng, 2, n, 4, 3, channels)
    np.testing.assert_allclose(psnr(a, b), slow_psnr(a, b), rtol=1e-12)


def test_equal_pictures_have_no_noise_and_black_beside_white_0_decibels():
    black, white = flat([-1, -1], 4, 4, 1), flat([-1, 1], 4, 4, 1)
    assert psnr(black, white).tolist() == [math.inf, 0.0]


@given(generators, st.floats(0.05, 1))
def test_a_smaller_difference_is_worth_its_square(rng, factor):
    a, b = noise(rng, 2, 3, 5, 5, 1)
    np.testing.assert_allclose(psnr(a, a + factor * (b - a)), psnr(a, b) - 20 * math.log10(factor), rtol=1e-10)


# SSIM

@given(generators)
def test_equal_pictures_have_similarity_1(rng):
    a = noise(rng, 4, 13, 12, 3)
    assert ssim(a, a).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("a", [0, 0.3, 1])
@pytest.mark.parametrize("b", [0, 0.5, 1])
def test_flat_pictures_are_compared_by_their_luminance(a, b):
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    np.testing.assert_allclose(ssim(flat([2 * a - 1], 11, 14, 2), flat([2 * b - 1], 11, 14, 2)), expected, rtol=1e-9)


@given(generators)
def test_one_window_has_a_closed_form_for_a_stretched_picture(rng):
    """b − μ = s (a − μ) in the one window that fits: equal means, and 2sσ² beside σ² + s²σ²."""
    k = np.arange(-5, 6)
    weights = np.exp(-(k[:, None] ** 2 + k ** 2) / (2 * 1.5 ** 2))
    weights /= weights.sum()
    a, s = rng.uniform(0.4, 0.6, (11, 11)), rng.uniform(-1, 1)
    mean = np.sum(weights * a)
    b = mean + s * (a - mean)
    variance = np.sum(weights * (a - mean) ** 2)
    expected = (2 * s * variance + 9e-4) / ((1 + s * s) * variance + 9e-4)
    np.testing.assert_allclose(ssim(*(2 * x[None, :, :, None] - 1 for x in (a, b))), [expected], rtol=1e-9)


def slow_ssim(a, b):
    """Of floats from −1 to 1; the weights on 11 × 11 pixels, not along rows and columns."""
    weights = [[math.exp(-(i * i + j * j) / (2 * 1.5 ** 2)) for j in range(-5, 6)] for i in range(-5, 6)]
    total = sum(map(sum, weights))
    found = []
    for n in range(len(a)):
        values = []
        for c in range(a.shape[3]):
            for top in range(a.shape[1] - 10):
                for left in range(a.shape[2] - 10):
                    window = [(weights[i][j] / total, (a[n, top + i, left + j, c] + 1) / 2,
                               (b[n, top + i, left + j, c] + 1) / 2) for i in range(11) for j in range(11)]
                    mu_a, mu_b = sum(w * p for w, p, _ in window), sum(w * q for w, _, q in window)
                    var_a = sum(w * (p - mu_a) ** 2 for w, p, _ in window)
                    var_b = sum(w * (q - mu_b) ** 2 for w, _, q in window)
                    cov = sum(w * (p - mu_a) * (q - mu_b) for w, p, q in window)
                    values.append((2 * mu_a * mu_b + 0.01 ** 2) * (2 * cov + 0.03 ** 2)
                                  / ((mu_a ** 2 + mu_b ** 2 + 0.01 ** 2) * (var_a + var_b + 0.03 ** 2)))
        found.append(sum(values) / len(values))
    return found


@given(generators, st.integers(11, 13), st.integers(11, 13), st.floats(0.01, 1))
def test_ssim_is_its_definition_for_each_pair(rng, rows, columns, contrast):
    a, b = contrast * noise(rng, 2, 2, rows, columns, 2)
    np.testing.assert_allclose(ssim(a, b), slow_ssim(a, b), rtol=1e-9)


@given(generators, st.floats(0, 1))
def test_ssim_lies_between_its_bounds_and_sees_no_direction(rng, blend):
    a, b = noise(rng, 2, 3, 12, 14, 3)
    b = blend * a + (1 - blend) * b
    found = ssim(a, b)
    assert (np.abs(found) <= 1 + 1e-12).all()
    for turned in (lambda x: x.swapaxes(1, 2), lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x[..., ::-1]):
        np.testing.assert_allclose(ssim(turned(a), turned(b)), found, rtol=1e-9, atol=1e-12)


def test_a_negative_is_unlike_its_picture(rng):
    a = noise(rng, 3, 16, 16, 1)
    assert (ssim(a, -a) < -0.9).all()


def test_psnr_and_ssim_are_those_of_scikit_image(rng):
    """Where it is installed, with the options that make it the paper's."""
    metrics = pytest.importorskip("skimage.metrics")
    a = noise(rng, 3, 20, 17, 3)
    b = np.clip(a + 0.3 * noise(rng, *a.shape), -1, 1)
    ours = psnr(a, b), ssim(a, b)
    theirs = zip(*[(metrics.peak_signal_noise_ratio(x, y, data_range=1), metrics.structural_similarity(
        x, y, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False))
        for x, y in zip((a + 1) / 2, (b + 1) / 2)])
    np.testing.assert_allclose(ours, list(theirs), rtol=1e-9)


# What both have in common

@pytest.mark.parametrize("metric", PAIRS)
@given(generators)
def test_the_pair_may_be_exchanged_and_pairs_come_in_any_order(metric, rng):
    a, b = noise(rng, 2, 5, 12, 11, 2)
    order = rng.permutation(5)
    np.testing.assert_allclose(metric(b, a), metric(a, b), rtol=1e-12)
    np.testing.assert_array_equal(metric(a[order], b[order]), metric(a, b)[order])


@pytest.mark.parametrize("metric", PAIRS)
def test_bytes_are_what_training_makes_of_them(metric, rng):
    a, b = rng.integers(0, 256, (2, 3, 12, 12, 3), dtype=np.uint8)
    expected = metric(data.to_unit(a).astype(np.float64), data.to_unit(b).astype(np.float64))
    for pair in ((a, b), (data.to_unit(a), b), (a, data.to_unit(b).astype(np.float64))):
        np.testing.assert_allclose(metric(*pair), expected, rtol=1e-5)


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5, 256])
def test_blocks_do_not_change_the_result(block, few, monkeypatch, rng):
    a, b = noise(rng, 2, 5, 33, 32, 2)
    results = psnr(a, b), ssim(a, b), *distance(a, b)
    monkeypatch.setattr(likeness, "BLOCK", block)
    monkeypatch.setattr(likeness, "PROJECTIONS", 3 * 5 * block)
    for found, expected in zip((psnr(a, b), ssim(a, b), *distance(a, b)), results):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("metric", [*PAIRS, distance])
def test_arrays_of_any_backend_are_taken_and_stay_as_they_are(metric, monkeypatch, rng):
    class Device:
        def __init__(self, array):
            self.array = array
    monkeypatch.setitem(backend._by_type, Device, backend.Backend("device", np, Device, lambda x: x.array))
    pair = noise(rng, 2, 2, 16, 16, 1).astype(np.float32)
    copies = pair.copy()
    np.testing.assert_equal(metric(*map(Device, pair)), metric(*pair))
    np.testing.assert_array_equal(pair, copies)


def test_each_has_a_standard_error(few, rng):
    a = noise(rng, 20, 16, 16, 1)
    b = a + rng.uniform(0.1, 1, (20, 1, 1, 1)) * (noise(rng, *a.shape) - a)
    for metric in (lambda a, b: psnr(a, b).mean(), lambda a, b: ssim(a, b).mean(), lambda a, b: distance(a, b).mean):
        found = half_sampling(metric, a, b, rng=rng)
        assert 0 < found.standard_error < abs(found.value)


# The Laplacian pyramid

SIZES = [((32, 32), [(32, 32), (16, 16)]), ((28, 28), [(28, 28)]), ((16, 16), [(16, 16)]), ((31, 64), [(31, 64)]),
         ((64, 64), [(64, 64), (32, 32), (16, 16)]), ((33, 35), [(33, 35), (17, 18)]), ((64, 16), [(64, 16)])]


@pytest.mark.parametrize("size, sides", SIZES)
def test_the_pyramid_ends_at_16_and_sums_to_its_picture(size, sides, rng):
    x = noise(rng, 2, *size, 3)
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
    x = noise(rng, 1, *size, 2)
    levels = likeness.laplacian_pyramid(x)
    for channel in range(2):
        for level, expected in zip(levels, slow_pyramid(x[0, :, :, channel], len(sides)), strict=True):
            np.testing.assert_allclose(level[0, :, :, channel], expected, rtol=0, atol=1e-14)


def test_the_pyramid_is_that_of_scipys_convolutions(rng):
    """Where it is installed: mode "mirror" is what the authors' code takes."""
    ndimage = pytest.importorskip("scipy.ndimage")
    weights = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, :, :, None] / 256
    x = noise(rng, 3, 32, 48, 3)
    fine, coarse = likeness.laplacian_pyramid(x)
    smaller = ndimage.convolve(x, weights, mode="mirror")[:, ::2, ::2]
    larger = np.zeros(x.shape)
    larger[:, ::2, ::2] = smaller
    np.testing.assert_allclose(coarse, smaller, rtol=0, atol=1e-14)
    np.testing.assert_allclose(fine, x - ndimage.convolve(larger, 4 * weights, mode="mirror"), rtol=0, atol=1e-14)


# The sliced Wasserstein distance

def slow_sliced_wasserstein(real, fake, count, rng):
    """Of floats, with `count` levels, 3 patches a picture and 4 directions, as `few` has them."""
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
def test_the_sliced_wasserstein_distance_is_its_definition(size, count, few):
    rng = np.random.default_rng(3)
    real, fake = noise(rng, 4, *size, 3), noise(rng, 4, *size, 3) ** 3
    expected = slow_sliced_wasserstein(real, fake, count, np.random.default_rng(7))
    found = distance(real, fake, 7)
    assert isinstance(found, SlicedWasserstein) and {type(x) for x in (*found.levels, found.mean)} == {float}
    np.testing.assert_allclose(found.levels, expected, rtol=1e-4)
    np.testing.assert_allclose(found.mean, sum(expected) / count, rtol=1e-4)


def test_the_numbers_are_the_papers():
    assert (likeness.COARSEST, likeness.SIDE, likeness.PATCHES, likeness.DIRECTIONS) == (16, 7, 128, 512)


def test_equal_sets_are_at_0_and_the_sets_may_be_exchanged(few, rng):
    real, fake = noise(rng, 2, 6, 32, 32, 3)
    assert distance(real, real) == ((0, 0), 0)
    assert distance(real, fake) == distance(fake, real)
    assert min(distance(real, fake).levels) > 0


@given(generators, st.lists(st.floats(0.1, 0.5), min_size=3, max_size=3))
def test_the_brightness_and_contrast_of_a_whole_set_are_missed_channel_by_channel(rng, contrast):
    real = noise(rng, 6, 32, 32, 3)
    shifted = real * contrast + rng.uniform(-0.5, 0.5, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likeness, "DIRECTIONS", 8)
        np.testing.assert_allclose(distance(real, shifted).levels, 0, atol=1e-5)


def test_the_cast_of_single_pictures_is_not_missed(rng):
    real = noise(rng, 20, 16, 16, 1) / 2
    assert distance(real, real + rng.uniform(-0.5, 0.5, (20, 1, 1, 1))).mean > 0.01


def test_flat_pictures_of_two_and_of_three_values_have_a_closed_form(monkeypatch, rng):
    """Normalised, their patches are ±1 and 0, ±√2 in all of D = 49 numbers. Their quantiles differ by √2 − 1, 1, 1,
    √2 − 1, that is 1/√2 on average, times E |θ₁ + … + θ_D| = √D Γ(D/2)/(√π Γ((D + 1)/2)), θ uniform on the sphere."""
    monkeypatch.setattr(likeness, "DIRECTIONS", 20_000)
    real, fake = flat([-0.5, 0.5, -0.5, 0.5], 16, 16, 1), flat([0.1, -0.3, 0.1, 0.5], 16, 16, 1)
    length = 7 * math.exp(math.lgamma(24.5) - math.lgamma(25)) / math.sqrt(math.pi)
    np.testing.assert_allclose(distance(real, fake).levels, length / math.sqrt(2), rtol=0.02)


def test_noise_is_at_the_mean_of_a_half_normal_from_pictures_of_nothing(rng):
    """Projections of the one are N(0, 1), those of the other 0: E |z| = √(2/π). Nothing is no noise made large."""
    real, nothing = 0.2 * rng.standard_normal((64, 32, 32, 1)).clip(-5, 5), flat(np.full(64, 0.3), 32, 32, 1)
    found = distance(real, nothing)
    np.testing.assert_allclose(found.levels[1], math.sqrt(2 / math.pi), rtol=0.05)
    assert found.levels[0] > 0.5
    np.testing.assert_allclose(distance(nothing, nothing + 0.1).levels, 0, atol=1e-6)


@given(generators)
def test_the_order_of_flat_pictures_does_not_matter(rng):
    """Of others it decides which patches are drawn."""
    values = rng.uniform(-1, 1, (2, 12))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(likeness, "DIRECTIONS", 8)
        orders = [[flat(rng.permutation(x), 16, 16, 1) for x in values] for _ in range(2)]
        np.testing.assert_allclose(*[distance(*pair).levels for pair in orders], rtol=1e-4)


def test_in_another_order_a_set_is_nearer_to_itself_than_to_any_other(rng):
    real, other = noise(rng, 2, 60, 16, 16, 1)
    other = sum(np.roll(other, shift, axis=(1, 2)) for shift in ((0, 0), (0, 1), (1, 0), (1, 1))) / 4
    assert 0 < 3 * distance(real, rng.permutation(real)).mean < distance(real, other).mean


def test_a_chequered_pattern_is_seen_by_the_finest_level_alone(few, rng):
    """The binomial weights take away what changes its sign from pixel to pixel."""
    real = noise(rng, 10, 32, 32, 1) / 2
    pattern = (-1.0) ** np.add.outer(np.arange(32), np.arange(32))[:, :, None]
    fine, coarse = distance(real, real + 0.3 * pattern).levels
    assert fine > 0.1 and coarse < 1e-6


def test_the_brightness_of_each_picture_is_seen_by_the_coarsest_level_alone(few, rng):
    real = noise(rng, 10, 32, 32, 1) / 2
    fine, coarse = distance(real, real + rng.uniform(-0.5, 0.5, (10, 1, 1, 1))).levels
    assert fine < 1e-6 and coarse > 0.1


def test_patches_come_from_every_place_and_from_no_other(rng):
    """A frame of one pixel is seen, and so is each of its sides."""
    real = noise(rng, 30, 16, 16, 1) / 4
    for side in (np.s_[:, 0], np.s_[:, -1], np.s_[:, :, 0], np.s_[:, :, -1]):
        fake = real.copy()
        fake[side] = 1
        assert distance(real, fake).mean > 0.05


def test_only_the_generator_decides_which_patches_and_directions(few, rng):
    real, fake = noise(rng, 2, 4, 16, 16, 1)
    assert distance(real, fake, 1) == distance(real, fake, 1) != distance(real, fake, 2)


@pytest.mark.parametrize("metric, n, least", [
    (psnr, 2000, 2000 * 256 * 8), (ssim, 2000, 2000 * 256 * 8), (distance, 300, 300 * 128 * 49 * 4)])
def test_memory_is_that_of_blocks(metric, n, least, monkeypatch, rng):
    """All pictures of one set in float64, or all of its patches, would take `least` bytes."""
    monkeypatch.setattr(likeness, "BLOCK", 8)
    monkeypatch.setattr(likeness, "PROJECTIONS", 1 << 17)
    monkeypatch.setattr(likeness, "DIRECTIONS", 12)
    real, fake = rng.integers(0, 256, (2, n, 16, 16, 1), dtype=np.uint8)
    tracemalloc.start()
    try:
        metric(real, fake)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < least / 2


# Bad input

def with_nan(x):
    x = x.copy()
    x[1, 2, 3, 0] = np.nan
    return x


BAD = {
    "one picture less": (lambda x: x[:-1], "(2, 16, 16, 3)"),
    "a channel missing": (lambda x: x[..., :2], "(3, 16, 16, 2)"),
    "another size": (lambda x: np.concatenate([x, x], axis=2), "(3, 16, 32, 3)"),
    "one picture without its set": (lambda x: x[0], "(16, 16, 3), expected pictures (N, H, W, C)"),
    "no pictures": (lambda x: x[:0], "(0, 16, 16, 3), expected pictures (N, H, W, C)"),
    "no channels": (lambda x: x[..., :0], "(3, 16, 16, 0), expected pictures (N, H, W, C)"),
    "NaN": (with_nan, "float64 (3, 16, 16, 3) with NaN or infinity, expected finite"),
    "infinity": (lambda x: np.where(x == x.max(), np.inf, x), "NaN or infinity"),
    "pixels as floats": (lambda x: 127.5 + 127.5 * x, "expected floats from -1 to 1 (clip what goes beyond) or uint8"),
    "below the range": (lambda x: np.where(x == x.min(), -1.001, x), "from -1.001 to"),
    "above the range": (lambda x: np.where(x == x.max(), 1.001, x), "to 1.001, expected floats from -1 to 1"),
    "integers": (lambda x: x.astype(np.int64), "int64 (3, 16, 16, 3), expected uint8 from 0 to 255 or floats"),
    "a mask": (lambda x: x > 0, "bool (3, 16, 16, 3), expected uint8"),
}


@pytest.mark.parametrize("metric, name, what", [
    (psnr, "psnr", ("a", "b")), (ssim, "ssim", ("a", "b")), (distance, "sliced_wasserstein", ("real", "fake"))])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", BAD)
def test_bad_pictures_are_refused_by_name(metric, name, what, side, kind, rng):
    spoil, seen = BAD[kind]
    pair = list(noise(rng, 2, 3, 16, 16, 3))
    pair[side] = spoil(pair[side])
    with pytest.raises(ValueError, match=f"^{name}: .*expected") as error:
        metric(*pair)
    assert seen in str(error.value) and what[side] in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("metric, least", [(ssim, 11), (distance, 16)])
def test_pictures_that_are_too_small_are_refused_with_their_size(metric, least, rng):
    for size in ((least - 1, 40), (40, least - 1)):
        a, b = noise(rng, 2, 2, *size, 1)
        with pytest.raises(ValueError, match=f"expected sides of at least {least} pixels") as error:
            metric(a, b)
        assert str((2, *size, 1)) in str(error.value)
    metric(*noise(rng, 2, 2, least, least, 1))


def test_what_rounding_adds_is_taken():
    edge = flat([-1.000001, 1.000001], 16, 16, 1).astype(np.float32)
    assert np.isfinite(psnr(edge, edge[::-1])).all()
