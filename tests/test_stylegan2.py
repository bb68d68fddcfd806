"""StyleGAN2: modulation is a kernel for each sample, noise is each sample's own, paths become equally long, and
truncation goes toward the mean style."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn, ops
from minigan.metrics.latent import perceptual_path_length, straight
from minigan.model import ways
from minigan.objectives import zero_centred_penalty
from minigan.runs import models
from minigan.style import Generator, Mapping, ModulatedConv2d, PathPenalty, Styled
from minigan.tensor import no_grad
from minigan.trainer import Batch, Facts

FACTS = Facts((16, 16, 1))  # 4 → 8 → 16: five layers


def made(seed=1, dtype="float64", facts=FACTS, **options):
    given = dict(model="stylegan2", width=3, latent=4, depth=2, batch_size=6, steps=10, ema=0.5) | options
    model = models.made(models.complete(given, facts), facts, backend.Streams(seed))
    for network in model.networks().values():
        network.astype(dtype)
    return model


def batches(count, n=6, seed=2):
    rng = np.random.default_rng(seed)
    return [Batch(rng.uniform(-1, 1, (n, *FACTS.shape))) for _ in range(count)]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def moved(module, seed=1):
    """In float64, with biases and strengths that are not 0."""
    for p in module.astype("float64").parameters():
        p.data = p.data + 0.3 * draw(*p.shape, seed=seed)
    return module


# Modulation

@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("size", [1, 3])
def test_scaling_inputs_and_outputs_is_scaling_the_kernel_of_each_sample(demodulate, size):
    """Equations 1 and 3 of arXiv:1912.04958, one sample after another."""
    layer = moved(ModulatedConv2d(3, 5, size, 4, demodulate, np.random.default_rng(0)))
    x, w = draw(6, 4, 7, 3), draw(6, 4, seed=1)
    y = layer(mg.Tensor(x), mg.Tensor(w)).numpy()
    styles = 1 + layer.style(mg.Tensor(w)).numpy()
    for n in range(6):
        kernel = layer.weight.numpy() / np.sqrt(3 * size ** 2) * styles[n][:, None]
        if demodulate:
            kernel = kernel / np.sqrt((kernel ** 2).sum((0, 1, 2)) + 1e-8)
        expected = mg.conv.conv2d(x[n:n + 1], kernel, padding=size // 2).numpy()[0] + layer.bias.numpy()
        np.testing.assert_allclose(y[n], expected, rtol=1e-10, atol=1e-12)


def test_a_style_of_zeros_is_demodulated_to_zeros_and_not_to_nan():
    """eps stands in the root: without it 0/0. With it a style of 1e-3 is still made up for, and one of 1e-9 is not."""
    layer = ModulatedConv2d(2, 3, 3, 2, rng=np.random.default_rng(0)).astype("float64")
    x, w = mg.Tensor(draw(4, 5, 5, 2)), mg.Tensor(draw(4, 2), requires_grad=True)
    layer.style.layer.weight.data = 0.0 * layer.style.layer.weight.data
    size = lambda s: np.abs(layer(x, _with_style(layer, s, w)).numpy()).max()
    assert size(0.0) == 0.0
    [gradient] = mg.grad(layer(x, w).sum(), layer.weight)
    assert np.isfinite(gradient.numpy()).all()
    assert size(1e-2) == pytest.approx(size(1.0), rel=1e-3) and 0 < size(1e-9) < 1e-4 * size(1.0)


def _with_style(layer, s, w):
    layer.style.layer.bias.data = np.full(2, s - 1.0)
    return w


def test_demodulation_keeps_the_deviation_whatever_the_style():
    layer = ModulatedConv2d(16, 64, 3, 4, rng=np.random.default_rng(0)).astype("float64")
    x, w = draw(8, 12, 12, 16), 30 * draw(8, 4, seed=1)
    inside = layer(mg.Tensor(x), mg.Tensor(w)).numpy()[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inside.std((1, 2, 3)), 1.0, atol=0.15)


@pytest.mark.parametrize("demodulate", [True, False])
def test_its_derivatives_are_right_to_the_second_order(demodulate):
    layer = moved(ModulatedConv2d(2, 2, 3, 2, demodulate, np.random.default_rng(0)))

    def f(x, w, weight, bias):
        layer.weight, layer.bias = weight, bias
        return ops.tanh(layer(x, w))
    mg.check_grads(f, [draw(2, 3, 3, 2), draw(2, 2), layer.weight.numpy(), layer.bias.numpy()], order=2, max_entries=8)


# Noise

def test_a_layer_adds_noise_by_a_strength_that_begins_at_0_and_is_learned():
    layer, x, w = Styled(2, 2, 3, np.random.default_rng(0)).astype("float64"), mg.Tensor(draw(4, 5, 5, 2)), mg.Tensor(
        draw(4, 3))
    noise, without = draw(4, 5, 5, 1, seed=3), layer(x, w).numpy()
    np.testing.assert_array_equal(layer(x, w, noise).numpy(), without)
    [gradient] = mg.grad(layer(x, w, noise).sum(), layer.strength)
    assert abs(gradient.item()) > 0.1
    layer.strength.data = layer.strength.data + 0.5
    before = lambda y: np.where(y > 0, y, 5 * y) / np.sqrt(2)
    np.testing.assert_allclose(before(layer(x, w, noise).numpy()) - before(without), np.broadcast_to(
        0.5 * noise, without.shape), atol=1e-10)


def test_noise_is_each_samples_and_each_layers_own():
    model = made()
    noise = model.places(200)
    assert noise.shape == (200, 4 * 4 + 2 * 8 * 8 + 2 * 16 * 16)
    correlation = np.corrcoef(noise[:6])
    assert np.abs(correlation - np.eye(6)).max() < 0.2
    assert noise.std(0).min() > 0.7 and noise.std(1).min() > 0.7
    moved(model.generator)
    with no_grad():
        w = mg.Tensor(draw(1, 4).repeat(3, 0))
        x = model.generator.synthesis(5 * [w], noise[:3]).numpy()
        alike = model.generator.synthesis(5 * [w], noise[[0, 0, 0]]).numpy()
    assert np.abs(x[0] - x[1]).max() > 1e-3
    np.testing.assert_allclose(alike[0], alike[1], atol=1e-12)


@pytest.mark.parametrize("layer, begin, end", [(0, 0, 16), (2, 80, 144), (4, 400, 656)])
def test_each_layer_takes_its_part_of_the_noise(layer, begin, end, monkeypatch):
    generator, noise, seen = made().generator, draw(2, 656), []
    forward = generator.styled[layer].forward
    monkeypatch.setattr(generator.styled[layer], "forward", lambda x, w, now: (seen.append(now), forward(x, w, now))[1])
    generator.synthesis(5 * [mg.Tensor(draw(2, 4))], noise)
    np.testing.assert_array_equal(seen[0].reshape(2, -1), noise[:, begin:end])


def test_every_step_draws_noise_for_each_of_its_pictures(monkeypatch):
    model, seen = made(path=0.0), []
    synthesis = model.generator.synthesis
    monkeypatch.setattr(model.generator, "synthesis", lambda styles, noise: (seen.append(noise), synthesis(
        styles, noise))[1])
    model.step(batches(1)[0])
    assert len(np.unique(np.concatenate(seen).round(9))) == 2 * 6 * 656  # D's and G's, all different


# Mapping and truncation

def test_styles_do_not_depend_on_the_length_of_z():
    mapping = Mapping(4, 3, np.random.default_rng(0)).astype("float64").eval()
    z = draw(5, 4)
    np.testing.assert_allclose(mapping(mg.Tensor(z)).numpy(), mapping(mg.Tensor(7 * z)).numpy(), rtol=1e-6)


def test_the_mean_style_follows_the_styles_in_training_and_rests_in_evaluation():
    mapping = Mapping(3, 2, np.random.default_rng(0)).astype("float64")
    z = mg.Tensor(draw(2000, 3))
    means = mapping(z).numpy().mean(0)
    np.testing.assert_allclose(mapping.mean, 0.005 * means, rtol=1e-9)
    for _ in range(1000):
        mapping(z)
    np.testing.assert_allclose(mapping.mean, means, rtol=0.01)
    before = mapping.mean.copy()
    mapping.eval()(mg.Tensor(draw(5, 3, seed=4)))
    np.testing.assert_array_equal(mapping.mean, before)


def test_truncation_goes_toward_the_mean_style_and_not_toward_zero():
    model = made()
    moved(model.averaged)
    model.averaged.mapping.mean = np.array([0.5, -1.0, 0.2, 2.0])
    drawn = lambda psi: model.draw(3, np.random.default_rng(0), truncation=psi).x
    G, (z, noise) = model.averaged, model.inputs(3, np.random.default_rng(0))
    with no_grad():
        mean = np.repeat(G.mapping.mean[None], 3, 0)
        w = G.mapping(z).numpy()
        for psi in (0.0, 0.3, 1.0, -0.5):
            expected = G.synthesis(5 * [mg.Tensor(mean + psi * (w - mean))], noise).numpy()
            np.testing.assert_allclose(drawn(psi), expected, atol=1e-10)
    assert np.abs(drawn(0.0) - drawn(1.0)).max() > 1e-3
    np.testing.assert_allclose(drawn(1.0), model.draw(3, np.random.default_rng(0)).x)


# Mixing

def styles_of(model, monkeypatch, steps=1):
    """The lists of styles that `synthesis` is given in training."""
    seen, synthesis = [], model.generator.synthesis
    monkeypatch.setattr(model.generator, "synthesis", lambda styles, noise: (seen.append(styles), synthesis(
        styles, noise))[1])
    for batch in batches(steps):
        model.step(batch)
    return seen


@pytest.mark.parametrize("mixing, expected", [(0.0, 0), (1.0, 1)])
def test_a_part_of_the_batches_has_two_styles_from_some_layer_on(mixing, expected, monkeypatch):
    for styles in styles_of(made(mixing=mixing, path=0.0), monkeypatch, 4):
        changes = [i for i in range(1, 5) if styles[i] is not styles[i - 1]]
        assert len(styles) == 5 and len(changes) == expected


def test_the_layer_at_which_the_style_changes_is_any_but_the_first(monkeypatch):
    found = styles_of(made(mixing=1.0, path=0.0), monkeypatch, 20)
    places = {next(i for i in range(1, 5) if styles[i] is not styles[i - 1]) for styles in found}
    assert places == {1, 2, 3, 4}


# Path lengths

class Normals:
    """Draws the same numbers as the paths' stream, and keeps them."""

    def __init__(self, seed=0):
        self.rng, self.drawn = np.random.default_rng(seed), []

    def standard_normal(self, shape):
        self.drawn.append(self.rng.standard_normal(shape))
        return self.drawn[-1]


def linear(w, matrix, shape):
    return (w @ matrix).reshape(len(w), *shape)


def test_the_path_length_of_a_linear_map_is_that_of_its_adjoint():
    """g(w) = w A: the length is ‖A y‖ with y of the deviation 1/√(H W), and the penalty its square distance from a, at
    first the mean."""
    A, w, rng = draw(3, 4 * 5 * 2), mg.Tensor(draw(6, 3, seed=1), requires_grad=True), Normals()
    penalty = PathPenalty().astype("float64")
    found = penalty(linear(w, mg.Tensor(A), (4, 5, 2)), w, rng).item()
    lengths = np.linalg.norm(rng.drawn[0].reshape(6, -1) / np.sqrt(20) @ A.T, axis=1)
    a = lengths.mean()
    assert penalty.mean.item() == pytest.approx(a) and found == pytest.approx(((lengths - a) ** 2).mean())


def test_its_scale_does_not_depend_on_the_number_of_pixels():
    """Pictures of the same kind, twice as large: each pixel repeated four times has the same length but for chance."""
    def mean_length(f):
        A = draw(3, 8, 8, 1).repeat(f, 1).repeat(f, 2)
        w, penalty = mg.Tensor(draw(4000, 3, seed=1), requires_grad=True), PathPenalty().astype("float64")
        penalty(linear(w, mg.Tensor(A.reshape(3, -1)), A.shape[1:]), w, np.random.default_rng(2))
        return penalty.mean.item()
    assert mean_length(2) == pytest.approx(mean_length(1), rel=0.05)


def test_the_length_that_is_asked_for_follows_the_lengths_and_gets_no_gradient():
    A, w = mg.Tensor(draw(3, 16), requires_grad=True), mg.Tensor(draw(5, 3, seed=1), requires_grad=True)
    penalty, means = PathPenalty().astype("float64"), []
    for i in range(3):
        rng = Normals(i)
        loss = penalty(linear(w, A, (4, 4, 1)), w, rng)
        lengths = np.linalg.norm(rng.drawn[0].reshape(5, -1) / 4 @ A.numpy().T, axis=1)
        means.append(0.99 * means[-1] + 0.01 * lengths.mean() if means else lengths.mean())
        assert penalty.mean.item() == pytest.approx(means[-1])
    y, a = rng.drawn[0].reshape(5, -1) / 4, means[-1]
    expected = sum(2 / 5 * (1 - a / n) * np.outer(A.numpy() @ row, row) for n, row in zip(lengths, y))
    [gradient] = mg.grad(loss, A)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-9)


def test_the_gradient_of_the_path_penalty_is_a_third_derivative_that_is_right():
    generator = moved(Generator((8, 8, 1), 2, 2, 1, np.random.default_rng(0)))
    noise, penalty = draw(2, generator.places), PathPenalty().astype("float64")
    penalty.SHARE, penalty.mean = 0.0, np.array([0.1])  # a constant, beside which the gradient is whole

    def f(z, constant, weight):
        generator.constant, generator.styled[1].conv.weight = constant, weight
        w = generator.mapping(z)
        x = generator.synthesis(generator.layers * [w], noise)
        return penalty(x, w, np.random.default_rng(5))
    mg.check_grads(f, [draw(2, 2), generator.constant.numpy(), generator.styled[1].conv.weight.numpy()], order=1,
                   max_entries=10)


# Lazy penalties

def losses_of(model, monkeypatch, part, steps):
    """The losses that the optimizer of D (part 0) or of G (part 1) descends, step by step."""
    lost, descend = [], model.descend
    monkeypatch.setattr(model, "descend", lambda optimizer, loss: (lost.append(loss.item()), descend(
        optimizer, loss))[1])
    for batch in batches(steps):
        model.step(batch)
    return np.array(lost[part::2])


def test_r1_is_in_each_kth_step_alone_and_k_times_as_heavy(monkeypatch):
    still = dict(path=0.0, lr_d=0.0, lr_g=0.0)
    plain = losses_of(made(r1=0.0, **still), monkeypatch, 0, 7)
    lazy = losses_of(model := made(r1=0.5, r1_every=3, **still), monkeypatch, 0, 7)
    slopes = [zero_centred_penalty(model.discriminator, batch.x).item() for batch in batches(7)]
    expected = [0.5 / 2 * 3 * slope if i % 3 == 0 else 0.0 for i, slope in enumerate(slopes)]
    np.testing.assert_allclose(lazy - plain, expected, atol=1e-10)


def test_path_lengths_are_in_each_kth_step_alone_and_k_times_as_heavy(monkeypatch):
    model, values = made(path=0.5, path_every=3, r1=0.0, lr_d=0.0, lr_g=0.0), []
    forward = model.path_penalty.forward
    monkeypatch.setattr(model.path_penalty, "forward", lambda *given: values.append(forward(*given)) or values[-1])
    stats, lost, descend = [], [], model.descend
    monkeypatch.setattr(model, "descend", lambda optimizer, loss: (lost.append(loss.item()), descend(
        optimizer, loss))[1])
    for batch in batches(7):
        stats.append(float(model.step(batch)["g_loss"]))
    added = np.array(lost[1::2]) - stats
    assert len(values) == 3
    np.testing.assert_allclose(added[::3], [0.5 * 3 * value.item() for value in values], rtol=1e-9)
    np.testing.assert_allclose(np.delete(added, [0, 3, 6]), 0.0, atol=1e-12)


# Few pictures

def test_with_ada_real_and_fake_pictures_are_changed_and_more_of_them_while_d_is_sure():
    model, seen = made(ada=True, ada_images=12, path=0.0, mixing=0.0), []
    see = model.seen
    model.seen = lambda x: seen.append((x, see(x))) or seen[-1][1]
    shares = []
    model.discriminator.last[-1].layer.bias.data = np.array([50.0])  # sure of everything
    for batch in batches(3):
        shares.append(float(model.step(batch)["augmented_share"]))
    np.testing.assert_allclose(shares, [0.5, 0.8, 0.8])  # and no more, or pictures would be drawn turned
    assert len(seen) == 9  # real and fake in D's step, fake in G's
    changed = [(before.numpy() != after.numpy()).any((1, 2, 3)).mean() for before, after in seen]
    assert changed[:2] == [0.0, 0.0] and changed[6:] == [1.0, 1.0, 1.0]


def test_without_it_d_sees_what_there_is():
    x = mg.Tensor(draw(2, 16, 16, 1))
    assert made().seen(x) is x


# State, and what is shown

@pytest.mark.parametrize("ada", [True, False])
def test_a_run_goes_on_exactly_with_its_path_length_its_mean_style_and_its_share_of_changed_pictures(ada):
    options = dict(dtype="float32", path_every=2, r1_every=2, ada=ada, ada_images=12)
    whole, first, second = made(**options), made(**options), made(seed=9, **options)
    dealt = batches(6)
    for batch in dealt[:3]:
        whole.step(batch), first.step(batch)
    second.load_state_dict(first.state_dict())
    second.streams.load_state_dict(first.streams.state_dict())
    assert second.path_penalty.mean.item() == first.path_penalty.mean.item() > 0
    assert (second.generator.mapping.mean == first.generator.mapping.mean).all() and first.generator.mapping.mean.any()
    for batch in dealt[3:]:
        whole.step(batch), second.step(batch)
    for (name, expected), array in zip(whole.state_dict().items(), second.state_dict().values()):
        np.testing.assert_array_equal(array, expected, err_msg=name)
    assert {"path_penalty.mean", "generator.mapping.mean", "averaged.mapping.mean"} | (
        {"adaptive.p"} if ada else set()) <= whole.state_dict().keys()


def test_its_exhibits_are_mixtures_and_truncations():
    model = made()
    moved(model.averaged)
    shown = model.exhibits(np.random.default_rng(0))
    mixed, swept = shown.values()
    assert mixed.shape == (5, 7, 16, 16, 1) and swept.shape == (4, 5, 16, 16, 1)
    G, rng = model.averaged, np.random.default_rng(0)
    with no_grad():
        rows, columns = [G.mapping(model.noise(n, rng)) for n in (4, 6)]
        own = G.synthesis(5 * [columns]).numpy()
        [one] = G.synthesis(2 * [rows[2:3]] + 3 * [columns[4:5]]).numpy()
        [mean] = G.synthesis(5 * [mg.Tensor(G.mapping.mean[None])]).numpy()
    np.testing.assert_allclose(mixed[0, 1:], own, rtol=1e-5)
    np.testing.assert_allclose(mixed[3, 5], one, rtol=1e-5)
    np.testing.assert_allclose(mixed[1:, 0], swept[:, -1], rtol=1e-5)
    np.testing.assert_allclose(swept[:, 0], np.broadcast_to(mean, (4, 16, 16, 1)), rtol=1e-5)
    assert (mixed[0, 0] == 1).all() and all(isinstance(array, np.ndarray) for array in shown.values())


def test_the_layers_have_no_noise_on_a_walk():
    model = made()
    G = moved(model.averaged)
    z = mg.Tensor(ways(model.noise(4, np.random.default_rng(0)).numpy()))
    found = model.walk(np.random.default_rng(0), 2).x
    with no_grad():
        np.testing.assert_allclose(found, G(z).numpy(), rtol=0, atol=1e-10)
        assert abs(found - G(z, draw(len(found), G.places)).numpy()).max() > 1e-3


def test_a_path_in_w_is_a_straight_line_between_styles():
    """Of a linear synthesis and the mapping f the squared speed is ‖(f(b) − f(a)) A‖², wherever on the way."""
    mapping, A = Mapping(4, 2, np.random.default_rng(0)).astype("float64").eval(), draw(4, 9)
    f = lambda z: mapping(mg.Tensor(z)).numpy()
    way = lambda a, b, t: straight(f(a), f(b), t)
    found = perceptual_path_length(lambda w: w @ A, lambda x: x, 4, np.random.default_rng(0), n=50, way=way)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50, 4))
    assert found.mean == pytest.approx((((f(b) - f(a)) @ A) ** 2).sum(1).mean(), rel=1e-6)


def test_what_cannot_be_is_refused():
    for options in (dict(mixing=1.5), dict(r1=-1.0), dict(path=-1.0), dict(path=float("nan"))):
        with pytest.raises(ValueError, match="StyleGAN2: expected 0 ≤ mixing ≤ 1, r1 ≥ 0 and path ≥ 0"):
            made(**options)
    with pytest.raises(ValueError, match="StyleGAN2: images of 9×9 cannot be halved"):
        made(facts=Facts((9, 9, 1)))
    assert isinstance(made().discriminator.blocks[0], nn.Residual)


def test_the_constant_is_of_deviation_1():
    assert made(width=16).generator.constant.numpy().std() == pytest.approx(1.0, abs=0.1)


def test_truncation_is_shown_column_by_column():
    model, rng = made(dtype="float32"), np.random.default_rng(0)
    G = model.averaged
    G.mapping.mean = np.array([3, -1, 2, 2], np.float32)
    shown = model.exhibits(np.random.default_rng(0))["truncation"]
    with no_grad():
        rows = G.mapping(model.noise(4, rng))
        for column, psi in enumerate((0.0, 0.3, 0.5, 0.7, 1.0)):
            expected = G.synthesis(G.layers * [G.mapping.truncated(rows, psi)]).numpy()
            np.testing.assert_allclose(shown[:, column], expected, atol=1e-6)


def test_the_scores_of_real_pictures_are_what_is_observed():
    model, seen = made(ada=True, r1=0.0, path=0.0), []
    assert model.adaptive.target == 0.6  # arXiv:2006.06676, §3.1
    model.adaptive.observe = lambda scores: seen.append(scores) or {}
    [batch] = batches(1)
    scores = model.discriminator(mg.Tensor(batch.x)).numpy()
    stats = model.step(batch)  # p is 0: D sees pictures as they are
    np.testing.assert_allclose(seen[0].numpy(), scores, rtol=1e-10)
    assert float(stats["real_score"]) == pytest.approx(scores.mean()) != float(stats["fake_score"])
