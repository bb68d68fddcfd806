"""Self-attention: what a place sees of all others, in both networks of a GAN."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn
from minigan.runs import models
from minigan.trainer import Batch, Facts
from minigan.zoo.sagan import QUERIES

CLASSES, NONE = Facts((8, 8, 1), ("a", "b", "c"), (0.5, 0.3, 0.2)), Facts((8, 8, 1))


def made(facts=CLASSES, seed=1, **options):
    options = models.complete(dict(model="sagan", width=8, latent=3, lr_decay=1.0, batch_size=6) | options, facts)
    return models.made(options, facts, backend.Streams(seed))


def batch(labels=(0, 1, 2, 0, 1, 2)):
    x = np.random.default_rng(2).uniform(-1, 1, (6, 8, 8, 1)).astype(np.float32)
    return Batch(x, None if labels is None else np.array(labels))


def attention(channels=8, gamma=1.0):
    layer = nn.SelfAttention(channels, np.random.default_rng(0)).astype("float64").eval()
    layer.gamma.data = layer.gamma.data + gamma
    return layer


def picture(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def same_networks(one, other):
    return all((a == b).all() for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


# The layer

def test_it_begins_as_if_it_were_not_there():
    """γ is 0, and what learns first is γ: f, g, h and v have no gradient yet."""
    layer, x = nn.SelfAttention(8).astype("float64"), picture(2, 4, 6, 8)
    y = layer(mg.Tensor(x))
    np.testing.assert_array_equal(y.numpy(), x)
    gamma, *others = mg.grad((y * y).sum(), layer.parameters())
    assert gamma.numpy() != 0 and not any(g.numpy().any() for g in others)


def test_keys_and_queries_are_narrow_and_values_half_as_wide():
    layer = nn.SelfAttention(32)
    assert [part.layer.weight.shape for part in (layer.f, layer.g, layer.h, layer.v)] == [
        (32, 4), (32, 4), (32, 16), (16, 32)]


def test_what_a_place_looks_at_sums_to_one():
    """Over the places that it looks at, and not over those that look."""
    beta = attention().map(mg.Tensor(3 * picture(2, 4, 6, 8))).numpy()
    assert beta.shape == (2, 24, 6) and beta.min() >= 0
    np.testing.assert_allclose(beta.sum(2), 1.0, rtol=1e-12)
    assert np.abs(beta.sum(1) - 4.0).max() > 1e-3


def test_each_place_is_the_papers_sum_over_all_places():
    layer, x = attention(gamma=0.7), picture(1, 4, 4, 8)
    f, g, h, v = [part.layer.weight.numpy() / (part.v @ part.layer.weight.numpy() @ part.u)
                  for part in (layer.f, layer.g, layer.h, layer.v)]
    places = [(r, c) for r in range(4) for c in range(4)]
    seen = [[(x[0, r:r + 2, c:c + 2] @ w).max((0, 1)) for w in (f, h)] for r in (0, 2) for c in (0, 2)]
    y = layer(mg.Tensor(x)).numpy()[0]
    for r, c in places:
        s = np.array([key @ (x[0, r, c] @ g) for key, _ in seen])
        beta = np.exp(s) / np.exp(s).sum()
        o = sum(b * value for b, (_, value) in zip(beta, seen)) @ v
        np.testing.assert_allclose(y[r, c], x[0, r, c] + 0.7 * o, rtol=1e-10)


def test_far_is_as_near_as_near():
    """The picture's 2 × 2 squares in another order: what comes out is in that order too."""
    layer, x = attention(), picture(1, 4, 6, 8)
    squares = lambda x: x.reshape(2, 2, 3, 2, 8).transpose(0, 2, 1, 3, 4).reshape(6, 2, 2, 8)
    joined = lambda s: s.reshape(2, 3, 2, 2, 8).transpose(0, 2, 1, 3, 4).reshape(1, 4, 6, 8)
    order = np.array([4, 2, 0, 5, 3, 1])
    y, moved = [layer(mg.Tensor(a)).numpy() for a in (x, joined(squares(x)[order]))]
    np.testing.assert_allclose(moved, joined(squares(y)[order]), rtol=1e-12)


def test_where_all_keys_are_alike_every_place_gets_the_mean():
    layer, x = attention(), picture(1, 4, 4, 8)
    layer.f.layer.weight.data *= 1e-9
    layer.f.u, layer.f.v = 1e6 * layer.f.u, layer.f.v  # so that σ does not divide it out
    added = (layer(mg.Tensor(x)).numpy() - x).reshape(16, 8)
    np.testing.assert_allclose(added, np.broadcast_to(added[0], (16, 8)), atol=1e-6)


# In the networks

def attentions(network):
    return [layer for _, layer in network.named_modules() if isinstance(layer, nn.SelfAttention)]


def test_both_networks_have_it_at_half_the_sides():
    model = made(Facts((16, 16, 1), ("a", "b"), (0.5, 0.5)))
    for network, x in ((model.generator, model.noise(2)), (model.discriminator, np.zeros((2, 16, 16, 1), np.float32))):
        [layer] = attentions(network)
        seen = []
        layer.forward = lambda x, forward=layer.forward, seen=seen: seen.append(x.shape) or forward(x)
        network(mg.Tensor(x) if isinstance(x, np.ndarray) else x, np.array([0, 1]))
        assert seen == [(2, 8, 8, 8)]


def test_attention_comes_before_an_activation_and_in_the_generator_after_a_norm():
    """And there a convolution is left behind it."""
    model = made()
    around = []
    for layers in (model.generator.network.layers, model.discriminator.features.layers):
        [at] = [i for i, layer in enumerate(layers) if isinstance(layer, nn.SelfAttention)]
        around.append([type(getattr(layer, "layer", layer)).__name__ for layer in layers[at - 1:at + 5]])
    assert around == [["ConditionalBatchNorm", "SelfAttention", "ReLU", "Conv2d", "ConditionalBatchNorm", "ReLU"],
                      ["Conv2d", "SelfAttention", "LeakyReLU", "Flatten"]]


def test_a_convolution_that_sees_neighbours_is_behind_the_generators():
    layers = made().generator.network.layers
    [at] = [i for i, layer in enumerate(layers) if isinstance(layer, nn.SelfAttention)]
    behind = layers[at + 2].layer  # beyond the activation; in spectral norm
    assert isinstance(behind, nn.Conv2d) and behind.weight.shape[:2] == (3, 3) and behind.bias is None


def test_without_it_the_networks_are_the_same_but_for_it():
    with_it, without = made(), made(attention=False)
    for part in ("generator", "discriminator"):
        a, b = getattr(with_it, part), getattr(without, part)
        [layer] = attentions(a)
        own = {id(p) for p in layer.parameters()}
        assert [p.shape for p in a.parameters() if id(p) not in own] == [p.shape for p in b.parameters()]
        assert not attentions(b)
    assert without.exhibits(np.random.default_rng(0)) == {}


def test_every_weight_of_both_networks_has_spectral_norm():
    """But scales and shifts."""
    model = made()
    for network in (model.generator, model.discriminator):
        modules = dict(network.named_modules())
        for name, p in network.named_parameters():
            owner = modules[name.rpartition(".")[0]]
            assert ".layer." in name or isinstance(owner, (nn.ConditionalBatchNorm, nn.SelfAttention)), name


def test_the_discriminator_learns_faster():
    model = made(Facts((8, 8, 1)))
    assert model.d_optimizer.lr == 2 * model.g_optimizer.lr
    assert model.g_optimizer.betas == model.d_optimizer.betas == (0.0, 0.9)


def test_gamma_moves_and_then_all_of_the_layer():
    model = made()
    before = [p.numpy().copy() for layer in (*attentions(model.generator), *attentions(model.discriminator))
              for p in layer.parameters()]
    model.step(batch()), model.step(batch())
    after = [p.numpy() for layer in (*attentions(model.generator), *attentions(model.discriminator))
             for p in layer.parameters()]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


# Classes

def test_data_without_classes_are_of_one():
    """Norms and scores depend on no label then; nothing says that samples have one."""
    plain, labelled = made(NONE), made(NONE._replace(classes=("all",), shares=(1.0,)))
    for labels in (None, [0] * 6):
        losses = [{k: float(v) for k, v in model.step(batch(labels)).items()} for model in (plain, labelled)
                  if labels is not None or model is plain]
        assert all(np.isfinite(list(loss.values())).all() for loss in losses)
    again = made(NONE)
    again.step(batch(None)), again.step(batch([0] * 6))
    assert same_networks(plain.generator, again.generator)
    assert plain.draw(3, np.random.default_rng(0)).labels is None and plain.label_names() == ()
    assert (labelled.draw(3, np.random.default_rng(0)).labels == 0).all()
    [norm, *_] = [m for _, m in plain.generator.named_modules() if isinstance(m, nn.ConditionalBatchNorm)]
    assert norm.weight.shape[0] == 1


def test_sides_that_do_not_fit_are_refused():
    for sides in ((10, 12), (4, 4), (28, 30)):
        with pytest.raises(ValueError, match="--model sagan: expected sides that are multiples of 4"):
            made(NONE._replace(shape=(*sides, 1)))


# What it shows

def test_its_exhibit_marks_a_place_and_what_that_looks_at():
    model = made(Facts((16, 12, 1), ("a", "b"), (0.5, 0.5)))
    before = model.streams.state_dict()
    [shown] = model.exhibits(np.random.default_rng(0)).values()
    assert shown.shape == (6, 2 * len(QUERIES), 16, 12, 3)
    assert np.abs(shown).max() <= 1.0 and shown.dtype == np.float32
    [again] = model.exhibits(np.random.default_rng(0)).values()
    np.testing.assert_array_equal(shown, again)
    assert before.keys() == model.streams.state_dict().keys()
    marked, looked = shown[:, ::2], shown[:, 1::2]
    red = (marked == [1, -1, -1]).all(-1)
    for k, (row, column) in enumerate(QUERIES):
        places = red[0, k].nonzero()
        assert {(r // 2, c // 2) for r, c in zip(*places)} == {(int(row * 8), int(column * 6))}
    assert (looked[..., 0] >= looked[..., 1]).all()


def test_the_places_that_are_shown_are_those_of_the_map():
    """A generator whose every place looks at one square shows that square alone in red."""
    model = made(Facts((8, 8, 1), ("a", "b"), (0.5, 0.5)))
    [layer] = attentions(model.averaged)
    chosen = np.zeros((1, 16, 4), np.float32)
    chosen[:, :, 1] = 1.0  # at the top, on the right
    layer.map = lambda x: mg.Tensor(chosen.repeat(len(x), 0))
    [shown] = model.exhibits(np.random.default_rng(0)).values()
    red = (shown[:, 1::2] == [1, -1, -1]).all(-1)
    assert red[..., :4, 4:].all() and not red[..., 4:, :].any() and not red[..., :4].any()


def test_what_is_red_belongs_to_the_place_that_is_marked():
    """Every place looks at the square of 4 × 4 pixels that it lies in."""
    model = made(Facts((16, 24, 1), ("a", "b"), (0.5, 0.5)))
    [layer] = attentions(model.averaged)
    own = np.zeros((8, 12, 4, 6), np.float32)
    for r in range(8):
        for c in range(12):
            own[r, c, r // 2, c // 2] = 1.0
    layer.map = lambda x: mg.Tensor(np.repeat(own.reshape(1, 96, 24), len(x), 0))
    [shown] = model.exhibits(np.random.default_rng(0)).values()
    red = (shown == [1, -1, -1]).all(-1)
    for k in range(len(QUERIES)):
        marked, seen = red[0, 2 * k], red[0, 2 * k + 1]
        assert marked.sum() == 4 and seen.sum() == 16 and seen[marked].all()


def test_what_is_looked_at_most_is_red_however_evenly_a_place_looks():
    model = made()
    [layer] = attentions(model.averaged)
    kept = layer.map
    layer.map = lambda x: mg.Tensor(np.full_like(kept(x).numpy(), 0.01))
    [shown] = model.exhibits(np.random.default_rng(0)).values()
    assert (shown[:, 1::2] == [1, -1, -1]).all()


def test_the_maps_shown_are_of_the_samples_shown():
    model, seen, rng = made(), [], np.random.default_rng(1)
    for p in model.averaged.parameters():  # so that classes differ
        p.data = p.data + 0.3 * rng.standard_normal(p.shape).astype(p.dtype)
    [layer] = attentions(model.averaged)
    kept = layer.map
    layer.map = lambda x: seen.append(x.numpy()) or kept(x)
    model.exhibits(np.random.default_rng(0))
    *_, of_the_samples, of_the_maps = seen
    np.testing.assert_allclose(of_the_maps, of_the_samples, atol=1e-6)
