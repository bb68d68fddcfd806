"""PSNR and SSIM: closed forms, definitions written out slowly; what all measures of pictures have in common."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minigan import backend, data
from minigan.metrics import half_sampling, likeness, psnr, ssim
from helpers import few_patches, flat_pictures, generators, noise_pictures, sliced_distance

__all__ = ["few_patches"]  # the fixture

PAIRS = [psnr, ssim]


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
    a, b = noise_pictures(rng, 2, n, 4, 3, channels)
    np.testing.assert_allclose(psnr(a, b), slow_psnr(a, b), rtol=1e-12)


def test_equal_pictures_have_no_noise_and_black_beside_white_0_decibels():
    black, white = flat_pictures([-1, -1], 4, 4, 1), flat_pictures([-1, 1], 4, 4, 1)
    assert psnr(black, white).tolist() == [math.inf, 0.0]


@given(generators, st.floats(0.05, 1))
def test_a_smaller_difference_is_worth_its_square(rng, factor):
    a, b = noise_pictures(rng, 2, 3, 5, 5, 1)
    np.testing.assert_allclose(psnr(a, a + factor * (b - a)), psnr(a, b) - 20 * math.log10(factor), rtol=1e-10)


# SSIM

@given(generators)
def test_equal_pictures_have_similarity_1(rng):
    a = noise_pictures(rng, 4, 13, 12, 3)
    assert ssim(a, a).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("a", [0, 0.3, 1])
@pytest.mark.parametrize("b", [0, 0.5, 1])
def test_flat_pictures_are_compared_by_their_luminance(a, b):
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    pair = [flat_pictures([2 * value - 1], 11, 14, 2) for value in (a, b)]
    np.testing.assert_allclose(ssim(*pair), expected, rtol=1e-9)


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
    a, b = contrast * noise_pictures(rng, 2, 2, rows, columns, 2)
    np.testing.assert_allclose(ssim(a, b), slow_ssim(a, b), rtol=1e-9)


@given(generators, st.floats(0, 1))
def test_ssim_lies_between_its_bounds_and_sees_no_direction(rng, blend):
    a, b = noise_pictures(rng, 2, 3, 12, 14, 3)
    b = blend * a + (1 - blend) * b
    found = ssim(a, b)
    assert (np.abs(found) <= 1 + 1e-12).all()
    for turned in (lambda x: x.swapaxes(1, 2), lambda x: x[:, ::-1], lambda x: x[:, :, ::-1], lambda x: x[..., ::-1]):
        np.testing.assert_allclose(ssim(turned(a), turned(b)), found, rtol=1e-9, atol=1e-12)


def test_a_negative_is_unlike_its_picture(rng):
    a = noise_pictures(rng, 3, 16, 16, 1)
    assert (ssim(a, -a) < -0.9).all()


def test_psnr_and_ssim_are_those_of_scikit_image(rng):
    """Where it is installed, with the options that make it the paper's."""
    metrics = pytest.importorskip("skimage.metrics")
    a = noise_pictures(rng, 3, 20, 17, 3)
    b = np.clip(a + 0.3 * noise_pictures(rng, *a.shape), -1, 1)
    ours = psnr(a, b), ssim(a, b)
    theirs = zip(*[(metrics.peak_signal_noise_ratio(x, y, data_range=1), metrics.structural_similarity(
        x, y, data_range=1, channel_axis=-1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False))
        for x, y in zip((a + 1) / 2, (b + 1) / 2)])
    np.testing.assert_allclose(ours, list(theirs), rtol=1e-9)


# What both have in common

@pytest.mark.parametrize("metric", PAIRS)
@given(generators)
def test_the_pair_may_be_exchanged_and_pairs_come_in_any_order(metric, rng):
    a, b = noise_pictures(rng, 2, 5, 12, 11, 2)
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
def test_blocks_do_not_change_the_result(block, few_patches, monkeypatch, rng):
    a, b = noise_pictures(rng, 2, 5, 33, 32, 2)
    results = psnr(a, b), ssim(a, b), *sliced_distance(a, b)
    monkeypatch.setattr(likeness, "BLOCK", block)
    monkeypatch.setattr(likeness, "PROJECTIONS", 3 * 5 * block)
    for found, expected in zip((psnr(a, b), ssim(a, b), *sliced_distance(a, b)), results):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("metric", [*PAIRS, sliced_distance])
def test_arrays_of_any_backend_are_taken_and_stay_as_they_are(metric, monkeypatch, rng):
    class Device:
        def __init__(self, array):
            self.array = array
    monkeypatch.setitem(backend._by_type, Device, backend.Backend("device", np, Device, lambda x: x.array))
    pair = noise_pictures(rng, 2, 2, 16, 16, 1).astype(np.float32)
    copies = pair.copy()
    np.testing.assert_equal(metric(*map(Device, pair)), metric(*pair))
    np.testing.assert_array_equal(pair, copies)


def test_each_has_a_standard_error(few_patches, rng):
    a = noise_pictures(rng, 20, 16, 16, 1)
    b = a + rng.uniform(0.1, 1, (20, 1, 1, 1)) * (noise_pictures(rng, *a.shape) - a)
    for metric in (lambda a, b: psnr(a, b).mean(), lambda a, b: ssim(a, b).mean(),
                   lambda a, b: sliced_distance(a, b).mean):
        found = half_sampling(metric, a, b, rng=rng)
        assert 0 < found.standard_error < abs(found.value)


@pytest.mark.parametrize("metric, n, least", [
    (psnr, 2000, 2000 * 256 * 8), (ssim, 2000, 2000 * 256 * 8), (sliced_distance, 300, 300 * 128 * 49 * 4)])
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
    (psnr, "psnr", ("a", "b")), (ssim, "ssim", ("a", "b")), (sliced_distance, "sliced_wasserstein", ("real", "fake"))])
@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", BAD)
def test_bad_pictures_are_refused_by_name(metric, name, what, side, kind, rng):
    spoil, seen = BAD[kind]
    pair = list(noise_pictures(rng, 2, 3, 16, 16, 3))
    pair[side] = spoil(pair[side])
    with pytest.raises(ValueError, match=f"^{name}: .*expected") as error:
        metric(*pair)
    assert seen in str(error.value) and what[side] in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("metric, least", [(ssim, 11), (sliced_distance, 16)])
def test_pictures_that_are_too_small_are_refused_with_their_size(metric, least, rng):
    for size in ((least - 1, 40), (40, least - 1)):
        a, b = noise_pictures(rng, 2, 2, *size, 1)
        with pytest.raises(ValueError, match=f"expected sides of at least {least} pixels") as error:
            metric(a, b)
        assert str((2, *size, 1)) in str(error.value)
    metric(*noise_pictures(rng, 2, 2, least, least, 1))


def test_what_rounding_adds_is_taken():
    edge = flat_pictures([-1.000001, 1.000001], 16, 16, 1).astype(np.float32)
    assert np.isfinite(psnr(edge, edge[::-1])).all()
