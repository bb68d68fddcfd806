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
    seen, whole = [], family.trained

    def trained(dataset, options, seed, clock):
        seen.append(options["steps"])
        model, seconds, failed = whole(dataset, options, seed)
        return model, 0.5 * options["steps"], failed  # half a second a step
    monkeypatch.setattr(family, "trained", trained)
    found = family.train(dict(name="vae", minutes=0.05, seed=0), *few, few=4, samples=60)
    assert seen == [4, 4, 6] and found["steps"] == 6 and found["milliseconds"] == 500.0
    assert all(np.isfinite(found[measure]) for measure in family.MEASURES)


def test_a_run_that_diverges_is_said_to_have_failed(few, monkeypatch):
    monkeypatch.setitem(family.FAMILY, "gan", dict(model="gan", recipe="dcgan", lr_g=1e30))
    found = family.train(dict(name="gan", minutes=1e-6, seed=0), *few, few=2, samples=60)
    assert found["steps"] == 1 and found["failed"] and "precision" not in found


def test_the_best_model_comes_first_and_one_that_failed_last():
    of = lambda name, distance: dict(zip(family.MEASURES, (distance, 0.5, 0.25, 0.125)), name=name,
                                     steps=100, milliseconds=12.5, seed=0)
    failed = dict(name="sagan", steps=3, milliseconds=1.0, seed=0, failed="NaN")
    lines = family.table([failed, of("vae", 90.0), of("gan", 7.0), of("gan", 9.0)]).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| gan", "| vae", "| sagan"]
    assert lines[0].startswith("| gan | 2 | 8 ± 1 | 0.5 ± 0 |")
    assert lines[1].endswith(f"| 100 | 12.5 | {family.lines_of('vae')} |")
    assert lines[2].startswith("| sagan | 1 | – | – | – | – | 3 |")
    assert 50 < family.lines_of("vae") <= 150
