"""R3GAN: what its loss is for critics whose slopes are known, and how its networks begin."""

import numpy as np
import pytest

from minigan import backend, nn
from minigan.runs import models
from minigan.tensor import Tensor, constant
from minigan.trainer import Batch, Facts
from minigan.zoo import r3gan
from trainers import step

pytestmark = pytest.mark.on_each_engine
PICTURES = Facts((16, 16, 1))


def model_of(facts=PICTURES, **options):
    given = dict(model="r3gan", width=4, latent=3, batch_size=8, steps=10) | options
    model = models.made(models.complete(given, facts), facts, backend.Streams(1))
    for network in model.networks().values():
        network.astype("float64")
    return model


def batch(shape=PICTURES.shape, n=8):
    return Batch(np.random.default_rng(2).uniform(-1, 1, (n, *shape)))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_linear_critic_pays_gamma_times_its_squared_slope(gamma):
    """γ/2 ‖w‖² on real samples and as much on generated ones, however large the batch."""
    w = np.random.default_rng(3).standard_normal((2, 1))
    for n in (8, 32):
        model = model_of(Facts((2,)), gamma=gamma, lr_d=0.0)
        model.discriminator.forward = lambda x: x @ constant(w)
        stats = model_stats(model, batch((2,), n))
        assert stats["penalty_loss"] == pytest.approx(gamma * (w ** 2).sum(), rel=1e-12)


def test_gamma_falls_as_the_rates_do():
    model = model_of(Facts((2,)), gamma=2.0, gamma_decay=0.1, steps=3, lr_d=0.0)
    model.discriminator.forward = lambda x: x.sum(1, keepdims=True)  # ‖∇D‖² is 2
    losses = [model_stats(model, batch((2,)))["penalty_loss"] for _ in range(3)]
    assert losses == pytest.approx([2.0 * 2.0, 1.1 * 2.0, 0.2 * 2.0], rel=1e-12)


@pytest.mark.parametrize("part", [-0.1, 1.1, float("nan")])
def test_the_part_of_gamma_that_is_left_is_one(part):
    with pytest.raises(ValueError, match="expected 0 ≤ gamma_decay ≤ 1"):
        model_of(gamma_decay=part)


def model_stats(model, x):
    """Of one step, in which the discriminator, replaced, has nothing to learn."""
    model.descend = lambda optimizer, loss: loss.data
    return step(model, x)


@pytest.mark.parametrize("kind", ["real", "fake"])
def test_both_kinds_of_samples_bound_the_slope(kind):
    """A critic max(0, ±s) whose slope is w on one kind of samples only, and 0 on the other."""
    model = model_of(Facts((2,)), gamma=1.0)
    far = Batch(np.full((8, 2), 9.0))  # generated ones are near 0
    sign = 1.0 if kind == "real" else -1.0
    relu = nn.ReLU()
    model.discriminator.forward = lambda x: relu(sign * (x.sum(1, keepdims=True) - 9.0))
    assert model_stats(model, far)["penalty_loss"] == pytest.approx(0.5 * 2.0, rel=1e-12)


def test_only_differences_of_scores_count():
    """A number added to all scores changes no loss and no gradient, of D as of G."""
    first, raised = model_of(), model_of()
    raised.discriminator[-1].bias.data = raised.discriminator[-1].bias.data + 5.0
    for x in (batch(), batch()):
        a, b = step(first, x), step(raised, x)
        assert all(a[name] == pytest.approx(b[name], abs=1e-9) for name in (
            "d_loss", "g_loss", "penalty_loss", "d_grad_norm", "g_grad_norm"))
        assert b["real_score"] == pytest.approx(a["real_score"] + 5.0)


def test_blocks_begin_as_the_identity():
    x = Tensor(np.random.default_rng(0).standard_normal((2, 4, 4, 8)))
    block = r3gan.block(8, 2, np.random.default_rng(1)).astype("float64")
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())


def test_the_deeper_a_network_the_smaller_its_branches_begin():
    """By the root of the number of blocks: Fixup, with two layers a branch."""
    blocks = [r3gan.block(64, count, np.random.default_rng(1)) for count in (1, 4)]
    one, four = [block.residual[0].weight.numpy().std() for block in blocks]
    assert one == pytest.approx(2 * four, rel=1e-6)
    assert one == pytest.approx(np.sqrt(2 / 1.04 / (9 * 64)), rel=0.02)


def test_no_sample_s_score_depends_on_the_others():
    model, x = model_of(), constant(batch().x)
    np.testing.assert_allclose(model.discriminator(x).numpy()[:3], model.discriminator(x[:3]).numpy(), atol=1e-12)
    assert not [m for _, m in model.discriminator.named_modules() if isinstance(m, (nn.BatchNorm, nn.LayerNorm))]


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3), (16, 16, 1), (8, 8, 1)])
def test_sizes_of_pictures(shape):
    model = model_of(Facts(shape))
    assert model.draw(2, np.random.default_rng(0)).x.shape == (2, *shape)
    assert step(model, batch(shape))["penalty_loss"] > 0


def test_on_points_both_networks_are_perceptrons():
    options = models.complete(dict(model="r3gan"), Facts((2,)))
    assert (options["width"], options["batch_size"], options["latent"]) == (128, 256, 2)
    assert step(model_of(Facts((2,))), batch((2,)))["penalty_loss"] > 0


def test_where_channels_change_the_variance_stays():
    weight = r3gan.change(64, 32, np.random.default_rng(0)).weight
    assert weight.numpy().std() == pytest.approx(1 / 8, rel=0.05)


def test_real_and_fake_scores_are_told_apart():
    model, given = model_of(lr_d=0.0), batch()
    scores = model.discriminator(Tensor(given.x)).numpy()
    stats = step(model, given)
    assert stats["real_score"] == pytest.approx(scores.mean()) != stats["fake_score"]
