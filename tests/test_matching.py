"""The best one-to-one match: beside every permutation there is, and on divisions that are known."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minigan.metrics import assignment, code_agreement
from helpers import generators


def cheapest(cost):
    """The least cost of all permutations."""
    return min(sum(cost[i, p[i]] for i in range(len(cost))) for p in permutations(range(len(cost))))


@given(generators, st.integers(1, 7), st.booleans())
def test_no_permutation_is_cheaper(rng, n, with_ties):
    cost = rng.integers(-3, 4, (n, n)) if with_ties else rng.standard_normal((n, n))
    found = assignment(cost)
    assert sorted(found) == list(range(n))
    np.testing.assert_allclose(cost[range(n), found].sum(), cheapest(cost), atol=1e-12)


def test_a_greedy_choice_is_not_the_best():
    """The cheapest pair of all belongs to no best assignment."""
    assert assignment([[1, 2], [3, 10]]).tolist() == [1, 0]


@given(generators, st.integers(8, 30))
def test_a_hidden_permutation_is_found(rng, n):
    """Of prices u + v that any assignment pays in full, and a surcharge on all pairs but n."""
    hidden = rng.permutation(n)
    cost = rng.integers(-50, 50, (n, 1)) + rng.integers(-50, 50, n) + rng.integers(1, 9, (n, n))
    cost[range(n), hidden] -= 9
    assert (assignment(cost) == hidden).all()


@given(generators, st.integers(1, 6), st.integers(1, 40))
def test_agreement_is_the_best_of_all_ways_to_name_the_codes(rng, K, n):
    codes, classes = rng.integers(K, size=(2, n))
    best = max(np.mean(np.array(names)[codes] == classes) for names in permutations(range(K)))
    np.testing.assert_allclose(code_agreement(codes, classes), best, atol=1e-12)


def test_agreement_of_known_divisions():
    classes = np.repeat(np.arange(10), 20)
    assert code_agreement((7 * classes + 3) % 10, classes) == 1.0
    assert code_agreement(np.zeros(200, int), classes) == 0.1     # one code for all
    assert code_agreement(classes // 2, classes) == 0.5           # each code has two classes
    assert code_agreement(np.arange(200) // 10, classes) == 0.5   # each class has two codes: one counts
    assert code_agreement(classes % 10 + 90, classes) == 1.0      # names mean nothing


@pytest.mark.parametrize("codes, classes, words", [
    ([0.0, 1.0], [0, 1], "codes .*float64"), ([0, 1], [[0, 1]], r"classes .*\(1, 2\)"),
    ([0, 1], [0, -1], "classes"), ([0, 1, 2], [0, 1], "2 and 3"), ([], [], "codes")])
def test_what_are_no_codes_is_refused(codes, classes, words):
    with pytest.raises(ValueError, match=words):
        code_agreement(np.array(codes), np.array(classes))


def test_costs_that_are_no_square_are_refused():
    with pytest.raises(ValueError, match=r"assignment: .*\(2, 3\)"):
        assignment(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="assignment: .*NaN"):
        assignment([[np.nan]])
