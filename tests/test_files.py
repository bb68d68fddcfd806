"""`files`: your own pictures are read as they should be seen, and what strangers' files cannot do."""

import io
import os
import warnings

import numpy as np
import pytest
from PIL import Image
from hypothesis import given, strategies as st

from minigan import data
from minigan.data import DataError
from helpers import one_line, png, sharing


def paint(path, size=(20, 20), mode="RGB", color=(200, 100, 50), **options):
    """Save a picture of one colour; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, **options)
    return path


def test_pictures_come_in_the_order_of_their_paths(tmp_path):
    for k, name in enumerate(["c.png", "a/z.png", "b.png", "a/y.png"]):
        paint(tmp_path / "pets" / name, color=(k, k, k))
    x, labels, classes = data.load(tmp_path / "pets", image_size=4)
    assert x.shape == (4, 4, 4, 3) and x.dtype == np.uint8
    assert x[:, 0, 0, 0].tolist() == [3, 1, 2, 0]
    assert labels is None and classes == ()


def test_pictures_are_64_pixels_wide_unless_told(tmp_path):
    paint(tmp_path / "a.png")
    assert data.load(str(tmp_path)).x.shape == (1, 64, 64, 3)


def test_a_picture_is_cropped_to_its_central_square(tmp_path):
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 255  # the middle third is white
    Image.fromarray(picture).save(tmp_path / "wide.png")
    Image.fromarray(picture.transpose(1, 0, 2).copy()).save(tmp_path / "high.png")
    assert (data.load(tmp_path, image_size=10).x == 255).all()


def test_resizing_averages_rather_than_picks(tmp_path):
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    Image.fromarray(checks.astype(np.uint8)).save(tmp_path / "checks.png")
    assert abs(data.load(tmp_path, image_size=4).x.astype(int) - 127).max() <= 1


def test_a_large_jpeg_read_at_a_fraction_looks_the_same(tmp_path):
    ramp = np.linspace(0, 255, 1600).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(90)), axis=2)
    Image.fromarray(picture).save(tmp_path / "big.jpg", quality=95)
    centres = np.linspace(0, 255, 33)[:-1] + 255 / 64
    x = data.load(tmp_path, image_size=32).x[0].astype(float)
    np.testing.assert_allclose(x[:, 5, 0], centres, atol=4)
    np.testing.assert_allclose(x[5, :, 1], centres, atol=4)


@pytest.mark.parametrize("mode, color", [("L", 90), ("1", 1), ("LA", (90, 255)), ("I;16", 90 * 257)])
def test_grey_pictures_have_one_channel(tmp_path, mode, color):
    paint(tmp_path / "grey.png", mode=mode, color=color)
    x = data.load(tmp_path, image_size=4).x
    assert x.shape == (1, 4, 4, 1) and (x == (255 if mode == "1" else 90)).all()


def test_one_coloured_picture_makes_all_of_them_rgb(tmp_path):
    paint(tmp_path / "a.png", mode="L", color=7)
    paint(tmp_path / "b.png", color=(1, 2, 3))
    paint(tmp_path / "c.png", mode="L", color=9)
    x = data.load(tmp_path, image_size=2).x
    assert x[:, 0, 0].tolist() == [[7, 7, 7], [1, 2, 3], [9, 9, 9]]


def test_the_whole_range_of_16_bits_becomes_the_whole_range_of_8(tmp_path):
    ramp = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert data.load(tmp_path, image_size=2).x.ravel().tolist() == [0, 100, 200, 255]


@pytest.mark.parametrize("numbers", [np.float32([[0.0, 0.5], [0.7, 1.0]]), np.int32([[0, 7], [8, 65536]]),
                                     np.int32([[0, 7], [8, -1]])])
def test_pictures_of_floats_or_of_more_than_16_bits_are_skipped(tmp_path, capsys, numbers):
    """They would be read as black, or in a circle."""
    Image.fromarray(numbers).save(tmp_path / "a.tif")
    paint(tmp_path / "b.png")
    assert len(data.load(tmp_path, image_size=2).x) == 1
    assert "1 files skipped" in capsys.readouterr().err


@pytest.mark.parametrize("mode, color, options, expected", [
    ("RGBA", (255, 0, 0, 0), {}, (255, 255, 255)),
    ("RGBA", (255, 0, 0, 255), {}, (255, 0, 0)),
    ("RGBA", (0, 0, 0, 51), {}, (204, 204, 204)),
    ("LA", (0, 0), {}, (255,)),
    ("RGB", (9, 9, 9), {"transparency": (9, 9, 9)}, (255, 255, 255)),
])
def test_transparency_is_laid_on_white(tmp_path, mode, color, options, expected):
    paint(tmp_path / "a.png", mode=mode, color=color, **options)
    assert tuple(data.load(tmp_path, image_size=2).x[0, 1, 1]) == expected


def test_a_palette_may_hold_a_transparent_colour(tmp_path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.png", transparency=1)
    assert data.load(tmp_path, image_size=2).x[:, 0, 0].tolist() == [[40, 50, 60], [255, 255, 255]]


def test_cmyk_becomes_rgb(tmp_path):
    paint(tmp_path / "print.jpg", mode="CMYK", color=(0, 255, 255, 0), quality=100)
    np.testing.assert_allclose(data.load(tmp_path, image_size=2).x[0, 0, 0], [255, 0, 0], atol=3)


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    first, second = (Image.new("RGB", (8, 8), color) for color in ("red", "blue"))
    first.save(tmp_path / "moving.png", save_all=True, append_images=[second])
    assert data.load(tmp_path, image_size=2).x[0, 0, 0].tolist() == [255, 0, 0]


def test_a_picture_that_a_camera_held_sideways_is_turned_upright(tmp_path):
    picture = np.zeros((16, 16), np.uint8)
    picture[:, 8:] = 255  # white on the right as stored; orientation 6 says: turn clockwise, so white is below
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / "a.jpg", exif=exif, quality=100)
    x = data.load(tmp_path, image_size=16).x[0, ..., 0].astype(int)
    assert x[:7].max() < 30 and x[9:].min() > 225


def test_what_is_no_readable_picture_is_skipped_and_counted_on_one_line(tmp_path, capsys):
    good = paint(tmp_path / "good.jpg", size=(64, 64))
    paint(tmp_path / "moving.gif")
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:300])
    (tmp_path / "bomb.png").write_bytes(png(30_000, 30_000))
    (tmp_path / "liar.png").write_bytes(png(500, 500, b"few"))
    (tmp_path / "\x1b[31mred\n.png").write_bytes(b"odd")
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling.png")
    x, labels, classes = data.load(tmp_path, image_size=4)
    assert len(x) == 1 and labels is None and classes == ()
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and line[:-1].isprintable() and "9 files skipped" in line


def test_a_picture_that_unfolds_to_over_89_megapixels_is_skipped_before_it_does(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(10_000, 10_000, bytes(10_001 * 10_000)))
    with pytest.raises(DataError, match="none of its 1 files"):
        data.load(tmp_path)


def test_reading_pictures_leaves_the_filters_of_warnings_alone(tmp_path):
    paint(tmp_path / "a.png")
    before = list(warnings.filters)
    data.load(tmp_path)
    assert warnings.filters == before


def test_links_to_folders_are_not_followed(tmp_path):
    paint(tmp_path / "pets" / "a.png")
    os.symlink(tmp_path / "pets", tmp_path / "pets" / "again")
    os.symlink(tmp_path, tmp_path / "pets" / "up")
    assert len(data.load(tmp_path / "pets", image_size=2).x) == 1


def test_links_that_lead_round_in_a_circle_are_skipped_and_counted(tmp_path, capsys):
    paint(tmp_path / "a.png")
    os.symlink(tmp_path / "b.png", tmp_path / "c.png")
    os.symlink(tmp_path / "c.png", tmp_path / "b.png")
    os.symlink(tmp_path / "d.png", tmp_path / "d.png")
    assert len(data.load(tmp_path, image_size=2).x) == 1
    assert "3 files skipped" in capsys.readouterr().err
    with pytest.raises(DataError):
        data.load(tmp_path / "d.png")


@pytest.mark.parametrize("content", [None, b"text"])
def test_a_folder_without_a_picture_is_refused(tmp_path, content):
    if content:
        (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(DataError, match="readable PNG, JPEG, WebP, BMP or TIFF") as error:
        data.load(tmp_path)
    one_line(error)


@pytest.mark.parametrize("size", [0, -4, 100_000])
def test_an_impossible_image_size_is_refused_before_memory_is_taken(tmp_path, size):
    paint(tmp_path / "a.png")
    with pytest.raises(DataError, match="size of at least 1"):
        data.load(tmp_path, image_size=size)


def test_subfolders_are_classes_where_every_picture_lies_in_one(tmp_path):
    for name in ("dog/1.png", "cat/deep/down/2.png", "cat/0.png"):
        paint(tmp_path / name)
    (tmp_path / "readme.txt").write_text("a file that is no picture is no reason to lose the labels")
    labels, classes = data.load(tmp_path, image_size=2)[1:]
    assert classes == ("cat", "dog") and labels.tolist() == [0, 0, 1] and labels.dtype == np.int64


def test_names_of_classes_are_made_printable(tmp_path):
    paint(tmp_path / "a\x1b[2J\nb" / "1.png")
    paint(tmp_path / os.fsdecode(b"caf\xe9") / "1.png")  # Latin-1, so no UTF-8
    paint(tmp_path / "größe" / "1.png")
    assert data.load(tmp_path, image_size=2).classes == ("a\\x1b[2J\\nb", "caf\\udce9", "größe")


@sharing
@given(st.data())
def test_a_damaged_picture_is_read_or_skipped_but_never_raises(tmp_path, draw):
    for name, options in (("a.png", {}), ("b.jpg", {})):
        buffer = io.BytesIO()
        Image.new("RGB", (40, 30), (1, 200, 3)).save(buffer, format=name[2:].replace("jpg", "jpeg"), **options)
        content = bytearray(buffer.getvalue())
        for _ in range(draw.draw(st.integers(1, 4))):
            content[draw.draw(st.integers(0, len(content) - 1))] = draw.draw(st.integers(0, 255))
        (tmp_path / name).write_bytes(content[:draw.draw(st.integers(0, len(content)))])
    try:
        assert data.load(tmp_path, image_size=4).x.shape[1:3] == (4, 4)
    except DataError as error:
        assert "none of its" in str(error)
