"""`shapes`: what its pictures show, the words for them, and which are never trained on."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, strategies as st

from helpers import generators
from minigan.data import DataError, figures
from minigan.data.figures import (
    ATTRIBUTES, COUNT, LENGTHS, attributes_of, caption, codes_in, codes_of, counterpart, is_unseen, read_shapes,
    render)

EVERY = np.arange(COUNT)
KINDS, SIZES = ATTRIBUTES["kind"], ATTRIBUTES["size"]


@pytest.fixture(scope="module")
def pictures():
    return render(EVERY)


@pytest.fixture(scope="module")
def cover(pictures):
    """The share of each pixel that a plain picture's figure covers, told by one channel: (COUNT // 2, 32, 32)."""
    plain = pictures[::2].astype(float)
    colours = figures.COLOURS[attributes_of(EVERY[::2])["colour"]]
    strongest = colours.argmin(axis=1)
    row = np.arange(len(plain))
    return (255 - plain[row, ..., strongest]) / (255 - colours[row, strongest])[:, None, None]


def table(values):
    """Something of each plain picture, by its attributes but texture."""
    return np.reshape(values, (*LENGTHS[:-1], *np.shape(values)[1:]))


# The pictures

def test_pictures_are_bytes_in_colour(pictures):
    assert pictures.shape == (1944, 32, 32, 3) and pictures.dtype == np.uint8


def test_any_two_differ_by_a_margin(pictures):
    """In [−1, 1]: noise must be as large as half of it, in the one direction that matters, to mistake them."""
    x = pictures.reshape(COUNT, -1) / 127.5 - 1
    squares = np.sum(x * x, axis=1)
    distances = squares[:, None] + squares - 2 * x @ x.T
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 4.5 ** 2


def test_the_margin_of_each_attribute(pictures):
    """Pictures that differ in this attribute only."""
    x = pictures.reshape(*LENGTHS, -1) / 127.5 - 1
    found = {}
    for axis, name in enumerate(ATTRIBUTES):
        values = np.moveaxis(x, axis, 0)
        found[name] = min(np.sqrt(np.sum((values[i] - values[j]) ** 2, axis=-1)).min()
                          for i in range(len(values)) for j in range(i))
    assert found["kind"] > 4.6 and found["colour"] > 4.5 and found["texture"] > 5
    assert found["size"] > 7 and found["place"] > 12


def test_a_figure_has_its_centre_of_mass_in_its_place(cover):
    middle = np.arange(32) + 0.5
    masses = cover.sum(axis=(1, 2))
    across = table((cover.sum(axis=1) @ middle) / masses)
    down = table((cover.sum(axis=2) @ middle) / masses)
    for place, name in enumerate(ATTRIBUTES["place"]):
        np.testing.assert_allclose(across[..., place], 16 + 6 * (("right" in name) - ("left" in name)), atol=0.15)
        np.testing.assert_allclose(down[..., place], 16 + 6 * (("bottom" in name) - ("top" in name)), atol=0.15)


def test_nothing_is_cut_off_or_touches_the_border(cover):
    assert cover[:, [0, -1]].max() < 0.25 and cover[:, :, [0, -1]].max() < 0.25  # but for a tip's smooth end
    areas = table(cover.sum(axis=(1, 2)))
    np.testing.assert_allclose(areas, areas[..., 4:5].repeat(9, axis=-1), rtol=1e-12)


def test_areas_are_those_of_the_formulas(cover):
    areas = table(cover.sum(axis=(1, 2)))
    tip, notch = 1.1, 0.5
    unit = {"circle": np.pi, "square": 1.72 ** 2, "triangle": 3 * np.sqrt(3) / 4 * 1.1 ** 2,
            "cross": 4 * 0.72 - 0.72 ** 2, "star": 10 * tip * notch * np.sin(np.pi / 5) / 2,
            "ring": np.pi * (1 - 0.56 ** 2)}
    for k, kind in enumerate(KINDS):
        for size, radius in enumerate((5, 7, 9)):
            np.testing.assert_allclose(areas[k, :, size], unit[kind] * radius ** 2, rtol=0.03)


def test_larger_is_larger(cover):
    areas = table(cover.sum(axis=(1, 2)))
    assert (areas[:, :, 1:] > 1.5 * areas[:, :, :-1]).all()
    covers = table(cover)
    for k, kind in enumerate(KINDS):
        if kind != "ring":  # whose hole grows too
            assert (covers[k, :, 1:] >= covers[k, :, :-1] - 0.01).all(), kind


def test_the_inside_has_exactly_the_colour_and_the_ground_is_white(pictures, cover):
    for code, picture in zip(EVERY[::2], pictures[::2]):
        share, colour = cover[code // 2], figures.COLOURS[attributes_of([code])["colour"][0]]
        assert (picture[share > 0.999] == colour).all() and (share > 0.999).sum() >= 8
        assert (picture[share == 0] == 255).all() and (share == 0).sum() > 500


def test_a_pixel_is_the_rounded_mixture_of_colour_and_ground(pictures, cover):
    share = np.rint(64 * cover)[..., None] / 64  # of 8 × 8 points
    colours = figures.COLOURS[attributes_of(EVERY[::2])["colour"]][:, None, None]
    assert abs(pictures[::2] - (255 + share * (colours - 255))).max() <= 0.5


def test_what_each_kind_looks_like(cover):
    large = table(cover)[:, 0, 2, 4]  # in the centre, where 16 is the first pixel right of and below it
    by_name = dict(zip(KINDS, large))
    for kind in KINDS:
        np.testing.assert_allclose(by_name[kind], by_name[kind][:, ::-1], atol=1e-9)  # left is right
        assert (by_name[kind][16, 16] == 1) == (kind != "ring")
    for kind in ("circle", "square", "cross", "ring"):
        np.testing.assert_allclose(by_name[kind], by_name[kind].T, atol=1e-9)
    corners = {kind: by_name[kind][16 - 7, 16 + 6] for kind in KINDS}
    assert corners.pop("square") == 1 and max(corners.values()) < 0.25
    for kind in ("triangle", "star"):  # a tip at the top
        widths = by_name[kind].sum(axis=1)
        assert 0 < widths[7] < widths[10] < widths[12] and by_name[kind][7, 15:17].sum() == widths[7]
    star = by_name["star"]
    assert star[22, 15:17].sum() == 0 and star[22, 19:22].sum() > 1  # a notch at the bottom, a tip beside it
    assert by_name["triangle"][20, 9:23].min() == 1  # and a triangle's base


def test_stripes_do_not_change_the_outline(pictures):
    plain, striped = pictures[::2], pictures[1::2]
    np.testing.assert_array_equal((plain == 255).all(axis=-1), (striped == 255).all(axis=-1))


def test_stripes_are_bars_two_pixels_wide_with_one_in_the_centre(pictures, cover):
    rows = np.arange(32) + 0.5
    for code in EVERY[::2]:
        inside = cover[code // 2] > 0.999
        centre = 16 + 6 * (attributes_of([code])["place"][0] // 3 - 1)
        dark = np.abs((rows - centre + 2) % 4 - 2) < 1
        bars, gaps = inside & dark[:, None], inside & ~dark[:, None]
        assert (pictures[code + 1][bars] == figures.DARK).all()
        np.testing.assert_array_equal(pictures[code + 1][gaps], pictures[code][gaps])
        assert bars.any() and gaps.any()


def test_places_are_translations_by_whole_pixels(pictures):
    x = pictures.reshape(*LENGTHS, 32, 32, 3)
    np.testing.assert_array_equal(x[:, :, :, 0, :, 1:20, 1:20], x[:, :, :, 8, :, 13:, 13:])


def test_the_table_is_small_and_what_is_given_out_is_nobodys_else():
    figures._renderings.cache_clear()
    tracemalloc.start()
    try:
        render(np.array([5]))[:] = 0
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 6.1e6 and peak < 20e6
    assert render(np.array([5])).any()


# Codes

@given(generators, st.integers(1, 50))
def test_codes_and_attributes_are_one_to_one(rng, n):
    codes = rng.integers(COUNT, size=n)
    attributes = attributes_of(codes)
    assert list(attributes) == list(ATTRIBUTES)
    np.testing.assert_array_equal(codes_of(attributes), codes)
    np.testing.assert_array_equal(codes_of(dict(reversed(attributes.items()))), codes)


def test_every_combination_has_one_code():
    values = np.stack(list(attributes_of(EVERY).values()))
    assert (values.min(axis=1) == 0).all() and tuple(values.max(axis=1) + 1) == LENGTHS
    assert len(np.unique(values, axis=1).T) == COUNT == 6 * 6 * 3 * 9 * 2


@pytest.mark.parametrize("name", ATTRIBUTES)
@given(rng=generators)
def test_a_counterpart_differs_in_one_attribute(name, rng):
    codes = rng.integers(COUNT, size=20)
    for value in (len(ATTRIBUTES[name]) - 1, rng.integers(len(ATTRIBUTES[name]), size=20)):
        before, after = attributes_of(codes), attributes_of(counterpart(codes, name, value))
        assert (after.pop(name) == value).all()
        del before[name]
        np.testing.assert_equal(after, before)


@pytest.mark.parametrize("call, words", [
    (lambda: render([0, COUNT]), "codes: expected (n,) integers from 0 to 1943, got int64 (2,) from 0 to 1944"),
    (lambda: render([-1]), "from -1 to -1"),
    (lambda: render([]), "float64 (0,)"),
    (lambda: render([0.5]), "float64 (1,) from 0.5 to 0.5"),
    (lambda: attributes_of([[1, 2]]), "int64 (1, 2)"),
    (lambda: caption(5000), "from 5000 to 5000"),
    (lambda: is_unseen(3), "int64 ()"),
    (lambda: counterpart([1], "taste", 0), "no attribute 'taste': expected kind, colour, size, place, texture"),
    (lambda: counterpart([1], "size", 3), "size: expected (n,) integers from 0 to 2, got int64 (1,) from 3 to 3"),
    (lambda: counterpart([1, 2], "size", [0, 1, 2]), "equally many values of each attribute, got 2 of kind"),
    (lambda: codes_of({"kind": [1]}), "codes_of: expected kind, colour, size, place, texture, got kind"),
    (lambda: read_shapes("train", None, "taste"), "no attribute 'taste'")])
def test_what_is_not_there_is_refused_by_name(call, words):
    with pytest.raises(DataError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


# Captions

def read(words):
    """The code that a caption tells."""
    first, place = words.removeprefix("a ").replace(" in the ", " at the ").split(" at the ")
    size, colour, *texture, kind = first.split()
    named = dict(kind=kind, colour=colour, size=size, place=place, texture="".join(texture) or "plain")
    return codes_of({name: [ATTRIBUTES[name].index(value)] for name, value in named.items()})[0]


def test_a_caption_says_all_that_is_known():
    captions = [caption(code) for code in EVERY]
    assert len(set(captions)) == COUNT and [read(words) for words in captions] == EVERY.tolist()


def test_captions_are_english():
    of = lambda **named: caption(codes_of({n: [ATTRIBUTES[n].index(v)] for n, v in named.items()})[0])
    assert of(kind="star", colour="red", size="small", place="top left", texture="striped") == (
        "a small red striped star at the top left")
    assert of(kind="ring", colour="blue", size="large", place="centre", texture="plain") == (
        "a large blue ring in the centre")


# The split

def test_no_picture_is_in_both_splits_and_each_is_in_one():
    train, test = codes_in("train"), codes_in("test")
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), EVERY)
    assert (len(train), len(test), is_unseen(test).sum()) == (1292, 652, 324)


def test_a_picture_and_its_other_texture_are_in_the_same_split():
    for split in ("train", "test"):
        codes = codes_in(split)
        turned = counterpart(codes, "texture", 1 - attributes_of(codes)["texture"])
        np.testing.assert_array_equal(np.sort(turned), codes)


def test_some_combinations_of_kind_and_colour_are_never_trained_on():
    unseen = attributes_of(EVERY[is_unseen(EVERY)])
    pairs = set(zip(unseen["kind"].tolist(), unseen["colour"].tolist()))
    assert len(pairs) == len({k for k, _ in pairs}) == len({c for _, c in pairs}) == 6
    assert not is_unseen(codes_in("train")).any()
    assert np.isin(EVERY[is_unseen(EVERY)], codes_in("test")).all()


def test_all_else_is_seen_in_every_pair_of_values():
    """So that a test picture is new as a whole, and nothing in it is but the unseen combinations."""
    train = attributes_of(codes_in("train"))
    for first in ATTRIBUTES:
        for second in ATTRIBUTES:
            if first < second:
                found = set(zip(train[first].tolist(), train[second].tolist()))
                missing = len(ATTRIBUTES[first]) * len(ATTRIBUTES[second]) - len(found)
                assert missing == (6 if {first, second} == {"kind", "colour"} else 0)


def test_every_seen_combination_is_tested_too():
    test = codes_in("test")
    seen = attributes_of(test[~is_unseen(test)])
    counts = np.zeros(LENGTHS[:3], int)
    np.add.at(counts, (seen["kind"], seen["colour"], seen["size"]), 1)
    assert set(counts[counts > 0].tolist()) <= {2, 4} and (counts > 0).sum() == 30 * 3  # of 18


# What is read

@pytest.mark.parametrize("split, n", [("train", 20_000), ("test", 2_000)])
def test_what_is_read_fits_together(split, n, rng):
    found = read_shapes(split, rng)
    assert found.x.shape == found.other.shape == (n, 32, 32, 3) and found.x.dtype == found.other.dtype == np.uint8
    assert found.labels.dtype == np.int64 and found.classes == KINDS and len(found.captions) == n
    np.testing.assert_array_equal(found.labels, attributes_of(found.codes)["kind"])
    some = slice(0, 300)
    np.testing.assert_array_equal(found.x[some], render(found.codes[some]))
    np.testing.assert_array_equal(found.other[some], render(found.codes[some] ^ 1))  # the last bit is the texture
    assert found.captions[some].tolist() == [caption(code) for code in found.codes[some]]


@pytest.mark.parametrize("split", ["train", "test"])
def test_each_picture_of_the_split_is_there_equally_often(split, rng):
    codes, counts = np.unique(read_shapes(split, rng).codes, return_counts=True)
    np.testing.assert_array_equal(codes, codes_in(split))
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_any_attribute_may_be_the_label(name):
    found = read_shapes("test", np.random.default_rng(3), name)
    assert found.classes == ATTRIBUTES[name]
    np.testing.assert_array_equal(found.labels, attributes_of(found.codes)[name])
    np.testing.assert_array_equal(found.codes, read_shapes("test", np.random.default_rng(3)).codes)


def test_the_generator_draws_the_order():
    first, again, other = [read_shapes("test", np.random.default_rng(seed)).codes for seed in (0, 0, 1)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other) and not np.array_equal(first, np.sort(first))
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.1
