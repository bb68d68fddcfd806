"""Differentiable augmentation: what each transformation does, that gradients of every order pass, that real and fake
are changed alike in both steps, and how its probability adapts itself."""

from pathlib import Path

import numpy as np
import pytest

import minigan as mg
from minigan import augment, backend
from minigan.runs import models
from minigan.tensor import Tensor
from minigan.trainer import Facts
from helpers import done, stats_of, torch, train

__all__ = ["torch", "train"]  # the fixtures

pytestmark = pytest.mark.on_each_engine

EACH = {change.__name__: change for change in dict.fromkeys((*augment.POLICIES["all"], *augment.ADAPTIVE))}
each = pytest.mark.parametrize("change", EACH.values(), ids=EACH)
COLOUR, ALL = augment.POLICIES["colour"], augment.POLICIES["all"]
SHAPE = (6, 8, 12, 2)


class Drawn:
    """A generator of random numbers that deals what it is given."""

    def __init__(self, *arrays):
        self.arrays = list(arrays)

    def random(self, shape):
        return np.asarray(self.arrays.pop(0), np.float64).reshape(shape)

    def integers(self, low, high, n):
        array = np.asarray(self.arrays.pop(0))
        assert array.shape == (n,) and low <= array.min() and array.max() < high
        return array


def model_of(**options):
    facts = Facts((8, 8, 1))
    given = dict(model="gan", width=2, latent=3, batch_size=8, steps=10, augment="all") | options
    return models.made(models.complete(given, facts), facts, backend.Streams(0))


# What is done

def test_colours_are_moved_and_stretched_by_a_number_for_each_sample(torch, rng):
    x, u = rng.uniform(-1, 1, SHAPE), rng.random(6)
    X, U = torch.from_numpy(x), torch.from_numpy(u).view(-1, 1, 1, 1)
    np.testing.assert_allclose(augment.brightness(Tensor(x), Drawn(u)).numpy(), (X + U - 0.5).numpy(), rtol=1e-14)
    mean = X.mean((1, 2, 3), keepdim=True)
    np.testing.assert_allclose(augment.contrast(Tensor(x), Drawn(u)).numpy(),
                               ((X - mean) * (U + 0.5) + mean).numpy(), rtol=1e-12, atol=1e-14)


def test_a_translation_moves_whole_pixels_and_zeros_come_in(rng):
    x = rng.uniform(-1, 1, (3, 8, 16, 2))
    y = augment.translation(Tensor(x), Drawn(np.array([0, 1, -1]), np.array([0, 2, -1]))).numpy()
    np.testing.assert_array_equal(y[0], x[0])
    np.testing.assert_array_equal(y[1, 1:, 2:], x[1, :-1, :-2])
    assert not y[1, :1].any() and not y[1, :, :2].any()
    np.testing.assert_array_equal(y[2, :-1, :-1], x[2, 1:, 1:])
    assert not y[2, -1:].any() and not y[2, :, -1:].any()


def test_a_mirrored_translation_moves_whole_pixels_and_the_mirror_image_comes_in(rng):
    x = rng.uniform(-1, 1, (3, 8, 16, 2))
    y = augment.mirrored_translation(Tensor(x), Drawn(np.array([0, 1, -1]), np.array([0, 2, -1]))).numpy()
    np.testing.assert_array_equal(y[0], x[0])
    for n, down, right in ((1, 1, 2), (2, -1, -1)):
        margins = [(max(move, 0), max(-move, 0)) for move in (down, right)]
        wide = np.pad(x[n], (*margins, (0, 0)), mode="reflect")
        np.testing.assert_array_equal(y[n], wide[max(-down, 0):, max(-right, 0):][:8, :16])
    with pytest.raises(ValueError, match="sides of 2 at least, got"):
        augment.mirrored_translation(Tensor(x[:, :1]), rng)


def test_a_flip_exchanges_left_and_right(rng):
    x = rng.uniform(-1, 1, (3, 4, 6, 2))
    y = augment.flip(Tensor(x), Drawn(np.array([0.5, 0.49, 0.0]))).numpy()
    np.testing.assert_array_equal(y, [x[0], x[1, :, ::-1], x[2, :, ::-1]])


def test_a_quarter_turn_is_against_the_clock(rng):
    x = rng.uniform(-1, 1, (4, 5, 5, 2))
    y = augment.quarter_turn(Tensor(x), Drawn(np.array([0, 1, 2, 3]))).numpy()
    np.testing.assert_array_equal(y, [np.rot90(picture, turns) for turns, picture in enumerate(x)])
    half = augment.quarter_turn(Tensor(x[:2, :4]), Drawn(np.array([0, 1]))).numpy()
    np.testing.assert_array_equal(half, [x[0, :4], x[1, 3::-1, ::-1]])


def test_flips_and_quarter_turns_are_equally_likely():
    x = Tensor(np.broadcast_to(np.arange(4.0).reshape(1, 2, 2, 1), (4000, 2, 2, 1)))
    corner = lambda change: np.bincount(
        change(x, np.random.default_rng(0)).numpy()[:, 0, 0, 0].astype(int), minlength=4) / 4000
    np.testing.assert_allclose(corner(augment.flip), [0.5, 0.5, 0, 0], atol=0.03)
    np.testing.assert_allclose(corner(augment.quarter_turn), 4 * [0.25], atol=0.03)


@pytest.mark.parametrize("translation", [augment.translation, augment.mirrored_translation])
@pytest.mark.parametrize("side", [8, 28, 30, 32])
def test_translations_reach_an_eighth_of_each_side_both_ways(translation, side):
    x = np.zeros((4000, 2, side, 1))
    x[:, :, side // 2] = 1.0
    found = translation(Tensor(x), np.random.default_rng(0)).numpy()
    moves = found.any((1, 3)).argmax(1) - side // 2
    assert (moves.min(), moves.max()) == (-round(side / 8 + 1e-9), round(side / 8 + 1e-9))
    assert abs(moves.mean()) < 0.2


def test_a_cutout_is_a_rectangle_of_half_the_sides_around_a_place(rng):
    x = rng.uniform(0.5, 1, (2, 8, 12, 2))
    y = augment.cutout(Tensor(x), Drawn(np.array([4, 0]), np.array([6, 12]))).numpy()
    assert not y[0, 2:6, 3:9].any() and (y[0] == 0).sum() == 4 * 6 * 2
    assert not y[1, :2, 9:].any() and (y[1] == 0).sum() == 2 * 3 * 2
    assert (y[y != 0] == x[y != 0]).all()


@each
def test_each_sample_is_changed_by_numbers_of_its_own(change, rng):
    x = np.broadcast_to(rng.uniform(-1, 1, (1, 8, 8, 2)), (40, 8, 8, 2)).copy()
    y = change(Tensor(x), np.random.default_rng(0)).numpy()
    ways = {"flip": 2, "quarter_turn": 4, "mirrored_translation": 9, "translation": 9}
    assert len(np.unique(y.reshape(40, -1), axis=0)) >= ways.get(change.__name__, 11)


@each
def test_gradients_of_every_order_pass_through(change, rng):
    x = rng.uniform(-1, 1, (2, 8, 8, 1))
    mg.check_grads(lambda x: change(x, np.random.default_rng(3)) ** 2, [x], order=2)
    dtype = change(Tensor(x.astype(np.float32)), np.random.default_rng(3)).dtype
    assert dtype == np.float32


def test_a_probability_decides_for_each_sample_and_transformation_apart():
    x = Tensor(np.full((4000, 2, 2, 1), 0.25))
    changed = (augment.augment(x, COLOUR, np.random.default_rng(0), 0.3).numpy() != 0.25)[:, 0, 0, 0]
    assert changed.mean() == pytest.approx(0.3, abs=0.03)  # contrast leaves a flat picture as it is
    np.testing.assert_array_equal(augment.augment(x, ALL, np.random.default_rng(0), 0.0).numpy(), x.numpy())
    assert (augment.augment(x, COLOUR, np.random.default_rng(0)).numpy() != 0.25).all()
    assert augment.augment(x, augment.POLICIES["none"], None) is x


# In training

def test_real_and_fake_are_changed_in_ds_step_and_fake_in_gs_and_the_gradient_passes():
    model, changed = model_of(), []
    see = model.seen
    model.seen = lambda x: changed.append((x, see(x))) or changed[-1][1]
    model.step([np.random.default_rng(0).uniform(-1, 1, (8, 8, 8, 1))])
    assert len(changed) == 3
    for before, after in changed:
        assert all((a != b).any() for a, b in zip(before.numpy(), after.numpy()))
    assert [after.requires_grad for _, after in changed] == [False, False, True]
    assert all((p.grad.numpy() != 0).any() for p in model.generator.parameters())


def test_the_generators_gradient_is_that_of_the_changed_pictures():
    """By finite differences, with the same random numbers again; without spectral norm, which moves in each step."""
    model = model_of(lr_g=0.0, lr_d=0.0, d_norm="none")
    for network in model.networks().values():
        network.astype("float64")
    batch = np.random.default_rng(0).uniform(-1, 1, (8, 8, 8, 1))
    before = model.streams.state_dict()
    model.step([batch])
    bias = model.generator.parameters()[-1]
    slope, start, losses = bias.grad.numpy().item(), bias.data.copy(), []
    for move in (1e-6, -1e-6):
        bias.data = start + move
        model.streams.load_state_dict(before)
        losses.append(float(model.step([batch])["g_loss"]))
    assert abs(slope) > 1e-7
    assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(slope, rel=1e-4)


# Adaptive

def test_the_probability_rises_while_d_is_too_sure_and_falls_when_it_is_not():
    adaptive = augment.Adaptive(target=0.61, images=100)
    sure, unsure = np.array([[3.0], [0.1], [5.0], [2.0], [9.0]]), np.array([[3.0], [-9.0], [5.0], [2.0], [1.0]])
    found = []
    for scores in (sure, sure, unsure, -sure, -sure, *[sure] * 21):
        adaptive.observe(Tensor(scores))
        found.append(adaptive.p.item())
    np.testing.assert_allclose(found[:6], [0.05, 0.1, 0.05, 0.0, 0.0, 0.05], atol=1e-6)
    np.testing.assert_allclose(found[-3:], [0.95, 1.0, 1.0], atol=1e-6)


def test_the_probability_stays_below_its_bound():
    adaptive, found = augment.Adaptive(target=0.5, images=100, most=0.12), []
    for scores in [np.ones((5, 1))] * 4 + [-np.ones((5, 1))]:
        adaptive.observe(Tensor(scores))
        found.append(adaptive.p.item())
    np.testing.assert_allclose(found, [0.05, 0.1, 0.12, 0.12, 0.07], atol=1e-6)


def test_of_pictures_turned_as_often_as_ada_may_upright_ones_are_twice_as_many_as_each_other_kind():
    """Or a generator could draw them turned, and none would tell."""
    up = np.zeros((4000, 4, 4, 1))
    up[:, 0, 1:3] = 1.0
    x = augment.augment(Tensor(up), (augment.quarter_turn,), np.random.default_rng(0), augment.MOST).numpy()[..., 0]
    sides = x[:, 0].any(-1), x[:, :, 0].any(-1), x[:, -1].any(-1), x[:, :, -1].any(-1)
    shares = [(x.sum((1, 2)) == 2.0)[side].sum() / len(x) for side in sides]
    np.testing.assert_allclose(shares, [0.4, 0.2, 0.2, 0.2], atol=0.03)


def test_a_mean_of_signs_is_no_sign_of_a_mean():
    adaptive = augment.Adaptive(target=0.0, images=10)
    adaptive.observe(Tensor(np.array([1.0, 1.0, -100.0])))
    assert adaptive.p.item() == pytest.approx(0.3)


def test_a_run_begins_with_pictures_as_they_are_and_learns_how_many_to_change():
    model = model_of(adaptive=0.6, adaptive_images=80)
    assert model.adaptive.p.item() == 0.0
    seen = model.seen(Tensor(np.full((8, 8, 8, 1), 0.5, np.float32)))
    assert (seen.numpy() == 0.5).all()
    shown = model.observe(Tensor(np.ones((8, 1), np.float32)))
    assert shown == {"augmented_share": pytest.approx(0.1)}
    assert model.adaptive.p.item() == pytest.approx(0.1)
    assert model.state_dict()["adaptive.p"].item() == pytest.approx(0.1)


@pytest.mark.parametrize("words", [("--model", "stylegan2", "--ada", "--latent", 4),
                                   ("--recipe", "dcgan", "--augment", "all", "--adaptive", 0.6)])
def test_the_share_of_changed_pictures_is_logged_as_a_number(train, words):
    done(train("--data", "digits", "--steps", 2, "--width", 2, "--batch-size", 8, "--log-every", 1, *words))
    [run] = Path("runs").iterdir()
    assert [0.0 <= line["augmented_share"] <= 1.0 for line in stats_of(run)] == [True, True]


def test_scores_are_counted_from_where_the_objective_is_undecided():
    """Least squares asks for 1 on real samples and 0 on fake ones: 0.4 is taken for fake."""
    model = model_of(adaptive=0.6, adaptive_images=80, objective="lsgan")
    model.adaptive.p = model.adaptive.p + np.float32(0.5)
    model.observe(Tensor(np.full((8, 1), 0.4, np.float32)))
    assert model.adaptive.p.item() == pytest.approx(0.4)


def test_half_of_a_side_is_cut_out_in_the_middle_and_less_at_the_edge():
    """Of 6 pixels 3, wherever they begin; a square that hangs over by one has 2 left."""
    cut = augment.cutout(Tensor(np.ones((2000, 6, 6, 1))), np.random.default_rng(0)).numpy()[..., 0] == 0
    columns = cut.any(1).sum(1)
    assert columns.min() == 2 and columns.max() == 3
