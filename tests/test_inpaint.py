"""The context encoder: who sees what of the hole, what the losses weigh, what is drawn and how it is measured."""

import numpy as np
import pytest

import minigan as mg
from minigan import data
from minigan.data import made
from minigan.metrics import psnr
from minigan.runs import models
from minigan.trainer import Batch, Facts
from helpers import gradient_of, refused, small_translator, train, undrawn

__all__ = ["train", "undrawn"]  # the fixtures
SIDE, N = 16, 4
HOLE = slice(None), slice(4, 12), slice(4, 12)


def painter(side=SIDE, channels=3, **options):
    facts = Facts((side, side, channels), other=(side, side, channels))
    return small_translator("inpaint", facts, **dict(bottleneck=5) | options)


def batch(seed=2, side=SIDE, channels=3):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (N, side, side, channels))
    return Batch(x, None, x)


def in_hole(pictures, values):
    filled = pictures.copy()
    filled[HOLE] = values
    return filled


# Who sees what

def test_the_generator_sees_nothing_of_what_is_in_the_hole():
    model, shown = painter(), batch().other
    draw = lambda inputs: model.draw(N, None, inputs=inputs).x[HOLE]
    grey = draw(in_hole(shown, 0.0))
    np.testing.assert_array_equal(draw(shown), grey)
    np.testing.assert_array_equal(draw(in_hole(shown, 0.7)), grey)
    shown[:, 3, 8] *= -1  # right above it
    assert (draw(shown) != grey).any(axis=(1, 2, 3)).all()


def test_it_learns_from_pictures_around_their_hole_only():
    """A batch with the picture itself in the hole teaches the same as one with grey."""
    one, other, pairs = painter(), painter(), batch()
    one.step(pairs), other.step(pairs._replace(other=in_hole(pairs.other, 0.0)))
    for (name, a), b in zip(one.state_dict().items(), other.state_dict().values()):
        np.testing.assert_array_equal(a, b, err_msg=name)


def test_the_discriminator_sees_what_is_in_the_hole_and_nothing_else():
    model, pairs, seen = painter(), batch(), []
    judge = model.discriminator.forward
    model.discriminator.forward = lambda x: seen.append(x) or judge(x)
    model.step(pairs)
    real, fake, passing = seen
    np.testing.assert_array_equal(real.numpy(), pairs.x[HOLE])
    np.testing.assert_array_equal(fake.numpy(), passing.numpy())
    assert fake.shape == (N, 8, 8, 3) and not fake.requires_grad and passing.requires_grad


@pytest.mark.parametrize("side", [4, 8, 12, 16, 20, 28, 32, 64])
def test_networks_halve_and_double_as_far_as_the_sides_go(side):
    model = painter(side, 1)
    x = mg.Tensor(batch(side=side, channels=1).x, requires_grad=True)
    content = model.generator(x)
    assert content.shape == (N, side // 2, side // 2, 1) and abs(content.numpy()).max() <= 1
    assert model.discriminator(content).shape == (N, 1, 1, 1)


def test_each_corner_of_what_is_made_knows_each_corner_of_the_picture():
    model = painter(32, 1)
    x = mg.Tensor(batch(side=32, channels=1).x, requires_grad=True)
    content = model.generator.eval()(x)
    for i, j in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        [slope] = mg.grad(content[0, i, j, 0], x, allow_unused=True)
        corners = slope.numpy()[0][[[0], [-1]], [0, -1]]
        assert (corners != 0).all()


# What is learned

def gradient(hidden=None, **options):
    """Of generator and discriminator; `hidden` in the place of what is in the hole."""
    model, pairs = painter(lr_g=0.0, lr_d=0.0, **options), batch()
    model.step(pairs if hidden is None else pairs._replace(x=in_hole(pairs.x, hidden)))
    return gradient_of(model.generator), gradient_of(model.discriminator)


def test_what_the_adversarial_loss_does_not_weigh_is_the_reconstructions():
    (scores, taught), (distance, same) = gradient(adversarial=1.0), gradient(adversarial=0.0)
    assert min(np.linalg.norm(scores), np.linalg.norm(distance)) > 1e-6
    np.testing.assert_allclose(gradient(adversarial=0.3)[0], 0.3 * scores + 0.7 * distance, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(gradient(0.5, adversarial=1.0)[0], scores)  # nothing is left for what is in the hole
    np.testing.assert_array_equal(taught, same)  # the discriminator learns nothing from the generator's step


def test_the_reconstruction_loss_is_the_mean_square_in_the_hole():
    model, pairs = painter(), batch()
    with mg.no_grad():
        content = model.generator(model.around(mg.Tensor(pairs.other))).numpy()
    found = float(painter().step(pairs)["rec_loss"])
    np.testing.assert_allclose(found, ((content - pairs.x[HOLE]) ** 2).mean(), rtol=1e-12)


# What is drawn, and measured

def test_a_picture_keeps_all_but_its_hole():
    model, shown = painter(), batch().other
    drawn = model.draw(N, None, inputs=shown).x
    changed = drawn != shown
    assert changed[HOLE].all() and changed.sum() == changed[HOLE].size


def test_psnr_is_measured_in_the_hole_beside_that_of_the_mean_of_the_training_pictures():
    known = np.random.default_rng(5).integers(256, size=(7, SIDE, SIDE, 3), dtype=np.uint8)
    model, again = painter(), painter()
    model.learn_from(known, None)
    again.load_state_dict(model.state_dict())  # a run that is loaded does not learn from them again
    model.examples = again.examples = batch()
    mean = np.broadcast_to((known / 127.5 - 1).mean(0), batch().x.shape)
    for painted in (model, again):
        drawn = painted.draw(N, None)
        found = {name: measure.metric(*measure.arrays) for measure in painted.measures(drawn, None)
                 for name in measure.names}
        assert found == pytest.approx({"PSNR-hole": psnr(drawn.x[HOLE], batch().x[HOLE]).mean(),
                                       "PSNR-hole-mean": psnr(mean[HOLE], batch().x[HOLE]).mean()}, abs=1e-4)
    assert model.measures(model.draw(2, None, inputs=batch().other), None) == []


# What is refused

@pytest.mark.parametrize("shape", [(16, 12, 1), (12, 16, 3), (18, 18, 1), (30, 30, 1)])
def test_pictures_that_are_not_square_or_whose_quarter_is_no_whole_pixel_are_refused(shape):
    with pytest.raises(ValueError, match=f"inpaint: pictures of {shape[0]} × {shape[1]} pixels.*multiples of 4"):
        small_translator("inpaint", Facts(shape, other=shape))


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan")])
def test_a_weight_that_leaves_less_than_nothing_is_refused(weight):
    with pytest.raises(ValueError, match="inpaint: expected 0 ≤ adversarial ≤ 1"):
        painter(adversarial=weight)


def test_other_data_are_refused_with_the_prefix_that_makes_them_fit(train):
    for source, named in (("digits", "digits"), ("half:digits", "digits"), ("emoji", "emoji")):
        words = "--model inpaint", f"masked:{named} makes", f"not from {source}"
        refused(train("--model", "inpaint", "--data", source), *words)


def test_the_examples_are_the_test_pictures_with_a_hole():
    options = dict(data="masked:emoji", model="inpaint", seed=0, mirror=False, image_size=None, batch_size=8)
    dataset = data.load("masked:emoji")
    model, _, _ = models.build(models.complete(options, models.facts_of(dataset)), dataset)
    test = data.load("emoji", split="test").x
    assert set(map(bytes, data.to_unit(test))) == set(map(bytes, model.examples.x))
    at = made.hole((32, 32))
    assert abs(model.examples.other[(slice(None), *at)]).max() < 0.005
