"""`semisupervised`: K logits in place of K + 1 classes, labels of the chosen samples only, and feature matching."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import semisupervised as benchmark
from minigan import backend, data, ops
from minigan.backend import to_numpy
from minigan.data.sources import Dataset
from minigan.runs import models
from minigan.runs.options import DEFAULTS
from minigan.tensor import constant
from minigan.trainer import Batch
from helpers import OFTEN, assert_same_run, done, refused, train

__all__ = ["train"]  # the fixture

CLASSES, N = 3, 60


def dataset(seed=0, shape=(8, 8, 1), shares=(0.6, 0.3, 0.1)):
    rng = np.random.default_rng(seed)
    x = rng.integers(256, size=(N, *shape), dtype=np.uint8)
    return Dataset(x, np.repeat(np.arange(CLASSES), np.rint(N * np.array(shares)).astype(int)), ("a", "b", "c"))


def built(given=None, **more):
    """(model, batches) of a run in its beginning."""
    given = given or dataset()
    chosen = dict(model="semisupervised", width=2, latent=3, batch_size=6, steps=10, labelled=12, seed=5)
    options = models.complete(DEFAULTS | chosen | more, models.facts_of(given))
    return models.build(options, given)[:2]


def trained(steps=3, given=None, **more):
    """The state and the statistics after some steps."""
    model, batches = built(given, **more)
    stats = [{name: float(to_numpy(value)) for name, value in model.step(batches.deal()).items()} for _ in range(steps)]
    return model, stats


def same(model, other):
    a, b = model.state_dict(), other.state_dict()
    return all(np.array_equal(a[name], b[name]) for name in a)


# Which labels are seen

@pytest.mark.parametrize("count, expected", [(3, [1, 1, 1]), (12, [4, 4, 4]), (13, [5, 4, 4]), (24, [9, 9, 6]),
                                             (60, [36, 18, 6])])
def test_as_many_labels_of_each_class_as_can_be(count, expected):
    model, _ = built(labelled=count)
    counts = np.bincount(model.labelled.labels)
    assert sorted(counts, reverse=True) == expected and counts.sum() == len(model.labelled.x) == count


def test_the_labelled_samples_are_different_ones_of_the_data_with_their_own_labels():
    given = dataset()
    model, _ = built(given)
    x = data.to_unit(given.x)
    places = [int(np.nonzero((x == one).all((1, 2, 3)))[0][0]) for one in model.labelled.x]
    assert len(set(places)) == 12
    np.testing.assert_array_equal(given.labels[places], model.labelled.labels)


def test_the_seed_chooses_them_and_nothing_else():
    (first, _), (again, _), (other, _) = built(), built(lr_d=0.5, width=3), built(seed=6)
    np.testing.assert_array_equal(first.labelled.x, again.labelled.x)
    assert not np.array_equal(first.labelled.x, other.labelled.x)


def test_other_labels_of_all_other_samples_change_nothing():
    """Once the labelled ones are chosen: that choice looks at all labels, to be balanced, as the authors' does."""
    given = dataset()
    model, _ = trained(given=given)
    x = data.to_unit(given.x)
    known = np.array([(model.labelled.x == one).all((1, 2, 3)).any() for one in x])
    first, last = given.labels == 0, given.labels == CLASSES - 1
    swapped = np.where(known, given.labels, np.where(first, CLASSES - 1, np.where(last, 0, given.labels)))
    assert (swapped != given.labels).sum() >= 20

    again, batches = built(given)
    batches.labels = swapped
    for _ in range(3):
        again.step(batches.deal())
    assert same(model, again)
    without, batches = built(given)
    for _ in range(3):
        without.step(Batch(batches.deal().x))
    assert same(model, without)
    assert not same(model, trained(given=given._replace(labels=2 - given.labels))[0])  # all of them do


@pytest.mark.parametrize("count", [2, 61])
def test_too_few_and_too_many_labels_are_refused(count):
    with pytest.raises(ValueError, match=f"--labelled {count}: .*3 classes.*60 samples"):
        built(labelled=count)


# K logits in place of K + 1 classes

def of_all_classes(logits):
    """ln softmax over the K classes and one more, whose logit is 0."""
    zeros = constant(np.zeros((len(logits), 1), logits.dtype))
    return ops.log_softmax(ops.concatenate(logits, zeros, axis=1))


def twice(**more):
    """(a model after one step, the same one before it, the batch), in float64, without dropout and augmentation."""
    (model, batches), (before, _) = (built(dropout=0.0, augment="none", **more) for _ in range(2))
    for network in (*model.networks().values(), *before.networks().values()):
        network.astype("float64")
    batch = batches.deal()
    return model, before, batch, {name: to_numpy(value) for name, value in model.step(batch).items()}


def gradients_of(network):
    return {name: to_numpy(p.grad.data) for name, p in network.named_parameters()}


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-13, err_msg=name)


def test_the_discriminator_descends_the_loss_of_k_and_1_classes():
    model, before, batch, stats = twice(entropy=0.7)
    rows = before.streams["labelled"].permutation(12)[:6]
    known, x = before.real(before.labelled.x[rows]), before.real(batch.x)
    fake = before.generator(before.noise(6)).detach()
    all_known, all_real, all_fake = (of_all_classes(before.discriminator(each)) for each in (known, x, fake))
    right = (all_known * ops.one_hot(before.labelled.labels[rows], 4).astype("float64")).sum(-1)
    labelled = -(right - ops.logsumexp(all_known[:, :-1], -1)).mean()  # ln p(y | x, it is real)
    unlabelled = -(ops.logsumexp(all_real[:, :-1], -1).mean() + all_fake[:, -1].mean()) * 0.5
    p = ops.softmax(all_real[:, :-1])  # given that they are real
    undecided = -(p * ops.log(p)).sum(-1).mean()
    (labelled + unlabelled + 0.7 * undecided).backward()
    np.testing.assert_allclose(stats["labelled_loss"], labelled.data, rtol=1e-12)
    np.testing.assert_allclose(stats["unlabelled_loss"], unlabelled.data, rtol=1e-12)
    np.testing.assert_allclose(stats["entropy_loss"], undecided.data, rtol=1e-12)
    assert_close(gradients_of(model.discriminator), gradients_of(before.discriminator))


@pytest.mark.on_each_engine
@pytest.mark.parametrize("bias", [[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [-50.0, 50.0, 0.0]])
def test_logits_of_ten_thousand_are_stable(engine, bias):
    model, batches = built()
    for network in model.networks().values():
        network.astype("float64")
    head = model.discriminator.head
    head.weight.data, head.bias.data = 0.0 * head.weight.data, np.array(bias)
    stats = model.step(batches.deal())
    model.check_finite()
    score = np.logaddexp.reduce(bias)
    expected = 0.5 * (np.logaddexp(0.0, -score) + np.logaddexp(0.0, score))
    np.testing.assert_allclose(float(stats["unlabelled_loss"]), expected, rtol=1e-12)
    real, fake = 1 / (1 + np.exp(min(score, 700.0))), 1 / (1 + np.exp(min(-score, 700.0)))
    unlabelled = 0.5 * (fake - real) * np.exp(bias - score)  # dL/dl = ½ (D − (1 − D)) softmax(l)
    chosen = backend.Streams(5)["labelled"].permutation(12)[:6]
    shares = np.bincount(model.labelled.labels[chosen], minlength=CLASSES) / 6
    np.testing.assert_allclose(head.bias.grad.data, unlabelled + np.exp(bias - score) - shares, atol=1e-11)


# Feature matching

def test_the_generator_descends_the_distance_of_mean_features():
    """‖E f(x) − E f(G(z))‖² of the last hidden layer; with a rate of 0 the discriminator is the one before."""
    model, before, batch, stats = twice(lr_d=0.0)
    before.noise(6)  # the discriminator's
    features = lambda x: before.discriminator.body(x)
    target = constant(features(before.real(batch.x)).data.mean(0))
    found = features(before.generator(before.noise(6)))
    assert found.shape == (6, 16)
    loss = ((found.mean(0) - target) ** 2).sum()
    loss.backward()
    np.testing.assert_allclose(stats["g_loss"], loss.data, rtol=1e-12)
    assert_close(gradients_of(model.generator), gradients_of(before.generator))


def test_the_generator_has_nothing_left_to_learn_where_mean_features_agree():
    """Whatever the discriminator says of its samples."""
    model, batches = built()
    last = model.discriminator.body.layers[-2]
    last.weight.data = 0.0 * last.weight.data  # the features of all samples are the same ones
    model.d_optimizer.lr = 0.0
    assert float(model.step(batches.deal())["g_grad_norm"]) == 0.0


# A run

def test_the_averaged_classifier_is_asked_without_dropout():
    model, _ = trained()
    given = dataset()
    first, again = model.classify(given.x), model.classify(given.x, block=7)
    np.testing.assert_array_equal(first, again)
    assert first.shape == (N,) and first.dtype.kind == "i"
    logits = model.averaged_classifier(constant(data.to_unit(given.x))).numpy()
    np.testing.assert_array_equal(first, logits.argmax(1))


def test_it_learns_classes_from_a_few_labels_of_many_points():
    """A ring of 8, two labels of each mode."""
    points = data.load("ring8", n=2000)
    options = models.complete(DEFAULTS | dict(model="semisupervised", labelled=16, steps=200, width=32, latent=2,
                                              lr_d=2e-3, lr_g=2e-3), models.facts_of(points))
    model, batches, _ = models.build(options, points)
    for _ in range(200):
        model.step(batches.deal())
    assert (model.classify(points.x) == points.labels).mean() > 0.99


OWN = ("--model", "semisupervised", "--data", "digits", "--width", "2", "--latent", "3", "--batch-size", "8",
       "--lr-decay", "1")


@pytest.mark.on_each_backend
def test_a_resumed_run_goes_on_with_the_same_labelled_samples(train):
    done(train(*OWN, "--steps", 4, *OFTEN, "--name", "whole"))
    done(train(*OWN, "--steps", 2, *OFTEN, "--name", "parts"))
    done(train("--resume", "runs/00001-parts", "--steps", 4))
    assert_same_run("runs/00000-whole", "runs/00001-parts")


def test_data_that_cannot_be_chosen_from_are_refused(train):
    refused(train(*OWN, "--labelled", 5), "--labelled 5", "10 classes")
    refused(train(*OWN, "--entropy", -1), "entropy", "≥ 0")
    refused(train("--model", "semisupervised", "--data", "ring8", "--augment", "translation"),
            "augment translation changes pictures")
    assert not Path("runs").exists()


def test_each_picture_is_moved_before_d_sees_it():
    """The labelled ones, the real ones and the fakes, in D's step and in G's; when it is asked for a class, none is."""
    model, batches = built(dropout=0.0)
    moved, asked = [], []
    seen, body = model.seen, model.discriminator.body.forward
    model.seen = lambda x: moved.append(seen(x)) or moved[-1]
    model.discriminator.body.forward = lambda x: asked.append(x) or body(x)
    model.step(batches.deal())
    assert len(asked) == 5 and all(a is b for a, b in zip(asked, moved, strict=True))
    x = np.zeros((6, 8, 8, 1), np.float32)
    x[:, 0, 0] = 1.0
    places = {tuple(np.argwhere(one)[0]) if one.any() else None for one in seen(constant(x)).data}
    assert len(places) > 1  # by up to a pixel, each by its own way
    np.testing.assert_array_equal(model.classify(x), model.classify(x))
    assert len(moved) == 5


# The benchmark

def test_labels_alone_are_the_labelled_part_of_the_step():
    """With the unlabelled samples' part taken out, the weights become the same ones."""
    (model, batches), (alone, _) = built(dropout=0.0, entropy=0.0), built(dropout=0.0)
    step = benchmark.labelled_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "softplus", lambda score: score * 0.0)
        model.step(batches.deal())
    step(alone, 6)
    for name, array in alone.discriminator.state_dict().items():
        np.testing.assert_allclose(model.discriminator.state_dict()[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_benchmark_keeps_its_runs_and_does_none_again(tmp_path, monkeypatch, capsys):
    path = tmp_path / "runs.json"
    arguments = ["", "--data", "digits", "--steps", "20", "--seeds", "2", "--json", str(path)]
    monkeypatch.setattr("sys.argv", arguments)
    benchmark.main()
    table = capsys.readouterr().out.splitlines()[-4:]
    runs = json.loads(path.read_text())["runs"]
    assert [(run["side"], run["steps"], run["seed"]) for run in runs] == [("alone", 2, 0), ("alone", 2, 1),
                                                                          ("all", 20, 0), ("all", 20, 1)]
    for run in runs:
        assert 0 <= run["accuracy"] <= 1 and run["curve"][-1] == run["accuracy"]
    assert "| 100 labels, all samples beside them | 20 | 2 |" in table[-1]
    monkeypatch.setattr(benchmark, "train", None)
    benchmark.main()
    assert capsys.readouterr().out.splitlines() == table
