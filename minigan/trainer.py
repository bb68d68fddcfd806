"""What every model shares, and training a GAN: one visible step of D, one visible step of G.

`GANTrainer` is Algorithm 1 of Goodfellow et al. 2014, arXiv:1406.2661, with what later papers added
to it: n critic steps, clipped weights or a gradient penalty (Wasserstein GAN), packs of samples for
the discriminator (PacGAN), falling learning rates, and a moving average of the generator for
sampling. The models of the zoo write steps of their own, on the same `Model`.
"""

import contextlib
import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np

from minigan import backend, nn, objectives, optim
from minigan.module import found_in
from minigan.networks import pack_samples
from minigan.tensor import Tensor, constant, no_grad


class NonFiniteError(ArithmeticError):
    """A loss or a gradient is infinite or NaN. The message names network, first step and layers."""


class Facts(NamedTuple):
    """What a model may know about the data before it sees any."""
    shape: tuple          # of a sample: (H, W, C), or (features,)
    classes: tuple = ()   # their names
    shares: tuple = ()    # which part of the samples is of each class


class Batch(NamedTuple):
    """Samples of the data, and what belongs to each of them."""
    x: object             # (n, …), pictures in [−1, 1]
    labels: object = None  # (n,) integers, a NumPy array

    def parts(self, count):
        """The batch cut into so many equal ones."""
        n = len(self.x) // count
        return [Batch(*[array if array is None else array[i * n:(i + 1) * n] for array in self])
                for i in range(count)]


class Drawn(NamedTuple):
    """Samples of a model, and what each of them was asked to be."""
    x: object             # (n, …)
    labels: object = None  # (n,) integers, a NumPy array


class Model:
    """What every model shares: it counts its steps, lowers rates, watches gradients, draws from
    averaged weights, and saves its state.

    A model is its attributes. `build` assigns networks and optimizers, and their state is found by
    looking at them, as a `Module` finds its parameters. If it draws from one generator that takes
    noise first, `averaged` is that generator with averaged weights and `latent` the noise's width.
    """

    OPTIONS = {                     # name: (default, help), or (default, help, choices)
        "steps": (2500, "training steps (default: 2500 on images, 10000 on points)"),
        "batch_size": (64, "samples per batch (default: 64 images, 256 points)"),
        "lr_decay": (1.0, "part of the learning rates that is left at the last step; they fall on "
                     "a straight line")}
    NEEDS = ()                      # "labels": data without them are refused
    headline = "d_loss", "g_loss"   # the statistics worth a place on the screen
    batches_per_step = 1            # a batch for `step` is so many times the batch size
    lr_decay, last_step = 1.0, None  # rates fall linearly to lr_decay at last_step

    def __init__(self, streams=None):
        self.streams = streams or backend.streams
        self.steps = 0
        self._first_bad = {}        # optimizer: its first step that was not finite, −1 for none
        self._settled_at = None

    @classmethod
    def defaults(cls, facts, given):
        """{option: value} of all that is not given, for these data."""
        return {name: default for name, (default, *_) in cls.OPTIONS.items()}

    def build(self, facts, options, rng):
        """Make networks, drawn from `rng`, and optimizers."""
        raise NotImplementedError

    def step(self, batch):
        """One training step on a `Batch`: {name: 0-d array}. Nothing waits for the device. What the
        numbers are is told by the ends of their names: _loss, _score, _grad_norm."""
        raise NotImplementedError

    def inputs(self, n, rng):
        """What the averaged generator takes for n samples."""
        return (self.noise(n, rng),)

    def draw(self, n, rng):
        """n samples as `Drawn`, of noise from `rng`. A model that can be asked for something takes
        it as a further argument."""
        return Drawn(self.sample(*self.inputs(n, rng)))

    def measures(self, drawn, judge):
        """What is to be measured of samples beside what is of all models: metrics.judges.Measure.
        """
        return []

    @cached_property
    def dtype(self):
        """That of the weights."""
        [first, *_] = self.networks().values()
        return first.parameters()[0].dtype

    def noise(self, n, rng=None):
        """(n, latent) standard normal numbers, by default from the stream "noise"."""
        rng = rng or self.streams["noise"]
        drawn = rng.standard_normal((n, self.latent), dtype=np.dtype(self.dtype))
        return constant(backend.asarray(drawn))

    def real(self, x):
        """A real batch as a constant. ValueError for pixels that were not brought into [−1, 1]."""
        if getattr(x, "dtype", np.dtype(float)).kind != "f":
            raise ValueError(f"step: a batch of {x.dtype} {x.shape}: expected floats, pictures in "
                             "[−1, 1]; minigan.data.to_unit makes them of uint8 pixels")
        return Tensor(backend.asarray(x, self.dtype))

    def descend(self, optimizer, loss):
        """One optimizer step down the gradient of `loss`; returns the gradient's norm."""
        optimizer.zero_grad()
        loss.backward()
        optimizer.step(self._share_of_rate())
        first = self._first_bad.get(optimizer)
        norm, self._first_bad[optimizer] = optim.watched(
            optimizer, loss, loss.xp.full((), -1) if first is None else first, self.steps)
        return norm

    def _share_of_rate(self):
        """What is left of the learning rates in this step."""
        return 1.0 if self.lr_decay == 1.0 else 1.0 + (self.lr_decay - 1.0) * self._done()

    def _done(self):
        """0 in the first step, 1 in the last one."""
        return min(1.0, (self.steps - 1) / max(1, self.last_step - 1))

    def check_finite(self):
        """NonFiniteError if any loss or gradient so far was not finite. Waits for the device."""
        for optimizer, step in self._first_bad.items():
            step = int(backend.to_numpy(step))
            if step >= 0:
                learns = [(name, network) for name, network in self.networks().items()
                          if any([p is optimizer.params[0] for p in network.parameters()])]
                name, network = learns[0]
                raise NonFiniteError(f"the {name}'s loss or gradient is not finite since step "
                                     f"{step}{_spoilt(network)}")

    def sample(self, noise, *more, block=256):
        """Noise (N, latent), and what else the generator takes → samples (N, …) of the averaged
        generator in evaluation mode, `block` at a time. No running statistic of the networks in
        training and no stream moves."""
        self._settle()
        noise, parts = backend.asarray(getattr(noise, "data", noise), self.dtype), []
        with no_grad():
            for i in range(0, max(1, len(noise)), block):
                rest = [array[i:i + block] for array in more]
                parts.append(self.averaged(constant(noise[i:i + block]), *rest).data)
        return backend.xp_of(noise).concatenate(parts)

    def _settle(self):
        """Give the averaged generator the statistics of its own weights, once after each step."""
        if self._settled_at != self.steps:
            stream = backend.Streams()["statistics"]  # the same at each call, and nobody else's
            settle(self.averaged, (self.inputs(64, stream) for _ in range(SETTLING)))
            self._settled_at = self.steps

    def _parts(self, kinds=(nn.Module, optim.Optimizer)):
        """{name: network or optimizer}, in the order in which they were assigned."""
        return dict(found_in(vars(self).items(), kinds))

    def networks(self):
        """{name: network}, the averaged one among them."""
        return self._parts(nn.Module)

    def state_dict(self):
        """{name: NumPy array}: networks, averaged weights, optimizers, steps; not the streams."""
        if hasattr(self, "averaged"):
            self._settle()
        return self._state()

    def _state(self):
        state = {f"{part}.{name}": array for part, owner in self._parts().items()
                 for name, array in owner.state_dict().items()}
        return {"steps": np.int64(self.steps), **state}

    def load_state_dict(self, state):
        """Continue from `state_dict`. ValueError, and nothing changed, if names or shapes differ.
        """
        own = self._state()
        differing = sorted(own.keys() ^ state.keys()) or [
            name for name in own if np.shape(own[name]) != np.shape(state[name])]
        if differing:
            raise ValueError("the state is not one of these networks and optimizers: "
                             f"{differing[0]} is missing, too many or of another shape")
        for part, owner in self._parts().items():
            owner.load_state_dict({name.removeprefix(part + "."): array
                                   for name, array in state.items()
                                   if name.startswith(part + ".")})
        self.steps = self._settled_at = int(state["steps"])
        self._first_bad = {}


class Recipe(NamedTuple):
    """An objective and the settings it is trained with unless others are given."""
    objective: type
    optimizer: type = optim.Adam
    lr: float = 2e-4                                    # of both networks
    settings: tuple = (("betas", (0.5, 0.999)),)        # further arguments of the optimizer
    n_critic: int = 1                                   # discriminator steps per generator step
    clip: float = 0.0                                   # bound on the critic's weights, 0 for none
    gp_weight: float = 0.0                              # λ of the gradient penalty, 0 for none


# The Wasserstein recipes are those of Alg. 1 in arXiv:1701.07875 and arXiv:1704.00028; all others
# have DCGAN's optimizer (arXiv:1511.06434, §4).
RECIPES = {
    "minimax": Recipe(objectives.Minimax),
    "gan": Recipe(objectives.NonSaturating),
    "lsgan": Recipe(objectives.LeastSquares),
    "wgan": Recipe(objectives.Wasserstein, optim.RMSprop, 5e-5, (), n_critic=5, clip=0.01),
    "wgan-gp": Recipe(objectives.Wasserstein, optim.Adam, 1e-4, (("betas", (0.0, 0.9)),),
                      n_critic=5, gp_weight=10.0),
    "hinge": Recipe(objectives.Hinge),
    "relativistic": Recipe(objectives.Relativistic),
}


class GANTrainer(Model):
    """A generator and a discriminator in training.

    `objective` is a name in RECIPES, or an object with the two methods of those in `objectives`.
    Whatever of `lr_g`, `lr_d`, `n_critic`, `clip` and `gp_weight` is None is the recipe's. `latent`
    is the width of the generator's noise, drawn from N(0, 1): by default that of its first layer.
    `ema` is the decay of the averaged generator that `sample` uses. The discriminator judges `pack`
    samples at once. Its loss gets the `penalties` too, each an `objectives.Penalty`. Both learning
    rates decay linearly from step 1 to step `steps`, to `lr_decay` times the optimizers' `lr`.
    Random numbers come from `streams` ("noise", "penalty").

    ValueError for an unknown objective, numbers out of range, a Wasserstein critic without clipping
    or penalty, and batch norm in a penalised critic.
    """

    def __init__(self, generator, discriminator, latent=None, objective="gan", lr_g=None, lr_d=None,
                 n_critic=None, clip=None, gp_weight=None, ema=0.999, pack=1, lr_decay=1.0,
                 steps=None, streams=None, penalties=()):
        Model.__init__(self, streams)
        recipe = _recipe(objective)
        self.generator, self.discriminator = generator, discriminator
        self.latent = generator.parameters()[0].shape[0] if latent is None else latent
        self.objective = recipe.objective()
        self.batches_per_step = recipe.n_critic if n_critic is None else n_critic
        self.clip = float(recipe.clip if clip is None else clip)
        self.gp_weight = float(recipe.gp_weight if gp_weight is None else gp_weight)
        self.pack, self.lr_decay, self.last_step = pack, float(lr_decay), steps
        if self.batches_per_step < 1 or self.clip < 0 or self.gp_weight < 0 or not 0 <= ema < 1:
            raise ValueError("expected n_critic ≥ 1, clip ≥ 0, gp_weight ≥ 0 and 0 ≤ ema < 1, got "
                             f"n_critic {self.batches_per_step}, clip {self.clip}, gp_weight "
                             f"{self.gp_weight}, ema {ema}")
        if pack < 1 or not 0 <= lr_decay <= 1 or lr_decay < 1 and not steps:
            raise ValueError("expected pack ≥ 1 and 0 ≤ lr_decay ≤ 1, with `steps` where it is "
                             f"below 1, got pack {pack}, lr_decay {lr_decay}, steps {steps}")
        self.penalties = [*penalties]
        if self.gp_weight:
            self.penalties.append(objectives.Penalty("penalty", self.gp_weight))
        wasserstein = isinstance(self.objective, objectives.Wasserstein)
        if wasserstein and not (self.clip or self.penalties):
            raise ValueError(f"{objective}: a critic without weight clipping or a gradient penalty "
                             "has a loss without bound: set clip or gp_weight above 0")
        if self.penalties:
            objectives.refuse_batch_norm(discriminator)
        self.headline = "wasserstein" if wasserstein else "d_loss", "g_loss"
        make = lambda network, lr: recipe.optimizer(
            network.parameters(), recipe.lr if lr is None else lr, **dict(recipe.settings))
        self.g_optimizer, self.d_optimizer = make(generator, lr_g), make(discriminator, lr_d)
        self.averaged, self.average = averaged(generator, ema)

    def step(self, batches):
        """`batches_per_step` discriminator steps, each on its own real batch (N, …), then one
        generator step. The batches come in a list, or as one `Batch` of all.

        Returns what happened as 0-d arrays, for which nothing waits: the losses, mean scores and
        gradients' norms, a penalty, for Wasserstein objectives the difference of the mean scores.
        Those of the discriminator are of its last step.
        """
        if isinstance(batches, Batch):
            batches = [part.x for part in batches.parts(self.batches_per_step)]
        if len(batches) != self.batches_per_step:
            raise ValueError(
                f"step: expected {self.batches_per_step} real batches, got {len(batches)}")
        reals = [self.real(batch) for batch in batches]
        self.steps += 1
        for real in reals:
            stats = self._discriminator_step(real)
        stats |= self._generator_step(real)
        self.average.update(self.steps)
        return stats

    def _discriminator_step(self, real):
        with no_grad():
            fake = self.generator(self.noise(len(real)))
        real, fake = self.seen(real), self.seen(fake)
        real_scores, fake_scores = self.discriminator(real), self.discriminator(fake)
        loss = self.objective.discriminator_loss(real_scores, fake_scores)
        stats = {}
        for name, weight, every in self.penalties:
            if (self.steps - 1) % every == 0:
                penalty = objectives.PENALTIES[name](self.discriminator, real, fake,
                                                     self.streams["penalty"])
                loss = loss + weight * every * penalty
                stats[name] = penalty.data
        norm = self.descend(self.d_optimizer, loss)
        self.observe(real_scores.detach())
        if self.clip:
            objectives.clip_weights(self.discriminator, self.clip)
        real_score, fake_score = real_scores.detach().mean(), fake_scores.detach().mean()
        if isinstance(self.objective, objectives.Wasserstein):
            stats["wasserstein"] = (real_score - fake_score).data
        return stats | {"d_loss": loss.data, "real_score": real_score.data,
                        "fake_score": fake_score.data, "d_grad_norm": norm}

    def _generator_step(self, real):
        with frozen(self.discriminator):  # the gradient passes through it; its weights rest
            fake = self.generator(self.noise(len(real)))
            scores = [self.discriminator(self.seen(fake))]
            if isinstance(self.objective, objectives.Relativistic):
                scores.append(self.discriminator(self.seen(real)))
            loss = self.objective.generator_loss(*scores)
            norm = self.descend(self.g_optimizer, loss)
        return {"g_loss": loss.data, "g_grad_norm": norm}

    def seen(self, x):
        """What D sees of samples, real and fake alike, in its own step and in G's."""
        return pack_samples(x, self.pack)

    def observe(self, real_scores):
        """Is told D's scores of each real batch."""


SETTLING = 8  # batches, of 64 samples each


def settle(network, batches):
    """Give the batch norms of `network` the mean statistics over `batches` of its inputs. Averaged
    weights need it: the running statistics of the network in training are not theirs. All other
    layers stay in their mode. Source: Izmailov et al. 2018, arXiv:1803.05407, §3.2."""
    norms = [module for _, module in network.named_modules() if isinstance(module, nn.BatchNorm)]
    if not norms:
        return
    before = [(norm.training, norm.momentum) for norm in norms]
    try:
        with no_grad():
            for count, batch in enumerate(batches, 1):
                for norm in norms:
                    norm.training, norm.momentum = True, 1.0 / count  # so that all weigh the same
                network(*batch)
    finally:
        for norm, (training, momentum) in zip(norms, before):
            norm.training, norm.momentum = training, momentum


def averaged(network, decay):
    """(a copy in evaluation mode, the `MovingAverage` that lets its weights follow)."""
    follower = copy.deepcopy(network).eval()
    return follower, optim.MovingAverage(follower, network, decay)


@contextlib.contextmanager
def frozen(module):
    """A context in which no parameter of `module` gets a gradient. What was frozen stays so."""
    learning = [p for p in module.parameters() if p.requires_grad]
    for p in learning:
        p.requires_grad = False
    try:
        yield
    finally:
        for p in learning:
            p.requires_grad = True


def _recipe(objective):
    if hasattr(objective, "generator_loss"):
        return Recipe(objective if isinstance(objective, type) else lambda: objective)
    if objective not in list(RECIPES):
        raise ValueError(f"unknown objective {objective!r}: expected one of {', '.join(RECIPES)}")
    return RECIPES[objective]


def _spoilt(network):
    """Which arrays of a network are not finite. A loss spoils all of them, a gradient those from
    the first layer to the one that it arose in."""
    layers, state = dict(network.named_modules()), network.state_dict()
    bad = [f"{name} ({type(layers[name.rpartition('.')[0]]).__name__})"
           for name, array in state.items() if not np.isfinite(array).all()]
    if not bad:
        return ""
    return f"; {len(bad)} of its {len(state)} arrays are not, from {bad[0]} to {bad[-1]}"
