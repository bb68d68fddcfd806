"""`python -m minigan.classifier`: train a feature network."""

import errno
import io
import os
import re
import shlex
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigan import backend, classifier
from minigan.metrics import lenet
from minigan.metrics.classifiers import load, save


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


def test_what_was_trained_is_kept_elsewhere_where_the_disk_is_full(train, monkeypatch, tmp_path):
    """The file itself stays as it was."""
    Path("a.npz").write_text("before")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spare"))
    (tmp_path / "spare").mkdir()

    def full(path, found):
        if Path(path).name == "a.npz":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        save(path, found)
    monkeypatch.setattr(classifier, "save", full)
    status, _, err = train("--data", "digits", "--epochs", 1, "--out", "a.npz")
    [kept] = (tmp_path / "spare").iterdir()
    assert status == 1 and err.count("\n") == 1 and "No space left" in err and str(kept) in err
    assert load(kept).name == "LeNet-digits" and Path("a.npz").read_text() == "before"


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
