"""The network that samples are judged with: its formulas, its training, its files, and the two that ship."""

import hashlib
import io
import math
import os
import pickle
import re
import shlex
import zipfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import minigan as mg
from minigan import backend, classifier, data, nn
from minigan.data import published
from minigan.metrics import classifiers, lenet
from minigan.metrics.classifiers import Classifier, load, save
from minigan.metrics.lenet import LeNet, cross_entropy, fit, log_softmax, moved
from minigan.data.files import DataError

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "minigan/weights/README.md").read_text(encoding="utf-8")
generators = st.integers(0, 2 ** 32 - 1).map(np.random.default_rng)


# The network

@pytest.mark.on_each_backend
@pytest.mark.parametrize("shape, classes", [((28, 28, 1), 10), ((8, 8, 1), 2), ((9, 14, 3), 5), ((32, 32, 3), 100),
                                            ((128, 8, 3), 3)])
def test_images_become_features_and_logits(shape, classes, rng):
    network = LeNet(shape, classes, backend.Streams()["init"])
    x = mg.Tensor(rng.uniform(-1, 1, (3, *shape)).astype(np.float32))
    assert network.body(x).shape == (3, 84) and network(x).shape == (3, classes)
    np.testing.assert_array_equal(network(x).numpy(), network.head(network.body(x)).numpy())
    assert network.body(x).numpy().min() == 0  # none below, and some there


def test_the_plan_is_two_convolutions_and_three_dense_layers():
    network = LeNet((28, 28, 1), 10, backend.Streams()["init"])
    shapes = [p.shape for name, p in network.named_parameters() if name.endswith("weight")]
    assert shapes == [(5, 5, 1, 16), (5, 5, 16, 16), (784, 64), (64, 84), (84, 10)]
    assert sum(isinstance(layer, nn.ReLU) for _, layer in network.named_modules()) == 4


@pytest.mark.parametrize("shape, classes", [((7, 28, 1), 10), ((28, 129, 1), 10), ((28, 28, 2), 10), ((28, 28, 4), 10),
                                            ((28, 28, 1), 1), ((28, 28, 1), 0), ((2,), 8), ((28, 28), 10)])
def test_images_it_was_not_meant_for_are_refused(shape, classes):
    with pytest.raises(ValueError, match=f"^LeNet: expected .*{re.escape(str(shape))} and {classes} classes"):
        LeNet(shape, classes, backend.Streams()["init"])


# The loss

def slow_log_softmax(row):
    total = math.fsum(math.exp(z) for z in row)
    return [z - math.log(total) for z in row]


@pytest.mark.on_each_backend
def test_log_softmax_and_cross_entropy_are_their_definitions(rng):
    logits, labels = 3 * rng.standard_normal((7, 4)), np.array([0, 3, 1, 1, 2, 0, 3])
    expected = [slow_log_softmax(row) for row in logits]
    np.testing.assert_allclose(log_softmax(mg.Tensor(logits)).numpy(), expected, rtol=1e-13)
    surprise = -sum(row[label] for row, label in zip(expected, labels)) / 7
    assert cross_entropy(mg.Tensor(logits), labels).item() == pytest.approx(surprise, rel=1e-13)


@pytest.mark.on_each_backend
def test_their_first_and_second_derivatives_are_right(rng):
    logits, labels = rng.standard_normal((4, 3)), np.array([2, 0, 1, 1])
    mg.check_grads(log_softmax, [logits], order=2)
    mg.check_grads(lambda z: cross_entropy(z, labels), [logits], order=2)


@given(generators, st.integers(2, 6))
def test_the_gradient_of_the_cross_entropy_is_what_the_probabilities_lack(rng, classes):
    z, labels = mg.Tensor(rng.standard_normal((5, classes)), requires_grad=True), rng.integers(classes, size=5)
    [g] = mg.grad(cross_entropy(z, labels), [z])
    p = np.exp([slow_log_softmax(row) for row in z.numpy()])
    np.testing.assert_allclose(g.numpy(), (p - np.eye(classes)[labels]) / 5, rtol=1e-12, atol=1e-15)


@pytest.mark.on_each_backend
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [50.0, 1e4])
def test_great_logits_neither_overflow_nor_lose_the_gradient(dtype, size):
    z = mg.Tensor(np.array([[size, -size, 0.0], [size, -size, 0.0]], dtype), requires_grad=True)
    np.testing.assert_array_equal(log_softmax(z).numpy(), np.array([[0.0, -2 * size, -size]] * 2, dtype))
    loss = cross_entropy(z, np.array([0, 1]))
    assert loss.item() == size and loss.dtype == dtype
    [g] = mg.grad(loss, [z])
    np.testing.assert_allclose(g.numpy(), [[0, 0, 0], [0.5, -0.5, 0]], atol=1e-20)


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_what_all_logits_have_in_common_makes_no_difference(offset, rng):
    logits = rng.standard_normal((4, 5))
    np.testing.assert_allclose(log_softmax(mg.Tensor(logits + offset)).numpy(), log_softmax(mg.Tensor(logits)).numpy(),
                               atol=1e-11)


@pytest.mark.parametrize("labels, seen", [
    ([0, 1], "(2,)"), ([[0], [1], [2]], "(3, 1)"), ([0.0, 1.0, 2.0], "float64"), (["0", "1", "2"], "<U1"),
    ([True, False, True], "bool"), ([0, 1, 3], "to 3"), ([0, -1, 2], "from -1")])
def test_labels_that_are_none_are_refused(labels, seen):
    with pytest.raises(ValueError, match="^cross_entropy: expected .*label") as error:
        cross_entropy(mg.Tensor(np.zeros((3, 3))), np.array(labels))
    assert seen in str(error.value)


def test_no_logits_have_no_loss():
    with pytest.raises(ValueError, match="^cross_entropy: "):
        cross_entropy(mg.Tensor(np.zeros((0, 3))), np.array([], int))


# Training

@pytest.fixture(scope="module")
def digits():
    """(the trained classifier, its test images and labels, the losses of its epochs)."""
    streams = backend.Streams(0)
    training, test = lenet.train_and_test("digits", None, streams)
    network = LeNet((8, 8, 1), 10, streams["init"])
    losses = list(fit(network, training.x, training.labels, 30, streams))
    found = Classifier(network, "LeNet-digits", training.classes, (8, 8, 1), 0.0, "a test")
    found.accuracy = found.share_right(test.x, test.labels)
    return found, test, losses


def test_thirty_passes_over_small_digits_teach_it_to_read_those_it_has_not_seen(digits):
    found, test, losses = digits
    assert len(test.x) == 179 and found.accuracy > 0.93
    assert losses[0] > 2.2 and losses[-1] < 0.1  # from about ln 10


def test_the_accuracy_is_the_share_of_right_answers(digits):
    found, test, _ = digits
    best = np.array([row.argmax() for row in found.probabilities(test.x)])
    assert found.share_right(test.x, test.labels) == sum(best == test.labels) / 179
    assert found.share_right(test.x, best) == 1.0


def test_the_mean_loss_of_an_epoch_counts_each_image_once(monkeypatch):
    """Here 150 images are a batch of 100 and one of 50; at a rate of zero the loss of all is known."""
    monkeypatch.setattr(lenet, "RATE", 0.0)
    monkeypatch.setattr(lenet, "moved", lambda images, rng: images)
    x, labels, _ = data.load("digits")
    network = LeNet((8, 8, 1), 10, backend.Streams()["init"])
    [first, second] = fit(network, x[:150], labels[:150], 2, backend.Streams())
    expected = cross_entropy(network(mg.Tensor(data.to_unit(x[:150]))), labels[:150]).item()
    assert first == pytest.approx(expected, rel=1e-5) and second == pytest.approx(expected, rel=1e-5)


@pytest.mark.on_each_backend
def test_every_image_is_seen_once_an_epoch_and_the_rate_falls_evenly_to_nothing(monkeypatch):
    seen, rates = [], []
    monkeypatch.setattr(lenet, "moved", lambda images, rng: seen.append(images[:, 0, 0, 0]) or images)
    step = lenet.optim.Adam.step
    monkeypatch.setattr(lenet.optim.Adam, "step", lambda self: rates.append(self.lr) or step(self))
    x = np.zeros((250, 8, 8, 1), np.uint8)
    x[:, 0, 0, 0] = np.arange(250)
    network = LeNet((8, 8, 1), 2, backend.Streams()["init"])
    assert len(list(fit(network, x, np.arange(250) % 2, 2, backend.Streams()))) == 2
    assert [len(batch) for batch in seen] == [100, 100, 50] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert sorted(first) == sorted(second) == list(range(250)) and (first != second).any()
    np.testing.assert_allclose(rates, 2e-3 * (1 - np.array([0, 100, 200, 250, 350, 450]) / 500))


@pytest.mark.parametrize("H, W, most", [(28, 28, 1), (29, 28, 1), (8, 40, 0), (60, 56, 2)])
def test_a_moved_image_is_the_image_or_a_neighbour_of_it_up_to_a_28th_of_its_side(H, W, most):
    x = np.random.default_rng(0).integers(256, size=(400, H, W, 3), dtype=np.uint8)
    found, reach = moved(x, np.random.default_rng(1)), 2 * most + 1
    assert found.shape == x.shape and found.dtype == x.dtype
    places = []
    for image, new in zip(x, found):
        padded = np.pad(image, ((most, most), (most, most), (0, 0)), mode="edge")
        places += [place for place in np.ndindex(reach, reach)
                   if np.array_equal(padded[place[0]:place[0] + H, place[1]:place[1] + W], new)]
    assert len(places) == 400 and set(places) == set(np.ndindex(reach, reach))
    assert min(places.count(place) for place in np.ndindex(reach, reach)) > 200 / reach ** 2


def test_a_tenth_is_held_out_where_there_is_no_test_set():
    training, test = lenet.train_and_test("digits", None, backend.Streams(3))
    whole = data.load("digits")
    assert (len(training.x), len(test.x)) == (1618, 179)
    pairs = [sorted((hashlib.sha256(image).hexdigest(), label) for image, label in zip(x, labels)) for x, labels in (
        whole[:2], (np.concatenate([training.x, test.x]), np.concatenate([training.labels, test.labels])))]
    assert pairs[0] == pairs[1]
    again = lenet.train_and_test("digits", None, backend.Streams(3))[1]
    other = lenet.train_and_test("digits", None, backend.Streams(4))[1]
    assert (again.x == test.x).all() and (other.x != test.x).any()


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
        "fashion-mini": "fashion"}


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

FLOORS = {"mnist": 0.99, "fashion": 0.90}


@pytest.mark.parametrize("name", FLOORS)
def test_the_shipped_networks_are_as_good_as_was_asked(name):
    found = load(name)
    assert found.name == f"LeNet-{name}" and found.sample_shape == (28, 28, 1) and len(found.classes) == 10
    assert FLOORS[name] <= found.accuracy < 1
    assert os.path.getsize(classifiers.SHIPPED[name]) < 300_000


@pytest.mark.parametrize("name", FLOORS)
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
    assert len(commands) == 2
    for words, (name, path) in zip(commands, classifiers.SHIPPED.items()):
        options = classifier.parser().parse_args(words[3:])
        assert ROOT / options.out == Path(path)
        assert vars(options) | {"out": None} == vars(classifier.parser().parse_args(shlex.split(load(name).made)[3:]))


# The command line

@pytest.fixture
def train(tmp_path, monkeypatch, capsys, backend_name):
    """Run the command line in this process and an empty folder: (exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    choice = () if backend_name == "numpy" else ("--backend", backend_name)

    def call(*arguments):
        try:
            status = classifier.main([*map(str, arguments), *choice])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()
    return call


@pytest.mark.on_each_backend
def test_it_trains_tells_each_epoch_and_writes_a_file_that_can_be_loaded(train, backend_name):
    status, out, err = train("--data", "digits", "--epochs", 2)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [re.sub(r"\d[\d.,]*", "#", line) for line in lines] == [
        "epoch # of #: loss # #% of # test images right, # s"] * 2 + ["lenet-digits.npz: LeNet-digits, # weights"]
    assert "of 179 test images" in lines[0] and os.listdir() == ["lenet-digits.npz"]
    found = load("lenet-digits.npz")
    assert f"{found.accuracy:.2%}" in lines[1] and found.name == "LeNet-digits"
    assert found.made == "python -m minigan.classifier --data digits --epochs 2 --seed 0"
    test = lenet.train_and_test("digits", None, backend.Streams(0))[1]
    assert found.share_right(test.x, test.labels) == pytest.approx(found.accuracy, abs=0.006)


def test_the_command_in_the_file_makes_the_same_bytes_again(train):
    assert train("--data", "digits", "--epochs", 1, "--seed", 5, "--out", "a.npz")[0] == 0
    assert train("--data", "digits", "--epochs", 1, "--seed", 6, "--out", "c.npz")[0] == 0
    backend.seed(77)
    assert train(*shlex.split(load("a.npz").made)[3:], "--out", "b.npz")[0] == 0
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes()
    assert (load("a.npz").network.head.weight.numpy() != load("c.npz").network.head.weight.numpy()).any()


def coloured(path, n=40, size=12, labels=True):
    x = np.random.default_rng(0).integers(256, size=(n, size, size, 3), dtype=np.uint8)
    x[::2] //= 2
    np.savez(path, images=x, **(dict(labels=np.arange(n) % 2, classes=np.array(["light", "dark"])) if labels else {}))


def test_ones_own_coloured_images_with_labels_can_be_learnt(train):
    coloured("my things.npz")
    assert train("--data", "my things.npz", "--epochs", 1)[::2] == (0, "")
    found = load("lenet-my-things.npz")
    assert (found.name, found.classes, found.sample_shape) == ("LeNet-my-things", ("light", "dark"), (12, 12, 3))
    assert "'my things.npz'" in found.made


def test_a_folder_with_a_sub_folder_per_class_can_be_learnt(train):
    for i in range(20):
        folder = Path("pets", ("cat", "dog")[i % 2])
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), 100 * (i % 2)).save(folder / f"{i}.png")
    assert train("--data", "pets", "--image-size", 8, "--epochs", 1, "--out", "a.npz")[::2] == (0, "")
    assert load("a.npz").classes == ("cat", "dog") and load("a.npz").sample_shape == (8, 8, 1)
    assert load("a.npz").made.endswith("--image-size 8")


def test_data_with_an_odd_name_makes_a_file_that_can_be_loaded(train):
    coloured("a\nb.npz")
    assert train("--data", "a\nb.npz", "--epochs", 1)[::2] == (0, "")
    assert "a\\nb" in load("lenet-a-b.npz").made


@pytest.mark.parametrize("arguments, words", [
    ([], ["--data"]), (["--data", "digts"], ["digits"]), (["--data", "ring8"], ["ring8", "images with labels"]),
    (["--data", "plain.npz"], ["plain.npz", "without labels"]), (["--data", "few.npz"], ["few.npz", "(9, 12, 12, 3)"]),
    (["--data", "tiny.npz"], ["LeNet", "(7, 7, 3)"]), (["--data", "one.npz"], ["LeNet", "1 classes"]),
    (["--data", "digits", "--epochs", "0"], ["--epochs"]), (["--data", "digits", "--seed", "-1"], ["--seed"]),
    (["--data", "digits", "--seed", str(2 ** 64)], ["seed"]), (["--data", "digits", "--image-size", "9"], ["9"]),
    (["--data", "digits", "--out", "no/such/a.npz"], ["no/such/a.npz"]),
    (["--data", "digits", "--out", "."], ["--out"]),
    (["--data", "digits", "--backend", "nunpy"], ["numpy"]), (["--data", "digits", "--frobnicate"], ["--frobnicate"])])
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(train, tmp_path, arguments, words):
    coloured("plain.npz", labels=False)
    coloured("few.npz", n=9)
    coloured("tiny.npz", size=7)
    np.savez("one.npz", images=np.zeros((20, 8, 8), np.uint8), labels=np.zeros(20, int))
    before = sorted(os.listdir())
    status, out, err = train(*arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1 and err.startswith("minigan.classifier: ")
    assert [word for word in words if word not in err] == []
    assert sorted(os.listdir()) == before


def test_ctrl_c_is_one_line(train, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt
    monkeypatch.setattr(classifier, "train_and_test", interrupted)
    assert train("--data", "digits") == (130, "", "minigan.classifier: interrupted\n")
    assert os.listdir() == []


def test_help_is_not_an_error():
    with redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit, match="0"):
        classifier.main(["--help"])
    assert "--epochs" in out.getvalue()
