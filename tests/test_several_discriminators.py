"""Models with more than one discriminator: what their papers say of the best ones, and of whom G listens to."""

import numpy as np
import pytest

from minigan import backend, nn, optim
from minigan.runs import models
from minigan.tensor import constant, no_grad
from minigan.trainer import Batch, Facts
from trainers import step

pytestmark = pytest.mark.on_each_engine


def model_of(name, facts=Facts((2,)), **options):
    given = dict(model=name, width=8, latent=3, batch_size=16, steps=10) | options
    model = models.made(models.complete(given, facts), facts, backend.Streams(1))
    for network in model.networks().values():
        network.astype("float64")
    return model


def batch(n=16, seed=2):
    return Batch(np.random.default_rng(seed).uniform(-1, 1, (n, 2)))


# GMAN

@pytest.mark.parametrize("sharpness", [0.0, 1e6])
def test_g_listens_to_all_alike_or_to_the_one_that_tells_best(sharpness):
    model = model_of("gman", discriminators=4, sharpness=sharpness, lr_d=0.0, lr_g=0.0)
    for i, D in enumerate(model.discriminators):
        D[-1].bias.data = D[-1].bias.data + 0.3 * i  # so that they differ
    streams, real = backend.Streams(1), batch()
    found = step(model, real)["g_loss"]
    _, noise = (streams["noise"].standard_normal((16, 3)) for _ in range(2))
    with no_grad():
        fake = model.generator(constant(noise))
        scores = [(D(constant(real.x)).numpy(), D(fake).numpy()) for D in model.discriminators]
    softplus = lambda x: np.log1p(np.exp(x)).mean()
    values = [-softplus(-r) - softplus(f) for r, f in scores]
    losses = [softplus(-f) for _, f in scores]  # −E log D(G(z))
    assert len(set(values)) == 4
    assert found == pytest.approx(losses[np.argmax(values)] if sharpness else np.mean(losses), rel=1e-9)


def test_discriminators_begin_differently_and_each_learns():
    model = model_of("gman")
    before = [D.state_dict() for D in model.discriminators]
    assert len(before) == 3 and not np.array_equal(before[0]["0.weight"], before[1]["0.weight"])
    step(model, batch())
    for D, old in zip(model.discriminators, before):
        assert all((D.state_dict()[name] != old[name]).any() for name in old)


# D2GAN

class Number(nn.Module):
    """A discriminator that gives every sample the same score."""

    def __init__(self, score):
        super().__init__()
        self.score = nn.Parameter(np.full((1, 1), score))

    def forward(self, x):
        return x[:, :1] * 0.0 + self.score


@pytest.mark.parametrize("alpha, beta", [(0.2, 0.1), (1.0, 0.5)])
def test_where_real_and_fake_are_equally_dense_the_best_discriminators_say_alpha_and_beta(alpha, beta):
    """Then their gradients vanish, and elsewhere they do not: D1 = α p/q, D2 = β q/p."""
    for shift in (0.0, 0.1):
        model = model_of("d2gan", alpha=alpha, beta=beta)
        model.discriminator, model.opposite = [Number(np.log(np.expm1(best)) + shift) for best in (alpha, beta)]
        model.d_optimizer = optim.Adam(model.discriminator.parameters() + model.opposite.parameters(), 0.01)
        assert (step(model, batch())["d_grad_norm"] < 1e-6) == (shift == 0.0)
        for network in (model.discriminator, model.opposite):
            assert (abs(network.score.grad.item()) < 1e-6) == (shift == 0.0)


def test_g_raises_d1_and_lowers_d2():
    model = model_of("d2gan", lr_d=0.0, lr_g=1e-3)
    noise = model.noise(500, np.random.default_rng(5))

    def liked():
        with no_grad():
            fake = model.generator(noise)
            return model.D1(fake).mean().item(), model.D2(fake).mean().item()
    before = liked()
    for seed in range(20):
        step(model, batch(seed=seed))
    after = liked()
    assert after[0] > before[0] and after[1] < before[1]


def test_a_discriminator_that_rounds_to_zero_gives_a_finite_loss():
    model = model_of("d2gan")
    model.opposite[-1].bias.data = model.opposite[-1].bias.data - 1e4
    assert all(np.isfinite(value) for value in step(model, batch()).values())


@pytest.mark.parametrize("name, options, message", [
    ("d2gan", dict(alpha=0.0), "0 < alpha, beta ≤ 1"), ("d2gan", dict(beta=1.5), "0 < alpha, beta ≤ 1"),
    ("gman", dict(sharpness=-1.0), "expected sharpness ≥ 0"),
    ("gman", dict(sharpness=float("nan")), "expected sharpness ≥ 0")])
def test_settings_out_of_range_are_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        model_of(name, **options)
