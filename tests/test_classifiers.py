"""Trained feature networks: in use, as files, and the two that ship."""

import os
import pickle
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minigan as mg
from minigan import backend, classifier, data
from minigan.data import published
from minigan.data.files import DataError
from minigan.metrics import classifiers
from minigan.metrics.classifiers import load, save
from helpers import slow_log_softmax

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "minigan/metrics/weights/README.md").read_text(encoding="utf-8")


# In use

@pytest.mark.on_each_backend
def test_what_it_computes_comes_back_to_the_host_from_any_backend(digits, backend_name, tmp_path):
    found, test, _ = digits
    save(tmp_path / "a.npz", found)
    here = load(tmp_path / "a.npz")
    features, probabilities = here.judge(backend.asarray(data.to_unit(test.x)))
    assert (type(features), features.dtype, features.shape) == (np.ndarray, np.float32, (179, 84))
    assert (type(probabilities), probabilities.dtype, probabilities.shape) == (np.ndarray, np.float64, (179, 10))
    np.testing.assert_allclose(features, found.features(test.x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(probabilities, found.probabilities(test.x), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-13)
    assert features.min() >= 0 and probabilities.min() >= 0


def test_it_computes_where_its_network_is_whichever_backend_is_in_use(digits):
    found, test, _ = digits
    with mg.use_backend("strict"):
        x = backend.asarray(data.to_unit(test.x))
        np.testing.assert_array_equal(found.features(x), found.features(test.x))
        assert backend.current().name == "strict"


def test_features_and_probabilities_are_the_two_sides_of_the_head(digits):
    found, test, _ = digits
    features, probabilities = found.judge(test.x)
    np.testing.assert_array_equal(features, found.features(test.x))
    np.testing.assert_array_equal(probabilities, found.probabilities(test.x))
    logits = features.astype(float) @ found.network.head.weight.numpy() + found.network.head.bias.numpy()
    np.testing.assert_allclose(probabilities, np.exp([slow_log_softmax(row) for row in logits]), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("block", [1, 50, 178, 1000])
def test_blocks_do_not_change_the_result(digits, block):
    found, test, _ = digits
    for left, right in zip(found.judge(test.x, block), found.judge(test.x)):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)


def test_bytes_and_the_same_images_in_minus_one_to_one_are_judged_alike(digits):
    found, test, _ = digits
    np.testing.assert_array_equal(found.features(test.x), found.features(test.x / np.float32(127.5) - 1))


good = np.zeros((3, 8, 8, 1), np.float32)


@pytest.mark.parametrize("images, seen", [
    (np.zeros((3, 28, 28, 1), np.float32), "(3, 28, 28, 1)"), (np.zeros((3, 8, 8, 3), np.float32), "(3, 8, 8, 3)"),
    (good[0], "(8, 8, 1)"), (good[:0], "(0, 8, 8, 1)"), (good[..., 0], "(3, 8, 8)"), ([[0.0]], "list"), (None, "None"),
    (np.float32(0), "float32 ()"), (good + np.float32(2), "to 2"), (good - np.float32(1.5), "from -1.5"),
    (good + np.float32(np.nan), "nan"), (good + np.float32(np.inf), "inf"), (good.astype(int), "int64"),
    (good.astype(float), "float64")])
def test_what_it_cannot_judge_is_refused(digits, images, seen):
    with pytest.raises(ValueError, match=".*: expected ") as error:
        digits[0].judge(images)
    assert seen in str(error.value)


def test_one_bad_image_among_many_blocks_is_found(digits):
    x = np.zeros((600, 8, 8, 1), np.float32)
    x[-1, 3, 3, 0] = np.nan
    with pytest.raises(ValueError, match="^LeNet-digits: expected"):
        digits[0].judge(x)


def test_networks_are_known_for_the_data_they_were_trained_on():
    assert {name: classifiers.for_data(name) for name in (*data.NAMES, "some/folder")} == {
        **dict.fromkeys((*data.NAMES, "some/folder")), "mnist": "mnist", "fashion": "fashion",
        "fashion-mini": "fashion", "digits": "digits", "stacked-mnist": "mnist"}


# Files

@pytest.fixture
def file(digits, tmp_path):
    save(tmp_path / "mine.npz", digits[0])
    return tmp_path / "mine.npz"


def test_a_classifier_comes_back_bit_for_bit(digits, file, tmp_path):
    found, again = digits[0], load(file)
    for name in ("name", "classes", "sample_shape", "accuracy", "made"):
        assert getattr(again, name) == getattr(found, name) and type(getattr(again, name)) is type(getattr(found, name))
    state = again.network.state_dict()
    assert state.keys() == found.network.state_dict().keys()
    for name, array in found.network.state_dict().items():
        np.testing.assert_array_equal(state[name], array, strict=True)
    save(tmp_path / "again.npz", again)
    assert (tmp_path / "again.npz").read_bytes() == file.read_bytes()
    assert load(str(file)).name == "LeNet-digits"


def test_without_such_a_file_the_names_that_ship_are_told(tmp_path):
    for path in ("nowhere.npz", tmp_path, "mnsit", "two\nlines"):
        with pytest.raises(DataError, match="there is no classifier .*mnist or fashion") as error:
            load(path)
        assert str(error.value).isprintable()


def arrays_of(file):
    with np.load(file, allow_pickle=False) as archive:
        return dict(archive)


CHANGES = {
    "no name": dict(name=None), "no weight": {"head.weight": None}, "one weight more": {"tail": np.zeros(3, "f4")},
    "another shape": {"head.bias": np.zeros(11, "f4")}, "float64": {"head.bias": np.zeros(10)},
    "big-endian": {"head.bias": np.zeros(10, ">f4")}, "integers": {"head.bias": np.zeros(10, int)},
    "NaN": {"head.bias": np.full(10, np.nan, "f4")}, "infinity": {"head.weight": np.full((84, 10), np.inf, "f4")},
    "accuracy above one": dict(accuracy=np.array(1.5)), "accuracy NaN": dict(accuracy=np.array(np.nan)),
    "accuracy a row": dict(accuracy=np.array([0.5])), "accuracy text": dict(accuracy=np.array("high")),
    "other images": dict(sample_shape=np.array([28, 28, 1])), "no images": dict(sample_shape=np.array([2])),
    "endless images": dict(sample_shape=np.array([2 ** 40, 2 ** 40, 1])), "a class fewer": dict(
        classes=np.array(list("012345678"))), "one class": dict(classes=np.array(["all"])),
    "classes numbers": dict(classes=np.arange(10)), "a name that moves the cursor": dict(name=np.array("\x1b[2J")),
    "a class of two lines": dict(classes=np.array([*"012345678", "9\n"])), "made of bytes": dict(made=np.array(b"x")),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_file_with_other_contents_is_refused_by_name(file, kind):
    arrays = arrays_of(file) | CHANGES[kind]
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(DataError, match="mine.npz does not hold a classifier") as error:
        load(file)
    assert str(error.value).isprintable()


def test_a_file_that_is_cut_or_foreign_is_refused_by_name(file):
    content = file.read_bytes()
    for damaged in (b"", content[:-1], content[:2000], b"text", content.replace(b"NUMPY", b"NUMPI", 1)):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="mine.npz"):
            load(file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("notes.txt", "no arrays")
    with pytest.raises(DataError, match="mine.npz"):
        load(file)


class Trap:
    """Unpickling an object of this class makes a folder."""
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickled_payload_is_refused_and_does_not_execute(file, tmp_path):
    sprung = tmp_path / "sprung"
    np.savez(file, **arrays_of(file) | {"head.bias": np.array([Trap(sprung)], object)})
    with pytest.raises(DataError, match="mine.npz"):
        load(file)
    file.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(DataError, match="mine.npz"):
        load(file)
    assert not sprung.exists()


# The networks that ship

FLOORS = {"mnist": 0.99, "fashion": 0.90, "digits": 0.94}


@pytest.mark.parametrize("name", FLOORS)
def test_the_shipped_networks_are_as_good_as_was_asked(name):
    found = load(name)
    side = 8 if name == "digits" else 28
    assert found.name == f"LeNet-{name}" and found.sample_shape == (side, side, 1) and len(found.classes) == 10
    assert FLOORS[name] <= found.accuracy < 1
    assert os.path.getsize(classifiers.SHIPPED[name]) < 300_000


@pytest.mark.parametrize("name", ["mnist", "fashion"])
def test_on_the_real_test_set_they_have_the_accuracy_they_tell(name, monkeypatch):
    def offline(*what):
        raise OSError("tests do not download")
    monkeypatch.setattr(published, "_downloaded", offline)
    try:
        test = data.load(name, split="test")
    except DataError:
        pytest.skip(f"{name} is not on this machine")
    found = load(name)
    assert len(test.x) == 10_000 and found.classes == test.classes
    # Another processor adds in another order, which may turn an image on the edge between two classes.
    assert found.share_right(test.x, test.labels) == pytest.approx(found.accuracy, abs=3e-4)


def test_the_fashion_network_knows_the_bundled_clothes_it_was_trained_on():
    x, labels, classes = data.load("fashion-mini")
    found = load("fashion")
    assert found.classes == classes and found.share_right(x, labels) > 0.92


def test_the_page_beside_them_tells_their_accuracy_and_how_each_was_made():
    rows = dict(re.findall(r"^\| `(lenet-\w+\.npz)` \|.*\| ([\d.]+%) \|$", PAGE, re.M))
    assert rows == {os.path.basename(path): f"{load(name).accuracy:.2%}" for name, path in classifiers.SHIPPED.items()}
    commands = [shlex.split(line) for line in re.findall(r"^\w+=\d (python -m minigan\.classifier .*)$", PAGE, re.M)]
    assert len(commands) == 3
    for words, (name, path) in zip(commands, classifiers.SHIPPED.items()):
        options = classifier.parser().parse_args(words[3:])
        assert ROOT / options.out == Path(path)
        assert vars(options) | {"out": None} == vars(classifier.parser().parse_args(shlex.split(load(name).made)[3:]))
