"""`python -m minigan.train --evaluate-every`: measures during training, which change nothing in it."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import minigan as mg
from minigan import data, metrics, plots, train as training
from minigan.metrics import judges
from minigan.runs import checkpoints, run_folder
from minigan.trainer import GANTrainer
from helpers import done, home, undrawn

__all__ = ["home", "undrawn"]  # the fixtures


@pytest.fixture
def train(home, tmp_path, monkeypatch, capsys, backend_name):
    """Run the command line of training in this process, beside the classifiers: (exit status, stdout, stderr)."""
    for name in ("mine.npz", "lenet-mine.npz", "lenet-digits.npz"):
        shutil.copy(home / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "load", partial(data.load, n=200))
    choice = () if backend_name == "numpy" else ("--backend", backend_name)

    def call(*arguments):
        try:
            status = training.main([*map(str, arguments), *choice])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()
    return call


SOURCES = {"points": ("--data", "ring8", "--width", 8, "--batch-size", 16),
           "mine": ("--data", "mine.npz", "--width", 2, "--batch-size", 8, "--latent", 3, "--classifier",
                    "lenet-mine.npz"),
           "digits": ("--data", "digits", "--width", 2, "--batch-size", 8, "--latent", 3, "--classifier",
                      "lenet-digits.npz")}
QUICK = {"points": {"modes", "high_quality", "reverse_kl", "FD-points"}, "mine": {"FD-LeNet-mine", "class_divergence"},
         "digits": {"FD-LeNet-digits", "class_divergence"}}


@pytest.mark.on_each_backend
@pytest.mark.parametrize("kind", SOURCES)
def test_the_quick_measures_are_logged_with_the_steps_and_drawn(train, monkeypatch, kind):
    shown = []
    monkeypatch.setattr(plots, "save_losses", lambda path, records, *more: shown.extend(records))
    out = done(train(*SOURCES[kind], "--steps", 5, "--evaluate-every", 2, "--log-every", 3))
    [run] = Path("runs").iterdir()
    stats = run_folder.read_stats(run)
    assert [(line["step"], "evaluation" in line) for line in stats] == [(2, True), (3, False), (4, True), (5, True)]
    for line in stats:
        found = line.get("evaluation", {})
        assert found.keys() <= QUICK[kind] and all(np.isfinite(value) for value in found.values())
        assert all(f"{name} {value:.4g}" in out for name, value in found.items())
    [name] = [name for name in QUICK[kind] if name.startswith("FD")]
    assert len({line["evaluation"][name] for line in stats if "evaluation" in line}) == 3  # the generator moved
    assert shown == stats


@pytest.mark.on_each_backend
@pytest.mark.parametrize("kind", ["points", "digits"])
def test_measuring_does_not_change_the_training(train, kind):
    ends = []
    for out, more in (("never", ()), ("often", ("--evaluate-every", 1))):
        done(train(*SOURCES[kind], "--steps", 4, "--out", out, *more))
        [run] = Path(out).iterdir()
        ends.append((checkpoints.load_checkpoint(run_folder.checkpoints(run)[0]), run_folder.read_stats(run)))
    (a, stats), (b, measured) = ends
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name, strict=True)
    assert len(measured) == 4 and all(line.pop("evaluation") for line in measured)
    assert stats[-1] | {"steps_per_s": 0} == measured[-1] | {"steps_per_s": 0}


def test_a_resumed_run_keeps_its_measures_and_goes_on_with_them(train):
    given = (*SOURCES["points"], "--evaluate-every", 2, "--checkpoint-every", 2)
    done(train(*given, "--steps", 8, "--out", "whole"))
    done(train(*given, "--steps", 4, "--out", "parts"))
    done(train("--resume", "--out", "parts", "--steps", 8))
    runs = [run_folder.read_stats(run) for out in ("whole", "parts") for run in Path(out).iterdir()]
    whole, parts = ([(line["step"], line.get("evaluation")) for line in run] for run in runs)
    assert whole == parts and [step for step, found in whole if found] == [2, 4, 6, 8]


def test_a_run_may_go_on_with_measures_or_without(train):
    given = SOURCES["mine"][:-2]
    done(train(*given, "--steps", 2))
    refused_by_train(train("--resume", "--steps", 4, "--evaluate-every", 1), "no feature network", "--classifier")
    done(train("--resume", "--steps", 4, "--evaluate-every", 1, "--classifier", "lenet-mine.npz"))
    done(train("--resume", "--steps", 6, "--evaluate-every", 0))
    [run] = Path("runs").iterdir()
    assert [(line["step"], "evaluation" in line) for line in run_folder.read_stats(run)] == [
        (2, False), (3, True), (4, True), (6, False)]


def test_the_measures_are_those_of_the_averaged_generator_beside_the_training_data(train):
    done(train(*SOURCES["points"], "--steps", 3, "--evaluate-every", 3, "--ema", 0.5, "--seed", 7))
    [run] = Path("runs").iterdir()
    x, mixture = data.load("ring8", seed=7).x, data.MIXTURES["ring8"]
    fake = mg.load(run).sample(200, seed=7)
    found = run_folder.read_stats(run)[-1]["evaluation"]
    assert found["FD-points"] == pytest.approx(metrics.frechet_distance(x, fake), rel=1e-5)
    assert found["modes"] == metrics.mode_coverage(fake, *mixture).modes


def refused_by_train(result, *words):
    status, out, err = result
    assert (status, out) == (2, "") and err.count("\n") == 1 and err.startswith("minigan.train: ")
    assert [word for word in words if word not in err] == []


@pytest.mark.parametrize("arguments, words", [
    (["--data", "mine.npz"], ["mine.npz", "minigan.classifier", "--classifier fashion"]),
    (["--data", "digits", "--classifier", "lenet-mine.npz"], ["LeNet-mine", "8, 8, 1"]),
    (["--data", "digits", "--classifier", "nowhere"], ["nowhere"]), (["--data", "one.npz"], ["expected", "(1, 2)"]),
    (["--data", "ring8", "--classifier", "mnist"], ["--classifier mnist"])])
def test_what_cannot_be_measured_is_refused_before_there_is_a_folder(train, arguments, words):
    np.savez("one.npz", points=np.ones((1, 2)))
    refused_by_train(train(*arguments, "--batch-size", 1, "--steps", 2, "--evaluate-every", 1), *words)
    assert not Path("runs").exists()


def test_without_a_wish_nothing_is_measured(train, monkeypatch):
    monkeypatch.setattr(judges, "quick", None)
    done(train(*SOURCES["points"], "--steps", 2))
    [run] = Path("runs").iterdir()
    assert not any("evaluation" in line for line in run_folder.read_stats(run))


@pytest.mark.parametrize("kind", ["points", "digits"])
def test_samples_that_are_not_finite_end_the_training_in_one_line(train, monkeypatch, kind):
    sample = GANTrainer.sample
    monkeypatch.setattr(GANTrainer, "sample", lambda self, *what: sample(self, *what) * (
        float("nan") if self.steps else 1.0))
    status, _, err = train(*SOURCES[kind], "--steps", 2, "--evaluate-every", 1, "--snapshot-every", 9)
    assert status == 1 and err.count("\n") == 1 and "samples are not finite after step 1" in err
    assert "000000.npz" in err
