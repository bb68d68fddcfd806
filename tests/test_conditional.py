"""Models of classes: the label reaches both networks, is the data's, and is what was asked for."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, nn
from minigan.objectives import cross_entropy
from minigan.runs import models
from minigan.trainer import Batch, Facts

FACTS = Facts((8, 8, 1), ("a", "b", "c"), (0.5, 0.3, 0.2))
CONDITIONAL = ["cgan", "acgan", "projection", "sagan", "biggan"]
of_classes = pytest.mark.parametrize("name", CONDITIONAL)


def made(name, seed=1, **options):
    options = dict(model=name, width=2, latent=3, lr_decay=1.0, accumulate=1, n_critic=1) | options
    options = models.complete(options, FACTS)
    return models.made(options, FACTS, backend.Streams(seed))


def batch(labels=(0, 1, 2, 0, 1, 2, 0, 0), seed=2):
    x = np.random.default_rng(seed).uniform(-1, 1, (len(labels), *FACTS.shape)).astype(np.float32)
    return Batch(x, np.array(labels))


def spy(monkeypatch, network, seen):
    """Notes the labels that `network` is given in each call."""
    forward = network.forward
    monkeypatch.setattr(network, "forward", lambda x, *labels: (
        seen.append(np.array(labels[0]) if labels else None), forward(x, *labels))[1])


@of_classes
def test_what_is_drawn_depends_on_the_label_and_so_does_the_score(name):
    model = made(name)
    x, noise = mg.Tensor(batch().x), model.noise(8)
    for network, argument in ((model.generator, noise), (model.discriminator, x)):
        if network is model.discriminator and name == "acgan":
            continue  # is not told the label: it says it
        for p in network.parameters():
            p.data = p.data + np.float32(0.1) * np.arange(p.size, dtype=np.float32).reshape(p.shape) / p.size
        network.eval()  # else power iteration makes the second call another one
        zeros, ones = (network(argument, np.full(8, label)).numpy() for label in (0, 1))
        assert np.abs(zeros - ones).max() > 1e-4


@of_classes
def test_fakes_have_the_labels_of_the_real_batch(name, monkeypatch):
    """Were they drawn from another distribution, the label alone would tell what is real."""
    model, given, seen = made(name), batch(), []
    spy(monkeypatch, model.generator, seen)
    if name != "acgan":
        spy(monkeypatch, model.discriminator, seen)
    model.step(given)
    assert len(seen) == (2 if name == "acgan" else 5)
    assert all((labels == given.labels).all() for labels in seen)


@of_classes
def test_other_labels_make_another_step(name):
    losses = [float(made(name).step(batch(labels))["d_loss"]) for labels in ([0, 1, 2, 0, 1, 2, 0, 0], [2] * 8)]
    assert losses[0] != losses[1]


@of_classes
def test_labels_are_drawn_as_they_are_in_the_data(name):
    drawn = made(name).draw(4000, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(drawn.labels) / 4000, FACTS.shares, atol=0.03)
    assert drawn.x.shape == (4000, 8, 8, 1)


@of_classes
def test_what_was_asked_for_is_drawn_from_the_same_noise(name):
    model = made(name)
    one = model.draw(5, np.random.default_rng(0), label=2)
    each = model.draw(5, np.random.default_rng(0), label=[2, 2, 2, 2, 2])
    assert (one.labels == 2).all() and len(one.labels) == 5
    np.testing.assert_array_equal(one.x, each.x)


@of_classes
def test_a_walk_stays_within_a_class(name):
    labels = made(name).walk(np.random.default_rng(0), 3).labels.reshape(3, -1)
    assert (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 3


def test_the_auxiliary_classifier_learns_from_real_and_from_fake_samples():
    """As the paper has it; and the loss of the fakes' classes is G's too."""
    model, given = made("acgan"), batch()
    scores = []
    judged = model.judged
    model.judged = lambda x: scores.append(judged(x)) or scores[-1]
    stats = model.step(given)
    (real, real_logits), (fake, fake_logits), (again, logits) = scores
    source = model.objective.discriminator_loss(real, fake)
    classes = cross_entropy(real_logits, given.labels) + cross_entropy(fake_logits, given.labels)
    np.testing.assert_allclose(float(stats["d_loss"]), (source + classes).item(), rtol=1e-6)
    generators = model.objective.generator_loss(again) + cross_entropy(logits, given.labels)
    np.testing.assert_allclose(float(stats["g_loss"]), generators.item(), rtol=1e-6)


def test_the_class_loss_takes_logits():
    """A softmax before it would keep it above ln(1 + (K − 1)/e), however sure the classifier is."""
    sure = mg.Tensor(np.eye(3)[[0, 1, 2]] * 50.0)
    assert cross_entropy(sure, np.array([0, 1, 2])).item() < 1e-9
    assert cross_entropy(sure, np.array([1, 2, 0])).item() == pytest.approx(50.0)


def test_the_projection_is_an_inner_product_with_the_features():
    """f(x, y) − f(x, y′) = (V_y − V_y′) · φ(x)/σ(V)."""
    critic = made("projection").discriminator.astype("float64").eval()
    x = mg.Tensor(batch().x.astype(np.float64))
    a, b = (critic(x, np.full(8, label)).numpy()[:, 0] for label in (0, 2))
    V = critic.embedding.layer.weight.numpy()
    phi, sigma = critic.features(x).numpy(), critic.embedding.v @ V @ critic.embedding.u
    np.testing.assert_allclose(a - b, phi @ (V[0] - V[2]) / sigma, rtol=1e-9)


def test_every_weight_of_a_projection_discriminator_is_spectrally_normalised():
    critic = made("projection").discriminator
    names = [name for name, _ in critic.named_parameters() if name.endswith("weight")]
    assert names and all(".layer.weight" in name for name in names)


def test_a_conditional_norm_has_the_classs_own_scale_and_shift():
    layer = nn.ConditionalBatchNorm(2, 3)
    layer.weight.data[:] = [[1, 1], [2, 2], [3, 3]]
    layer.bias.data[:] = [[0, 0], [10, 10], [20, 20]]
    x = np.random.default_rng(0).standard_normal((6, 4, 4, 2)).astype(np.float32)
    labels = np.array([0, 1, 2, 2, 1, 0])
    plain = nn.BatchNorm(2)(mg.Tensor(x)).numpy()
    expected = plain * (labels + 1)[:, None, None, None] + 10 * labels[:, None, None, None]
    np.testing.assert_allclose(layer(mg.Tensor(x), labels).numpy(), expected, rtol=1e-5, atol=1e-5)
