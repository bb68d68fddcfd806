"""StarGAN: who learns what from whom, which classes are asked for, and what should become of the examples."""

import numpy as np
import pytest

import minigan as mg
from minigan import backend, data, networks, nn, objectives
from minigan.data import DataError, figures
from minigan.metrics import ShapesJudge
from minigan.runs import models, supply
from minigan.trainer import Batch, Facts

SHAPE, K, N = (16, 16, 1), 3, 6
FACTS = Facts(SHAPE, ("a", "b", "c"), (0.5, 0.25, 0.25))


def made(facts=FACTS, **options):
    """A tiny model in float64 whose weights are large enough to matter."""
    options = models.complete(dict(model="stargan", width=2, blocks=1, n_critic=1, steps=10) | options, facts)
    model = models.made(options, facts, backend.Streams(1))
    for network in model.networks().values():
        for p in network.parameters():
            p.data = p.data * (3.0 if p.ndim > 1 else 1.0)
        network.astype("float64")
    return model


def batch(seed=2, n=N):
    rng = np.random.default_rng(seed)
    return Batch(rng.uniform(-1, 1, (n, *SHAPE)), rng.integers(K, size=n))


def gradient_of(network):
    return np.concatenate([0.0 * p.data.ravel() if p.grad is None else p.grad.numpy().ravel()
                           for p in network.parameters()])


def gradients(seed=2, **options):
    """What both networks learn from in one step."""
    model = made(lr_g=0.0, lr_d=0.0, **options)
    model.step(batch(seed))
    return gradient_of(model.generator), gradient_of(model.discriminator)


# Losses

def test_each_weight_weighs_its_own_part():
    """The gradients are linear in the three weights: λ_cls in both networks, λ_rec in G, λ_gp in D."""
    none = gradients(cls=0.0, rec=0.0, gp=0.0)
    parts = {name: [part - least for part, least in zip(gradients(**(dict(cls=0.0, rec=0.0, gp=0.0) | {name: 1.0})),
                                                        none)] for name in ("cls", "rec", "gp")}
    moved = {name: tuple(np.linalg.norm(side) > 1e-6 for side in sides) for name, sides in parts.items()}
    assert moved == {"cls": (True, True), "rec": (True, False), "gp": (False, True)}
    found = gradients(cls=2.0, rec=7.0, gp=3.0)
    for side in (0, 1):
        expected = none[side] + 2 * parts["cls"][side] + 7 * parts["rec"][side] + 3 * parts["gp"][side]
        np.testing.assert_allclose(found[side], expected, rtol=1e-9, atol=1e-11)


def test_the_classifier_learns_from_real_pictures_alone():
    """Its weights get the same gradient whatever the generator makes."""
    def of_classes(scale):
        model = made(lr_g=0.0, lr_d=0.0)
        for p in model.generator.parameters():
            p.data = scale * p.data
        model.step(batch())
        return gradient_of(model.discriminator.classes)
    np.testing.assert_array_equal(of_classes(1.0), of_classes(0.5))
    assert np.linalg.norm(of_classes(1.0)) > 1e-6


def test_the_reconstruction_asks_for_the_class_that_the_picture_had():
    model, given = made(lr_g=0.0, lr_d=0.0), batch()
    stats = model.step(given)
    asked = backend.Streams(1)["asked"].permutation(given.labels)
    assert (asked != given.labels).any()
    with mg.no_grad():
        x = mg.Tensor(given.x)
        back = model.generator(model.generator(x, asked), given.labels)
        np.testing.assert_allclose(float(stats["rec_loss"]), abs(back.numpy() - given.x).mean(), rtol=1e-12)
        logits = model.discriminator(model.generator(x, asked))[1]
        np.testing.assert_allclose(float(stats["fake_class_loss"]), objectives.cross_entropy(logits, asked).item(),
                                   rtol=1e-12)


def test_the_reconstruction_goes_through_both_translations():
    """Were the fake detached in it, G would not learn from it to keep what it must give back."""
    model, given = made(), batch()
    asked = np.roll(given.labels, 1)
    x = mg.Tensor(given.x)

    def slope(fake):
        loss = mg.ops.abs(model.generator(fake, given.labels) - x).mean()
        return np.concatenate([g.numpy().ravel() for g in mg.grad(loss, model.generator.parameters())])
    fake = model.generator(x, asked)
    whole, half = slope(fake), slope(fake.detach())
    assert np.linalg.norm(whole - half) > 1e-3 * np.linalg.norm(half)
    seen = [gradients(cls=0.0, gp=0.0, rec=rec)[0] for rec in (0.0, 1.0)]
    step = made(lr_g=0.0, lr_d=0.0)
    asked = backend.Streams(1)["asked"].permutation(given.labels)
    loss = mg.ops.abs(step.generator(step.generator(x, asked), given.labels) - x).mean()
    expected = np.concatenate([g.numpy().ravel() for g in mg.grad(loss, step.generator.parameters())])
    np.testing.assert_allclose(seen[1] - seen[0], expected, rtol=1e-7, atol=1e-11)


def test_the_penalty_is_of_the_mean_score_of_each_picture():
    """A critic that is the mean over patches of ⟨w, patch⟩ has one slope, and the penalty is (‖slope‖ − 1)²."""
    model, given = made(lr_g=0.0, lr_d=0.0), batch()
    D = model.discriminator
    D.features.layers = [layer for layer in D.features.layers if isinstance(layer, nn.Conv2d)]  # linear now
    x = mg.Tensor(given.x, requires_grad=True)
    [slope] = mg.grad(D.score(x).sum(), x)
    np.testing.assert_allclose(D.score(x).numpy(), D(x)[0].numpy().mean((1, 2, 3)), rtol=1e-12)
    norms = np.linalg.norm(slope.numpy().reshape(N, -1), axis=1)
    np.testing.assert_allclose(norms, norms[0], rtol=1e-10)
    np.testing.assert_allclose(float(model.step(given)["penalty_loss"]), (norms[0] - 1) ** 2, rtol=1e-10)


def test_the_critic_has_no_norm_and_judges_each_picture_by_itself():
    model, given = made(), batch()
    kinds = {type(module) for _, module in model.discriminator.named_modules()}
    assert not kinds & {nn.BatchNorm, nn.LayerNorm, nn.InstanceNorm}
    scores, logits = model.discriminator(mg.Tensor(given.x))
    assert scores.shape == (N, 4, 4, 1) and logits.shape == (N, K)
    alone = model.discriminator(mg.Tensor(given.x[:1]))
    np.testing.assert_allclose(scores.numpy()[:1], alone[0].numpy(), rtol=1e-10)
    slopes = {layer.slope for _, layer in model.discriminator.named_modules() if isinstance(layer, nn.LeakyReLU)}
    assert slopes == {0.01}


def test_the_critic_takes_n_steps_on_n_batches_and_the_generator_one_on_the_last():
    model, given = made(n_critic=3), batch(n=9)
    assert model.batches_per_step == 3
    model.step(given)
    assert (model.d_optimizer.steps, model.g_optimizer.steps, model.steps) == (3, 1, 1)
    again = made(n_critic=3)
    other = given._replace(x=np.concatenate([-given.x[:6], given.x[6:]]))
    again.step(other)
    assert any((a != b).any() for a, b in zip(model.discriminator.state_dict().values(),
                                              again.discriminator.state_dict().values()))


# The class beside the picture

def test_instance_norm_behind_the_first_layer_would_take_the_class_away():
    """What is the same everywhere has the mean it is, and nothing is left of it."""
    x, rng = mg.Tensor(batch().x), np.random.default_rng(0)
    for first_norm, differs in ((True, False), (False, True)):
        G = nn.Beside(networks.residual_translator((8, 8), 1 + K, 1, 4, 1, first_norm, rng), K).astype("float64")
        of_class = [G(x, np.full(N, label)).numpy() for label in (0, 1)]
        assert (abs(of_class[0] - of_class[1]).max() > 1e-3) == differs
        if not differs:
            np.testing.assert_allclose(*of_class, atol=1e-6)


def test_the_classes_asked_for_are_as_frequent_as_in_the_batch():
    model, seen = made(), []
    forward = model.generator.forward
    model.generator.forward = lambda x, labels: (seen.append(labels), forward(x, labels))[1]
    given = batch()
    model.step(given)
    assert len(seen) == 3  # D's fakes, G's, and the way back
    assert sorted(seen[0]) == sorted(given.labels) and (seen[0] == seen[1]).all() and (seen[2] == given.labels).all()


# What is drawn

def test_inputs_become_the_class_that_is_asked_for():
    model, shown = made(), batch().x
    with mg.no_grad():
        for label in (1, [0, 2, 1, 1, 0, 2]):
            labels = np.broadcast_to(label, N)
            drawn = model.draw(N, np.random.default_rng(0), inputs=shown, label=label)
            np.testing.assert_array_equal(drawn.labels, labels)
            np.testing.assert_array_equal(drawn.x, model.generator(mg.Tensor(shown), labels).numpy())
    labels = model.draw(600, np.random.default_rng(0), inputs=shown).labels
    np.testing.assert_allclose(np.bincount(labels) / 600, FACTS.shares, atol=0.06)


def test_the_examples_are_asked_for_their_own_classes_or_for_one_without_targets():
    model, examples = made(), Batch(batch(3).x, np.array([0, 1, 2, 0, 1, 2]), batch(4).x)
    model.examples = examples
    drawn = model.draw(8, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn.labels, [0, 1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(drawn.targets[:6], examples.x)
    asked = model.draw(3, np.random.default_rng(0), label=2)
    assert asked.targets is None and asked.labels.tolist() == [2, 2, 2]


def options(source):
    return dict(data=source, image_size=None, seed=0, model="stargan")


def test_what_should_become_of_shapes_is_their_counterpart():
    given = options("shapes:colour")
    examples = supply.examples_of(given, supply.load_data(given, ("labels",)), ("labels",))
    judge, some = ShapesJudge(), examples.where(slice(300))
    before, after = judge.attributes(some.other), judge.attributes(some.x)
    np.testing.assert_array_equal(after["colour"], some.labels)
    assert (before["colour"] != some.labels).all() and len(set(some.labels.tolist())) == 6
    assert all((before[name] == after[name]).all() for name in before if name != "colour")
    assert judge.distance(some.x).max() < 1e-6
    unseen = figures.is_unseen(judge.codes(some.other))
    assert 0.1 < unseen.mean() < 0.9  # it is the test split


def test_what_should_become_of_an_emoji_is_the_same_one_in_the_other_style():
    given, both = options("emoji:style"), data.load("emoji", split="test")
    dataset = supply.load_data(given, ("labels",))
    assert dataset.classes == ("Noto", "Twemoji") and np.bincount(dataset.labels).tolist() == [1435, 1435]
    np.testing.assert_array_equal(dataset.x[:1435], data.load("emoji").x)
    np.testing.assert_array_equal(dataset.other[:1435], dataset.x[1435:])
    np.testing.assert_array_equal(dataset.captions[:1435], dataset.captions[1435:])
    examples = supply.examples_of(given, dataset, ("labels",))
    assert len(examples.x) == 2 * len(both.x)
    noto, twemoji = {x.tobytes() for x in data.to_unit(both.x)}, {x.tobytes() for x in data.to_unit(both.other)}
    for x, label, shown in zip(*examples[:3]):
        assert (x.tobytes() in (noto, twemoji)[label]) and (shown.tobytes() in (twemoji, noto)[label])


def test_what_should_become_of_others_is_not_known():
    given = options("digits")
    dataset = data.load("digits")
    examples = supply.examples_of(given, dataset, ("labels",))
    assert examples.x is None and examples.other.shape == dataset.x.shape
    own = {x.tobytes(): label for x, label in zip(data.to_unit(dataset.x), dataset.labels)}
    assert all(own[x.tobytes()] != label for x, label in zip(examples.other, examples.labels))


def test_captions_of_shapes_tell_their_codes():
    codes = np.arange(figures.COUNT)
    np.testing.assert_array_equal(figures.codes_said(list(map(figures.caption, codes))), codes)
    with pytest.raises(DataError, match="codes_said: 'a red herring' is not said"):
        figures.codes_said(["a red herring"])


# Refused

@pytest.mark.parametrize("H, W, multiple", [(18, 15, 2), (34, 34, 4), (16, 34, 4), (2, 8, 2)])
def test_sides_that_cannot_be_halved_are_refused(H, W, multiple):
    with pytest.raises(ValueError, match=f"multiples of {multiple} and at least 4, got pictures of {H} × {W}"):
        made(FACTS._replace(shape=(H, W, 1)))


def test_an_emoji_has_no_other_attribute():
    with pytest.raises(DataError, match="there is no data set.*'emoji:colour'"):
        data.load("emoji:colour")
