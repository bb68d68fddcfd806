"""What every model shares: steps, rates, gradients, averaged weights, samples, state.

The models of the zoo are classes on top of `Model`, and so is the trainer of a GAN.
"""

import contextlib
import copy
from functools import cached_property
from typing import NamedTuple

import numpy as np

from minigan import backend, nn, optim
from minigan.module import found_in
from minigan.tensor import Tensor, constant, no_grad

FAR = 10.0  # pixels from 0 to 255 go beyond it, pictures with noise or standardised ones do not


class NonFiniteError(ArithmeticError):
    """A loss or a gradient is infinite or NaN. The message names network, first step and layers."""


class Facts(NamedTuple):
    """What a model may know about the data before it sees any."""
    shape: tuple          # of a sample: (H, W, C), or (features,)
    classes: tuple = ()   # their names
    shares: tuple = ()    # which part of the samples is of each class
    other: tuple = ()     # shape of the second picture of a pair
    words: tuple = ()     # of the captions, sorted


class Batch(NamedTuple):
    """Samples of the data, and what belongs to each of them."""
    x: object             # (n, …), pictures in [−1, 1]
    labels: object = None  # (n,) integers, a NumPy array
    other: object = None  # (n, H, W, C′), the second picture of a pair, from which x is to be made
    captions: object = None  # (n,) text

    def where(self, rows):
        """Some of the samples, with what belongs to them."""
        return Batch(*[array if array is None else array[rows] for array in self])

    def parts(self, count):
        """The batch cut into so many equal ones."""
        n = len(self.x) // count
        return [Batch(*[array if array is None else array[i * n:(i + 1) * n] for array in self])
                for i in range(count)]


class Drawn(NamedTuple):
    """Samples of a model, and what each of them was asked to be."""
    x: object             # (n, …)
    labels: object = None  # (n,) integers, a NumPy array
    inputs: object = None  # (n, …), what each was made from
    targets: object = None  # (n, …), what should have become of it
    captions: object = None  # (n,), in which words


class Model:
    """What every model shares: it counts its steps, lowers rates, watches gradients, draws from
    averaged weights, and saves its state.

    A model is its attributes. `build` assigns networks and optimizers, and their state is found by
    looking at them, as a `Module` finds its parameters. If it draws from one generator that takes
    noise first, `averaged` is that generator with averaged weights and `latent` the noise's width.
    """

    OPTIONS = {                     # name: (default, help), or (default, help, choices)
        "steps": (2500, "training steps"),
        "batch_size": (64, "samples per batch"),
        "lr_decay": (1.0, "part of the learning rates that is left at the last step; they fall on "
                     "a straight line")}
    ON_POINTS = {}                  # defaults that are others on points
    NEEDS = ()                      # what data must have, of those in runs.supply.check
    headline = "d_loss", "g_loss"   # the statistics worth a place on the screen
    legend = ""                     # what stands side by side in a picture of examples
    EXHIBITS = {}                   # what `exhibits` makes: {name of the file: what is to be seen}
    batches_per_step = 1            # a batch for `step` is so many times the batch size
    accumulate = 1                  # so many of them make one step of an optimizer
    lr_decay, last_step = 1.0, None  # rates fall linearly to lr_decay at last_step

    def __init__(self, streams=None):
        self.streams = streams or backend.streams
        self.steps = 0
        self._first_bad = {}        # optimizer: its first step that was not finite, −1 for none
        self._settled_at = None

    @classmethod
    def defaults(cls, facts, given):
        """{option: value} of all that is not given, for these data."""
        found = {name: default for name, (default, *_) in cls.OPTIONS.items()}
        return found if len(facts.shape) == 3 else found | cls.ON_POINTS

    def build(self, facts, options, rng):
        """Make networks, drawn from `rng`, and optimizers."""
        raise NotImplementedError

    def learn_from(self, x, labels, captions=None):
        """All of the data, (N, …) uint8 or float32, and their labels and captions or None: given
        once, before the first step of a run. A model that trains on chosen samples beside its
        batches keeps them here. It draws them from a stream of its own, for a resumed run must
        choose the same."""

    def step(self, batch):
        """One training step on a `Batch`: {name: 0-d array}. Nothing waits for the device. What the
        numbers are is told by the ends of their names: _loss, _score, _grad_norm, _share."""
        raise NotImplementedError

    def inputs(self, n, rng):
        """What the averaged generator takes for n samples."""
        return (self.noise(n, rng),)

    def draw(self, n, rng):
        """n samples as `Drawn`, of noise from `rng`. A model that can be asked for something takes
        it as a further argument."""
        return Drawn(self.sample(*self.inputs(n, rng)))

    def label_names(self):
        """The names of what `draw` takes as `label`, by number: the classes of the data."""
        return self.facts.classes

    def walk(self, rng, count=4):
        """Samples on `count` ways from noise to noise, WAY on each."""
        return Drawn(self.sample(ways(self.noise(2 * count, rng).numpy())))

    def exhibits(self, rng):
        """What only this model can show: {name: pictures (rows, columns, H, W, C), in [−1, 1] and
        on the host}, by the names in EXHIBITS. A run draws them at each snapshot."""
        return {}

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
        """A real batch as a constant. ValueError for pixels that were not brought into [−1, 1];
        those on a device are not looked at, for that would wait."""
        host = isinstance(x, np.ndarray)
        most = f" up to {x.max():.4g}" if host and x.ndim == 4 and (x > FAR).any() else ""
        if most or getattr(x, "dtype", np.dtype(float)).kind != "f":
            raise ValueError(f"step: a batch of {x.dtype} {x.shape}{most}: expected floats, "
                             "pictures in [−1, 1]; minigan.data.to_unit makes them of uint8 "
                             "pixels, x / 127.5 - 1 of floats up to 255")
        return Tensor(backend.asarray(x, self.dtype))

    def descend(self, optimizer, loss):
        """One optimizer step down the gradient of `loss`; returns the gradient's norm."""
        optimizer.zero_grad()
        if not any([p.requires_grad for p in optimizer.params]):
            raise ValueError(f"all {len(optimizer.params)} weights of a network are frozen, and "
                             "there is nothing to learn: requires_grad_(True) lets them move")
        loss.backward()
        return self.advance(optimizer, loss)

    def advance(self, optimizer, loss):
        """One optimizer step down the gradients that `loss` has left; returns their norm."""
        optimizer.step(self.share_of_rate())
        first = self._first_bad.get(optimizer)
        norm, self._first_bad[optimizer] = optim.watched(
            optimizer, loss, loss.xp.full((), -1) if first is None else first, self.steps)
        return norm

    def share_of_rate(self):
        """What is left of the learning rates in this step."""
        return 1.0 if self.lr_decay == 1.0 else 1.0 + (self.lr_decay - 1.0) * self.done()

    def done(self):
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


WAY = 8  # samples on one way from noise to noise


def ways(ends):
    """Noise (2n, latent) → (n · WAY, latent): n ways from the first n points to the others."""
    n = len(ends) // 2
    return slerp(ends[:n], ends[n:], np.linspace(0.0, 1.0, WAY)).reshape(n * WAY, -1)


def slerp(a, b, t):
    """Spherical interpolation of noise a, b (N, latent) at the fractions t, (T,) or (N, T)
    → (N, T, latent).

    sin((1 − t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b, Ω the angle between a and b. Unlike the straight
    line it keeps the length of normal noise, on which a generator was trained. Source: White 2016,
    arXiv:1609.04468, §2.
    """
    cosine = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))[:, None, None]
    t = np.asarray(t)[..., None]
    # The same direction, or opposite ones with no way singled out: straight on.
    parallel = np.sin(angle) < 1e-6
    sine = np.where(parallel, 1.0, np.sin(angle))
    toward_a = np.where(parallel, 1.0 - t, np.sin((1.0 - t) * angle) / sine)
    toward_b = np.where(parallel, t, np.sin(t * angle) / sine)
    return (toward_a * a[:, None] + toward_b * b[:, None]).astype(a.dtype)


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


def _spoilt(network):
    """Which arrays of a network are not finite. A loss spoils all of them, a gradient those from
    the first layer to the one that it arose in."""
    layers, state = dict(network.named_modules()), network.state_dict()
    bad = [f"{name} ({type(layers[name.rpartition('.')[0]]).__name__})"
           for name, array in state.items() if not np.isfinite(array).all()]
    if not bad:
        return ""
    return f"; {len(bad)} of its {len(state)} arrays are not, from {bad[0]} to {bad[-1]}"
