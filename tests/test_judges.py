"""Which measures suit the samples of a run, what they compare, and by whose features."""

import math

import numpy as np
import pytest
from PIL import Image

from minigan import backend, data, metrics, plots
from minigan.metrics import classifiers
from minigan.metrics.judges import (ImageJudge, Measure, PointJudge, class_agreement, judge_for, quick, some,
                                    training_distance)
from minigan.pictures.evaluation import save_evaluation


class Toy:
    """A feature network of one's own: three pixels are the features, the first decides between two classes."""
    name, classes = "toy", ("dark", "light")

    def judge(self, images):
        images = data.to_unit(images)
        light = images[:, 0, 0, 0] > 0
        return images[:, 0, :3, 0], np.stack([~light, light], axis=1).astype(float)


def images(n, seed=0, light=0.5):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 8, 8, 1)).astype(np.float32)
    x[:, 0, 0, 0] = np.where(rng.random(n) < light, 1, -1) * abs(x[:, 0, 0, 0])
    return x


def numbers(measures):
    found = {}
    for measure in measures:
        found |= measure.numbers(measure.metric(*measure.arrays))
    return found


# Measures

def test_a_measure_names_a_number_or_each_of_several():
    assert Measure({"a": "↑"}, None, ()).numbers(3.0) == {"a": 3.0}
    found = metrics.DensityCoverage(1.5, 0.5)
    assert Measure({"density": "↑", "coverage": "↑"}, None, ()).numbers(found) == {"density": 1.5, "coverage": 0.5}


def test_images_are_judged_by_the_features_and_the_classes_of_a_network_of_ones_own():
    real, fake, toy = images(60, 0, light=0.75), images(50, 1, light=0.2), Toy()
    measures = ImageJudge(real, toy).measures(fake)
    both, p = (real[:, 0, :3, 0], fake[:, 0, :3, 0]), toy.judge(fake)[1]
    shares = toy.judge(real)[1].mean(axis=0)
    precision, recall = metrics.precision_recall(*both)
    density, coverage = metrics.density_coverage(*both)
    assert numbers(measures) == {
        "FD-toy": metrics.frechet_distance(*both), "KD-toy": metrics.kernel_distance(*both),
        "IS-toy": metrics.inception_score(p, splits=1).mean, "MS-toy": metrics.mode_score(p, shares),
        "class_divergence": metrics.class_divergence(p, shares), "precision": precision, "recall": recall,
        "density": density, "coverage": coverage}
    better = {name: sign for measure in measures for name, sign in measure.names.items()}
    assert {name for name, sign in better.items() if sign == "↓"} == {"FD-toy", "KD-toy", "class_divergence"}
    assert set(better.values()) == {"↓", "↑"}


@pytest.mark.parametrize("mixture", ["ring8", None])
def test_points_are_judged_as_they_are_and_by_the_modes_of_a_mixture_that_is_known(mixture, rng):
    known = data.MIXTURES.get(mixture)
    real, fake = data.MIXTURES["ring8"].sample(200, rng)[0], data.MIXTURES["grid25"].sample(150, rng)[0]
    measures = PointJudge(real, known).measures(fake)
    precision, recall = metrics.precision_recall(real, fake)
    density, coverage = metrics.density_coverage(real, fake)
    expected = {"FD-points": metrics.frechet_distance(real, fake), "precision": precision, "recall": recall,
                "density": density, "coverage": coverage}
    if known:
        expected |= metrics.mode_coverage(fake, *known)._asdict()
    np.testing.assert_equal(numbers(measures), expected)  # to which NaN is NaN


def test_where_there_are_no_classes_none_agrees():
    """Neither where the data have none, nor where the network, one of general features, has none."""
    class General:
        name, classes = "general", ()

        def judge(self, images):
            return images[:, 0, :3, 0], None
    x, labels = images(6), np.zeros(6, int)
    toy, general = ImageJudge(images(20), Toy()), ImageJudge(images(20), General())
    [measure] = class_agreement(toy, x, labels, Toy.classes)
    assert measure.metric(*measure.arrays) == pytest.approx((x[:, 0, 0, 0] <= 0).mean())
    for judge, classes in ((toy, ()), (general, ()), (general, Toy.classes)):
        assert class_agreement(judge, x, labels, classes) == []


def test_the_arrays_of_a_measure_are_what_half_sampling_takes_halves_of(rng):
    for measure in (*ImageJudge(images(30), Toy()).measures(images(20, 1)), *PointJudge(*rng.random((1, 30, 2)))
                    .measures(rng.random((20, 2)))):
        lengths = [len(array) for array in measure.arrays]
        assert lengths in ([30, 20], [20])
        found = metrics.half_sampling(measure.metric, *measure.arrays, rng=rng)
        assert measure.numbers(found.standard_error).keys() == measure.names.keys()


def test_the_quick_ones_are_a_few_and_only_those_are_computed(monkeypatch, rng):
    for slow in ("kernel_distance", "precision_recall", "density_coverage", "inception_score", "mode_score"):
        monkeypatch.setattr(metrics, slow, None)
    assert quick(ImageJudge(images(60), Toy()), images(50, 1)).keys() == {"FD-toy", "class_divergence"}
    ring = data.MIXTURES["ring8"]
    judge = PointJudge(ring.sample(200, rng)[0], ring)
    assert quick(judge, ring.sample(200, rng)[0]).keys() == {"modes", "high_quality", "reverse_kl", "FD-points"}


def test_what_has_no_finite_value_is_left_out_of_the_quick_ones(rng):
    ring = data.MIXTURES["ring8"]
    judge = PointJudge(ring.sample(200, rng)[0], ring)
    assert quick(judge, 50 + rng.random((20, 2))).keys() == {"modes", "high_quality", "FD-points"}
    assert quick(ImageJudge(images(60, light=0.0), Toy()), images(50, light=1.0)).keys() == {"FD-toy"}


# Memorisation

def measured(measure):
    return measure.metric(*measure.arrays)


def test_copies_of_the_training_data_are_at_zero_and_new_data_at_one(rng):
    training, real, new = rng.standard_normal((3, 800, 4))
    assert measured(training_distance(training, real, training[:100])) == 0
    assert measured(training_distance(training, real, new)) == pytest.approx(1, abs=0.1)
    assert measured(training_distance(training, real, training + 1e-3 * new)) < 0.01
    assert measured(training_distance(training, real, 5 + new)) > 3


def test_the_training_distance_is_the_ratio_of_medians_of_the_nearest(rng):
    training, real, fake = rng.random((30, 2)), rng.random((20, 2)), rng.random((11, 2))
    ours, theirs = ([min(math.dist(x, t) for t in training) for x in some] for some in (fake, real))
    found = training_distance(training, real, fake)
    assert measured(found) == pytest.approx(sorted(ours)[5] / (sum(sorted(theirs)[9:11]) / 2))
    assert found.names == {"training_distance": ""} and [len(a) for a in found.arrays] == [11, 20]


def test_features_of_are_those_that_are_compared(rng):
    x, points = images(30), rng.random((30, 2))
    judge = ImageJudge(x, Toy())
    np.testing.assert_array_equal(judge.features_of(x), judge.features)
    np.testing.assert_array_equal(PointJudge(points).features_of(points), PointJudge(points).features)


# Pictures

def test_the_picture_shows_the_most_real_looking_and_what_they_may_be_copied_from(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "save_judged_images", lambda path, *what: shown.append(what))
    real, fake, toy = images(60), images(50, 1), Toy()
    training = np.random.default_rng(2).integers(256, size=(80, 8, 8, 1), dtype=np.uint8)
    judge = ImageJudge(real, toy)
    save_evaluation(tmp_path / "a.png", judge, fake, training, judge.features_of(training))
    [(shown_real, shown_fake, classes, real_shares, fake_shares, best, nearest)] = shown
    np.testing.assert_array_equal(shown_real, real)
    np.testing.assert_array_equal(shown_fake, fake)
    assert classes == toy.classes
    np.testing.assert_allclose(real_shares, toy.judge(real)[1].mean(axis=0))
    np.testing.assert_allclose(fake_shares, toy.judge(fake)[1].mean(axis=0))
    order = sorted(range(50), key=lambda i: -metrics.realism(judge.features, judge.features_of(fake))[i])
    np.testing.assert_array_equal(best, fake[order[:24]])
    candidates = data.to_unit(training)
    for one, other in zip(best, nearest, strict=True):
        distances = [math.dist(one[0, :3, 0], candidate[0, :3, 0]) for candidate in candidates]
        np.testing.assert_array_equal(other, candidates[np.argmin(distances)])


@pytest.mark.parametrize("judge, samples", [
    (ImageJudge(images(30), Toy()), images(20, 1)),
    (PointJudge(data.MIXTURES["ring8"].sample(30, np.random.default_rng(0))[0]), np.ones((20, 2)))])
def test_both_draw_a_picture(tmp_path, judge, samples):
    save_evaluation(tmp_path / "a.png", judge, samples, samples, judge.features_of(samples))
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
        assert picture.format == "PNG" and plots.MARK in picture.text.values()


# Which judge

def test_points_need_no_network_and_a_mixture_is_known_by_its_name(rng):
    points = rng.random((30, 2)).astype(np.float32)
    assert judge_for("ring8", points).mixture is data.MIXTURES["ring8"]
    assert judge_for("mine.npz", points).mixture is None
    assert judge_for("mine.npz", points).name == "points"
    with pytest.raises(ValueError, match=r"--classifier mnist: expected images, mine.npz has samples \(2,\)"):
        judge_for("mine.npz", points, "mnist")


def test_images_are_judged_by_the_network_that_ships_for_their_data_or_the_one_asked_for():
    x, labels, _ = data.load("fashion-mini")
    judge = judge_for("fashion-mini", x[:300])
    assert judge.name == "LeNet-fashion"
    expected = np.bincount(classifiers.load("fashion").probabilities(x[:300]).argmax(axis=1), minlength=10) / 300
    np.testing.assert_array_equal(judge.shares, expected)
    assert judge_for("fashion-mini", x[:300], "mnist").name == "LeNet-mnist"


def test_images_without_a_network_are_refused_with_what_to_do(tmp_path):
    x = data.load("digits").x
    with pytest.raises(ValueError, match="--classifier fashion .*python -m minigan.classifier .*--classifier names"):
        judge_for("mine", x)
    with pytest.raises(ValueError, match="nowhere"):
        judge_for("digits", x, str(tmp_path / "nowhere"))


def test_some_are_drawn_without_replacement_and_all_if_there_are_fewer():
    x = np.arange(20)
    chosen = some(x, 7, backend.Streams(0)["real"])
    assert len(set(chosen)) == 7 and list(chosen) == sorted(chosen)
    np.testing.assert_array_equal(chosen, some(x, 7, backend.Streams(0)["real"]))
    assert (chosen != some(x, 7, backend.Streams(1)["real"])).any()
    np.testing.assert_array_equal(some(x, 99, backend.Streams(0)["real"]), x)
