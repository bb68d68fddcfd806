"""The benchmark of the whole family: who is in it, as many minutes for each, and its table."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import family, training
from minigan import data, metrics
from minigan.metrics.judges import judge_for
from minigan.runs import models

GIVEN = {"pairs", "domains", "masked", "small", "captions"}  # it makes pictures of something else


def test_every_model_that_makes_pictures_of_noise_is_in_it():
    of_noise = {name for name in models.names()
                if not GIVEN & set(models.model_class(name).NEEDS)} - {"stargan"}
    assert {options["model"] for options in family.FAMILY.values()} == of_noise


@pytest.fixture(scope="module")
def few():
    """Few pictures, and a judge of few."""
    known = data.load("fashion-mini")
    return (known._replace(x=known.x[::20], labels=known.labels[::20]),
            judge_for("fashion-mini", known.x[1::20]))


def test_a_run_has_as_many_steps_as_fit(few, monkeypatch):
    seen, seconds_of_a_step = [], iter((0.3, 0.4, 0.2, 0.5))

    def trained(dataset, options, seed, clock):
        assert clock is time.process_time  # another process takes none of it
        seen.append((options["model"], options["steps"]))
        return None, next(seconds_of_a_step) * options["steps"], None
    monkeypatch.setattr(family, "trained", trained)
    monkeypatch.setattr(family, "FAMILY", {"vae": dict(model="vae"), "A": dict(model="gan")})
    pace = family.paces(few[0], family.FAMILY, few=4, rounds=2)
    assert seen == 2 * [("vae", 4), ("gan", 4)]
    assert pace == {"vae": 200.0, "A": 400.0}  # the lesser of both
    assert family.due_of(["A", "vae"], pace, 0.05, 2) == [
        dict(name=name, minutes=0.05, steps=steps, seed=seed)
        for seed in (0, 1) for name, steps in (("A", 8), ("vae", 15))]


def test_a_short_run_goes_through_all_that_is_done_now_and_then():
    for options in family.FAMILY.values():
        own = models.model_class(options["model"]).OPTIONS
        assert all(family.FEW % own[option][0] == 0 for option in own if option.endswith("_every"))


def test_a_run_has_its_measures(few):
    dataset, judge = few
    run = dict(name="vae", steps=3, seed=2)
    found = family.train(run, dataset, judge, samples=60)
    model, *_ = training.trained(dataset, dict(model="vae", steps=3), 2)
    both = judge.features, judge.features_of(training.samples_of(model, 60, 2))
    expected = (metrics.frechet_distance(*both), *metrics.precision_recall(*both),
                metrics.density_coverage(*both).coverage)
    assert [found[measure] for measure in family.MEASURES] == pytest.approx(expected, abs=1e-4)


def test_samples_that_are_not_finite_are_a_failure(few, monkeypatch):
    monkeypatch.setattr(family, "samples_of", lambda *_: np.full((60, 28, 28, 1), np.nan, np.float32))
    assert family.train(dict(name="vae", steps=1, seed=0), *few)["failed"] == "samples that are not finite"


def test_a_run_that_diverges_is_said_to_have_failed(few, monkeypatch):
    monkeypatch.setitem(family.FAMILY, "gan", dict(model="gan", recipe="dcgan", lr_g=1e30))
    found = family.train(dict(name="gan", steps=2, seed=0), *few, samples=60)
    assert found["failed"] and "precision" not in found


@pytest.fixture
def kept(few, monkeypatch, tmp_path):
    """What is in the file after `main`, of these words: two models, no training, a second a step."""
    monkeypatch.setattr(family, "RESULTS", tmp_path / "family.json")
    monkeypatch.setattr(family, "FAMILY", {"vae": dict(model="vae"), "gan": dict(model="gan")})
    monkeypatch.setattr(family.data, "load", lambda *_, **__: few[0])
    monkeypatch.setattr(family, "judge_for", lambda *_: few[1])
    monkeypatch.setattr(family, "paces", lambda dataset, names: dict.fromkeys(names, 1000.0))
    monkeypatch.setattr(family, "train", lambda run, *_: dict.fromkeys(family.MEASURES, 7.0))

    def of(*words):
        monkeypatch.setattr(sys, "argv", ["family", *words])
        family.main()
        return json.loads(family.RESULTS.read_text())
    return of


def test_only_models_that_are_asked_for_and_missing_are_trained_and_a_pace_is_measured_once(kept, monkeypatch, capsys):
    assert kept("--pace")["runs"] == []
    monkeypatch.setattr(family, "paces", None)
    assert [run["name"] for run in kept("gan", "--minutes", "2")["runs"]] == ["gan"]
    monkeypatch.setattr(family, "train", lambda run, *_: dict.fromkeys(family.MEASURES, 9.0))
    found = kept("--minutes", "2")
    assert [(run["name"], run["steps"], run["recall"]) for run in found["runs"]] == [
        ("gan", 120, 7.0), ("vae", 120, 9.0)]
    kept("--minutes", "1")
    assert capsys.readouterr().out.count("| gan | 1 | 9 | 9 | 9 | 9 | 60 |") == 1  # not those of 2 minutes


def test_a_model_that_is_new_has_its_pace_measured_and_no_other(kept, monkeypatch):
    kept("--pace")
    monkeypatch.setitem(family.FAMILY, "r3gan", dict(model="r3gan"))
    monkeypatch.setattr(family, "paces", lambda dataset, names: dict.fromkeys(names, 5.0))
    assert kept("--pace")["pace"]["milliseconds"] == {"vae": 1000.0, "gan": 1000.0, "r3gan": 5.0}


@pytest.mark.parametrize("words", [("--minutes", "0"), ("--minutes", "nan"), ("--seeds", "0"), ("gann",)])
def test_what_cannot_be_meant_is_refused_in_a_line(kept, words, capsys):
    with pytest.raises(SystemExit):
        kept(*words)
    assert "expected" in capsys.readouterr().err.splitlines()[-1] and not family.RESULTS.exists()


@pytest.mark.parametrize("module", ["family", "growing"])
def test_one_thread_is_for_the_script_and_not_for_who_imports_it(module):
    code = f"import os; before = dict(os.environ); import benchmarks.{module}; assert os.environ == before"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_best_model_comes_first_and_one_that_failed_last():
    of = lambda name, distance: dict(zip(family.MEASURES, (distance, 0.5, 0.25, 0.125)), name=name,
                                     steps=100, seed=0)
    failed = dict(name="sagan", steps=3, seed=0, failed="NaN")
    runs = [failed, of("vae", 90.0), of("gan", 7.0), of("gan", 9.0)]
    lines = family.table(runs, dict.fromkeys(family.FAMILY, 12.5)).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| gan", "| vae", "| sagan"]
    assert lines[0].startswith("| gan | 2 | 8 ± 1 | 0.5 ± 0 |")
    assert lines[1].endswith(f"| 100 | 12.5 | {family.lines_of('vae')} |")
    assert lines[2].startswith("| sagan | 0 of 1 | – | – | – | – | 3 |")
    assert 50 < family.lines_of("vae") <= 150
