"""Labels and classes that no model can learn from, and records of runs that lie about them: one line, exit status 2."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigan as mg
from minigan import data, evaluate, report, sample
from minigan.data import DataError
from minigan.runs import run_folder
from minigan.runs.run_folder import RunError
from helpers import (IMAGES, OFTEN, assert_same_run, call, done, last_checkpoint, refused, refused_by, save_images,
                     train, undrawn)

__all__ = ["call", "train", "undrawn"]  # the fixtures
CGAN = ("--model", "cgan", "--width", 2, "--latent", 3, "--batch-size", 2, "--steps", 1)
RUN = Path("runs/00000-digits-cgan-s0")
NAMES = np.array(["cats", "dogs", "owls"])


# Data

@pytest.mark.parametrize("beside, words", [
    (dict(labels=np.zeros((20, 2), int)), ["labels is int64 (20, 2)", "one per picture"]),  # two each
    (dict(labels=np.arange(5)), ["labels is int64 (5,)", "(20,)"]),
    (dict(labels=np.arange(20) % 3 / 2), ["labels is float64"]),
    (dict(labels=np.arange(20) % 3 - 1), ["labels run from -1 to 1"]),
    (dict(labels=np.arange(20) % 3, classes=NAMES[:2]), ["labels run from 0 to 2", "K being 2"]),
    (dict(labels=np.arange(20) % 3, classes=NAMES[[0, 1, 0]]), ["classes names 'cats' twice"]),
    (dict(labels=np.arange(20) % 3, classes=np.arange(3)), ["classes is int64", "expected strings"]),
    (dict(labels=np.where(np.arange(20) % 3 == 1, 2, 0)), ["no sample of class 1"]),
    (dict(labels=np.arange(20) % 2, classes=NAMES), ["no sample of class owls"]),
    (dict(labels=np.zeros(20, int)), ["one only, 0"]),
    (dict(classes=NAMES), ["has none", "`labels`"]),
    ({}, ["has none", "sub-folder"]),
])
def test_labels_that_nothing_can_be_learned_from_are_refused(train, beside, words):
    images = save_images("mine.npz")
    np.savez("mine.npz", images=images, **beside)
    refused(train(*CGAN, "--data", "mine.npz"), "mine.npz", *words)
    assert not Path("runs").exists()


def paint(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), 77).save(path)


@pytest.mark.parametrize("folders, word", [
    (["pets/cats", "pets/dogs", "pets/owls/"], "no sample of class owls"), (["pets/cats"], "one only, cats"),
    (["pets/cats", "pets/dogs/young", "pets/owls/"], "no sample of class owls"), (["pets"], "has none")])
def test_folders_that_are_no_classes_are_refused(train, folders, word):
    for folder in folders:
        if folder.endswith("/"):
            Path(folder).mkdir(parents=True)
        else:
            paint(Path(folder) / "a.png"), paint(Path(folder) / "b.png")
    refused(train(*CGAN, "--data", "pets", "--image-size", 8), "pets", word)
    done(train(*CGAN[2:], "--data", "pets", "--image-size", 8))  # which need no classes


def test_a_folder_without_a_picture_is_a_class_without_one(tmp_path):
    paint(tmp_path / "cats" / "a.png"), paint(tmp_path / "dogs" / "old" / "b.png")
    for name in ("owls", ".hidden", "__MACOSX"):
        (tmp_path / name).mkdir()
    found = data.load(tmp_path, image_size=8)
    assert found.classes == ("cats", "dogs", "owls") and found.labels.tolist() == [0, 1]


def test_a_name_twice_is_refused_by_name(tmp_path):
    np.savez(tmp_path / "a.npz", points=np.zeros((3, 2)), labels=np.arange(3), classes=NAMES[[2, 0, 2]])
    with pytest.raises(DataError, match="a.npz: classes names 'owls' twice"):
        data.load(tmp_path / "a.npz")


@pytest.mark.parametrize("names, agreement", [([str(k) for k in range(10)], True), (list("abcdefghij"), False)])
def test_classes_are_told_by_a_network_that_has_them_and_no_other(train, call, names, agreement):
    """Digits under other names are other classes: the first of both need not be the same thing."""
    x, labels, _ = data.load("digits")
    np.savez("mine.npz", images=x, labels=labels, classes=np.array(names))
    done(train(*CGAN, "--data", "mine.npz", "--name", "mine"))
    done(call(evaluate.main, "runs/00000-mine", "--n", 40, "--classifier", "digits"))
    metrics = json.loads(Path("runs/00000-mine/metrics.json").read_text())["metrics"]
    assert ("class_agreement" in metrics) == agreement


# Records that lie

def lie(change):
    record = json.loads((RUN / "options.json").read_text())
    change(record)
    (RUN / "options.json").write_text(json.dumps(record))


LIES = {
    "classes": [3, None, "0123456789", list(range(10)), [["a"]] * 10, {"a": 1}],
    "shares": [None, 1.0, "x" * 10, [], [0.5, 0.5], [0.2] * 10, [-0.1, 1.1] + [0.0] * 8, [float("nan")] * 10,
               [float("inf")] + [0.0] * 9, ["a"] * 10, [True] + [False] * 9, [10 ** 400] + [0] * 9, [[0.1]] * 10,
               {"a": 1}],
    "sample_shape": [[8, 8], [8.0, 8, 1], [0, 8, 1], None],
    "options": [None, [], 7],
}


@pytest.mark.parametrize("entry, value", [(entry, value) for entry in LIES for value in LIES[entry]],
                         ids=lambda value: str(value)[:30])
def test_an_entry_that_no_run_writes_is_refused_by_name(tmp_path, entry, value):
    sound = {"options": {}, "sample_shape": [8, 8, 1], "classes": list("0123456789"), "shares": [0.1] * 10}
    run_folder.write_options(tmp_path, sound)
    assert run_folder.read_options(tmp_path) == sound
    run_folder.write_options(tmp_path, sound | {entry: value})
    with pytest.raises(RunError, match=f"{tmp_path}/options.json does not hold a run's options: its {entry} "):
        run_folder.read_options(tmp_path)


@pytest.mark.parametrize("change", [
    lambda record: record.update(classes=3), lambda record: record.update(shares=["a"] * 10),
    lambda record: record.pop("classes"), lambda record: record.pop("shares"),
    lambda record: (record.pop("classes"), record.pop("shares")),
    lambda record: record.update(classes=[str(i) for i in range(10 ** 5)], shares=[1e-5] * 10 ** 5),
    lambda record: record["options"].update(model="stylegan9"), lambda record: record["options"].update(model=["cgan"]),
    lambda record: record["options"].update(model=None), lambda record: record["options"].update(model="gan"),
    lambda record: record["options"].update(batch_size=None, lr_decay="x", width=-1)])
def test_every_command_refuses_such_a_run_in_one_line(train, call, change):
    done(train(*CGAN, "--data", "digits"))
    lie(change)
    refused(train("--resume", RUN, "--steps", 2))
    for command, more in ((sample.main, ["--n", "2", "--label", "3"]), (evaluate.main, ["--n", "20"])):
        refused_by(call(command, RUN, *more))
    with pytest.raises(ValueError):
        mg.load(RUN)
    status, _, err = call(report.main, RUN)
    assert (status, err.count("\n")) in ((0, 0), (2, 1))


def test_a_class_that_is_not_there_is_answered_in_one_line_of_bounded_length(train, call):
    done(train(*CGAN, "--data", "digits"))
    lie(lambda record: record.update(classes=["x" * 10 ** 6, "\x1b[31mred\n", *"abcdefgh"]))
    message = refused_by(call(sample.main, RUN, "--label", "rad"), "no such class")
    assert len(message) < 1000 and "\x1b" not in message


# Runs of old

BEFORE_MODELS = ("model", "classes", "shares")


def make_old(folder, *options):
    """As if it were from before there were models, and from before these options too."""
    path = folder / "options.json"
    record = json.loads(path.read_text())
    assert set(BEFORE_MODELS) <= record.keys() | record["options"].keys()
    record["options"] = {name: record["options"][name] for name in record["options"].keys() - {"model", *options}}
    path.write_text(json.dumps({name: record[name] for name in record.keys() - {"classes", "shares"}}))


@pytest.mark.parametrize("older", [(), ("pack", "lr_decay", "mirror", "keep_best", "from", "image_size")])
def test_a_run_from_before_there_were_models_is_sampled_measured_and_gone_on_with(train, call, older):
    done(train(*IMAGES, "--steps", 5, "--out", "whole", *OFTEN))
    done(train(*IMAGES, "--steps", 2, *OFTEN))
    [whole], [old] = Path("whole").iterdir(), Path("runs").iterdir()
    expected = mg.load(old).sample(5)
    make_old(old, *older)
    np.testing.assert_array_equal(mg.load(old).sample(5), expected)
    for command, more in ((sample.main, ["--n", "4"]), (evaluate.main, ["--n", "20"]), (report.main, [])):
        done(call(command, old, *more))
    refused_by(call(sample.main, old, "--label", "3"), "--label 3", "gan", "cannot")
    refused(train("--resume", old, "--model", "cgan", "--steps", 5), "--model cgan (it has gan)")
    assert "begun with the generator" in done(train("--data", "digits", "--batch-size", 8, "--steps", 1, "--from", old,
                                                    "--out", "more"))
    done(train("--resume", old, "--steps", 5))
    assert last_checkpoint(old)["trainer.steps"] == 5
    assert_same_run(old, whole)
    assert json.loads((old / "options.json").read_text())["options"]["model"] == "gan"
