"""Copies of networks, optimizers and trainers go on as the originals would; what was frozen stays frozen."""

import copy
import pickle

import numpy as np
import pytest

import minigan as mg
from minigan import backend, data, nn, optim
from minigan.trainer import GANTrainer, frozen
from trainers import LATENT, arrays_of, assert_equal, pair, real_batches, train, trainer_of

pytestmark = pytest.mark.on_each_engine

OPTIMIZERS = {"SGD": lambda params: optim.SGD(params, lr=0.1, momentum=0.9),
              "RMSprop": lambda params: optim.RMSprop(params, lr=0.01), "Adam": lambda params: optim.Adam(params)}
each_way = pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))],
                                   ids=["deepcopy", "pickle"])


def descend(net, optimizer, seed):
    x = np.random.default_rng(seed).standard_normal((6, 2)).astype(np.float32)
    optimizer.zero_grad()
    (net(x) ** 2).mean().backward()
    optimizer.step()


@each_way
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_copied_network_and_optimizer_move_as_the_originals(twin_of, make):
    net = nn.Sequential(nn.Dense(2, 5, bias=False), nn.BatchNorm(5), nn.LeakyReLU(), nn.Dense(5, 1))
    optimizer = make(net.parameters())
    for seed in range(2):
        descend(net, optimizer, seed)
    before = net.state_dict()
    twin, twin_optimizer = twin_of((net, optimizer))
    assert twin_optimizer.params[0] is twin.parameters()[0]
    descend(twin, twin_optimizer, 2)
    assert_equal(net.state_dict(), before)  # the original does not move with it
    assert all((twin.state_dict()[name] != before[name]).any() for name, _ in twin.named_parameters())
    descend(net, optimizer, 2)
    assert_equal(twin.state_dict(), net.state_dict())
    assert_equal(twin_optimizer.state_dict(), optimizer.state_dict())


@each_way
@pytest.mark.parametrize("objective", ["gan", "wgan", "wgan-gp"])
def test_a_copied_trainer_goes_on_as_the_original(twin_of, objective):
    trainer = trainer_of(objective, "images", np.float32)
    train(trainer, "images", steps=2)
    twin, before = twin_of(trainer), trainer.state_dict()
    [batches] = real_batches("images", 1, trainer.batches_per_step, np.float32, seed=5)
    twin.step(batches)
    assert_equal(trainer.state_dict(), before)
    assert any((twin.state_dict()[name] != before[name]).any() for name in before)
    trainer.step(batches)
    assert_equal(twin.state_dict(), trainer.state_dict())
    twin.check_finite()


# Frozen weights

def test_a_trainer_leaves_frozen_what_the_user_froze():
    trainer = trainer_of("gan")
    theirs = [trainer.discriminator.parameters()[0], trainer.generator.parameters()[1]]
    for p in theirs:
        p.requires_grad = False
    before = [p.data.copy() for p in theirs]
    train(trainer)
    assert not any(p.requires_grad for p in theirs)
    for p, array in zip(theirs, before):
        np.testing.assert_array_equal(p.data, array)
    assert all(p.requires_grad for p in trainer.discriminator.parameters()[1:])


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupted_generator_step_leaves_the_discriminator_trainable(error):
    class Interrupting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            if self.calls == 2:  # the first call is in the discriminator's half
                raise error
            return x

    generator, discriminator = pair()
    trainer = GANTrainer(nn.Sequential(generator, Interrupting()), discriminator, LATENT)
    with pytest.raises(error):
        train(trainer, steps=1)
    assert all(p.requires_grad for p in discriminator.parameters())
    before = arrays_of(discriminator)
    train(trainer, steps=1)
    assert any((array != before[name]).any() for name, array in arrays_of(discriminator).items())


def test_frozen_holds_inside_its_block_only():
    layer = nn.Dense(2, 1)
    layer.bias.requires_grad = False
    with pytest.raises(ZeroDivisionError), frozen(layer):
        assert not layer.weight.requires_grad
        1 / 0
    assert layer.weight.requires_grad and not layer.bias.requires_grad


# What goes into a step

def test_pixels_as_bytes_are_refused_with_a_hint():
    trainer = trainer_of("gan", "images", np.float32)
    before = trainer.state_dict()
    with pytest.raises(ValueError, match=r"step: a batch of uint8 \(4, 16, 20, 1\).*to_unit"):
        trainer.step([np.zeros((4, 16, 20, 1), np.uint8)])
    assert_equal(trainer.state_dict(), before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pixels_as_floats_up_to_255_are_refused_with_a_hint(dtype):
    trainer, x = trainer_of("gan", "images", np.float32), np.full((4, 16, 20, 1), 255, dtype)
    before = trainer.state_dict()
    for use in (lambda: trainer.step([x]), lambda: data.Batches(x, 2, np.random.default_rng(0))):
        with pytest.raises(ValueError, match=rf"{x.dtype} \(4, 16, 20, 1\) up to 255: .*x / 127.5 - 1"):
            use()
    assert_equal(trainer.state_dict(), before)


def test_pictures_with_noise_in_them_and_points_of_any_range_are_taken():
    rng = np.random.default_rng(0)
    pictures = rng.uniform(-1, 1, (4, 16, 20, 1)) + rng.standard_normal((4, 16, 20, 1))
    for kind, x in (("images", pictures), ("points", 1e3 * rng.standard_normal((4, 2)))):
        trainer = trainer_of("gan", kind, np.float32)
        trainer.step([data.Batches(x.astype(np.float32), 4, rng).next()])
        trainer.check_finite()
    assert len(data.Batches(255 * np.ones((4, 2), np.float32), 2, rng).next()) == 2


def test_channels_first_get_a_hint():
    trainer = trainer_of("gan", "images", np.float32)
    with pytest.raises(ValueError, match=r"images are \(N, H, W, C\), these look like \(N, C, H, W\)"):
        trainer.step([np.zeros((4, 1, 16, 20), np.float32)])


def test_noise_in_float64_is_taken_by_a_generator_in_float32():
    generator = pair(dtype=np.float32)[0]
    y = generator(np.random.default_rng(0).standard_normal((4, LATENT)))
    assert y.shape == (4, 2) and y.dtype == np.float32


def test_an_objective_of_ones_own():
    class MyLoss:
        def discriminator_loss(self, real_scores, fake_scores):
            return ((real_scores - 1.0) ** 2).mean() + (fake_scores ** 2).mean()

        def generator_loss(self, fake_scores):
            return ((fake_scores - 1.0) ** 2).mean()

    trainer = GANTrainer(*pair(), LATENT, objective=MyLoss(), streams=backend.Streams(1))
    assert trainer.objective.__class__ is MyLoss
    before = trainer.state_dict()
    stats = train(trainer, steps=2)
    assert all(np.isfinite(value) for value in stats[-1].values())
    after = trainer.state_dict()
    assert any((after[name] != before[name]).any() for name in before if name.startswith("generator"))
    assert GANTrainer(*pair(), LATENT, objective=MyLoss).objective.__class__ is MyLoss  # the class will do


@pytest.mark.parametrize("objective", [None, 3, [], object])
def test_what_is_no_objective_is_refused_at_once(objective):
    with pytest.raises(ValueError, match="unknown objective"):
        GANTrainer(*pair(), LATENT, objective=objective)


# Falling learning rates

def moved(trainer):
    """How far the next step carries the generator's first weight."""
    weight = trainer.generator.parameters()[0]
    before = weight.data.copy()
    train(trainer, steps=1)
    return np.abs(weight.data - before).max()


def test_a_rate_set_by_hand_stays_the_users():
    trainer = trainer_of("gan", lr_decay=0.5, steps=3)
    train(trainer, steps=1)
    trainer.g_optimizer.lr = 0.0
    train(trainer, steps=1)
    assert trainer.g_optimizer.lr == 0.0 and moved(trainer) == 0.0
    trainer.g_optimizer.lr = 0.125
    assert moved(trainer) > 0.0 and trainer.g_optimizer.lr == 0.125  # the decay multiplies it


def test_after_a_decay_to_zero_nothing_moves():
    """From 1 in step 1 down to 0 in step 10, and 0 from there on."""
    trainer = trainer_of("gan", lr_decay=0.0, steps=10)
    shares = []
    for batches in real_batches("points", 13, 1):
        before = [p.data.copy() for p in trainer.generator.parameters()]
        trainer.step(batches)
        shares.append(trainer.share_of_rate())
        still = all((p.data == array).all() for p, array in zip(trainer.generator.parameters(), before))
        assert still == (trainer.steps >= 10)
    np.testing.assert_allclose(shares, np.maximum(0.0, 1.0 - np.arange(13) / 9), atol=1e-15)


@pytest.mark.parametrize("share", [1.0, 0.5, np.float64(0.25)])
def test_a_step_takes_a_share_of_the_rate(share):
    p, q = nn.Parameter(np.ones(3)), nn.Parameter(np.ones(3))
    for parameter in (p, q):
        parameter.grad = mg.Tensor(np.array([1.0, -2.0, 3.0]))
    one, other = optim.SGD([p], lr=0.5), optim.SGD([q], lr=0.5 * share)
    one.step(share)
    other.step()
    np.testing.assert_array_equal(p.data, q.data)
    assert one.lr == 0.5
