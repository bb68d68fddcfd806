"""Progressive growing: when a block is there and by how much, and that nothing jumps when it comes."""

import copy

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn
from minigan.runs import models
from minigan.runs.options import breaks
from minigan.tensor import no_grad
from minigan.trainer import Batch, Facts

FACTS, LARGE = Facts((16, 16, 1)), Facts((28, 28, 1))  # 4 → 8 → 16 and 7 → 14 → 28


def made(facts=FACTS, seed=1, dtype="float64", **options):
    given = dict(model="progan", width=3, latent=3, batch_size=6, steps=40, grow=0.8, ema=0.5) | options
    model = models.made(models.complete(given, facts), facts, backend.Streams(seed))
    for network in model.networks().values():
        network.astype(dtype)
    return model


def batches(count, facts=FACTS, n=6, seed=2):
    rng = np.random.default_rng(seed)
    return [Batch(rng.uniform(-1, 1, (n, *facts.shape))) for _ in range(count)]


def at(model, step):
    """The model as it is in this step."""
    model.steps = step
    model.grow()
    return model


def enlarged(x, f):
    N, H, W, C = x.shape
    return x.reshape(N, H // f, f, W // f, f, C).mean((2, 4)).repeat(f, 1).repeat(f, 2)


# The schedule: 40 steps, of which 32 grow, in 4 phases of 8

def test_a_size_stays_and_the_next_one_fades_in_evenly_until_all_are_there():
    model = made()
    sizes = [model.level - 1 + model.alpha for model in (at(model, step) for step in range(1, 41))]
    fade = np.arange(8) / 8
    expected = [*np.zeros(8), *fade, *np.ones(8), *(1 + fade), *np.full(8, 2.0)]
    np.testing.assert_allclose(sizes, expected, atol=1e-12)


@pytest.mark.parametrize("steps, grow", [(40, 0.8), (1000, 0.55), (7, 0.9), (3, 0.99), (2, 0.5), (100, 0.0)])
def test_alpha_never_jumps(steps, grow):
    """From step to step the size rises by no more than a fade's share, or than a fade that is shorter than a step."""
    model = made(steps=steps, grow=grow)
    sizes = np.array([model.level - 1 + model.alpha for model in (at(model, i) for i in range(1, steps + 1))])
    rises = np.diff(sizes)
    assert (rises >= -1e-9).all() and rises.max(initial=0) <= (2 * model.levels / (grow * steps) if grow else 0) + 1e-9
    assert sizes[0] == (0 if grow else model.levels)
    assert sizes[-1] == model.levels or grow * steps > steps - 1  # then it is the step after the last


def test_all_networks_are_told_the_averaged_one_too():
    model = at(made(), 20)
    assert {(network.level, network.alpha) for network in model.networks().values()} == {(1, 1.0)}


def test_without_growing_all_blocks_are_there_from_the_first_step():
    model = made(grow=0.0)
    before = model.generator.state_dict()
    assert (model.level, model.alpha) == (2, 1.0)
    model.step(batches(1)[0])
    after = model.generator.state_dict()
    still = [name for name in after if (after[name] == before[name]).all()]
    assert still == [name for name in after if name.startswith(("rgb.0", "rgb.1"))]  # which only a fade needs


def test_a_share_that_is_none_is_refused_and_so_are_sides_that_cannot_be_halved():
    for name, value in (("grow", 1.0), ("grow", -0.1), ("drift", -1.0), ("gp_weight", float("nan"))):
        with pytest.raises(ValueError, match=f"ProGAN: {name}: expected a number ≥ 0"):
            made(**{name: value})
    with pytest.raises(ValueError, match="ProGAN: images of 9×9 cannot be halved"):
        made(Facts((9, 9, 1)))


def test_another_number_of_steps_is_another_plan_and_is_said():
    options = dict(model="progan", steps=40, lr_decay=1.0, grow=0.8, batch_size=6)
    assert "--steps 50 (it was 40)" in breaks(options | dict(steps=50), options)
    assert breaks(options | dict(steps=50, grow=0.0), options | dict(grow=0.0)) == ""


# What fades

@pytest.mark.parametrize("facts", [FACTS, LARGE])
@pytest.mark.parametrize("level", [1, 2])
def test_a_block_that_is_not_there_yet_changes_nothing_and_one_that_is_leaves_nothing_of_the_old_way(facts, level):
    model, z, x = made(facts), mg.Tensor(np.random.default_rng(0).standard_normal((4, 3))), mg.Tensor(
        np.random.default_rng(1).uniform(-1, 1, (4, *facts.shape)))

    def values(level, alpha):
        model.generator.level = model.discriminator.level = level
        model.generator.alpha = model.discriminator.alpha = alpha
        with no_grad():
            return model.generator(z).numpy(), model.discriminator(x).numpy()
    before, begun, half, whole = values(level - 1, 1.0), values(level, 0.0), values(level, 0.5), values(level, 1.0)
    for old, zero in zip(before, begun):
        np.testing.assert_allclose(zero, old, rtol=1e-10, atol=1e-12)
    logit = np.arctanh
    np.testing.assert_allclose(logit(half[0]), (logit(begun[0]) + logit(whole[0])) / 2, rtol=1e-9, atol=1e-10)
    for network, parts in ((model.generator, "rgb"), (model.discriminator, "features")):
        for p in getattr(network, parts)[level - 1].parameters():
            p.data = p.data + 1.0
    for found, expected in zip(values(level, 1.0), whole):
        np.testing.assert_array_equal(found, expected)
    assert all((a != b).any() for a, b in zip(values(level, 0.5), half))


@pytest.mark.parametrize("facts, step, side", [(FACTS, 1, 4), (FACTS, 13, 8), (FACTS, 20, 8), (LARGE, 1, 7),
                                               (LARGE, 33, 28)])
def test_small_pictures_are_enlarged(facts, step, side):
    x = at(made(facts), step).draw(4, np.random.default_rng(0)).x
    factor = facts.shape[0] // side
    np.testing.assert_allclose(x, enlarged(x, factor), atol=1e-12)
    assert x.shape == (4, *facts.shape) and np.abs(np.diff(x[:, ::factor], axis=1)).max() > 1e-3


def test_d_reduces_what_it_is_given_to_the_size_of_the_step():
    model = at(made(), 20)  # 8 × 8 alone
    x = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1))
    other = x + np.tile([[[[0.1], [-0.1]], [[-0.1], [0.1]]]], (4, 8, 8, 1))  # the same means of 2 × 2
    score = lambda x: model.discriminator(mg.Tensor(x)).numpy()
    np.testing.assert_allclose(score(x), score(other), rtol=1e-9)
    assert np.abs(score(x) - score(x + 0.1)).max() > 1e-4


@pytest.mark.parametrize("step, alpha, factor", [(13, 0.5, 4), (31, 0.75, 2), (20, 1.0, 1), (1, 1.0, 1)])
def test_real_pictures_fade_as_generated_ones_do(monkeypatch, step, alpha, factor):
    """D is shown (1 − α) ↑↓x + α x: ↓ to the sides before, which are 4 in step 13 and 8 in step 31."""
    model, [batch], seen = at(made(), step - 1), batches(1), []
    forward = model.discriminator.forward
    monkeypatch.setattr(model.discriminator, "forward", lambda x: (seen.append(x.numpy().copy()), forward(x))[1])
    model.step(batch)
    assert model.alpha == pytest.approx(alpha)
    np.testing.assert_allclose(seen[0], (1 - alpha) * enlarged(batch.x, factor) + alpha * batch.x, atol=1e-12)


def test_d_sees_how_the_samples_of_a_batch_differ():
    model = made(grow=0.0)
    x = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 1))
    score = lambda x: model.discriminator(mg.Tensor(x)).numpy()[0]
    alike, different = score(x[[0, 0, 0, 0]]), score(x)
    assert abs(alike - different).item() > 1e-6
    np.testing.assert_allclose(alike, score(x[[0]]), rtol=1e-9)


# The loss

def test_scores_are_drawn_to_0_by_the_mean_square_of_those_of_real_pictures():
    lost = {drift: float(made(drift=drift, gp_weight=0.0).step(batches(1)[0])["d_loss"]) for drift in (0.0, 0.001, 1.0)}
    model, [batch] = made(), batches(1)
    square = (model.discriminator(mg.Tensor(batch.x)).numpy() ** 2).mean()
    assert lost[0.001] - lost[0.0] == pytest.approx(0.001 * square, rel=1e-6)
    assert lost[1.0] - lost[0.0] == pytest.approx(square, rel=1e-6)


def test_without_drift_and_penalty_the_critics_loss_is_the_difference_of_scores():
    stats = made(drift=0.0, gp_weight=0.0).step(batches(1)[0])
    assert float(stats["d_loss"]) == pytest.approx(float(stats["fake_score"] - stats["real_score"]))


# Weights that come later

def test_weights_rest_until_their_block_comes_and_their_first_step_is_at_most_ten_times_the_rate():
    model, dealt = made(lr_decay=1.0), batches(12)
    first = model.generator.state_dict()
    for batch in dealt[:9]:  # the 9th is the first step of the fade, by α = 0
        model.step(batch)
    before = model.generator.state_dict()
    later = [name for name in first if name.startswith("blocks.1")]
    assert later and all((before[name] == first[name]).all() for name in later)
    model.step(dealt[9])
    moved = np.concatenate([(model.generator.state_dict()[name] - before[name]).ravel() for name in later])
    rate = model.g_optimizer.lr
    assert np.abs(moved).max() == pytest.approx(10 * rate * np.sqrt(1 - 0.99 ** 10), rel=1e-3)
    after = model.generator.state_dict()
    assert all((after[name] == first[name]).all() for name in first if name.startswith("blocks.2"))


# Resume

def test_a_run_goes_on_exactly_in_the_middle_of_a_fade():
    dealt = batches(14)
    whole, first, second = made(dtype="float32"), made(dtype="float32"), made(dtype="float32", seed=9)
    for batch in dealt[:11]:
        whole.step(batch), first.step(batch)
    second.load_state_dict(first.state_dict())
    second.streams.load_state_dict(first.streams.state_dict())
    assert (second.level, second.alpha) == (1, 0.25)
    shown = [model.draw(3, np.random.default_rng(0)).x for model in (first, second)]
    np.testing.assert_array_equal(*shown)  # it is shown by the α of its step before it makes another
    for batch in dealt[11:]:
        stats, found = whole.step(batch), second.step(batch)
        assert {name: float(value) for name, value in stats.items()} == {
            name: float(value) for name, value in found.items()}
    for (name, expected), array in zip(whole.state_dict().items(), second.state_dict().values()):
        np.testing.assert_array_equal(array, expected, err_msg=name)


# Equalised learning rates and pixel norm

@pytest.mark.parametrize("make, shape, fan_in", [
    (lambda rng: nn.Dense(50, 400, rng=rng), (300, 50), 50),
    (lambda rng: nn.Conv2d(8, 200, 3, rng=rng), (20, 5, 5, 8), 72)])
def test_an_equalised_layer_begins_as_hes_and_its_weights_as_normal_numbers(make, shape, fan_in):
    rng = np.random.default_rng(0)
    layer = nn.Equalised(make(rng), rng=rng)
    assert layer.layer.weight.numpy().std() == pytest.approx(1.0, abs=0.02)
    assert layer.scale == pytest.approx(np.sqrt(2 / fan_in)) and not layer.layer.bias.numpy().any()
    x = rng.standard_normal(shape).astype(np.float32)
    assert layer(mg.Tensor(x)).numpy().std() == pytest.approx(np.sqrt(2), rel=0.05)
    plain = copy.deepcopy(layer.layer)
    plain.weight.data = plain.weight.data * np.float32(layer.scale)
    np.testing.assert_allclose(layer(mg.Tensor(x)).numpy(), plain(mg.Tensor(x)).numpy(), rtol=1e-4, atol=1e-5)


def test_the_factor_is_there_in_every_call_and_not_in_the_first_weights_alone():
    """The gradient has it too; and after a step of Adam, which is as long for all weights, all layers have moved by
    the same part of their deviation."""
    for inputs in (4, 400):
        layer = nn.Equalised(nn.Dense(inputs, 3)).astype("float64")
        x = np.random.default_rng(0).standard_normal((5, inputs))
        [gradient] = mg.grad(layer(mg.Tensor(x)).sum(), layer.layer.weight)
        np.testing.assert_allclose(gradient.numpy(), np.sqrt(2 / inputs) * x.sum(0)[:, None].repeat(3, 1), rtol=1e-10)
        before = layer(mg.Tensor(x)).numpy()
        layer.layer.weight.data = layer.layer.weight.data + 1.0
        np.testing.assert_allclose(layer(mg.Tensor(x)).numpy() - before,
                                   np.sqrt(2 / inputs) * x.sum(1, keepdims=True).repeat(3, 1), atol=1e-10)


def test_a_rate_slows_weights_and_bias_and_leaves_the_function_as_it_was():
    slow, fast = [nn.Equalised(nn.Dense(4, 3), gain=1.0, rate=rate, rng=np.random.default_rng(0)).astype("float64")
                  for rate in (0.01, 1.0)]
    x = mg.Tensor(np.random.default_rng(1).standard_normal((5, 4)))
    np.testing.assert_allclose(slow(x).numpy(), fast(x).numpy(), rtol=1e-5)
    for p, q in zip(slow.parameters(), fast.parameters()):
        [g], [h] = mg.grad(slow(x).sum(), p), mg.grad(fast(x).sum(), q)
        np.testing.assert_allclose(g.numpy(), 0.01 * h.numpy(), rtol=1e-10)
    with pytest.raises(ValueError, match="Equalised: expected a rate > 0, got 0"):
        nn.Equalised(nn.Dense(4, 3), rate=0)


def test_pixel_norm_makes_the_mean_square_of_each_pixel_1(rng=np.random.default_rng(0)):
    x = rng.standard_normal((3, 4, 5, 7)) * rng.uniform(0.1, 9, (3, 4, 5, 1))
    y = nn.PixelNorm()(mg.Tensor(x)).numpy()
    np.testing.assert_allclose((y ** 2).mean(-1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(y / x, np.broadcast_to((y / x)[..., :1], x.shape), rtol=1e-9)
    assert not nn.PixelNorm()(mg.Tensor(np.zeros((2, 3)))).numpy().any()  # and no NaN
