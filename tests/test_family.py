"""The benchmark of the whole family: who is in it, as many minutes for each, and its table."""

import numpy as np
import pytest

from benchmarks import family
from minigan import data
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
        seen.append((options["model"], options["steps"]))
        return None, next(seconds_of_a_step) * options["steps"], None
    monkeypatch.setattr(family, "trained", trained)
    monkeypatch.setattr(family, "FAMILY", {"vae": dict(model="vae"), "A": dict(model="gan")})
    pace = family.paces(few[0], few=4, rounds=2)
    assert seen == 2 * [("vae", 4), ("gan", 4)]
    assert pace == {"vae": 200.0, "A": 400.0}  # the lesser of both
    assert family.due_of(["A", "vae"], pace, 0.05, 2) == [
        dict(name=name, minutes=0.05, steps=steps, seed=seed)
        for seed in (0, 1) for name, steps in (("A", 8), ("vae", 15))]


def test_a_run_has_all_measures(few):
    found = family.train(dict(name="vae", steps=3, seed=0), *few, samples=60)
    assert all(np.isfinite(found[measure]) for measure in family.MEASURES)


def test_a_run_that_diverges_is_said_to_have_failed(few, monkeypatch):
    monkeypatch.setitem(family.FAMILY, "gan", dict(model="gan", recipe="dcgan", lr_g=1e30))
    found = family.train(dict(name="gan", steps=2, seed=0), *few, samples=60)
    assert found["failed"] and "precision" not in found


def test_the_best_model_comes_first_and_one_that_failed_last():
    of = lambda name, distance: dict(zip(family.MEASURES, (distance, 0.5, 0.25, 0.125)), name=name,
                                     steps=100, seed=0)
    failed = dict(name="sagan", steps=3, seed=0, failed="NaN")
    runs = [failed, of("vae", 90.0), of("gan", 7.0), of("gan", 9.0)]
    lines = family.table(runs, dict.fromkeys(family.FAMILY, 12.5)).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| gan", "| vae", "| sagan"]
    assert lines[0].startswith("| gan | 2 | 8 ± 1 | 0.5 ± 0 |")
    assert lines[1].endswith(f"| 100 | 12.5 | {family.lines_of('vae')} |")
    assert lines[2].startswith("| sagan | 1 | – | – | – | – | 3 |")
    assert 50 < family.lines_of("vae") <= 150
