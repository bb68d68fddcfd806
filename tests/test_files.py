"""`files`: your own pictures are read as they should be seen, and what strangers' files cannot do."""

import io
import os
import pickle
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from minigan import data
from minigan.data import files
from minigan.data import DataError

# Hypothesis warns of a folder shared between its examples; here each example overwrites what the last one left.
sharing = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


def one_line(error):
    """The message of a caught DataError, which must be a single printable line."""
    message = str(error.value)
    assert message.isprintable() and len(message) > 10
    return message


# A folder of pictures

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


def png(width, height, body=b""):
    """The bytes of a grey PNG that claims this size, whatever its body holds."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body))
            + chunk(b"IEND", b""))


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
    with pytest.raises(DataError, match="readable PNG or JPEG") as error:
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


# An .npz

def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.parametrize("shape", [(5, 4, 6), (5, 4, 6, 1), (5, 4, 6, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npz_of_bytes_is_read_as_it_is(tmp_path, shape, order):
    images = rng().integers(256, size=shape, dtype=np.uint8)
    x, labels, classes = data.load(save(tmp_path / "a.npz", images=np.asarray(images, order=order)))
    np.testing.assert_array_equal(x, images.reshape(5, 4, 6, -1))
    assert x.dtype == np.uint8 and x.flags.c_contiguous and labels is None and classes == ()


@pytest.mark.parametrize("dtype", ["f2", "<f4", ">f4", "f8"])
def test_floats_in_0_to_1_are_scaled_and_floats_in_minus_1_to_1_are_kept(tmp_path, dtype):
    images = np.array([0, 0.25, 1], dtype).reshape(3, 1, 1)
    x = data.load(save(tmp_path / "a.npz", images=images)).x
    assert x.dtype == np.float32 and x.dtype.isnative and x.ravel().tolist() == [-1, -0.5, 1]
    x = data.load(save(tmp_path / "a.npz", images=-images)).x
    assert x.dtype == np.float32 and x.ravel().tolist() == [0, -0.25, -1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.01, -1.01, 255.0])
def test_floats_out_of_range_or_not_finite_are_refused(tmp_path, value):
    images = np.full((2, 3, 3), 0.5)
    images[1, 1, 1] = value
    with pytest.raises(DataError, match=r"expected all in \[0, 1\] or all in \[-1, 1\]"):
        data.load(save(tmp_path / "a.npz", images=images))


IMAGES = np.zeros((3, 4, 4), np.uint8)


def test_labels_and_class_names_travel_with_the_images(tmp_path):
    path = save(tmp_path / "a.npz", images=IMAGES, labels=np.array([2, 0, 2], np.uint8),
                classes=np.array(["cat", "dog", "one\nline"]))
    x, labels, classes = data.load(path)
    assert labels.tolist() == [2, 0, 2] and labels.dtype == np.int64 and classes == ("cat", "dog", "one\\nline")


def test_labels_without_class_names_are_named_by_their_numbers(tmp_path):
    labels, classes = data.load(save(tmp_path / "a.npz", images=IMAGES, labels=np.array([2, 0, 1])))[1:]
    assert labels.tolist() == [2, 0, 1] and classes == ("0", "1", "2")


@pytest.mark.parametrize("arrays, reason", [
    (dict(pictures=IMAGES), "has no array 'images', only pictures.npy"),
    (dict(images=IMAGES[0]), "expected uint8 or float"),
    (dict(images=IMAGES[..., None, None]), "expected uint8 or float"),
    (dict(images=np.zeros((3, 4, 4, 2), np.uint8)), "expected uint8 or float"),
    (dict(images=np.zeros((3, 4, 4, 4), np.uint8)), "expected uint8 or float"),
    (dict(images=IMAGES[:0]), "expected uint8 or float"),
    (dict(images=IMAGES[:, :0]), "expected uint8 or float"),
    (dict(images=IMAGES.astype(np.int64)), "images is int64"),
    (dict(images=IMAGES.astype(complex)), "images is complex128"),
    (dict(images=IMAGES.astype(bool)), "images is bool"),
    (dict(images=IMAGES.astype("U1")), "images is <U1"),
    (dict(images=IMAGES.astype(object)), "images is object"),
    (dict(images=IMAGES, labels=np.zeros(2, int)), r"labels is int64 \(2,\)"),
    (dict(images=IMAGES, labels=np.zeros((3, 1), int)), r"labels is int64 \(3, 1\)"),
    (dict(images=IMAGES, labels=np.zeros(3)), "labels is float64"),
    (dict(images=IMAGES, labels=np.zeros(3, object)), "labels is object"),
    (dict(images=IMAGES, labels=np.array([0, -1, 2])), "labels run from -1"),
    (dict(images=IMAGES, labels=np.array([0, 1, 2**63], np.uint64)), "labels run from 0 to 9223372036854775808"),
    (dict(images=IMAGES, labels=np.array([0, 1, 2]), classes=np.array(["a", "b"])), "labels run from 0 to 2"),
    (dict(images=IMAGES, labels=np.zeros(3, int), classes=np.array([["a"]])), "classes is <U1"),
    (dict(images=IMAGES, labels=np.zeros(3, int), classes=np.array([b"a"])), r"classes is \|S1"),
    (dict(images=IMAGES, labels=np.zeros(3, int), classes=np.array([])), "classes is float64"),
    (dict(images=IMAGES, labels=np.zeros(3, int), classes=np.zeros(10_001, "U1")), "at most 10000"),
])
def test_arrays_that_do_not_fit_are_refused_by_name(tmp_path, arrays, reason):
    with pytest.raises(DataError, match=reason) as error:
        data.load(save(tmp_path / "strange.npz", **arrays))
    assert "strange.npz" in one_line(error)


def npz_with_header(path, header, body=b"", member="images.npy"):
    """An .npz whose array declares whatever `header` says."""
    text = header.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body)
    return path


@pytest.mark.parametrize("header, reason", [
    ("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000, 1000, 1000)}", "file is damaged"),
    ("{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 5)}", "file is damaged"),
    ("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -4, 8)}", "expected uint8"),
    ("{'descr': '<U0', 'fortran_order': False, 'shape': (10, 10, 10)}", "file is damaged"),
    ("{'descr': '|u1', 'fortran_order': False, 'shape': 32}", "shape is not valid"),
    ("{'descr': '|O', 'fortran_order': False, 'shape': (2, 4, 4)}", "images is object"),
    ("{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (2, 4, 4)}", "images is"),
    ("{'descr': ('|u1', (4,)), 'fortran_order': False, 'shape': (2, 4)}", "images is"),
    ("__import__('os').abort()", "cannot be read"),
    ("(" * 5000, "cannot be read"),
])
def test_a_header_that_lies_is_refused(tmp_path, header, reason):
    with pytest.raises(DataError, match=reason) as error:
        data.load(npz_with_header(tmp_path / "a.npz", header, bytes(32)))
    one_line(error)


def test_an_array_beyond_the_limit_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 1000)
    monkeypatch.setattr(files, "_npy_array", None)
    with pytest.raises(DataError, match="expected at most"):
        data.load(save(tmp_path / "a.npz", images=np.zeros((10, 20, 20), np.uint8)))


class Trap:
    """Unpickling an object of this class writes a file."""
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("name", ["images", "labels", "classes"])
def test_a_pickled_payload_is_refused_and_does_not_execute(tmp_path, name):
    sprung = tmp_path / "sprung"
    arrays = {"images": IMAGES, "labels": np.zeros(3, int), "classes": np.array(["a"])}
    arrays[name] = np.array([Trap(sprung)] * 3, dtype=object)
    path = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError):
        data.load(path)
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(DataError, match="cannot be read as an .npz"):
        data.load(tmp_path / "bare.npz")
    assert not sprung.exists()
    with open(path, "rb") as stream:  # the trap itself is good
        np.load(stream, allow_pickle=True)[name][0].close()
    assert sprung.exists()


@sharing
@given(st.data())
def test_a_damaged_npz_gives_its_images_or_one_line(tmp_path, draw):
    images = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    content = bytearray(save(tmp_path / "whole.npz", images=images, labels=np.arange(3)).read_bytes())
    if draw.draw(st.booleans()):
        content = content[:draw.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(draw.draw(st.integers(1, 3))):
            content[draw.draw(st.integers(0, len(content) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    (tmp_path / "damaged.npz").write_bytes(content)
    try:
        x = data.load(tmp_path / "damaged.npz").x
    except DataError as error:
        assert "damaged.npz" in str(error) and str(error).isprintable()
    else:
        np.testing.assert_array_equal(x[..., 0], images)


def test_a_file_of_another_kind_is_refused_by_name(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    with pytest.raises(DataError, match="a.npy: cannot be read as an .npz") as error:
        data.load(tmp_path / "a.npy")
    one_line(error)
