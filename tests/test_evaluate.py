"""`python -m minigan.evaluate`: a table, a file and a picture that tell how good the samples of a run are."""

import json
import math
import os
import re
import shutil
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigan as mg
from minigan import backend, data, evaluate, metrics, plots, train as training
from minigan.data import sources
from minigan.metrics import classifiers, judges
from minigan.runs import models, run_folder
from minigan.trainer import Drawn
from helpers import TINY, done, drawn, home, like_mnist, undrawn

__all__ = ["drawn", "home", "undrawn"]  # the fixtures
RUNS = {"clothes": "00000-clothes", "points": "00001-points", "digits": "00002-digits", "mine": "00003-mine",
        "mnist": "00004-mnist", "free": "00005-free"}
ON_IMAGES = ["FD-{}", "KD-{}", "IS-{}", "MS-{}", "class_divergence", "precision", "recall", "density", "coverage"]
ON_POINTS = ["FD-points", "precision", "recall", "density", "coverage"]
IN_GENERAL = ["FD-{}", "KD-{}", "precision", "recall", "density", "coverage"]
OF_MODES = ["modes", "high_quality", "reverse_kl"]


@pytest.fixture
def judge(home, tmp_path, monkeypatch, capsys, backend_name):
    """Evaluate a copy of a run: (exit status, stdout, stderr)."""
    shutil.copytree(home, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    monkeypatch.setattr(data, "load", partial(data.load, n=600))
    monkeypatch.setattr(sources, "read_published", like_mnist)
    choice = () if backend_name == "numpy" else ("--backend", backend_name)

    def call(kind, *arguments):
        try:
            status = evaluate.main([*map(str, (folder(kind) if kind in RUNS else kind, *arguments)), *choice])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()
    return call


def folder(kind):
    return Path("runs", RUNS[kind])


def record(kind):
    def no(constant):
        raise ValueError(f"{constant} is no JSON")
    return json.loads((folder(kind) / "metrics.json").read_text(encoding="utf-8"), parse_constant=no)


# What it leaves

@pytest.mark.parametrize("kind, arguments, features, against, names", [
    ("clothes", [], "LeNet-fashion", "train", ON_IMAGES), ("points", [], "points", "test", OF_MODES + ON_POINTS),
    ("digits", ["--classifier", "lenet-digits.npz"], "LeNet-digits", "train", ON_IMAGES),
    ("mine", ["--classifier", "lenet-mine.npz"], "LeNet-mine", "train", ON_IMAGES),
    ("digits", [], "LeNet-digits", "train", ON_IMAGES),
    ("mine", ["--classifier", "mnist"], "general-LeNet-mnist", "train", IN_GENERAL),
    ("mnist", [], "LeNet-mnist", "test", ON_IMAGES),
    ("mnist", ["--against", "train"], "LeNet-mnist", "train", ON_IMAGES),
    ("points", ["--against", "train"], "points", "train", OF_MODES + ON_POINTS),
    ("free", [], "points", "train", ON_POINTS)])
def test_a_table_a_file_and_a_picture_are_made_for_every_kind_of_run(judge, drawn, kind, arguments, features, against,
                                                                     names):
    before = sorted(folder(kind).iterdir())
    out = done(judge(kind, "--n", 50, *arguments))
    new = set(folder(kind).iterdir()) - set(before)
    assert new == {folder(kind) / "metrics.json", folder(kind) / "evaluation.png"}
    with Image.open(folder(kind) / "evaluation.png") as picture:
        picture.load()
        assert picture.format == "PNG" and plots.MARK in picture.text.values() and min(picture.size) > 400

    names = [name.format(features) for name in names] + (["training_distance"] if against == "test" else [])
    found = record(kind)
    assert list(found.pop("metrics")) == names
    assert found == {"step": 2, "n": 50, "against": against, "features": features, "seed": 0}

    lines = out.splitlines()
    doubts = lines[1:lines.index("")]
    assert len(doubts) == (kind == "mine"), "its classes are noise, and so is what a network makes of them"
    del lines[1:lines.index("")]
    source = {"clothes": "fashion-mini", "points": "ring8", "mine": "mine.npz", "free": "free.npz"}.get(kind, kind)
    assert lines[0] == (f"{folder(kind)}, step 2: 50 samples beside 50 of {source} ({against}), features: {features}")
    assert [line.split()[0] for line in lines[3:-4]] == names
    assert lines[2].split() == ["samples", "error", *(["training", "data"] if against == "test" else [])]
    files = "metrics.json", "evaluation.png", "report.html"
    assert lines[-1] == ", ".join(str(folder(kind) / file) for file in files)
    assert all(line == line.rstrip() and len(line) < 120 for line in lines)


def test_what_the_table_shows_is_what_the_file_holds(judge):
    out = done(judge("mnist", "--n", 60))
    rows = re.findall(r"^(\S+) +([↑↓ ]) +(\S+) ± (\S+) *(\S*)$", out, re.M)
    table = record("mnist")["metrics"]
    assert len(rows) == len(table) == 10
    for name, better, value, error, ideal in rows:
        row = table[name]
        assert (value, error) == (f"{row['value']:.4g}", f"{row['standard_error']:.2g}")
        assert ideal == ("" if row["training_data"] is None else f"{row['training_data']:.4g}")
        assert (better == " ") == (ideal == "") == (name == "training_distance")


def test_the_numbers_are_those_of_the_metrics_for_the_generators_samples(judge):
    done(judge("mnist", "--n", 80, "--seed", 3))
    network, streams = classifiers.load("mnist"), backend.Streams(3)
    real, train = (like_mnist("mnist", split)[0] for split in ("test", "train"))
    real = judges.some(real, 80, streams["real"])
    fake, substitute = mg.load(folder("mnist")).sample(80, seed=3), judges.some(train, 80, streams["training"])
    table = record("mnist")["metrics"]
    both = network.features(real), network.features(fake)
    assert table["FD-LeNet-mnist"]["value"] == metrics.frechet_distance(*both)
    assert table["FD-LeNet-mnist"]["training_data"] == metrics.frechet_distance(both[0], network.features(substitute))
    assert (table["precision"]["value"], table["recall"]["value"]) == metrics.precision_recall(*both)
    measure = judges.training_distance(network.features(train), *both)
    assert table["training_distance"]["value"] == measure.metric(*measure.arrays)
    first = metrics.half_sampling(metrics.frechet_distance, *both, rng=backend.Streams(3)["halves"])
    assert table["FD-LeNet-mnist"]["standard_error"] == first.standard_error


def test_a_mixtures_test_data_are_other_points_of_it(judge, monkeypatch):
    seen = []
    monkeypatch.setattr(judges, "judge_for", lambda source, real, *more, judge=judges.judge_for: (
        seen.append(real) or judge(source, real, *more)))
    for against in ("test", "train"):
        done(judge("points", "--n", 600, "--against", against))
    test, train = ({tuple(point) for point in real} for real in seen)
    assert train == {tuple(point) for point in data.load("ring8").x} and len(test) == 600 and not test & train


def test_the_seed_decides_and_nothing_else(judge, drawn):
    tables = []
    for seed in (1, 1, 2):
        mg.seed(len(tables))
        done(judge("points", "--n", 40, "--seed", seed))
        tables.append((record("points"), (folder("points") / "evaluation.png").read_bytes()))
    assert tables[0] == tables[1] and tables[0][0]["metrics"] != tables[2][0]["metrics"]
    assert tables[0][1] != tables[2][1]


def test_there_are_never_more_samples_than_real_ones_and_the_table_says_so(judge):
    assert "60 samples beside 60 of mine.npz" in done(judge("mine", "--classifier", "lenet-mine.npz", "--n", 500))
    assert record("mine")["n"] == 60
    assert "600 samples beside 600 of ring8" in done(judge("points"))  # 2500 by default, were there as many


def test_what_is_not_finite_is_null_in_the_file_and_a_dash_in_the_table(judge, monkeypatch):
    monkeypatch.setattr(models.Trained, "draw", lambda self, n, seed: Drawn(np.full((n, 2), 50.0, np.float32)))
    out = done(judge("points", "--n", 50))
    assert re.search(r"^reverse_kl +↓ +– ± – ", out, re.M) and "nan" not in out
    found = record("points")["metrics"]
    assert found["reverse_kl"]["value"] is found["reverse_kl"]["standard_error"] is None
    assert found["modes"] == {"value": 0, "standard_error": 0, "training_data": found["modes"]["training_data"],
                              "better": "↑"}
    assert found["reverse_kl"]["training_data"] < 1


def test_an_infinite_divergence_says_so(capsys):
    p = np.eye(2)[[0, 1] * 10]
    measure = judges.Measure({"class_divergence": "↓"}, lambda p: metrics.class_divergence(p, [1.0, 0.0]), (p,))
    table = evaluate.measured([measure], [], np.random.default_rng(0))
    assert table["class_divergence"]["value"] == math.inf
    assert re.search(r"^class_divergence ↓ +inf ± –$", capsys.readouterr().out, re.M)


def test_the_training_data_in_the_samples_place_score_nearly_best(judge):
    done(judge("points", "--n", 500))
    found = {name: row["training_data"] for name, row in record("points")["metrics"].items()}
    assert found["modes"] == 8 and found["high_quality"] > 0.96 and found["FD-points"] < 0.02
    assert found["precision"] > 0.9 and found["recall"] > 0.9 and found["training_distance"] is None


def test_the_file_is_written_before_the_picture_is_drawn(judge, monkeypatch):
    def full(*what):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(plots, "save_densities", full)
    status, _, err = judge("points", "--n", 50)
    assert status == 2 and "No space left" in err and record("points")["n"] == 50


def test_a_run_that_has_a_classifier_is_judged_by_it(judge):
    with redirect_stdout(StringIO()):
        assert training.main(["--data", "digits", "--name", "own", *TINY, "--classifier", "lenet-digits.npz"]) == 0
    assert "features: LeNet-digits" in done(judge("runs/00006-own", "--n", 40))
    found = judge("runs/00006-own", "--n", 40, "--classifier", "mnist")
    assert "features: general-LeNet-mnist" in done(found)  # the one on the command line goes first


# Errors

def refused(result, *words):
    status, out, err = result
    assert (status, out) == (2, "") and err.count("\n") == 1 and err.startswith("minigan.evaluate: "), result
    assert [word for word in words if word not in err] == []


@pytest.mark.parametrize("kind, arguments, words", [
    ("nowhere", [], ["nowhere"]), (".", [], ["options.json"]),
    ("mine", [], ["mine.npz", "--classifier fashion", "minigan.classifier"]),
    ("clothes", ["--checkpoint", "7"], ["no checkpoint 7", "there is 0, 2"]),
    ("clothes", ["--classifier", "nowhere.npz"], ["nowhere.npz"]),
    ("clothes", ["--classifier", "mine.npz"], ["mine.npz"]),
    ("clothes", ["--classifier", "."], ["'.'"]), ("points", ["--classifier", "mnist"], ["ring8", "images"]),
    ("clothes", ["--against", "test"], ["fashion-mini", "no test split"]),
    ("clothes", ["--against", "tset"], ["test"]), ("free", ["--against", "test"], ["free.npz"]),
    ("points", ["--n", "0"], ["--n"]), ("points", ["--n", "11"], ["at least 12"]),
    ("points", ["--seed", "-1"], ["--seed"]),
    ("points", ["--backend", "nunpy"], ["numpy"]), ("points", ["more"], ["more"])])
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(judge, kind, arguments, words):
    before = sorted(Path().rglob("*"))
    refused(judge(kind, *arguments), *words)
    assert sorted(Path().rglob("*")) == before


def test_the_fewest_samples_that_can_be_judged_can(judge):
    for kind in ("points", "clothes"):
        done(judge(kind, "--n", 12))


def test_a_run_without_a_checkpoint_is_refused(judge):
    shutil.rmtree(folder("points") / "checkpoints")
    refused(judge("points"), "no checkpoint")


def test_changed_and_missing_data_are_refused(judge):
    record = run_folder.read_options(folder("free"))
    run_folder.write_options(folder("free"), record | {"places": {}})  # where the original still is
    np.savez("free.npz", points=np.random.default_rng(1).standard_normal((300, 2)))
    refused(judge("free"), "free.npz has changed")
    os.unlink("free.npz")
    refused(judge("free"), "free.npz")


@pytest.mark.parametrize("change", [dict(options={}), dict(options={"data": 3}), dict(data=None),
                                    dict(sample_shape=[3])])
def test_a_run_whose_options_were_tampered_with_is_refused(judge, change):
    path = folder("points") / "options.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(judge("points"))


@pytest.mark.parametrize("option, value", [("seed", "x"), ("seed", -1), ("image_size", "big"), ("data", 7),
                                           ("more", 1)])
def test_so_is_one_with_a_single_option_that_was(judge, option, value):
    path = folder("points") / "options.json"
    written = json.loads(path.read_text())
    written["options"][option] = value
    path.write_text(json.dumps(written))
    refused(judge("points"), "options.json")


@pytest.mark.parametrize("kind", ["points", "clothes"])
def test_samples_that_are_not_finite_are_refused_by_name(judge, monkeypatch, kind):
    draw = models.Trained.draw
    monkeypatch.setattr(models.Trained, "draw", lambda *what: Drawn(draw(*what).x * np.float32(np.nan)))
    status, _, err = judge(kind, "--n", 20)
    assert status == 2 and err.count("\n") == 1 and "nan" in err.lower()
    assert not (folder(kind) / "metrics.json").exists()


def test_ctrl_c_is_one_line(judge, monkeypatch):
    def interrupted(*what):
        raise KeyboardInterrupt
    monkeypatch.setattr(models, "load", interrupted)
    assert judge("points") == (130, "", "minigan.evaluate: interrupted\n")
