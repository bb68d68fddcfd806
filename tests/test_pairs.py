"""Pairs, domains and captions: made of any set, or found in a folder; and what is refused."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan import data
from minigan.data import DataError, domains, made
from minigan.data.batches import to_unit
from helpers import done, refused, train

__all__ = ["train"]  # the fixture


def square(side=12, channels=3, value=(255, 0, 0)):
    """White, with a square from 4 to 8 in the middle."""
    x = np.full((1, side, side, channels), 255, np.uint8)
    x[0, 4:8, 4:8] = value[:channels]
    return x


# Made of pictures

def test_outlines_are_where_a_channel_changes_and_nowhere_else():
    edges = made.edges(square())[0, :, :, 0]
    assert edges.shape == (12, 12) and set(np.unique(edges)) == {0, 255}
    dark = np.argwhere(edges == 0)
    assert dark.min() == 3 and dark.max() == 8  # one pixel on both sides of the border
    assert (edges[5:7, 5:7] == 255).all()       # and not within
    assert np.array_equal(edges, edges.T) and np.array_equal(edges, edges[::-1])


def test_outlines_have_no_frame_and_a_flat_picture_has_none():
    for value in (0, 77, 255):
        assert (made.edges(np.full((2, 9, 7, 3), value, np.uint8)) == 255).all()
    ramp = np.broadcast_to(np.arange(0, 240, 8, np.uint8)[:, None, None], (30, 30, 1))[None]
    assert (made.edges(ramp) == 255).all()  # a slow change is no edge


def test_an_edge_from_black_to_white_has_the_slope_1():
    """So that OUTLINE is a part of the range: an edge of exactly as much is none, one of more is."""
    most = int(made.OUTLINE * 255)
    for step, dark in ((most, 0), (most + 1, 2)):
        x = np.zeros((1, 8, 8, 1), np.uint8)
        x[:, :, 4:] = step
        assert (made.edges(x) == 0).sum() == 8 * dark


def test_yellow_on_white_has_an_outline_though_both_are_light():
    assert (made.edges(square(value=(255, 255, 0))) == 0).any()


def test_half_and_masked_hide_what_they_say_and_nothing_else():
    x = np.random.default_rng(0).integers(1, 100, (3, 8, 12, 3), dtype=np.uint8)
    lower, middle = made.half(x) != x, made.masked(x) != x
    assert lower[:, 4:].all() and not lower[:, :4].any()
    assert middle[:, 2:6, 3:9].all() and middle.sum() == 3 * 4 * 6 * 3
    assert abs(to_unit(np.full(1, made.HIDDEN, np.uint8))).max() < 0.005  # grey, 0 in [−1, 1]
    assert made.hole((8, 12)) == (slice(2, 6), slice(3, 9))


@pytest.mark.parametrize("kind", made.MADE)
def test_pairs_are_made_of_any_set_of_pictures(kind):
    pairs, plain = data.load(f"{kind}:digits"), data.load("digits")
    np.testing.assert_array_equal(pairs.x, plain.x)
    np.testing.assert_array_equal(pairs.labels, plain.labels)
    np.testing.assert_array_equal(pairs.other, made.MADE[kind](plain.x))
    assert plain.other is None and pairs.classes == plain.classes


def test_pairs_of_an_unknown_kind_or_of_points_are_refused():
    with pytest.raises(DataError, match="there is no data set.*'outline:digits'"):
        data.load("outline:digits")
    with pytest.raises(DataError, match="edges: pairs are made of pictures"):
        data.load("edges:ring8")
    with pytest.raises(DataError, match="there is no data set.*'nowhere'"):
        data.load("edges:nowhere")


# Emoji

def test_an_emoji_is_drawn_twice_and_has_its_name_and_its_group():
    train, test = data.load("emoji"), data.load("emoji", split="test")
    assert (len(train.x), len(test.x)) == (1435, 201)
    for part in (train, test):
        assert part.x.shape == part.other.shape == (len(part.x), 32, 32, 3) and part.x.dtype == np.uint8
        assert len(part.captions) == len(part.labels) == len(part.x) and len(part.classes) == 8
    assert "green heart" in train.captions and "grinning face" in test.captions
    at = list(train.captions).index("heavy black heart")
    assert train.classes[train.labels[at]] == "Smileys & Emotion"
    for x in (train.x[at], train.other[at]):  # red in both styles
        red, green, blue = x[16, 16].astype(int)
        assert red > 180 and green < 90 and blue < 110


def test_no_emoji_is_in_both_splits_and_kin_are_on_the_same_side():
    train, test = (set(data.load("emoji", split=split).captions) for split in ("train", "test"))
    assert not train & test
    for kin in ("runner", "firefighter", "artist", "family:"):  # of each sex, composed in three ways
        alike = [{name for name in part if name.endswith(kin) or kin in name.split()} for part in (train, test)]
        assert not (alike[0] and alike[1]), alike


def test_larger_emoji_are_found_where_the_environment_says_or_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path))
    with pytest.raises(DataError, match="64 × 64 are not bundled.*MINIGAN_DATA"):
        data.load("emoji", image_size=64)
    with pytest.raises(DataError, match="48x48 was asked for: there are 32 and 64"):
        data.load("emoji", image_size=48)
    small = np.load(Path(data.__file__).parent / "datasets" / "emoji.npz")
    arrays = {name: small[name] for name in small}
    for style in ("noto", "twemoji"):
        arrays[style] = arrays[style].repeat(2, 1).repeat(2, 2)
    (tmp_path / "emoji").mkdir()
    np.savez_compressed(tmp_path / "emoji" / "emoji64.npz", **arrays)
    large = data.load("emoji", image_size=64)
    np.testing.assert_array_equal(large.x[:, ::2, ::2], data.load("emoji", image_size=32).x)


# Folders

def picture(path, colour="red", size=(8, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three pairs, whose pictures are named alike."""
    for i, (first, second) in enumerate([("red", "blue"), ("green", "white"), ("black", "yellow")]):
        picture(tmp_path / "p" / "a" / f"{i}.png", first)
        picture(tmp_path / "p" / "b" / f"{i}.bmp", second)
    return tmp_path / "p"


def test_pictures_of_the_same_name_in_two_folders_are_pairs_if_they_are_asked_for(folder):
    pairs, plain = data.load(folder, 8, pairs=True), data.load(folder, 8)
    assert pairs.x.shape == pairs.other.shape == (3, 8, 8, 3) and pairs.labels is None
    assert pairs.other[:, 0, 0].tolist() == [[255, 0, 0], [0, 128, 0], [0, 0, 0]]
    assert pairs.x[:, 0, 0].tolist() == [[0, 0, 255], [255, 255, 255], [255, 255, 0]]
    assert plain.x.shape == (6, 8, 8, 3) and plain.other is None and plain.classes == ("a", "b")


def test_a_missing_counterpart_is_named(folder):
    (folder / "a" / "1.png").unlink()
    with pytest.raises(DataError, match=r"1 pictures have no counterpart, such as b/1.bmp, which is missing in a"):
        data.load(folder, 8, pairs=True)


def test_pairs_of_different_size_are_named(folder):
    picture(folder / "a" / "1.png", size=(8, 12))
    with pytest.raises(DataError, match="the pair 1 has pictures of 12 × 8 and 8 × 8 pixels"):
        data.load(folder, 8, pairs=True)


def test_two_counterparts_are_named(folder):
    picture(folder / "b" / "1.png")
    with pytest.raises(DataError, match="b/1.png and b/1.bmp have the same name but for its end"):
        data.load(folder, 8, pairs=True)


def test_pairs_need_two_folders(folder):
    picture(folder / "c" / "1.png")
    with pytest.raises(DataError, match="pairs lie in two sub-folders.*it has 3"):
        data.load(folder, 8, pairs=True)
    with pytest.raises(DataError, match="it has 0 with pictures"):
        data.load(folder / "a", 8, pairs=True)


def captions(folder, rows, title=("file", "caption")):
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([title, *rows])


def test_captions_lie_beside_the_pictures(folder, capsys):
    captions(folder, [(f"{side}/{i}.{end}", f"no. {i}, {side} “ü”") for i in range(3)
                      for side, end in (("b", "bmp"), ("a", "png"))] + [("gone.png", "x")])
    assert data.load(folder, 8).captions.tolist() == [f"no. {i}, {side} “ü”" for side in "ab" for i in range(3)]
    assert data.load(folder, 8, pairs=True).captions.tolist() == [f"no. {i}, b “ü”" for i in range(3)]
    assert capsys.readouterr().err == ""  # it is no picture that was skipped


@pytest.mark.parametrize("rows, title, words", [
    ([("a/0.png", "x")], ("file", "caption"), "no caption for 5 of 6 pictures, such as a/1.png"),
    ([("a/0.png", "x")], ("name", "caption"), "below the title file,caption"),
    ([("a/0.png",)], ("file", "caption"), "below the title file,caption")])
def test_captions_that_do_not_fit_are_refused(folder, rows, title, words):
    captions(folder, rows, title)
    with pytest.raises(DataError, match=f"captions.csv: .*{words}"):
        data.load(folder, 8)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'file,caption\n"a', b""])
def test_captions_that_cannot_be_read_are_refused(folder, content):
    (folder / "captions.csv").write_bytes(content)
    with pytest.raises(DataError, match="captions.csv: "):
        data.load(folder, 8)


def test_captions_that_are_a_folder_or_a_device_are_refused(folder):
    (folder / "captions.csv").mkdir()
    with pytest.raises(DataError, match="captions.csv: "):
        data.load(folder, 8)


def test_pairs_made_of_a_folder_are_found_again_from_another_directory(train, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    done(train("--model", "pix2pix", "--data", "edges:p", "--image-size", 8, "--width", 2, "--batch-size", 2,
               "--steps", 1, "--out", "made"))
    [run] = (folder.parent / "made").iterdir()
    monkeypatch.chdir(folder / "a")
    done(train("--resume", run, "--steps", 2))
    picture(folder / "a" / "1.png", "blue")
    refused(train("--resume", run, "--steps", 3), "edges:", "p has changed since")


def test_a_pair_that_is_changed_in_its_second_picture_only_is_noticed(train, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    tiny = ("--image-size", 8, "--width", 2, "--batch-size", 2, "--out", "made")
    done(train("--model", "pix2pix", "--data", "p", *tiny, "--steps", 1))
    picture(folder / "a" / "1.png", "blue")
    refused(train("--resume", "--out", "made", "--steps", 2), "p has changed since")


# Two kinds

def test_two_classes_are_two_kinds():
    x, labels = np.arange(20, dtype=np.uint8).reshape(5, 2, 2, 1), np.array([1, 0, 1, 1, 0])
    found = domains.in_domains(data.Dataset(x, labels, ("cat", "dog")), "it")
    np.testing.assert_array_equal(found.other, x[[1, 4]])
    np.testing.assert_array_equal(found.x, x[[0, 2, 3]])
    assert found.classes == ("cat", "dog") and found.labels is None


def test_the_two_sides_of_pairs_are_two_kinds_and_their_examples_know_what_they_should_become():
    x, other = np.zeros((3, 2, 2, 1), np.uint8), np.full((3, 2, 2, 1), 255, np.uint8)
    pairs = data.Dataset(x, np.arange(3), tuple("abc")).with_companions(other)
    found = domains.in_domains(pairs, "it")
    assert found.x is x and found.other is other and found.classes == ("A", "B")
    shown = domains.examples_in_domains(pairs)
    assert shown.labels.tolist() == [1, 1, 1, 0, 0, 0]  # of what kind each is to become
    assert shown.other[:, 0, 0, 0].tolist() == [1, 1, 1, -1, -1, -1] and (shown.x == -shown.other).all()


def test_examples_of_two_classes_become_the_other_one():
    shapes = data.load("shapes:texture", split="test")
    shown = domains.examples_in_domains(shapes)
    np.testing.assert_array_equal(shown.labels, 1 - shapes.labels)
    np.testing.assert_array_equal(shown.x, to_unit(shapes.other))


def batches(n=7, m=5, size=2, seed=0):
    x = np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1) / 10
    other = -np.arange(m, dtype=np.float32).reshape(m, 1, 1, 1) / 10
    return domains.UnpairedBatches(x, other, size, np.random.default_rng(seed))


def test_unpaired_batches_have_each_picture_once_an_epoch_and_no_order_in_common():
    dealt = [batches().deal() for _ in range(1)]
    some = batches()
    dealt = [some.deal() for _ in range(6)]  # two epochs of x, three of other
    x, other = [np.concatenate([getattr(batch, side).ravel() for batch in dealt]) for side in ("x", "other")]
    for epoch in (x[:6], x[6:]):
        assert len(set(epoch.tolist())) == 6
    for epoch in (other[:4], other[4:8], other[8:]):
        assert len(set(epoch.tolist())) == 4
    partners = {(a, b) for a, b in zip(x.tolist(), other.tolist())}
    assert len(partners) > 7  # nobody has one partner only


def test_unpaired_batches_go_on_exactly():
    some, rng = batches(), np.random.default_rng(0)
    some.rng = some.others.rng = rng
    [some.deal() for _ in range(2)]
    state, words = some.state_dict(), rng.bit_generator.state
    expected = [some.deal() for _ in range(5)]
    again, rng = batches(seed=9), np.random.default_rng(1)
    again.rng = again.others.rng = rng
    rng.bit_generator.state = words
    again.load_state_dict(state)
    for batch in expected:
        found = again.deal()
        np.testing.assert_array_equal(found.x, batch.x)
        np.testing.assert_array_equal(found.other, batch.other)


def test_unpaired_batches_take_both_orders_from_a_state_or_none():
    some = batches(seed=5)
    some.deal()
    before = some.state_dict()
    for name in ("order", "other.order"):
        wrong = batches(seed=9)
        wrong.deal()
        wrong = wrong.state_dict() | {name: np.arange(3)}
        with pytest.raises(DataError, match="was saved with other data"):
            some.load_state_dict(wrong)
        for (array, now), then in zip(some.state_dict().items(), before.values()):
            np.testing.assert_array_equal(now, then, err_msg=array)


def test_the_pictures_of_a_pair_are_turned_both_or_none():
    x = np.random.default_rng(0).integers(256, size=(40, 4, 6, 3), dtype=np.uint8)
    pairs = data.Batches(x, 40, np.random.default_rng(1), np.random.default_rng(2), other=made.half(x))
    batch = pairs.deal()
    np.testing.assert_array_equal(batch.x[:, :2], batch.other[:, :2])
    order = np.random.default_rng(1).permutation(40)
    turned = (batch.x != to_unit(x)[order]).any(axis=(1, 2, 3))
    assert 10 < turned.sum() < 30
