"""Scores of class probabilities: definitions written out slowly, and what they see and miss."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from minigan.metrics import class_divergence, class_shares, inception_score, mode_score
from helpers import generators, slow_kl


# Class probabilities

def distributions(n, classes, rng):
    return rng.dirichlet(np.full(classes, 0.5), size=n)


def slow_inception_score(p):
    mean = [sum(column) / len(p) for column in zip(*p)]
    return math.exp(sum(slow_kl(row, mean) for row in p) / len(p))


@given(generators, st.integers(2, 20), st.integers(1, 6))
def test_the_inception_score_is_its_definition(rng, n, classes):
    p = distributions(n, classes, rng)
    np.testing.assert_allclose(inception_score(p, splits=1), [slow_inception_score(p), 0.0], rtol=1e-12)


def test_the_inception_score_goes_from_one_to_the_number_of_classes():
    sure = np.repeat(np.eye(7), 3, axis=0)
    np.testing.assert_allclose(inception_score(sure, splits=1).mean, 7)
    np.testing.assert_allclose(inception_score(np.full((20, 7), 1 / 7)).mean, 1)
    np.testing.assert_allclose(inception_score(np.tile(np.eye(7)[0], (20, 1))).mean, 1)


def test_splits_are_consecutive_parts_and_the_spread_is_theirs():
    three_classes, two_classes, one_class = np.eye(3), np.eye(3)[[0, 0, 1, 1]], np.eye(3)[[2, 2, 2, 2]]
    found = inception_score(np.concatenate([three_classes[[0, 1, 2, 0, 1, 2]], two_classes, one_class]), splits=1)
    assert found.std == 0
    found = inception_score(np.concatenate([np.tile(three_classes, (4, 1)), np.tile(two_classes, (3, 1)),
                                            np.tile(one_class, (3, 1))]), splits=3)
    np.testing.assert_allclose(found, [2.0, np.std([1, 2, 3])])


def test_splits_need_not_divide_the_samples(rng):
    p = distributions(11, 4, rng)
    parts = [slow_inception_score(p[:4]), slow_inception_score(p[4:8]), slow_inception_score(p[8:])]
    np.testing.assert_allclose(inception_score(p, splits=3), [np.mean(parts), np.std(parts)])


def test_there_are_ten_splits_by_default(rng):
    p = distributions(40, 4, rng)
    assert inception_score(p) == inception_score(p, splits=10) != inception_score(p, splits=5)


@pytest.mark.parametrize("splits", [0, -1, 11, 2.5])
def test_splits_too_many_or_none_are_refused(splits):
    with pytest.raises(ValueError, match=f"^inception_score: splits is {splits}, expected .*10, .* 20 samples"):
        inception_score(np.full((20, 2), 0.5), splits=splits)


@given(generators, st.integers(2, 20), st.integers(1, 6))
def test_the_mode_score_is_its_definition(rng, n, classes):
    p, data_shares = distributions(n, classes, rng), rng.dirichlet(np.ones(classes))
    expected = slow_inception_score(p) * math.exp(-slow_kl(p.mean(axis=0), data_shares))
    np.testing.assert_allclose(mode_score(p, data_shares), expected, rtol=1e-9)


def test_the_mode_score_is_the_inception_score_where_the_classes_have_the_datas_shares(rng):
    p = distributions(30, 5, rng)
    np.testing.assert_allclose(mode_score(p, p.mean(axis=0)), inception_score(p, splits=1).mean)
    assert mode_score(p, np.full(5, 0.2)) < inception_score(p, splits=1).mean


def test_the_mode_score_sees_that_the_data_has_unequal_classes():
    """The Inception Score prefers what the data is not."""
    data_shares, uneven, even = [0.75, 0.25], np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 0, 1, 1]]
    assert mode_score(uneven, data_shares) > mode_score(even, data_shares)
    assert inception_score(uneven, splits=1).mean < inception_score(even, splits=1).mean


def test_a_class_that_the_data_lacks_makes_the_mode_score_zero_and_a_missing_one_does_not():
    assert mode_score(np.eye(2), [1.0, 0.0]) == 0
    np.testing.assert_allclose(mode_score(np.eye(2)[[0, 0]], [0.5, 0.5]), 0.5)


# Classes

@given(generators, st.integers(1, 20), st.integers(1, 6))
def test_the_shares_of_classes_are_counted_by_the_most_probable_one(rng, n, classes):
    p = distributions(n, classes, rng)
    expected = [sum(max(range(classes), key=lambda k: row[k]) == c for row in p) / n for c in range(classes)]
    np.testing.assert_allclose(class_shares(p), expected)


def test_a_class_without_a_sample_has_a_share_of_zero_and_all_have_one():
    assert class_shares([[0.1, 0.9, 0.0], [0.4, 0.6, 0.0]]).tolist() == [0, 1, 0]


@given(generators, st.integers(1, 20), st.integers(1, 6))
def test_the_class_divergence_is_its_definition(rng, n, classes):
    p, data_shares = distributions(n, classes, rng), rng.dirichlet(np.ones(classes))
    np.testing.assert_allclose(class_divergence(p, data_shares), slow_kl(class_shares(p), data_shares), rtol=1e-9,
                               atol=1e-12)


def test_classes_in_the_datas_shares_do_not_diverge_and_missing_ones_cost_their_logarithm():
    p = np.eye(8)
    assert class_divergence(p, np.full(8, 1 / 8)) == 0
    np.testing.assert_allclose(class_divergence(p[:4], np.full(8, 1 / 8)), math.log(2))
    np.testing.assert_allclose(class_divergence(p[:1], np.full(8, 1 / 8)), math.log(8))
    assert class_divergence(p[:2], np.eye(8)[0]) == math.inf  # the data has no second class


def test_how_sure_the_classifier_is_does_not_matter_to_the_class_divergence():
    assert class_divergence([[0.51, 0.49], [0.4, 0.6]], [0.5, 0.5]) == 0


def test_samples_of_the_data_diverge_by_chance_as_told():
    rng, classes, n = np.random.default_rng(0), 10, 500
    found = [class_divergence(np.eye(classes)[rng.integers(classes, size=n)], np.full(classes, 0.1))
             for _ in range(300)]
    np.testing.assert_allclose(np.mean(found), (classes - 1) / (2 * n), rtol=0.1)


bad_probabilities = {
    "negative": ([[1.5, -0.5], [0.5, 0.5]], "-0.5"), "sums": ([[0.5, 0.6], [0.5, 0.5]], "1.1"),
    "logits": ([[3.0, -2.0], [1.0, 4.0]], "softmax"), "NaN": ([[np.nan, 1.0], [0.5, 0.5]], "NaN"),
    "labels": ([0.0, 1.0, 1.0], "(3,)"), "one sample": ([[0.5, 0.5]], "(1, 2)"), "none": (np.zeros((0, 2)), "(0, 2)"),
    "no class": (np.zeros((3, 0)), "(3, 0)"),
}


@pytest.mark.parametrize("kind", bad_probabilities)
@pytest.mark.parametrize("name, score", [("inception_score", lambda p: inception_score(p, splits=1)),
                                         ("mode_score", lambda p: mode_score(p, [0.5, 0.5])),
                                         ("class_divergence", lambda p: class_divergence(p, [0.5, 0.5])),
                                         ("class_shares", class_shares)])
def test_what_is_no_probability_is_refused(name, score, kind):
    p, seen = bad_probabilities[kind]
    if kind == "one sample" and name.startswith("class"):
        score(p)  # one is enough to count
        return
    with pytest.raises(ValueError, match=f"^{name}: .*expected") as error:
        score(p)
    assert seen in str(error.value) and "probabilities" in str(error.value)


@pytest.mark.parametrize("data_shares", [[0.5, 0.6], [1.0], [0.2, 0.3, 0.5], [1.5, -0.5], [[0.5, 0.5]] * 2, [[[1.0]]],
                                         [np.nan, 1.0]])
@pytest.mark.parametrize("metric", [mode_score, class_divergence])
def test_shares_of_the_data_that_are_none_are_refused(metric, data_shares):
    with pytest.raises(ValueError, match=f"^{metric.__name__}: .*data_shares"):
        metric([[0.5, 0.5], [0.1, 0.9]], data_shares)


def test_probabilities_in_float32_are_close_enough_to_one():
    p = np.random.default_rng(0).dirichlet(np.ones(1000), size=100).astype(np.float32)
    assert inception_score(p).mean > 1
