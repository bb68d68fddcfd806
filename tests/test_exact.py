"""The exact judge of `shapes`: right on renderings and under noise, and the nearest of all by its definition."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

from helpers import generators
from minigan import backend
from minigan.data import figures, to_unit
from minigan.metrics import ShapesJudge, agreement, exact

EVERY = np.arange(figures.COUNT)


@pytest.fixture(scope="module")
def judge():
    return ShapesJudge()


def noisy(codes, sigma, rng):
    """Renderings in [−1, 1] with normal noise, clipped as a picture is."""
    x = to_unit(figures.render(codes)).astype(np.float64)
    return np.clip(x + sigma * rng.standard_normal(x.shape), -1, 1)


# Right

def test_every_rendering_is_known_and_at_distance_0(judge):
    pictures = figures.render(EVERY)
    np.testing.assert_equal(judge.attributes(pictures), figures.attributes_of(EVERY))
    assert judge.distance(pictures).tolist() == [0] * figures.COUNT


def test_every_attribute_of_every_rendering_is_right_under_noise_of_deviation_3_tenths(judge, rng):
    for _ in range(2):
        np.testing.assert_equal(judge.attributes(noisy(EVERY, 0.3, rng)), figures.attributes_of(EVERY))


def test_noise_beyond_the_margin_is_not_seen_through(judge, rng):
    seen = judge.attributes(noisy(EVERY, 2.0, rng))
    assert agreement(figures.attributes_of(EVERY), seen)["all"] < 0.9


@given(generators)
def test_what_is_nearer_than_half_the_margin_is_never_mistaken(judge, rng):
    """On the way to any other rendering; the margin, 4.5, is that of test_figures.py."""
    codes = rng.integers(figures.COUNT, size=20)
    x, y = (figures.render(k) / 127.5 - 1 for k in (codes, rng.permutation(codes)))
    apart = np.linalg.norm((y - x).reshape(20, -1), axis=1)
    way = np.minimum(1, 2.25 / np.maximum(apart, 2.25))[:, None, None, None]
    np.testing.assert_array_equal(judge.codes(x + way * (y - x)), codes)


# The definition

def slow_nearest(picture):
    """(the code of the largest likelihood under noise of variance ½, the RMS distance)."""
    best, code = -math.inf, None
    for k in EVERY:
        likelihood = -np.sum((picture - (figures.render([k])[0] / 127.5 - 1)) ** 2)
        if likelihood > best:
            best, code = likelihood, k
    return code, math.sqrt(-best / picture.size)


@pytest.mark.parametrize("sigma", [0.5, 1.5, 20])
def test_it_is_its_definition(judge, rng, sigma):
    pictures = noisy(rng.integers(figures.COUNT, size=4), sigma, rng)
    codes, distances = zip(*map(slow_nearest, pictures))
    assert judge.codes(pictures).tolist() == list(codes)
    np.testing.assert_allclose(judge.distance(pictures), distances, rtol=1e-12)
    np.testing.assert_equal(judge.attributes(pictures), figures.attributes_of(codes))


def test_the_distance_tells_noise_and_what_is_no_shape(judge, rng):
    white = np.ones((1, 32, 32, 3))
    grey = figures.render([7]) / 127.5 - 1 - 0.25 * (figures.render([7]) == 255)
    np.testing.assert_allclose(judge.distance(grey), 0.25 * np.sqrt(np.mean(figures.render([7]) == 255)), rtol=1e-12)
    assert 0.1 < judge.distance(white)[0] < 0.3  # small figures cover little
    assert judge.distance(rng.uniform(-1, 1, (3, 32, 32, 3))).min() > 1
    inner = 0.9 * (figures.render(EVERY) / 127.5 - 1) + 0.02 * rng.standard_normal((figures.COUNT, 32, 32, 3))
    np.testing.assert_allclose(judge.distance(inner.clip(-1, 1)), 0.1, atol=0.01)


# Arrays

@pytest.mark.parametrize("block", [1, 2, 7, 10, 11, 256])
def test_blocks_do_not_change_the_result(judge, block, monkeypatch, rng):
    pictures = noisy(rng.integers(figures.COUNT, size=10), 0.8, rng)
    expected = judge.codes(pictures), judge.distance(pictures)
    monkeypatch.setattr(exact, "BLOCK", block)
    np.testing.assert_array_equal(judge.codes(pictures), expected[0])
    np.testing.assert_allclose(judge.distance(pictures), expected[1], rtol=1e-12)


def test_bytes_are_what_training_makes_of_them(judge, rng):
    pictures = rng.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(judge.codes(pictures), judge.codes(to_unit(pictures)))
    np.testing.assert_allclose(judge.distance(pictures), judge.distance(to_unit(pictures)), rtol=1e-6)


def test_arrays_of_any_backend_are_taken_and_stay_as_they_are(judge, monkeypatch, rng):
    class Device:
        def __init__(self, array):
            self.array = array
    monkeypatch.setitem(backend._by_type, Device, backend.Backend("device", np, Device, lambda x: x.array))
    pictures = noisy(EVERY[:5], 0.3, rng).astype(np.float32)
    copies = pictures.copy()
    np.testing.assert_array_equal(judge.codes(Device(pictures)), judge.codes(pictures))
    np.testing.assert_array_equal(pictures, copies)


def test_memory_is_that_of_a_block(judge, monkeypatch, rng):
    monkeypatch.setattr(exact, "BLOCK", 16)
    pictures = figures.render(rng.integers(figures.COUNT, size=1000))
    tracemalloc.start()
    try:
        judge.codes(pictures), judge.distance(pictures)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1000 * 3072 * 8 / 4  # all of them in float64


def of(*shape):
    return np.zeros(shape)


@pytest.mark.parametrize("pictures, words", [
    (of(2, 28, 28, 3), "float64 (2, 28, 28, 3), expected (n, 32, 32, 3)"),
    (of(2, 32, 32, 1), "(2, 32, 32, 1), expected (n, 32, 32, 3)"),
    (of(2, 3, 32, 32), "(2, 3, 32, 32), expected (n, 32, 32, 3)"),
    (of(32, 32, 3), "(32, 32, 3), expected pictures (N, H, W, C)"),
    (of(0, 32, 32, 3), "(0, 32, 32, 3), expected pictures"),
    (of(1, 32, 32, 3) * np.nan, "NaN or infinity"),
    (of(1, 32, 32, 3) + 255.0, "from 255 to 255, expected floats from -1 to 1"),
    (of(1, 32, 32, 3).astype(int), "int64 (1, 32, 32, 3), expected uint8")])
@pytest.mark.parametrize("ask", ["codes", "attributes", "distance"])
def test_other_pictures_are_refused_by_name(judge, pictures, words, ask):
    with pytest.raises(ValueError, match="^ShapesJudge: pictures is ") as error:
        getattr(judge, ask)(pictures)
    assert words in str(error.value) and "\n" not in str(error.value)


# Agreement

def test_agreement_is_a_share_of_pictures():
    asked = {"kind": np.array([0, 1, 2, 3]), "colour": [0, 0, 0, 0]}
    seen = {"place": np.zeros(4, int), "colour": np.array([0, 0, 1, 1]), "kind": np.array([0, 1, 2, 0])}
    assert agreement(asked, seen) == {"kind": 0.75, "colour": 0.5, "all": 0.5}
    assert list(agreement(asked, seen)) == ["kind", "colour", "all"]
    assert agreement({"kind": [1, 0]}, {"kind": [1, 1]}) == {"kind": 0.5, "all": 0.5}


def test_all_means_each_picture_and_not_each_attribute():
    assert agreement({"kind": [0, 0], "size": [0, 0]}, {"kind": [0, 1], "size": [1, 0]}) == {
        "kind": 0.5, "size": 0.5, "all": 0}


@given(generators, st.integers(1, 40))
def test_a_turned_attribute_is_the_one_that_disagrees(rng, n):
    codes = rng.integers(figures.COUNT, size=n)
    turned = figures.counterpart(codes, "texture", 1 - figures.attributes_of(codes)["texture"])
    found = agreement(figures.attributes_of(codes), figures.attributes_of(turned))
    assert found == dict.fromkeys(figures.ATTRIBUTES, 1.0) | {"texture": 0.0, "all": 0.0}


@pytest.mark.parametrize("asked, seen, words", [
    ({"kind": [1]}, {"size": [1]}, "kind was asked for, expected it among what was seen, got size"),
    ({"kind": [1, 2]}, {"kind": [1]}, "as many of kind seen as asked for, (n,), got (1,) and (2,)"),
    ({"kind": [[1]]}, {"kind": [[1]]}, "(1, 1)"),
    ({"kind": []}, {"kind": []}, "(0,)"),
    ({"kind": [1], "size": [1, 2]}, {"kind": [1], "size": [1, 2]}, "the same pictures, got kind (1,), size (2,)"),
    ({}, {"kind": [1]}, "got none")])
def test_what_cannot_be_compared_is_refused_by_name(asked, seen, words):
    with pytest.raises(ValueError, match="^agreement: .*expected") as error:
        agreement(asked, seen)
    assert words in str(error.value)


def test_pictures_of_half_the_sides_are_read_by_renderings_of_half_the_sides(rng):
    codes = rng.permutation(figures.COUNT)[:400]
    small = figures.render(codes).reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)) / 127.5 - 1
    judge = ShapesJudge(reduced=2)
    np.testing.assert_array_equal(judge.codes(np.clip(small + rng.normal(0, 0.1, small.shape), -1, 1)), codes)
    np.testing.assert_allclose(judge.distance(small), 0.0, atol=1e-12)
    with pytest.raises(ValueError, match=r"expected \(n, 16, 16, 3\)"):
        judge.codes(figures.render(codes[:2]))
