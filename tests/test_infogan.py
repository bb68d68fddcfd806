"""InfoGAN: what the bound on the information is, whose code it is of, and whom it teaches."""

from math import e, log, pi
from types import SimpleNamespace

import numpy as np
import pytest

import minigan as mg
from minigan import backend, ops
from minigan.metrics.latent import WAY
from minigan.pictures import snapshots
from minigan.runs import models
from minigan.sample import label
from minigan.trainer import Batch, Facts

FACTS = Facts((8, 8, 1), ("cat", "dog"), (0.5, 0.5))
K, C, LATENT, N = 4, 3, 5, 6
MODERATE = {1: 1.0, 2: 0.3, 4: 0.3}  # by its axes, how large a weight is: with DCGAN's nothing reaches far


def made(facts=FACTS, dtype="float64", **options):
    """A tiny model in float64 whose rates are 0: a step leaves gradients and changes no weight."""
    given = dict(model="infogan", width=2, latent=LATENT, categories=K, continuous=C, lr_g=0.0, lr_d=0.0)
    options = models.complete(given | options, facts)
    model = models.made(options, facts, backend.Streams(1))
    rng = np.random.default_rng(3)
    for network in model.networks().values():
        for p in network.parameters():
            p.data = (p.data + MODERATE[p.ndim] * rng.standard_normal(p.shape)).astype(p.dtype)
        network.astype(dtype)
    return model


def batch(seed=2, n=N):
    return Batch(np.random.default_rng(seed).uniform(-1, 1, (n, *FACTS.shape)))


def gradients(seed=2, **options):
    """{network: all gradients that a step left in it, as one row}."""
    model = made(**options)
    model.step(batch(seed))
    return {part: np.concatenate([p.grad.numpy().ravel() for p in getattr(model, part).parameters()])
            for part in ("generator", "discriminator", "q")}


def bounds(model):
    """L of both codes of a first step's samples at the model's weights, from the definitions: an array of 2."""
    streams = backend.Streams(1)
    noise = streams["noise"].standard_normal((N, LATENT))
    categories = streams["codes"].integers(K, size=N)
    numbers = streams["codes"].uniform(-1, 1, (N, C))
    with mg.no_grad():
        fake = model.generator(mg.Tensor(np.concatenate([noise, numbers], 1)), categories)
        told = model.q(model.discriminator[0](fake)).numpy()
    p = np.exp(told[:, :K]) / np.exp(told[:, :K]).sum(1, keepdims=True)
    mean, sigma = told[:, K:K + C], np.exp(told[:, K + C:])
    q = np.exp(-((numbers - mean) / sigma) ** 2 / 2) / np.sqrt(2 * pi) / sigma
    return np.array([np.log(p[np.arange(N), categories]).mean() + log(K), np.log(q / 0.5).sum(1).mean()])


def assert_climbs(model, parts, slopes, which):
    """What a step's gradients have of L, `slopes` by network, is −∂L/∂weights: along their direction L falls by their
    length. None of the networks is left out."""
    weights = [p for part in parts for p in getattr(model, part).parameters()]
    begin, ahead = [p.data.copy() for p in weights], np.concatenate([slopes[part] for part in parts])
    length, values = np.linalg.norm(ahead), []
    assert min(np.linalg.norm(slopes[part]) for part in parts) > 1e-3
    for distance in (1e-5, -1e-5):
        at = 0
        for p, array in zip(weights, begin):
            p.data = array + distance * ahead[at:at + p.size].reshape(p.shape) / length
            at += p.size
        values.append(bounds(model)[which])
    np.testing.assert_allclose((values[0] - values[1]) / 2e-5, -length, rtol=1e-5)


BOTH = pytest.mark.parametrize("which, option", [(0, "info"), (1, "info_continuous")])
NONE = dict(info=0.0, info_continuous=0.0)


# The bound

def test_a_category_that_is_certain_tells_ln_k_and_one_that_is_guessed_tells_nothing():
    model, categories, numbers = made(), np.array([0, 3]), mg.Tensor(np.zeros((2, C)))
    for logits, expected in ((np.zeros((2, K)), 0.0), (50.0 * np.eye(K)[categories], log(K)),
                             (np.log([[.5, .3, .1, .1], [.2, .2, .2, .4]]), (log(.5) + log(.4)) / 2 + log(K))):
        told = mg.Tensor(np.concatenate([logits, np.zeros((2, 2 * C))], 1))
        np.testing.assert_allclose(model.information(told, categories, numbers)[0].item(), expected, atol=1e-12)


def test_of_a_number_seen_through_normal_noise_the_bound_is_the_difference_of_the_entropies():
    """x = c + s·ε: of the true Q = N(x, s²) it is h(c) − h(s·ε) = ln 2 − ½ ln 2πe s², and less of any other σ."""
    rng, model, s, n = np.random.default_rng(0), made(), 0.2, 20_000
    numbers = rng.uniform(-1, 1, (n, C))
    seen = numbers + s * rng.standard_normal((n, C))

    def told_with(sigma):
        told = np.concatenate([np.zeros((n, K)), seen, np.full((n, C), log(sigma))], 1)
        return model.information(mg.Tensor(told), np.zeros(n, int), mg.Tensor(numbers))[1].item()
    np.testing.assert_allclose(told_with(s), C * (log(2) - 0.5 * log(2 * pi * e * s ** 2)), rtol=0.01)
    assert told_with(s / 2) < told_with(s) and told_with(2 * s) < told_with(s)


# Whom it teaches

@BOTH
def test_the_generator_climbs_the_information_of_the_very_codes_that_it_was_given(which, option):
    """Through D's layers and Q, though their own weights rest."""
    without, having = gradients(**NONE), gradients(**NONE | {option: 1.0})
    assert_climbs(made(), ["generator"], {"generator": having["generator"] - without["generator"]}, which)


@BOTH
def test_d_s_layers_and_q_climb_the_information_of_fakes(which, option):
    without, having = gradients(**NONE), gradients(**NONE | {option: 1.0})
    slopes = {part: having[part] - without[part] for part in ("discriminator", "q")}
    assert (without["q"] == 0).all()
    assert_climbs(made(), ["discriminator", "q"], slopes, which)


def test_q_learns_nothing_from_real_samples():
    """They have no code."""
    np.testing.assert_array_equal(gradients(seed=2)["q"], gradients(seed=3)["q"])
    assert (gradients(seed=2)["discriminator"] != gradients(seed=3)["discriminator"]).any()


@BOTH
def test_lambda_is_the_weight_of_the_information(which, option):
    none, once, thrice = (gradients(**NONE | {option: weight})["generator"] for weight in (0.0, 1.0, 3.0))
    np.testing.assert_allclose(thrice - none, 3 * (once - none), atol=1e-12)


def test_the_statistics_are_the_games_losses_and_minus_the_bounds():
    model = made()
    stats = model.step(batch())
    np.testing.assert_allclose([-stats["category_loss"], -stats["continuous_loss"]], bounds(model), rtol=1e-9)
    assert stats["d_loss"] == made(**NONE).step(batch())["d_loss"]


def test_labels_are_neither_needed_nor_looked_at():
    assert models.model_class("infogan").NEEDS == ()
    with_labels = batch()._replace(labels=np.arange(N) % 2)
    assert made().step(batch()) == made().step(with_labels)


def test_points_have_codes_too():
    """A ring of 4 blobs: after a short training Q reads most of the category."""
    facts, rng = Facts((2,)), np.random.default_rng(0)
    model = made(facts, "float32", width=16, latent=2, continuous=1, lr_g=3e-3, lr_d=3e-3)
    for _ in range(150):
        corners = np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])[rng.integers(4, size=64)]
        stats = model.step(Batch((corners + 0.05 * rng.standard_normal((64, 2))).astype(np.float32)))
    model.check_finite()
    assert -stats["category_loss"] > 0.7 * log(K)


# What is drawn

def test_every_category_is_drawn_alike_and_numbers_are_from_minus_one_to_one():
    model = made()
    z, categories, numbers = model.codes(4000, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(categories) / 4000, 1 / K, atol=0.03)
    np.testing.assert_array_equal(z.numpy()[:, LATENT:], numbers.numpy())
    assert z.shape == (4000, LATENT + C)
    assert -1 <= numbers.numpy().min() < -0.99 and 0.99 < numbers.numpy().max() <= 1
    np.testing.assert_allclose(numbers.numpy().std(), 3 ** -0.5, rtol=0.02)


def test_a_label_asks_for_a_category():
    model = made()
    one, each = (model.draw(3, np.random.default_rng(0), label=asked) for asked in (2, [2, 2, 2]))
    np.testing.assert_array_equal(one.x, each.x)
    assert one.labels.tolist() == [2, 2, 2]
    other = model.draw(3, np.random.default_rng(0), label=1)
    assert (np.abs(other.x - one.x).max((1, 2, 3)) > 1e-3).all()


def test_categories_have_numbers_and_not_the_names_of_classes():
    run = SimpleNamespace(model=made(), options=dict(model="infogan"))
    assert [label(run, str(k)) for k in range(K)] == list(range(K))
    for text in ("cat", "4"):
        with pytest.raises(ValueError, match="no such class.*classes: 0, 1, 2, 3"):
            label(run, text)


def test_a_picture_has_a_row_for_each_category_however_many_classes_the_data_have():
    shown = snapshots.shown(made(), 64, seed=0)
    assert shown.labels.tolist() == np.repeat(np.arange(K), snapshots.PER_CLASS).tolist()


def test_a_walk_varies_one_number_in_each_row_and_nothing_else(monkeypatch):
    model, given = made(), []
    monkeypatch.setattr(model, "sample", lambda *inputs: given.extend(inputs))
    model.walk(np.random.default_rng(0), 2 * C)
    noise, categories = given[0].reshape(2, C, WAY, -1), given[1].reshape(2, C, WAY)
    for i in range(C):
        moving = LATENT + i
        np.testing.assert_allclose(noise[:, i, :, moving], np.broadcast_to(np.linspace(-2, 2, WAY), (2, WAY)))
        rest = np.delete(noise[:, i], moving, axis=-1)
        np.testing.assert_array_equal(rest, np.broadcast_to(rest[:, :1], rest.shape))
    np.testing.assert_array_equal(noise[..., :LATENT], np.broadcast_to(noise[:, :1, :1, :LATENT], (2, C, WAY, LATENT)))
    assert (noise[0, 0, 0, :LATENT] != noise[1, 0, 0, :LATENT]).all()
    assert (categories[0] == 0).all() and (categories[1] == 1).all()


def test_a_walk_keeps_to_the_category_asked_for_and_has_whole_rows():
    model = made()
    assert set(model.walk(np.random.default_rng(0), label=3).labels) == {3}
    assert len(model.walk(np.random.default_rng(0)).x) == 4 * C * WAY
    assert len(model.walk(np.random.default_rng(0), 1).x) == WAY


def test_agreement_is_measured_where_the_judge_knows_classes():
    model, drawn = made(), SimpleNamespace(x=None, labels=np.array([0, 0, 1, 1, 2]))
    seen = ops.one_hot(np.array([2, 2, 0, 0, 0]), 3)
    judge = SimpleNamespace(shares=np.ones(3) / 3, network=SimpleNamespace(judge=lambda x: (None, seen)))
    [measure] = model.measures(drawn, judge)
    assert measure.names == {"code_agreement": "↑"} and measure.quick
    assert measure.metric(*measure.arrays) == 0.8
    assert model.measures(drawn, SimpleNamespace()) == []
