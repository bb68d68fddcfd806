"""The benchmark of growing: its curves, the steps of the side that does not grow, and its table."""

import pytest

from benchmarks import growing
from minigan import data
from minigan.metrics.judges import judge_for

TINY = dict(width=2, latent=4, batch_size=4)


@pytest.fixture(scope="module")
def few():
    """Few pictures, and a judge of few."""
    known = data.load("fashion-mini")
    return known._replace(x=known.x[::50], labels=known.labels[::50]), judge_for("fashion-mini", known.x[1::50])


def test_a_curve_has_so_many_points_the_last_one_after_all_steps(few, monkeypatch):
    monkeypatch.setattr(growing, "SAMPLES", 30)
    curve = growing.train(TINY | dict(steps=10), *few, seed=0, points=4)
    assert [step for _, step, _ in curve] == [3, 5, 8, 10]
    seconds = [spent for spent, _, _ in curve]
    assert seconds == sorted(seconds) and all(distance > 0 for _, _, distance in curve)


def test_the_other_side_has_as_many_steps_as_take_as_many_seconds(monkeypatch):
    """Growing takes 40 seconds; without it a step takes 0.5 s, and 80 of them as long."""
    asked = []

    def train(options, dataset, judge, seed, points=growing.POINTS):
        asked.append(options | dict(points=points))
        each = 0.5 if options.get("grow") == 0.0 else 0.4
        return [[each * options["steps"], options["steps"], 50.0]]
    monkeypatch.setattr(growing, "train", train)
    found = growing.both(dict(steps=100), None, None, 3)
    assert [(one.get("grow"), one["steps"]) for one in asked] == [(None, 100), (0.0, growing.FEW), (0.0, 80)]
    assert found == {"growing": [[40.0, 100, 50.0]], "whole": [[40.0, 80, 50.0]]}


def test_the_table_says_when_each_side_was_as_good_as_the_worse_one_at_its_end():
    run = {"growing": [[10.0, 100, 90.0], [20.0, 200, 60.0], [30.0, 300, 40.0]],
           "whole": [[15.0, 80, 95.0], [30.0, 160, 55.0]]}
    assert growing.seconds_to(run["growing"], 60.0) == 20.0 and growing.seconds_to(run["whole"], 50.0) is None
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in growing.table([run]).splitlines()[2:]]
    assert rows[0][0] == "growing" and rows[0][-2:] == ["40", "30"]
    assert rows[1][0] == "whole" and rows[1][-2:] == ["55", "30"]
