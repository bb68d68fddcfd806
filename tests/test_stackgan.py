"""StackGAN: captions as numbers, conditioning augmentation, what the discriminators are told, what is drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minigan as mg
from minigan import backend, captioned, data, ops
from minigan.data import figures
from minigan.metrics import judges
from minigan.runs import models, run_folder, supply
from minigan.trainer import Batch, Drawn, Facts
from helpers import call, done, refused, train, undrawn

__all__ = ["call", "train", "undrawn"]  # the fixtures
SHAPE, N = (16, 16, 1), 6
WORDS = "a", "blue", "red", "ring", "star"
SAID = np.array(["a red star", "a blue ring", "a red ring", "a blue star", "a star", "a ring"])
FACTS = Facts(SHAPE, words=WORDS)


def made(facts=FACTS, **options):
    """A tiny model in float64 whose weights are large enough to matter."""
    options = models.complete(dict(model="stackgan", width=2, latent=3, code=2, features=4, steps=10, lr_decay=1.0,
                                   ema=0.5) | options, facts)
    model = models.made(options, facts, backend.Streams(1))
    model.learn_from(None, None, SAID)
    for network in model.networks().values():
        for p in network.parameters():
            p.data = p.data * (5.0 if p.ndim > 1 and abs(p.data).max() < 0.2 else 1.0)
        network.astype("float64")
    return model


def still(model):
    """The model whose spectral norms do not go on."""
    model.discriminator.eval(), model.discriminator_small.eval()
    return model


def batch(said=SAID, seed=2):
    return Batch(np.random.default_rng(seed).uniform(-1, 1, (len(said), *SHAPE)), captions=said)


def gradient_of(network):
    return np.concatenate([0.0 * p.data.ravel() if p.grad is None else p.grad.numpy().ravel()
                           for p in network.parameters()])


# Captions as numbers

def test_words_are_taken_without_case_and_signs():
    assert captioned.words_of("A red, RED star-fish!") == ["a", "red", "red", "star", "fish"]
    assert captioned.vocabulary(np.array(["a red star", "A ring", "…"])) == ("a", "red", "ring", "star")
    assert len(captioned.vocabulary(np.array(["x" * 5000]))[0]) == captioned.LONGEST
    assert captioned.words_of("cafe\u0301") == captioned.words_of("caf\u00e9") == ["caf\u00e9"]


def test_a_caption_becomes_the_counts_of_its_words_and_long_ones_say_no_more_than_short_ones():
    found = captioned.bags_of_words(["a red red star", "a green ring", "red", "nothing known", ""], WORDS)
    some = np.array([[1, 0, 2, 0, 1], [1, 0, 0, 1, 0], [0, 0, 1, 0, 0], [0] * 5, [0] * 5])
    np.testing.assert_allclose(found, some / np.sqrt([[6], [2], [1], [1], [1]]))


def test_a_word_that_no_caption_has_is_named_with_near_ones():
    captioned.check_known("A Red star", WORDS)
    with pytest.raises(ValueError, match="caption 'a red stair': .* the word 'stair', expected such as star"):
        captioned.check_known("a red stair", WORDS)
    with pytest.raises(ValueError, match="the word 'zzz', expected such as a, blue, red, ring, star"):
        captioned.check_known("zzz", WORDS)
    with pytest.raises(ValueError, match="caption '…': expected some words"):
        captioned.check_known("…", WORDS)


def test_an_encoder_takes_each_words_embedding():
    text = captioned.TextEncoder(5, 4, np.random.default_rng(0)).astype("float64")
    table = text.embedding.weight.numpy()
    both = np.array([(table[0] + table[2] + table[4]) / 3 ** 0.5])
    expected = both @ text.dense.weight.numpy() + text.dense.bias.numpy()
    found = text(captioned.bags_of_words(["a red star"], WORDS)).numpy()
    np.testing.assert_allclose(found, np.where(expected > 0, expected, 0.2 * expected), rtol=1e-12)


# The generator

def test_c_is_the_mean_and_epsilon_times_the_deviation():
    """Without deviation ε does not matter; the code's noise is the last part of the generator's."""
    G, told = made().generator, captioned.bags_of_words(SAID, WORDS)
    noise = mg.Tensor(np.random.default_rng(0).standard_normal((N, 5)))
    other = mg.Tensor(np.concatenate([noise.numpy()[:, :3], -noise.numpy()[:, 3:]], 1))
    with mg.no_grad():
        assert abs(G(noise, told).numpy() - G(other, told).numpy()).max() > 1e-6
        G.log_deviation.weight.data[:] = 0.0
        G.log_deviation.bias.data[:] = -50.0
        np.testing.assert_allclose(G(noise, told).numpy(), G(other, told).numpy(), atol=1e-9)


def test_the_noise_in_c_does_not_drown_the_caption_at_first():
    rng, words = np.random.default_rng(0), tuple(f"w{i:02}" for i in range(40))
    facts = FACTS._replace(words=words)
    model = models.made(models.complete(dict(model="stackgan"), facts), facts, backend.Streams(1))
    said = [" ".join(rng.choice(words, size=n)) for n in rng.integers(1, 9, size=200)]
    told = captioned.bags_of_words(said, words)
    _, _, mean, log_deviation = model.generator.stages(model.noise(200), told)
    between, within = mean.numpy().std(0).mean(), np.exp(log_deviation.numpy()).mean()
    assert 0.5 < between < 1.0 and within < 0.5


def test_the_divergence_is_that_of_normal_distributions():
    """By numerical integration of p ln(p/q), dimension by dimension."""
    model = made(lr_g=0.0, lr_d=0.0)
    stats = model.step(batch())
    told = captioned.bags_of_words(SAID, WORDS)
    _, _, mean, log_deviation = model.generator.stages(mg.Tensor(np.zeros((N, 5))), told)
    x = np.linspace(-30, 30, 60001)
    density = lambda m, s: np.exp(-(x - m) ** 2 / (2 * s * s)) / (s * np.sqrt(2 * np.pi))
    total = 0.0
    for m, s in zip(mean.numpy().ravel(), np.exp(log_deviation.numpy().ravel())):
        log_ratio = -(x - m) ** 2 / (2 * s * s) - np.log(s) + x * x / 2
        total += (density(m, s) * log_ratio).sum() * (x[1] - x[0])
    np.testing.assert_allclose(float(stats["kl_loss"]), total / N, rtol=1e-6)


def test_stage_two_sees_stage_one_and_the_caption():
    G, told = made().generator, captioned.bags_of_words(SAID, WORDS)
    noise = np.random.default_rng(0).standard_normal((N, 5))
    small, large, *_ = G.stages(mg.Tensor(noise), told)
    assert small.shape == (N, 8, 8, 1) and large.shape == (N, *SHAPE)
    weights = G.first.parameters()
    slopes = mg.grad((large * large).sum(), weights)
    assert all(abs(slope.numpy()).max() > 0 for slope in slopes[:1])
    G.first.forward = lambda z: mg.Tensor(small.numpy())  # the same picture whatever the caption
    with mg.no_grad():
        again = G.stages(mg.Tensor(noise), np.roll(told, 1, axis=0))[1]
    assert abs(again.numpy() - large.numpy()).max() > 1e-6


# The discriminators

def test_a_wrong_caption_counts_as_fake_by_half():
    model, given = still(made(lr_g=0.0, lr_d=0.0)), batch()
    stats = model.step(given)
    told, wrong = captioned.bags_of_words(SAID, WORDS), captioned.bags_of_words(np.roll(SAID, 1), WORDS)
    noise = backend.Streams(1)["noise"].standard_normal((N, 5))
    again = still(made())
    softplus = lambda scores: np.logaddexp(0, scores.numpy()).mean()
    with mg.no_grad():
        x = mg.Tensor(given.x)
        fakes = again.generator.stages(mg.Tensor(noise), told)[:2]
        expected = sum(softplus(-D(real, told)) + 0.5 * softplus(D(fake, told)) + 0.5 * softplus(D(real, wrong))
                       for D, real, fake in zip((again.discriminator_small, again.discriminator),
                                                (ops.average_pool(x, 2), x), fakes))
    np.testing.assert_allclose(float(stats["d_loss"]), expected, rtol=1e-10)


def test_equal_captions_are_no_wrong_pairs():
    def loss(said):
        model = made(lr_g=0.0, lr_d=0.0)
        for D in (model.discriminator_small, model.discriminator):
            D.judged = lambda seen, told, D=D: mg.Tensor(np.zeros((N, 1))) + 0.0 * D.both.layers[0].bias.sum()
        return float(model.step(batch(said))["d_loss"])
    same, other = np.full(N, "a star"), SAID
    np.testing.assert_allclose(loss(other), 4 * np.log(2), rtol=1e-12)
    np.testing.assert_allclose(loss(same), 3 * np.log(2), rtol=1e-12)
    mixed = np.array(["a star"] * 5 + ["a ring"])  # two pairs differ, and weigh as much as all would
    np.testing.assert_allclose(loss(mixed), 4 * np.log(2), rtol=1e-12)
    often = np.array(["star", "star star"] * 3)  # counts tell no more than shares
    np.testing.assert_allclose(loss(often), 3 * np.log(2), rtol=1e-12)


@pytest.mark.parametrize("network", ["discriminator", "discriminator_small"])
def test_both_discriminators_are_told_the_caption(network):
    D, side = getattr(made(), network).eval(), 8 if network.endswith("small") else 16
    x = mg.Tensor(np.random.default_rng(0).uniform(-1, 1, (N, side, side, 1)))
    with mg.no_grad():
        right, wrong = [D(x, captioned.bags_of_words(said, WORDS)) for said in (SAID, np.roll(SAID, 1))]
    assert right.shape == (N, 1) and abs(right.numpy() - wrong.numpy()).max() > 1e-4


def test_both_stages_and_the_divergence_teach_the_generator():
    def gradient(kl):
        model = still(made(lr_g=0.0, lr_d=0.0, kl=kl))
        model.step(batch())
        return gradient_of(model.generator)
    model, told = still(made()), captioned.bags_of_words(SAID, WORDS)
    stream = backend.Streams(1)["noise"]
    stream.standard_normal((N, 5))  # of the discriminators' step
    noise = mg.Tensor(stream.standard_normal((N, 5)))
    *fakes, _, _ = model.generator.stages(noise, told)
    loss = sum(ops.softplus(-D(fake, told)).mean()
               for D, fake in zip((model.discriminator_small, model.discriminator), fakes))
    expected = np.concatenate([g.numpy().ravel() for g in mg.grad(loss, model.generator.parameters())])
    np.testing.assert_allclose(gradient(0.0), expected, rtol=1e-7, atol=1e-11)
    one, two = gradient(1.0) - gradient(0.0), gradient(2.0) - gradient(0.0)
    np.testing.assert_allclose(two, 2 * one, rtol=1e-7, atol=1e-11)
    assert np.linalg.norm(one) > 1e-6


# What is drawn

def test_a_picture_is_drawn_of_each_caption():
    model = made()
    model.step(batch())
    drawn = model.draw(N, models.preview(0), caption=SAID)
    noise = model.noise(N, models.preview(0))
    with mg.no_grad():
        np.testing.assert_array_equal(drawn.x, model.averaged(noise, captioned.bags_of_words(SAID, WORDS)).numpy())
    assert drawn.targets is None and drawn.labels is None
    of_one = model.draw(N, models.preview(0), caption="a red star")
    np.testing.assert_allclose(of_one.x[0], drawn.x[0], rtol=1e-9)
    assert (of_one.x[1:] != drawn.x[1:]).any()
    with pytest.raises(ValueError, match="the word 'green'"):
        model.draw(2, models.preview(0), caption=["a red star", "a green star"])


def test_the_examples_are_drawn_with_their_pictures():
    model, examples = made(), batch(SAID[:4])
    model.examples = examples
    drawn = model.draw(6, models.preview(0))
    np.testing.assert_array_equal(drawn.targets, examples.x[[0, 1, 2, 3, 0, 1]])
    np.testing.assert_array_equal(drawn.x, model.draw(6, models.preview(0), caption=np.resize(SAID[:4], 6)).x)


def test_examples_of_shapes_are_of_the_test_split_and_their_captions_are_right():
    given = dict(data="shapes", image_size=None, seed=0, model="stackgan")
    examples = supply.examples_of(given, supply.load_data(given, ("captions",)), ("captions",))
    codes = figures.codes_said(examples.captions)
    np.testing.assert_array_equal(examples.x, data.to_unit(figures.render(codes)))
    assert set(codes.tolist()) == set(figures.codes_in("test").tolist())


def test_seen_and_unseen_combinations_are_told_apart():
    codes = figures.codes_in("test")[::3]
    unseen = figures.is_unseen(codes)
    wrong = np.where(unseen, figures.counterpart(codes, "size", 0), codes)  # only unseen ones may be wrong
    drawn = Drawn(data.to_unit(figures.render(wrong)), targets=data.to_unit(figures.render(codes)))
    measured = {}
    for measure in judges.beside_targets(drawn, "shapes"):
        measured |= measure.numbers(measure.metric(*measure.arrays))
    assert "L1-input" not in measured and measured["right_all_seen"] == measured["right_colour"] == 1
    share = (wrong == codes)[unseen].mean()
    np.testing.assert_allclose(measured["right_all_unseen"], share)
    np.testing.assert_allclose(measured["right_all"], (wrong == codes).mean())
    assert 0.2 < share < 0.5
    turned = {}
    for measure in judges.beside_targets(drawn, "shapes:texture"):
        turned |= measure.numbers(measure.metric(*measure.arrays))
    assert turned.keys() - measured.keys() == {"right_all_plain", "right_all_striped"}
    striped = figures.attributes_of(codes)["texture"] == 1
    np.testing.assert_allclose(turned["right_all_striped"], (wrong == codes)[striped].mean())
    np.testing.assert_allclose(turned["right_all_plain"], (wrong == codes)[~striped].mean())


# A run

TINY = "--model", "stackgan", "--width", 2, "--features", 4, "--code", 2, "--latent", 3, "--batch-size", 4


@pytest.fixture
def folder(tmp_path):
    """Eight pictures with captions."""
    (tmp_path / "mine").mkdir()
    for i in range(8):
        Image.new("RGB", (16, 16), "red" if i % 2 else "blue").save(tmp_path / "mine" / f"{i}.png")
    lines = [f"{i}.png,\"{'red' if i % 2 else 'Blue'}, no {i}\"" for i in range(8)]
    (tmp_path / "mine" / "captions.csv").write_text("\n".join(["file,caption", *lines]))
    return tmp_path / "mine"


def test_a_run_records_its_words_and_refuses_other_captions(train, folder):
    done(train(*TINY, "--data", folder, "--image-size", 16, "--steps", 1))
    [run] = Path("runs").iterdir()
    record = run_folder.read_options(run)
    assert record["words"] == [*"01234567", "blue", "no", "red"] and "captions" in record["data"]
    done(train("--resume", "--steps", 2))
    path = folder / "captions.csv"
    path.write_text(path.read_text().replace("red", "green", 1))
    refused(train("--resume", "--steps", 3), "has changed since")


@pytest.mark.parametrize("words", [7, ["red", 3], ["x" * 101], [""], {"red": 1}])
def test_words_that_cannot_be_a_runs_are_refused(train, folder, words):
    done(train(*TINY, "--data", folder, "--image-size", 16, "--steps", 1))
    [run] = Path("runs").iterdir()
    record = json.loads((run / "options.json").read_text())
    (run / "options.json").write_text(json.dumps(record | {"words": words}))
    refused(train("--resume", "--steps", 2), "its words cannot be a run's")


def test_words_of_other_data_are_refused(train, folder):
    done(train(*TINY, "--data", folder, "--image-size", 16, "--steps", 1))
    [run] = Path("runs").iterdir()
    record = json.loads((run / "options.json").read_text())
    (run / "options.json").write_text(json.dumps(record | {"words": ["red"] * len(record["words"])}))
    refused(train("--resume", "--steps", 2), "words are not those of its data's captions")


def test_captions_without_words_and_sides_that_do_not_fit_are_refused(train, folder):
    refused(train(*TINY, "--data", folder, "--image-size", 18), "multiples of 4 and at least 16, got 18 × 18")
    (folder / "captions.csv").write_text("\n".join(["file,caption", *[f"{i}.png,…" for i in range(8)]]))
    refused(train(*TINY, "--data", folder, "--image-size", 16), "captions without any word, such as '…'")
