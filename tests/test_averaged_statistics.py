"""The averaged generator's batch norms have the statistics of its own weights, wherever it is drawn from."""

from pathlib import Path

import numpy as np

import minigan as mg
from minigan import backend, networks, nn
from minigan.backend import to_numpy
from minigan.trainer import GANTrainer
from helpers import IMAGES, OFTEN, done, train

__all__ = ["train"]  # the fixture


def trainer(steps=0, generator=None, seed=0):
    streams = backend.Streams(seed)
    made, discriminator = networks.dcgan_pair((8, 8, 1), latent=4, width=4, rng=streams["init"])
    found = GANTrainer(generator or made, discriminator, 4, ema=0.98, lr_g=0.01, lr_d=0.01, streams=streams)
    for _ in range(steps):
        found.step([np.tanh(streams["data"].standard_normal((16, 8, 8, 1), np.float32))])
    return found


def test_in_evaluation_it_draws_what_it_draws_in_training_mode():
    """Weights that moved far have other statistics than their average: a batch that is large tells those."""
    after = trainer(steps=30)
    noise = np.random.default_rng(5).standard_normal((4000, 4), np.float32)
    drawn = to_numpy(after.sample(noise))
    with mg.no_grad():
        expected = after.averaged.train()(mg.Tensor(noise)).numpy()
    after.averaged.eval()
    assert np.abs(drawn - expected).max() < 0.1  # the generator's own statistics: 0.5


def test_looking_at_it_or_not_leaves_the_same_state():
    looked, alone = trainer(), trainer()
    for found in (looked, alone):
        for _ in range(3):
            found.step([np.tanh(found.streams["data"].standard_normal((16, 8, 8, 1), np.float32))])
            if found is looked:
                found.sample(np.zeros((2, 4), np.float32))
    a, b = looked.state_dict() | looked.streams.state_dict(), alone.state_dict() | alone.streams.state_dict()
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert all(not module.training for _, module in looked.averaged.named_modules())


def test_what_is_saved_draws_the_same():
    first, second, noise = trainer(steps=3), trainer(seed=1), np.ones((3, 4), np.float32)
    second.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(first.sample(noise), second.sample(noise))


def test_only_batch_norms_are_touched():
    """Dropout would draw from a stream of its own; a batch norm keeps its momentum."""
    generator = nn.Sequential(nn.Dense(4, 64), nn.BatchNorm(64, momentum=0.25), nn.Dropout(0.5), nn.Reshape(8, 8, 1))
    found, before = trainer(generator=generator), backend.streams.state_dict()
    found.sample(np.zeros((2, 4), np.float32))
    assert found.averaged[1].momentum == 0.25 and not found.averaged[1].training
    after = backend.streams.state_dict()
    assert after.keys() == before.keys() and all((after[name] == before[name]).all() for name in after)


def test_a_run_that_is_loaded_has_them(train):
    done(train(*IMAGES, "--steps", 12, "--lr-g", 0.02, *OFTEN))
    [run] = Path("runs").iterdir()
    generator = mg.load(run)
    noise = np.random.default_rng(5).standard_normal((4000, 3), np.float32)
    drawn = generator.samples(noise)
    with mg.no_grad():
        assert np.abs(generator.network.train()(mg.Tensor(noise)).numpy() - drawn).max() < 0.1
