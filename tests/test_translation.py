"""pix2pix and CycleGAN: what their discriminators see, what is noise, whom the losses teach, the pool."""

from types import SimpleNamespace

import numpy as np
import pytest

import minigan as mg
from minigan import backend, networks, nn, ops
from minigan.runs import models
from minigan.trainer import Batch, Facts
from minigan.zoo.cyclegan import Pool
from minigan.zoo.pix2pix import UNet

SHAPE, N = (16, 16, 1), 4


class Keep:
    """A generator by which dropout leaves nothing out."""
    random = staticmethod(np.ones)


def made(name, other=(16, 16, 1), steps=10, **options):
    """A tiny model in float64 whose weights are large enough to matter."""
    facts = Facts(SHAPE, other=other)
    options = models.complete(dict(model=name, width=2, steps=steps) | options, facts)
    model = models.made(options, facts, backend.Streams(1))
    for network in model.networks().values():
        for p in network.parameters():
            p.data = p.data * (10.0 if p.ndim > 1 else 1.0)
        network.astype("float64")
    return model


def batch(seed=2, other=(16, 16, 1), n=N):
    rng = np.random.default_rng(seed)
    return Batch(rng.uniform(-1, 1, (n, *SHAPE)), None, rng.uniform(-1, 1, (n, *other)))


def gradient_of(network):
    return np.concatenate([p.grad.numpy().ravel() for p in network.parameters()])


# The discriminator of patches

@pytest.mark.parametrize("norm", [nn.BatchNorm, nn.InstanceNorm, None])
def test_each_score_sees_22_by_22_pixels(norm):
    D = networks.patches(2, 4, norm, np.random.default_rng(0)).eval()
    if norm is not None:
        D.layers[3] = lambda x: x  # instance norm sees all of a picture, though only its mean and spread
    x = mg.Tensor(np.random.default_rng(1).standard_normal((1, 32, 32, 2), dtype=np.float32), requires_grad=True)
    scores = D(x)
    assert scores.shape == (1, 7, 7, 1)
    [slope] = mg.grad(scores[0, 3, 3, 0], x)
    rows, columns = [np.flatnonzero(np.abs(slope.numpy()).sum((0, 3, axis))) for axis in (2, 1)]
    assert len(rows) == len(columns) == 22 and rows[-1] - rows[0] == columns[-1] - columns[0] == 21


def test_the_loss_is_the_mean_over_patches_and_not_that_of_the_mean_score():
    model = made("pix2pix")
    scores = np.linspace(-4, 9, 12).reshape(1, 3, 4, 1)
    found = model.objective.discriminator_loss(mg.Tensor(scores), mg.Tensor(-scores)).item()
    np.testing.assert_allclose(found, 2 * np.maximum(0, 1 - scores).mean(), rtol=1e-12)
    assert abs(found - 2 * max(0, 1 - scores.mean())) > 0.1


def test_a_step_of_pix2pix_takes_the_loss_of_each_patch():
    """By a discriminator whose scores are 4 times pixels of what is given: some of them beyond the hinge's margin."""
    model, pairs = made("pix2pix"), batch()
    model.discriminator.forward = lambda pair: 4.0 * pair[:, ::4, ::4, :1]
    model.descend = lambda optimizer, loss: loss.data
    scores = 4.0 * pairs.other[:, ::4, ::4, :1]
    expected = np.maximum(0, 1 - scores).mean() + np.maximum(0, 1 + scores).mean()
    np.testing.assert_allclose(model.step(pairs)["d_loss"], expected, rtol=1e-12)


# The U-Net

@pytest.mark.parametrize("shape, levels", [((16, 16, 3), 3), ((32, 32, 1), 4), ((8, 24, 1), 2), ((28, 28, 1), 2)])
def test_it_halves_the_sides_as_far_as_they_go_and_comes_back(shape, levels):
    G = UNet(shape, 2, 4, np.random.default_rng(0), Keep).eval()
    assert len(G.down) == levels == len(G.up) + 1
    y = G(mg.Tensor(np.zeros((3, *shape[:2], 2), np.float32)))
    assert y.shape == (3, *shape) and abs(y.numpy()).max() <= 1


@pytest.mark.parametrize("name, H, W, multiple", [
    ("pix2pix", 18, 16, 4), ("pix2pix", 4, 8, 4), ("cyclegan", 15, 16, 2), ("cyclegan", 6, 8, 2)])
def test_sides_that_do_not_fit_are_refused(name, H, W, multiple):
    facts = Facts((H, W, 1), other=(H, W, 1))
    with pytest.raises(ValueError, match=f"multiples of {multiple} and at least 8, got pictures of {H} × {W}"):
        models.made(models.complete(dict(model=name), facts), facts, backend.Streams(1))


def test_what_goes_down_stands_beside_what_comes_up():
    """Cut below the first layer: its features still reach the output."""
    G = UNet((16, 16, 1), 1, 4, np.random.default_rng(0), Keep).eval()
    x = mg.Tensor(np.random.default_rng(1).standard_normal((1, 16, 16, 1), dtype=np.float32))
    G.down[1] = lambda x: mg.Tensor(np.zeros((1, 4, 4, 8), np.float32))
    zero = mg.Tensor(np.zeros((1, 16, 16, 1), np.float32))
    assert abs(G(x).numpy() - G(zero).numpy()).max() > 1e-3


# pix2pix

def test_the_noise_is_dropout_when_a_picture_is_drawn_too():
    model, shown = made("pix2pix", other=(16, 16, 2)), batch(other=(16, 16, 2)).other
    draw = lambda seed: model.draw(N, models.preview(seed), inputs=shown).x
    np.testing.assert_array_equal(draw(0), draw(0))
    assert (draw(0) != draw(1)).any()
    assert model.generator.training  # training goes on as it was


@pytest.mark.parametrize("shape, noisy", [((32, 32, 1), [4, 8]), ((64, 64, 1), [4, 8]), ((28, 28, 1), [14])])
def test_noise_is_in_the_first_layer_up_and_where_the_picture_is_at_most_8_by_8(shape, noisy):
    drawn = []

    class Recorded:
        random = staticmethod(lambda size: drawn.append(size) or np.ones(size))
    UNet(shape, 1, 2, np.random.default_rng(0), Recorded)(mg.Tensor(np.zeros((3, *shape), np.float32)))
    assert [size[1] for size in drawn] == noisy


def test_the_discriminator_sees_what_the_picture_was_made_from():
    model, pairs = made("pix2pix"), batch()
    x = mg.Tensor(pairs.other, requires_grad=True)
    scores = model.discriminator(ops.concatenate(x, mg.Tensor(pairs.x), axis=-1))
    assert abs(mg.grad(scores.sum(), x)[0].numpy()).max() > 1e-6


def test_lambda_weighs_the_distance_and_gan_the_scores():
    def gradient(**options):
        model = made("pix2pix", lr_g=0.0, lr_d=0.0, **options)
        model.step(batch())
        return gradient_of(model.generator)
    scores, distance = gradient(l1=0.0, gan=1.0), gradient(l1=1.0, gan=0.0)
    assert min(np.linalg.norm(scores), np.linalg.norm(distance)) > 1e-6
    np.testing.assert_allclose(gradient(l1=7.0, gan=3.0), 3 * scores + 7 * distance, rtol=1e-9, atol=1e-12)


# CycleGAN

def test_a_picture_is_made_of_the_kind_that_is_asked_for():
    model, shown = made("cyclegan"), batch().other
    forward, back = [model.draw(N, None, inputs=shown, label=kind).x for kind in (1, 0)]
    with mg.no_grad():
        np.testing.assert_array_equal(forward, model.generator(mg.Tensor(shown)).numpy())
        np.testing.assert_array_equal(back, model.backward(mg.Tensor(shown)).numpy())
    np.testing.assert_array_equal(model.draw(N, None, inputs=shown).x, forward)
    mixed = model.draw(N, None, inputs=shown, label=np.array([1, 0, 0, 1])).x
    np.testing.assert_array_equal(mixed, np.where(np.array([1, 0, 0, 1]).reshape(-1, 1, 1, 1), forward, back))


def test_examples_are_shown_in_both_directions_or_in_the_one_that_is_asked_for():
    model = made("cyclegan")
    model.examples = Batch(batch(5).x, np.array([1, 0, 1, 0]), batch(6).x)
    assert model.draw(6, None).labels.tolist() == [1, 0, 1, 0, 1, 0]
    to_a = model.draw(2, None, label=0)
    np.testing.assert_array_equal(to_a.inputs, model.examples.other[[1, 3]])
    np.testing.assert_array_equal(to_a.targets, model.examples.x[[1, 3]])


def test_rates_are_constant_in_the_first_half_and_fall_to_0_in_the_second():
    model, shares = made("cyclegan", steps=9), []
    for model.steps in range(1, 10):
        shares.append(model.share_of_rate())
    np.testing.assert_allclose(shares, [1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])


def test_the_cycle_teaches_both_generators():
    """G learns from |F(G(a)) − a| too, which goes through F: no picture in it is detached."""
    def gradients(cycle):
        model = made("cyclegan", lr_g=0.0, lr_d=0.0, cycle=cycle, identity=0.0)
        model.step(batch())
        return [gradient_of(network) for network in (model.generator, model.backward)]
    model, pairs = made("cyclegan", lr_g=0.0, lr_d=0.0), batch()
    a, b = mg.Tensor(pairs.other), mg.Tensor(pairs.x)
    G, F = model.generator, model.backward
    for one_way, both in ((lambda: ops.abs(F(G(a).detach()) - a).mean(), False),
                          (lambda: ops.abs(F(G(a)) - a).mean() + ops.abs(G(F(b)) - b).mean(), True)):
        found = mg.grad(one_way(), [*G.parameters(), *F.parameters()], allow_unused=True)
        found = [None if g is None else g.numpy().ravel() for g in found]
        assert (None in [f if f is None else 0 for f in found]) != both
    expected = np.concatenate(found)
    step = np.concatenate(gradients(1.0)) - np.concatenate(gradients(0.0))
    np.testing.assert_allclose(step, expected, rtol=1e-6, atol=1e-10)


def test_discriminators_get_half_of_their_gradient():
    """Least squares has the half in its formula: ½(D(b) − 1)² + ½D(G(a))²; the generators' loss is made whole."""
    model, pairs = made("cyclegan", lr_g=0.0, lr_d=0.0, pool=0), batch()
    stats = model.step(pairs)
    a, b = mg.Tensor(pairs.other), mg.Tensor(pairs.x)
    with mg.no_grad():
        D_a, D_b = model.discriminator_a, model.discriminator_b
        fakes = D_b(model.generator(a)).numpy(), D_a(model.backward(b)).numpy()
        reals = D_b(b).numpy(), D_a(a).numpy()
    expected = 0.5 * sum(((r - 1) ** 2).mean() + (f ** 2).mean() for r, f in zip(reals, fakes))
    np.testing.assert_allclose(float(stats["d_loss"]), expected, rtol=1e-9)
    np.testing.assert_allclose(float(stats["g_loss"]), sum(((f - 1) ** 2).mean() for f in fakes), rtol=1e-9)


# The pool of earlier fakes

def fakes(*values):
    return mg.Tensor(np.array(values, np.float32).reshape(-1, 1, 1, 1))


def test_a_pool_is_filled_by_the_first_fakes_which_are_shown_themselves():
    pool = Pool(3, (1, 1, 1))
    rng = SimpleNamespace(random=lambda: 0.9)  # no exchange
    assert pool.mixed(fakes(1, 2), 1, rng).numpy().ravel().tolist() == [1, 2]
    assert pool.mixed(fakes(3, 4), 2, rng).numpy().ravel().tolist() == [3, 4]
    assert pool.pictures.ravel().tolist() == [1, 2, 3]


def test_a_full_pool_gives_one_for_each_that_it_takes():
    pool = Pool(2, (1, 1, 1))
    turns = iter([1, 0])
    rng = SimpleNamespace(random=iter([0.1, 0.9, 0.4]).__next__, integers=lambda size: next(turns))
    pool.mixed(fakes(1, 2), 1, rng)
    assert pool.mixed(fakes(3, 4), 2, rng).numpy().ravel().tolist() == [2, 4]
    assert pool.pictures.ravel().tolist() == [1, 3]
    assert pool.mixed(fakes(5), 3, rng).numpy().ravel().tolist() == [1]
    assert pool.pictures.ravel().tolist() == [5, 3]


def test_half_of_what_is_shown_is_from_the_pool_and_no_gradient_flows_through_it():
    pool, rng = Pool(50, (1, 1, 1)), np.random.default_rng(0)
    new = 0
    for step in range(1, 401):
        given = mg.Tensor(np.full((4, 1, 1, 1), step, np.float32), requires_grad=True)
        shown = pool.mixed(given, step, rng)
        assert not shown.requires_grad
        new += (shown.numpy() == step).sum() if step > 13 else 0
    assert 0.45 < new / (4 * 387) < 0.56  # with a few that were exchanged for one of the same step
    assert len(np.unique(pool.pictures)) > 20


def test_the_pool_is_a_part_of_what_is_saved():
    model = made("cyclegan", pool=6)
    for seed in range(3):
        model.step(batch(seed))
    again = made("cyclegan", pool=6)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.pool_a.pictures, model.pool_a.pictures)
    assert (model.pool_a.pictures != 0).all() and (model.pool_a.pictures != model.pool_b.pictures).any()
