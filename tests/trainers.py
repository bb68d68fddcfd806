"""Tiny networks and trainers, the same ones in every test."""

import numpy as np
import pytest

from minigan import backend, networks, nn, objectives, optim
from minigan.backend import to_numpy
from minigan.tensor import op
from minigan.trainer import GANTrainer

N, LATENT = 6, 3
DCGAN, RMSPROP, WGAN_GP = ((optim.Adam, dict(lr=2e-4, betas=(0.5, 0.999))), (optim.RMSprop, dict(lr=5e-5)),
                           (optim.Adam, dict(lr=1e-4, betas=(0.0, 0.9))))

# From the papers, not from the source: objective, critic steps, clip, penalty weight, optimizer and its settings.
PAPERS = {
    "minimax": (objectives.Minimax, 1, None, None, *DCGAN),
    "gan": (objectives.NonSaturating, 1, None, None, *DCGAN),
    "lsgan": (objectives.LeastSquares, 1, None, None, *DCGAN),
    "wgan": (objectives.Wasserstein, 5, 0.01, None, *RMSPROP),
    "wgan-gp": (objectives.Wasserstein, 5, None, 10.0, *WGAN_GP),
    "hinge": (objectives.Hinge, 1, None, None, *DCGAN),
    "relativistic": (objectives.Relativistic, 1, None, None, *DCGAN),
}
every_objective = pytest.mark.parametrize("objective", PAPERS)
both_kinds = pytest.mark.parametrize("kind", ["points", "images"])


def pair(kind="points", objective="gan", dtype=np.float64, pack=1):
    """Tiny networks, the same ones every time; those of images have two levels, so that D too is normalised."""
    rng = np.random.default_rng(0)
    if kind == "points":
        networks_ = networks.mlp_pair(2, LATENT, width=8, depth=2, pack=pack, rng=rng)
    else:
        networks_ = networks.dcgan_pair((16, 20, 1), LATENT, width=2, penalised=objective == "wgan-gp", pack=pack,
                                        rng=rng)
    return [network.astype(dtype) for network in networks_]


def trainer_of(objective="gan", kind="points", dtype=np.float64, **settings):
    return GANTrainer(*pair(kind, objective, dtype), LATENT, objective, streams=backend.Streams(1), **settings)


def real_batches(kind, steps, per_step, dtype=np.float64, seed=2):
    """`steps` lists of `per_step` different batches."""
    rng = np.random.default_rng(seed)
    shape = (N, 2) if kind == "points" else (N, 16, 20, 1)
    return [[rng.uniform(-1, 1, shape).astype(dtype) for _ in range(per_step)] for _ in range(steps)]


def step(trainer, batches):
    """The statistics of a step, read from the device."""
    return {name: to_numpy(value) for name, value in trainer.step(batches).items()}


def train(trainer, kind="points", steps=3, seed=2):
    dtype = trainer.generator.parameters()[0].dtype
    return [step(trainer, batches) for batches in real_batches(kind, steps, trainer.batches_per_step, dtype, seed)]


def arrays_of(*modules):
    """Copies of all parameters and buffers."""
    return {(i, name): array for i, module in enumerate(modules) for name, array in module.state_dict().items()}


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=str(name), strict=True)


class Watched(nn.Module):
    """A linear discriminator that counts how often its weight's gradient is asked for, and on what it judges."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(np.full((2, 1), 0.5))
        self.gradients = self.judged = 0
        self.offsets = {}  # call number: added to the scores, without a gradient of its own

    def forward(self, x):
        @op
        def watched(w, /):
            def pull_back(g):
                self.gradients += 1
                return g
            return w.data, (pull_back,)
        self.judged += 1
        return x @ watched(self.weight) + self.offsets.get(self.judged, 0.0)
