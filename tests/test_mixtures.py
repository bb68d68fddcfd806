"""The yardstick on mixtures: what is run, that it can be interrupted, and that its table tells what was measured."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import mixtures
from minigan.trainer import RECIPES

ROOT = Path(__file__).parent.parent


def run_of(setting, seed, modes=8, high_quality=0.9, reverse_kl=0.01, steps=100):
    return dict(setting=setting, steps=steps, seed=seed, modes=modes, high_quality=high_quality, reverse_kl=reverse_kl)


def test_the_best_setting_is_run_first_with_five_seeds_and_every_objective_and_r3gan_for_a_fifth_with_three():
    due = mixtures.runs_of(1000)
    best, others = due[:5], due[5:]
    assert [(run["setting"], run["steps"], run["seed"]) for run in best] == [
        ("gan, packs of 2", 1000, seed) for seed in range(5)]
    sides = [mixtures.SETTINGS[run["setting"]].options for run in others]
    assert {options.get("objective") or options["model"] for options in sides} == {*RECIPES, "r3gan"}
    assert len(others) == 3 * (len(RECIPES) + 1)
    assert {run["steps"] for run in others} == {200}
    assert [run["seed"] for run in others] == sorted(run["seed"] for run in others)


def test_a_run_is_the_same_again_and_counts_its_modes():
    options = dict(objective="gan", pack=2, width=8)
    first, again = [mixtures.train("ring8", options, steps=20, seed=3) for _ in range(2)]
    assert {**first, "seconds": 0} == {**again, "seconds": 0}
    assert 0 <= first["modes"] <= 8 and 0.0 <= first["high_quality"] <= 1.0


def test_a_run_that_diverges_covers_nothing_and_says_why():
    run = mixtures.train("ring8", dict(objective="lsgan", width=8, lr_g=1e30, lr_d=1e30), steps=10, seed=0)
    assert (run["modes"], run["high_quality"], run["reverse_kl"]) == (0, 0.0, None)
    assert "is not finite since step" in run["failed"]


def test_means_have_a_standard_error_from_two_values_on():
    assert mixtures.mean_and_error([8, 8, 5]) == f"7 ± {math.sqrt(3) / math.sqrt(3):.2g}"
    assert mixtures.mean_and_error([0.5]) == "0.5"
    assert mixtures.mean_and_error([None, 0.25, None]) == "0.25"
    assert mixtures.mean_and_error([None]) == "–"


def test_the_table_has_a_row_for_each_setting_that_was_run_and_the_published_ones():
    runs = [run_of("gan", 0, modes=6), run_of("gan", 1, modes=8), run_of("hinge", 0, reverse_kl=None)]
    rows = mixtures.table("ring8", runs).splitlines()[2:]
    assert rows[0] == "| gan | 100 | 2 | 7 ± 1 | 90 ± 0 | 0.01 ± 0 |"
    assert rows[1] == "| hinge | 100 | 1 | 8 | 90 | – |"
    assert len(rows) == 2 + len(mixtures.PUBLISHED["ring8"])
    assert all(row.startswith("| published: ") for row in rows[2:])


@pytest.mark.parametrize("mixture", mixtures.PUBLISHED)
def test_published_rows_have_as_many_columns_as_ours(mixture):
    assert {row.count("|") for row in mixtures.table(mixture, []).splitlines()} == {7}


def test_what_is_kept_is_not_done_again(tmp_path):
    """All runs but the last are given as done: one is left, and after it none."""
    file = tmp_path / "runs.json"
    done = [run | run_of(run["setting"], run["seed"], steps=run["steps"]) for run in mixtures.runs_of(10)[:-1]]
    file.write_text(json.dumps({"runs": done}))
    command = [sys.executable, "-m", "benchmarks.mixtures", "ring8", "--steps", "10", "--json", str(file)]
    for _ in range(2):
        output = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout
        kept = json.loads(file.read_text())
        assert kept["mixture"] == "ring8" and len(kept["runs"]) == len(done) + 1
        assert kept["runs"][:-1] == done
        assert output.endswith(mixtures.table("ring8", kept["runs"]) + "\n")
    assert "seconds" not in output
