"""100 steps of training are those of PyTorch, which is written apart from minigan's formulas: a wrong derivative, loss,
update or order of events would show. Where PyTorch is not installed, what was measured once is looked at."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import trajectories
from minigan.trainer import RECIPES
from helpers import torch

__all__ = ["torch"]  # the fixture

MEASURED = Path(__file__).parent.parent / "benchmarks/results/trajectories.json"
BOTH = [(kind, objective) for kind in trajectories.DATA for objective in RECIPES]


def the_same(kind, objective, steps):
    found = trajectories.deviations(kind, objective, steps)
    assert all(deviation <= 1e-6 for deviation in found.values()), found


@pytest.mark.parametrize("kind, objective", [
    pytest.param(*both, marks=[pytest.mark.slow] * (both[0] == "dcgan")) for both in BOTH])
def test_losses_weights_and_samples_are_those_of_pytorch_after_100_steps(torch, kind, objective):
    assert trajectories.STEPS == 100
    the_same(kind, objective, 100)


@pytest.mark.parametrize("objective", RECIPES)
def test_with_convolutions_they_are_after_the_first_steps(torch, objective):
    the_same("dcgan", objective, 20 if RECIPES[objective].n_critic == 1 else 4)


def test_they_were_when_the_benchmark_was_run():
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    assert measured["steps"] == 100
    assert [(row["networks"], row["objective"]) for row in measured["rows"]] == BOTH
    for row in measured["rows"]:
        assert max(row["losses"], row["weights"], row["samples"]) <= 1e-6


def test_a_difference_is_relative_to_the_largest_number_and_nan_is_not_lost():
    zeros, ones = np.zeros(3), np.ones(3)
    assert trajectories.difference(np.array([1.0, 4.5]), np.array([2.0, 4.0])) == 0.25
    assert trajectories.largest([(zeros, zeros)]) == 0.0
    assert np.isnan(trajectories.largest([(ones, ones), (np.nan * ones, ones), (ones, ones)]))
