"""An .npz of your own is read as it is, and what strangers' archives cannot do."""

import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minigan import data
from minigan.data import DataError, files
from helpers import one_line, sharing


def rng(seed=0):
    return np.random.Generator(np.random.Philox(seed))


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
