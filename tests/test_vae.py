"""Autoencoders: the likelihood and the divergence of a VAE, the way of each gradient in a VAE-GAN, what is shown."""

from types import SimpleNamespace

import numpy as np
import pytest

import minigan as mg
from minigan import backend, data, nn
from minigan.metrics import judges
from minigan.runs import models
from minigan.trainer import Batch, Facts

SHAPE, N, LATENT = (8, 8, 1), 6, 3
IMAGES, POINTS = Facts(SHAPE), Facts((2,))
VARIATIONAL = "vae", "vaegan"
each_of_both = pytest.mark.parametrize("name", VARIATIONAL)


def made(name="vae", facts=IMAGES, **options):
    """A tiny model in float64 whose weights are large enough to matter, and rest unless rates are given."""
    given = dict(model=name, width=2, latent=LATENT, steps=10, lr_decay=1.0, ema=0.5)
    rates = {option: 0.0 for option in models.model_class(name).OPTIONS if option.startswith("lr_")}
    options = models.complete(rates | given | options, facts)
    model = models.made(options, facts, backend.Streams(1))
    for network in model.networks().values():
        for p in network.parameters():
            p.data = p.data * (20.0 if p.ndim > 1 and abs(p.data).max() < 0.2 else 1.0)
        network.astype("float64")
    return model


def batch(facts=IMAGES, n=N, seed=2):
    return Batch(np.random.default_rng(seed).uniform(-1, 1, (n, *facts.shape)))


def posterior(model, x):
    """μ and σ of each code; batch norm by the batch, as in a step."""
    mean, log_variance = model.encoder(mg.Tensor(x))
    return mean.numpy(), np.exp(0.5 * log_variance.numpy())


# The lower bound

def numerical_divergence(mean, deviation):
    """KL(N(μ, σ²) | N(0, 1)) by numerical integration of p ln(p/q), summed over the numbers of a code."""
    x = np.linspace(-40, 40, 80001)
    total = np.zeros(len(mean))
    for i, j in np.ndindex(mean.shape):
        m, s = mean[i, j], deviation[i, j]
        log_p = -0.5 * ((x - m) / s) ** 2 - np.log(s) - 0.5 * np.log(2 * np.pi)
        log_q = -0.5 * x ** 2 - 0.5 * np.log(2 * np.pi)
        total[i] += (np.exp(log_p) * (log_p - log_q)).sum() * (x[1] - x[0])
    return total


@each_of_both
def test_the_divergence_is_summed_over_the_code_and_averaged_over_the_batch(name):
    model, given = made(name), batch()
    expected = numerical_divergence(*posterior(model, given.x))
    assert expected.min() > 0
    np.testing.assert_allclose(float(model.step(given)["kl_loss"]), expected.mean(), rtol=1e-6)


def log_likelihood(model, x, z):
    """ln N(x | x̂, s²), written as a density, summed over the numbers of a sample."""
    s = np.exp(model.decoder.log_deviation.numpy())
    density = np.exp(-0.5 * ((x - model.decoder(mg.Tensor(z)).numpy()) / s) ** 2) / (s * np.sqrt(2 * np.pi))
    return np.log(density).reshape(len(x), -1).sum(1)


@pytest.mark.parametrize("facts", [IMAGES, POINTS])
def test_the_code_is_the_mean_and_epsilon_times_the_deviation_and_x_is_gaussian_around_its_picture(facts):
    model, given = made(facts=facts), batch(facts)
    model.decoder.log_deviation.data[:] = -0.7
    mean, deviation = posterior(model, given.x)
    z = mean + deviation * backend.Streams(1)["noise"].standard_normal((N, LATENT))
    expected = -log_likelihood(model, given.x, z).mean()
    np.testing.assert_allclose(float(model.step(given)["reconstruction_loss"]), expected, rtol=1e-9)


def test_it_is_a_lower_bound_of_the_likelihood():
    """ln p(x) by integrating p(x | z) p(z) over a grid of codes; the bound is the mean over many ε."""
    model, given = made(facts=POINTS, latent=1), batch(POINTS, n=2)
    z = np.linspace(-8, 8, 4001)[:, None]
    prior = np.exp(-0.5 * z[:, 0] ** 2) / np.sqrt(2 * np.pi)
    truth = np.mean([np.log((np.exp(log_likelihood(model, np.repeat(x[None], len(z), 0), z)) * prior).sum()
                            * (z[1, 0] - z[0, 0])) for x in given.x])
    steps = [model.step(given) for _ in range(400)]
    bound = -np.mean([float(s["reconstruction_loss"]) + float(s["kl_loss"]) for s in steps])
    assert bound < truth < bound + 5.0


def test_the_gradient_passes_through_mean_and_deviation():
    """∂z/∂μ = 1 and ∂z/∂σ = ε: without β only the likelihood moves the encoder, and both its halves."""
    model = made(beta=0.0)
    model.step(batch())
    last = model.encoder.network[-1].weight.grad.numpy()
    assert abs(last[:, :LATENT]).max() > 1e-6 and abs(last[:, LATENT:]).max() > 1e-6


def test_beta_weighs_the_divergence():
    """With it alone the codes of all samples become N(0, I)."""
    model, given = made(beta=1e6, lr_ae=0.02), batch()
    before = float(model.step(given)["kl_loss"])
    for _ in range(200):
        after = float(model.step(given)["kl_loss"])
    assert after < 0.02 * before


def test_the_deviation_becomes_that_of_the_pictures_from_theirs():
    """Where nothing can be said of x, s is its standard deviation around the mean."""
    model = made(facts=POINTS, beta=1e4, lr_ae=0.02)
    points = np.random.default_rng(0).standard_normal((500, 2)) * 0.3
    for _ in range(600):
        model.step(Batch(points))
    assert np.exp(model.decoder.log_deviation.numpy()[0]) == pytest.approx(0.3, rel=0.1)


# Which loss reaches which network

def test_the_encoder_of_a_vaegan_learns_of_the_prior_and_of_the_features_alone():
    """The gradient with which it descends is that of L_prior + L_llike, and none of L_GAN."""
    model, given = made("vaegan", gamma=0.3), batch()
    noise = backend.Streams(1)["noise"].standard_normal((N, LATENT))
    model.step(given)
    found = [p.grad.numpy() for p in model.encoder.parameters()]
    x, (features, _) = mg.Tensor(given.x), model.discriminator
    mean, log_variance = model.encoder(x)
    z = mean + mg.ops.exp(0.5 * log_variance) * noise
    kl = 0.5 * (mean ** 2 + mg.ops.exp(log_variance) - log_variance - 1.0).sum() / N
    unlike = 0.5 * ((features(x).detach() - features(model.decoder(z))) ** 2).sum() / N
    expected = mg.grad(kl + unlike, model.encoder.parameters())
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=1e-8)


def test_the_discriminator_of_a_vaegan_gets_no_gradient_of_the_features():
    """Neither in the encoder's descent nor in the decoder's: what it descends is L_GAN."""
    model, given = made("vaegan"), batch()
    after, of_decoder, descend = [], [], model.descend
    model.descend = lambda *both: (
        descend(*both), after.append([p.grad.numpy().copy() for p in model.discriminator.parameters()]),
        of_decoder.append([p.grad is not None for p in model.decoder.parameters()]))[0]
    model.step(given)
    assert len(after) == 3  # of D, of the encoder, of the decoder
    assert not any(of_decoder[0] + of_decoder[1]) and all(of_decoder[2])
    for first, *others in zip(*after):
        assert abs(first).max() > 0 or first.ndim == 1
        for other in others:
            np.testing.assert_array_equal(first, other)
    noise = backend.Streams(1)["noise"]
    z, z_p = (noise.standard_normal((N, LATENT)) for _ in range(2))
    mean, deviation = posterior(model, given.x)
    D, softplus = model.discriminator, mg.ops.softplus
    fakes = [model.decoder(mg.Tensor(code)).detach() for code in (mean + deviation * z, z_p)]
    loss = softplus(-D(mg.Tensor(given.x))).mean() + sum(softplus(D(fake)).mean() for fake in fakes)
    for ours, theirs in zip(after[0], mg.grad(loss, D.parameters())):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=1e-8)


def test_the_decoder_of_a_vaegan_learns_of_both_and_of_no_divergence():
    model, given = made("vaegan", gamma=0.3), batch()
    noise = backend.Streams(1)["noise"]
    z, z_p = (noise.standard_normal((N, LATENT)) for _ in range(2))
    model.step(given)
    found = [p.grad.numpy() for p in model.decoder.parameters()]
    mean, deviation = posterior(model, given.x)
    (features, _), D, softplus = model.discriminator, model.discriminator, mg.ops.softplus
    restored, drawn = model.decoder(mg.Tensor(mean + deviation * z)), model.decoder(mg.Tensor(z_p))
    unlike = 0.5 * ((features(mg.Tensor(given.x)).detach() - features(restored)) ** 2).sum() / N
    loss = 0.3 * unlike + softplus(-D(restored)).mean() + softplus(-D(drawn)).mean()
    for ours, theirs in zip(found, mg.grad(loss, model.decoder.parameters())):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6, atol=1e-8)


# What is shown and measured

@each_of_both
def test_pictures_are_shown_above_what_is_left_of_them(name):
    model = made(name)
    assert model.exhibits(np.random.default_rng(0)) == {}  # it has seen none
    pixels = np.random.default_rng(0).integers(256, size=(20, *SHAPE)).astype(np.uint8)
    model.learn_from(pixels, None)
    before = model.state_dict()
    [shown] = model.exhibits(np.random.default_rng(0)).values()
    assert shown.shape == (2, 8, *SHAPE) and type(shown) is np.ndarray and abs(shown).max() <= 1
    originals = data.to_unit(pixels)
    assert all((abs(originals - picture).max((1, 2, 3)) < 1e-6).any() for picture in shown[0])
    np.testing.assert_allclose(shown[1], model.reconstructed(shown[0]), rtol=1e-6)
    alone = model.reconstructed(shown[0][:1])  # depends on no other picture
    np.testing.assert_allclose(alone[0], shown[1][0], atol=1e-5)
    for array, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[array])


def test_points_have_no_exhibits():
    model = made(facts=POINTS)
    model.learn_from(np.zeros((20, 2), np.float32), None)
    assert model.exhibits(np.random.default_rng(0)) == {}


def test_reconstructions_are_measured_beside_the_judges_pictures():
    x = np.random.default_rng(0).integers(256, size=(40, *SHAPE)).astype(np.uint8)
    judge = judges.PixelJudge(x)
    [measure] = judges.of_reconstructions(SimpleNamespace(reconstructed=lambda real: 0.9 * real), None, judge)
    expected = 10 * np.log10(4 / ((0.1 * data.to_unit(x)) ** 2).mean((1, 2, 3))).mean()
    [value] = measure.numbers(measure.metric(*measure.arrays)).values()
    assert value == pytest.approx(expected, rel=1e-5)
    assert judges.of_reconstructions(None, None, judges.PointJudge(np.zeros((5, 2)))) == []


@pytest.mark.parametrize("name", VARIATIONAL)
def test_what_is_restored_is_of_the_averaged_decoder(name):
    rates = dict(lr_ae=0.01) if name == "vae" else dict(lr_e=0.01, lr_g=0.01)
    model, x = made(name, ema=0.9, **rates), mg.Tensor(batch().x)
    for _ in range(3):
        model.step(batch())
    mean, _ = model.encoder(x)
    np.testing.assert_allclose(model.restored(x).numpy(), model.averaged(mean).numpy(), atol=1e-10)
    assert abs(model.restored(x).numpy() - model.decoder(mean).numpy()).max() > 1e-5


@pytest.mark.parametrize("name", VARIATIONAL)
def test_what_is_made_of_a_sample_is_its_own(name):
    """So no batch norm is in the encoder or the decoder, while they learn as at any other time."""
    model = made(name)
    for network in (model.encoder, model.decoder):
        assert not [layer for _, layer in network.named_modules() if isinstance(layer, nn.BatchNorm)]


def test_the_three_scores_of_a_vaegan_are_told_apart():
    model, seen = made("vaegan"), []
    kept = model.discriminator.forward
    model.discriminator.forward = lambda x: seen.append(kept(x)) or seen[-1]
    stats, means = model.step(batch()), [scores.numpy().mean() for scores in seen[:3]]
    assert [float(stats[f"{kind}_score"]) for kind in ("real", "restored", "fake")] == pytest.approx(means)
