"""The table of remedies: what is run, that every option is in it, and that the table tells what was measured."""

import json
from pathlib import Path

import pytest

from benchmarks import toolbox
from minigan import data
from minigan.metrics.judges import judge_for
from minigan.runs import models
from minigan.trainer import Facts
from minigan.zoo.gan import GAN

RESULTS = Path(__file__).parent.parent / "benchmarks/results/toolbox.json"


def run_of(setting, seed, frechet=60.0):
    return dict(zip(toolbox.MEASURES, (frechet, 0.5, 0.25, 0.125))) | dict(
        setting=setting, steps=5, seed=seed, seconds=10)


def test_every_setting_is_run_with_one_seed_before_the_next():
    due = toolbox.runs_of(5, 2)
    assert [run["seed"] for run in due] == [0] * len(toolbox.SETTINGS) + [1] * len(toolbox.SETTINGS)
    assert {run["setting"] for run in due} == toolbox.SETTINGS.keys() and due[0]["setting"] == "nothing added"


def test_every_remedy_is_in_the_table_and_can_be_made():
    used = {option for options in toolbox.SETTINGS.values() for option in options}
    remedies = {"d_norm", "r1", "r2", "dragan", "penalty_every", "label_smoothing", "instance_noise", "dropout",
                "minibatch", "augment", "adaptive", "adaptive_images", "objective"}
    assert used == remedies and remedies <= GAN.OPTIONS.keys()
    for options in toolbox.SETTINGS.values():
        GAN.check(Facts((28, 28, 1)), models.complete(toolbox.COMMON | options, Facts((28, 28, 1))))


def test_a_run_is_the_same_again_and_one_that_diverges_says_why(monkeypatch):
    monkeypatch.setattr(toolbox, "COMMON", toolbox.COMMON | dict(width=2, batch_size=8))
    dataset = data.load("fashion-mini")
    judge = judge_for("fashion-mini", dataset.x[:300])
    first, again = [toolbox.train(dict(augment="all"), 2, 3, dataset, judge, samples=200) for _ in range(2)]
    assert {**first, "seconds": 0} == {**again, "seconds": 0} and first.keys() == {*toolbox.MEASURES, "seconds"}
    failed = toolbox.train(dict(objective="lsgan", lr_g=1e30, lr_d=1e30), 5, 0, dataset, judge)
    assert failed["coverage"] is None and "is not finite since step" in failed["failed"]


def test_the_table_has_a_row_for_each_setting_that_was_run():
    runs = [run_of("nothing added", 0, 60.0), run_of("nothing added", 1, 64.0),
            run_of("relativistic", 0) | dict.fromkeys(toolbox.MEASURES) | dict(failed="why")]
    assert toolbox.table(runs).splitlines()[2:] == [
        "| nothing added | 2 | 62 ± 2 | 0.5 ± 0 | 0.25 ± 0 | 0.125 ± 0 |",
        "| relativistic (1 diverged) | 1 | – | – | – | – |"]


@pytest.mark.skipif(not RESULTS.exists(), reason="not measured yet")
def test_what_is_committed_was_measured_with_these_settings():
    kept = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert kept["common"] == toolbox.COMMON and kept["samples"] == toolbox.SAMPLES
    due = toolbox.runs_of(toolbox.STEPS, toolbox.SEEDS)
    assert all({name: run[name] for name in ("setting", "steps", "seed")} in due for run in kept["runs"])
