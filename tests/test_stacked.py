"""Stacked MNIST: how it is drawn, how its modes are counted, and the yardstick on it.

Made-up digits stand for MNIST's, but where real ones are named.
"""

import json
import math
import os
import sys

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from benchmarks import stacked as yardstick
from helpers import generators, slow_kl
from minigan import backend, data, evaluate, metrics, plots, train
from minigan.data import DataError, published, stacked
from minigan.metrics import class_coverage, judges, lenet
from minigan.metrics.channels import ByChannel
from minigan.runs import models
from minigan.trainer import Facts

REAL_DATA = os.environ.get("MINIGAN_DATA", "")


def greys(count, begin):
    """Pictures (count, 28, 28, 1), each of one grey of its own from `begin` on, and labels 0 … 9 in turn."""
    grey = np.arange(begin, begin + count, dtype=np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (count, 28, 28, 1)), np.arange(count) % 10


@pytest.fixture
def made_up(monkeypatch):
    """100 digits of the greys 0 … 99 to train on, 20 others to test with; few pictures of them."""
    splits = {"train": greys(100, 0), "test": greys(20, 200)}
    monkeypatch.setattr(stacked, "read_published", lambda name, split: (*splits[split], tuple("0123456789")))
    monkeypatch.setattr(stacked, "COUNTS", {"train": 600, "test": 200})


# The data

def test_the_channels_are_three_digits_and_the_label_is_their_number(made_up):
    x, labels, classes = data.load("stacked-mnist")
    assert x.shape == (600, 28, 28, 3) and x.dtype == np.uint8 and labels.dtype == np.int64
    for picture, label in zip(x, labels):
        r, g, b = picture[0, 0].tolist()  # the grey of a made-up digit tells its place, whose last figure is its label
        assert (picture == picture[0, 0]).all() and label == 100 * (r % 10) + 10 * (g % 10) + b % 10
        assert classes[label] == f"{r % 10}{g % 10}{b % 10}"
    assert len(classes) == len(set(classes)) == 1000


def test_digits_are_drawn_independently_and_with_replacement(made_up, monkeypatch):
    monkeypatch.setattr(stacked, "COUNTS", {"train": 20_000})
    places = data.load("stacked-mnist").x[:, 0, 0].astype(int)
    assert abs(np.corrcoef(places.T) - np.eye(3)).max() < 0.03  # four standard errors
    for channel in places.T:
        counts = np.bincount(channel, minlength=100)
        assert abs(np.sum((counts - 200) ** 2 / 200) - 99) < 5 * math.sqrt(2 * 99)  # chi-squared
        assert 100 < np.sum(channel[1:] == channel[:-1]) < 300  # 200 are expected; of a permutation there are none


def test_the_test_split_shows_other_digits(made_up):
    assert data.load("stacked-mnist").x.max() < 100
    test = data.load("stacked-mnist", split="test")
    assert test.x.shape == (200, 28, 28, 3) and test.x.min() >= 200


def test_it_depends_on_its_seed_and_on_nothing_else(made_up):
    first = data.load("stacked-mnist", seed=3)
    backend.streams["data"].random(5)
    np.random.seed(1)
    again = data.load("stacked-mnist", seed=3)
    np.testing.assert_array_equal(first.x, again.x)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.x, data.load("stacked-mnist", seed=4).x)
    with pytest.raises(DataError, match="stacked-mnist: expected a seed ≥ 0, got -1"):
        data.load("stacked-mnist", seed=-1)


def test_its_pictures_are_not_resized(made_up):
    with pytest.raises(DataError, match="image size 32 was asked for"):
        data.load("stacked-mnist", image_size=32)


def test_a_classifier_is_tested_with_the_other_digits(made_up):
    training, test = lenet.train_and_test("stacked-mnist", None, backend.Streams(0))
    assert len(training.x) == 600 and test.x.min() >= 200


def test_without_mnist_a_dry_run_says_what_would_be_downloaded(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MINIGAN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(published, "SYSTEM", str(tmp_path))
    assert train.main(["--data", "stacked-mnist", "--dry-run", "--out", str(tmp_path / "runs")]) == 0
    told = capsys.readouterr().out
    assert "stacked-mnist is not on this machine" in told and "train-images-idx3-ubyte.gz" in told
    assert data.not_here("stacked-mnist") == data.not_here("mnist")
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(not os.path.isdir(os.path.join(REAL_DATA, "mnist")), reason="MINIGAN_DATA holds no mnist")
def test_of_real_digits_every_mode_is_there_and_the_network_finds_it(monkeypatch):
    """The divergence that the docstring of `class_coverage` names for 25,600 perfect samples."""
    monkeypatch.setenv("MINIGAN_DATA", REAL_DATA)
    x, labels, _ = data.load("stacked-mnist", split="test")
    assert x.shape == (25_600, 28, 28, 3)
    found = class_coverage(labels, 1000)
    assert found.modes == 1000 and abs(found.reverse_kl - 0.024) < 0.004
    seen = judges.judge_for("stacked-mnist", x[:500]).network.judge(x[:500])[1].argmax(axis=1)
    assert np.mean(seen == labels[:500]) > 0.95


# Counting modes

def slow_class_coverage(labels, classes):
    counts = [sum(label == k for label in labels) for k in range(classes)]
    shares = [count / len(labels) for count in counts]
    return sum(count > 0 for count in counts), slow_kl(shares, [1 / classes] * classes)


@given(generators, st.integers(1, 60), st.integers(1, 12))
def test_class_coverage_is_its_definition(rng, n, classes):
    labels = rng.integers(classes, size=n)
    np.testing.assert_allclose(class_coverage(labels, classes), slow_class_coverage(labels, classes), atol=1e-12)


def test_missing_classes_cost_the_logarithm_of_their_number():
    assert class_coverage(np.tile(np.arange(1000), 3), 1000) == (1000, pytest.approx(0, abs=1e-12))
    assert class_coverage(np.full(50, 999), 1000) == (1, pytest.approx(math.log(1000)))
    assert class_coverage(np.arange(0, 1000, 2), 1000) == (500, pytest.approx(math.log(2)))


def test_uneven_classes_cost_their_divergence_from_equal_shares():
    """In this direction: the other one, KL(1/K ‖ q), is ½ ln(2/3) + ½ ln 2, and infinite for a missing class."""
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert class_coverage([0, 0, 0, 1], 2) == (2, pytest.approx(expected))


def test_a_perfect_sampler_covers_1000_classes_with_the_divergence_of_chance(rng):
    runs = np.array([class_coverage(rng.integers(1000, size=25_600), 1000) for _ in range(20)])
    assert (runs[:, 0] == 1000).all()
    np.testing.assert_allclose(runs[:, 1].mean(), 999 / (2 * 25_600), rtol=0.05)


@pytest.mark.parametrize("labels, seen", [
    ([], "(0,)"), ([[1, 2]], "(1, 2)"), ([0.5], "float64"), ([-1, 2], "from -1 to 2"), ([0, 10], "from 0 to 10")])
def test_labels_that_cannot_be_counted_are_refused(labels, seen):
    with pytest.raises(ValueError, match="^class_coverage: expected integers .* from 0 to 9") as error:
        class_coverage(labels, 10)
    assert seen in str(error.value)


# The judge

def test_each_channel_is_judged_by_itself(digits, rng):
    network, test, _ = digits
    x = test.x[rng.integers(len(test.x), size=(40, 3)), :, :, 0].transpose(0, 2, 3, 1)
    features, probabilities = ByChannel(network).judge(x)
    parts = [network.judge(x[..., k:k + 1]) for k in range(3)]
    np.testing.assert_array_equal(features, np.concatenate([part[0] for part in parts], axis=1))
    np.testing.assert_array_equal(ByChannel(network).features(x), features)
    (r, g, b) = [part[1] for part in parts]
    for i in (0, 17):
        for triple in (0, 7, 70, 700, 123, 999):
            hundreds, tens, ones = triple // 100, triple // 10 % 10, triple % 10
            assert probabilities[i, triple] == pytest.approx(r[i, hundreds] * g[i, tens] * b[i, ones], rel=1e-12)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_a_class_is_named_by_its_digits(digits):
    names = ByChannel(digits[0]).classes
    assert names == stacked.CLASSES and names[38] == "038"


def test_the_judge_counts_the_triples_that_the_network_sees(made_up):
    real = data.load("stacked-mnist", split="test").x[:40]
    judge = judges.judge_for("stacked-mnist", real)
    samples = data.load("stacked-mnist").x[:50]
    triples = judge.network.judge(samples)[1].argmax(axis=1)
    found = {}
    for measure in judge.measures(samples):
        found |= measure.numbers(measure.metric(*measure.arrays))
    assert (found["modes"], found["reverse_kl"]) == class_coverage(triples, 1000)
    assert found["FD-stacked-LeNet-mnist"] == metrics.frechet_distance(judge.features, judge.features_of(samples))
    assert found.keys() == {"modes", "reverse_kl", "FD-stacked-LeNet-mnist", "KD-stacked-LeNet-mnist", "precision",
                            "recall", "density", "coverage"}
    assert judges.quick(judge, samples).keys() == {"modes", "reverse_kl", "FD-stacked-LeNet-mnist"}


@pytest.mark.parametrize("source, network, name", [
    ("stacked-mnist", None, "stacked-LeNet-mnist"), ("stacked-mnist", "mnist", "stacked-LeNet-mnist"),
    ("stacked-mnist", "fashion", "general-LeNet-fashion"), ("stacked-mnist", "digits", "general-LeNet-digits"),
    ("my/pictures", "mnist", "general-LeNet-mnist")])
def test_modes_are_counted_of_stacked_mnist_and_by_a_network_that_knows_mnist(made_up, source, network, name):
    real = data.load("stacked-mnist").x[:30]
    judge = judges.judge_for(source, real, network)
    assert judge.name == name
    assert ("modes" in judges.quick(judge, real)) == name.startswith("stacked")


# Runs

def test_a_run_counts_modes_is_resumed_and_evaluated_beside_the_other_digits(made_up, tmp_path, capsys):
    small = ["--steps", "2", "--width", "4", "--batch-size", "4", "--evaluate-every", "1", "--pack", "2"]
    assert train.main(["--data", "stacked-mnist", "--seed", "5", "--out", str(tmp_path), *small]) == 0
    [run] = tmp_path.iterdir()
    logged = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert all(1 <= record["evaluation"]["modes"] <= 1000 for record in logged)
    assert train.main(["--resume", str(run), "--steps", "3"]) == 0
    capsys.readouterr()
    assert evaluate.main([str(run), "--n", "40"]) in (0, None)
    assert "40 samples beside 40 of stacked-mnist (test), features: stacked-LeNet-mnist" in capsys.readouterr().out
    measured = json.loads((run / "metrics.json").read_text())["metrics"]
    assert measured["modes"]["better"] == "↑" and 0 < measured["reverse_kl"]["value"] <= math.log(1000)
    with Image.open(run / "evaluation.png") as picture:
        assert plots.MARK in picture.text.values()


def test_a_conditional_model_learns_the_thousand_classes(made_up, monkeypatch, tmp_path):
    monkeypatch.setattr(stacked, "COUNTS", {"train": 20_000, "test": 200})  # so that each class has a picture
    assert train.main(["--data", "stacked-mnist", "--model", "cgan", "--steps", "1", "--width", "2", "--batch-size",
                       "2", "--out", str(tmp_path)]) == 0


# The yardstick

TINY = {"best": yardstick.Setting(dict(width=4, batch_size=4), 2), "plain": yardstick.Setting(dict(width=2), 1, 0.5)}


def run_of(setting, seed, modes=1000, reverse_kl=0.05, seconds=90):
    return dict(setting=setting, steps=2, seed=seed, modes=modes, reverse_kl=reverse_kl, seconds=seconds)


def test_a_run_is_the_same_again_and_counts_its_modes(made_up, monkeypatch):
    monkeypatch.setattr(yardstick, "SAMPLES", 50)
    dataset, judge = data.load("stacked-mnist"), yardstick.Judge()
    first, again = [yardstick.train(dataset, TINY["best"].options, 2, 3, judge) for _ in range(2)]
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    assert 1 <= first["modes"] <= 50 and 0 < first["reverse_kl"] <= math.log(1000)


def test_samples_are_judged_as_training_judges_them(rng):
    small = data.load("digits").x[rng.integers(1000, size=(60, 3)), :, :, 0].transpose(0, 2, 3, 1)
    samples = np.pad(small.repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2), (0, 0)))
    found = yardstick.Judge()(samples)
    assert found["modes"] > 30
    assert found.items() <= judges.quick(judges.judge_for("stacked-mnist", samples), samples).items()


def test_a_run_that_diverges_covers_nothing_and_says_why(made_up):
    options = dict(width=4, batch_size=4, objective="lsgan", lr_g=1e30, lr_d=1e30)
    run = yardstick.train(data.load("stacked-mnist"), options, 4, 0, None)
    assert (run["modes"], run["reverse_kl"]) == (0, None) and "is not finite since step" in run["failed"]


def test_a_seed_of_every_setting_comes_before_the_next_seed(monkeypatch):
    monkeypatch.setattr(yardstick, "SETTINGS", TINY)
    assert yardstick.runs_of(8) == [
        dict(setting=setting, steps=steps, seed=seed)
        for setting, steps, seed in (("best", 8, 0), ("plain", 4, 0), ("best", 8, 1))]


def test_the_table_has_the_data_every_setting_that_was_run_and_the_published_rows(monkeypatch):
    monkeypatch.setattr(yardstick, "SETTINGS", TINY)
    runs = [run_of("best", 0), run_of("best", 1, modes=998, reverse_kl=0.03, seconds=150)]
    rows = yardstick.table(dict(modes=1000, reverse_kl=0.0242), runs).splitlines()
    assert rows[2] == "| the data: the test split | | 1000 | 0.0242 | |"
    assert rows[3] == "| best | 2 | 1000 998 | 0.04 ± 0.01 | 2 |"
    assert [row.startswith("| published: ") for row in rows[2:]] == [False] * 2 + [True] * len(yardstick.PUBLISHED)
    assert {row.count("|") for row in rows} == {6}


def test_what_is_kept_is_not_done_again(made_up, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(yardstick, "SETTINGS", TINY)
    monkeypatch.setattr(yardstick, "SAMPLES", 20)
    file = tmp_path / "runs.json"
    trial = run_of("best", 1) | {"steps": 1}  # which is in no row
    done = [run_of("best", 0), run_of("plain", 0) | {"steps": 1}, trial]
    file.write_text(json.dumps({"runs": done}))
    monkeypatch.setattr(sys, "argv", ["stacked", "--steps", "2", "--json", str(file)])
    for _ in range(2):
        yardstick.main()
        kept = json.loads(file.read_text())
        assert len(kept["runs"]) == 4 and kept["runs"][:3] == done and kept["judge"] == "stacked-LeNet-mnist"
        output = capsys.readouterr().out
        assert output.endswith(yardstick.table(kept["test_split"], [*done[:2], kept["runs"][3]]) + "\n")
    assert "seconds" not in output


@pytest.mark.parametrize("setting", yardstick.SETTINGS.values())
def test_the_settings_are_options_of_the_model(setting):
    facts = Facts((28, 28, 3))
    options = yardstick.COMMON | setting.options | dict(model="gan")
    assert models.complete(options, facts).keys() == models.model_class("gan").OPTIONS.keys() | {"model"}
