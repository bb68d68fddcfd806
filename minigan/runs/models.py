"""From a run's options to its model, and from a finished run's folder to what it has learned."""

from importlib import import_module
from inspect import signature
from math import prod
from pathlib import Path

import numpy as np

from minigan import backend
from minigan.captioned import vocabulary
from minigan.data import files
from minigan.module import found_in
from minigan.optim import Optimizer
from minigan.runs import supply
from minigan.runs.best import chosen_checkpoint
from minigan.runs.checkpoints import newest_checkpoint
from minigan.runs.run_folder import RunError, checkpoints, read_options
from minigan.tensor import Tensor
from minigan.trainer import Drawn, Facts, Model

ZOO = Path(__file__).parent.parent / "zoo"
# What options were, in effect, in runs from before there were any. Whoever adds an option to the
# others adds it here, with the value that changes nothing.
BEFORE = dict(model="gan", image_size=None, evaluate_every=0, classifier=None, pack=1, lr_decay=1.0,
              mirror=False, keep_best=False, recipe="dcgan", **{"from": None},
              # The remedies of `gan`
              dense=0, d_norm="default", r1=0.0, r2=0.0, dragan=0.0, penalty_every=1,
              label_smoothing=0.0, instance_noise=0.0, dropout=0.0, minibatch="none",
              augment="none", adaptive=0.0, adaptive_images=500_000)

# The options that say what networks are, in any model.
OF_NETWORKS = {"width", "latent", "pack", "minibatch", "attention", "blocks", "bottleneck",
               "categories", "code", "codes", "continuous", "depth", "discriminators", "embedding",
               "features", "prior_width"}


def names():
    """The models of the zoo, the default first."""
    found = sorted(path.stem for path in ZOO.glob("*.py") if path.stem != "__init__")
    return sorted(found, key=lambda name: name != "gan")


def model_class(name):
    """The class that minigan/zoo/NAME.py defines."""
    if name not in names():
        raise ValueError(f"there is no model {name!r}: expected one of {', '.join(names())}")
    module = import_module(f"minigan.zoo.{name}")
    [found] = [value for value in vars(module).values() if isinstance(value, type)
               and issubclass(value, Model) and value.__module__ == module.__name__]
    return found


def facts_of(dataset):
    """What a model may know about a `Dataset`."""
    labels, classes, counts = dataset.labels, dataset.classes, np.zeros(0)
    if labels is not None:
        counts = np.bincount(labels, minlength=len(classes))
    elif classes:  # two kinds, each in an array of its own
        counts = np.array([len(dataset.other), len(dataset.x)])
    shares = counts / counts.sum()
    other = () if dataset.other is None else dataset.other.shape[1:]
    words = () if dataset.captions is None else vocabulary(dataset.captions)
    return Facts(tuple(dataset.x.shape[1:]), tuple(classes), tuple(map(float, shares)),
                 tuple(other), words)


def facts_in(record):
    """The same of a run's data, as its options.json has it."""
    return Facts(tuple(record["sample_shape"]), tuple(record.get("classes", ())),
                 tuple(record.get("shares", ())), tuple(record.get("other_shape", ())),
                 tuple(record.get("words", ())))


def complete(options, facts):
    """The options with the model's defaults for these data."""
    return model_class(options["model"]).defaults(facts, options) | options


class Rationed:
    """A NumPy generator that draws at most `most` numbers at once; ValueError beyond that. The
    layers of a network are filled by it as they are made, so that none takes more memory than its
    run's checkpoint, whatever a stranger's options.json says."""

    def __init__(self, rng, most):
        self._rng, self._most = rng, most

    def uniform(self, low, high, shape):
        return self._rng.uniform(low, high, self._affordable(shape))

    def standard_normal(self, shape):
        return self._rng.standard_normal(self._affordable(shape))

    def _affordable(self, shape):
        if prod(shape) > self._most:
            raise ValueError(f"the options ask for a layer of {shape} weights, and no checkpoint "
                             "of the run can hold it")
        return shape


def most_weights(folder):
    """How many numbers the checkpoints of a run can hold, by their sizes."""
    return max([1 << 24, *(path.stat().st_size for path in checkpoints(folder))])


def made(options, facts, streams, most=None):
    """The model that `options`, complete as in options.json, describe; with `most`, its layers have
    at most so many weights each."""
    if not 0.0 <= options["lr_decay"] <= 1.0:
        raise ValueError(f"expected 0 ≤ lr_decay ≤ 1, got {options['lr_decay']}")
    model = model_class(options["model"])(streams)
    model.build(facts, options, Rationed(streams["init"], most) if most else streams["init"])
    model.facts = facts
    model.lr_decay, model.last_step = float(options["lr_decay"]), options["steps"]
    return model


def build(options, dataset, most=None):
    """(model, batches, streams), all at their beginning. The streams are the run's own, so that
    another one in this process draws nothing from them."""
    x = dataset.x
    needs = model_class(options["model"]).NEEDS
    supply.check(options, dataset, needs)
    streams = backend.Streams(options["seed"])
    model = made(options, facts_of(dataset), streams, most)
    model.learn_from(x, dataset.labels, dataset.captions)
    if shows_examples(model):
        model.examples = supply.examples_of(options, dataset, needs)
    taken = model.batches_per_step * options["batch_size"] * prod(x.shape[1:]) * 4
    if taken > files.MAX_BYTES:
        raise ValueError(f"{model.batches_per_step} batches of {options['batch_size']} in each "
                         f"step take {taken / 2**30:.3g} GiB: expected at most "
                         f"{files.MAX_BYTES // 2**30}; a smaller --n-critic needs less")
    return model, supply.batches_of(options, dataset, needs, streams), streams


class Trained:
    """What a run has learned after `steps`: its model, whose networks are in evaluation mode.
    `network` is the averaged generator, `options` the run's."""

    def __init__(self, model, options):
        self.model, self.options, self.steps = model, options, model.steps
        for network in model.networks().values():
            network.eval()

    network = property(lambda self: getattr(self.model, "averaged", None) or self.model.generator)
    discriminator = property(lambda self: self.model.discriminator)
    latent = property(lambda self: self.model.latent)

    def __call__(self, noise, *more):
        """Noise (N, latent), a tensor or an array, and what else the generator takes → a tensor of
        samples: images (N, H, W, C) in (−1, 1), or points. An array becomes float32, as the
        weights are."""
        if not isinstance(noise, Tensor):
            noise = Tensor(backend.asarray(noise, self.model.dtype))
        return self.network(noise, *more)

    def draw(self, n, seed=0, **asked):
        """n samples as `Drawn`, from the random numbers of `seed`."""
        drawn = self.model.draw(max(n, 1), preview(seed), **asked)
        return Drawn(*[None if array is None else backend.to_numpy(array)[:n] for array in drawn])

    def sample(self, n, seed=0, **asked):
        """n samples as a NumPy array."""
        return self.draw(n, seed, **asked).x

    def samples(self, noise, block=256):
        """Noise (N, latent) → samples as a NumPy array, computed `block` at a time."""
        some = noise if len(noise) else np.zeros((1, self.latent))  # none has its shape too
        return backend.to_numpy(self.model.sample(some, block=block))[:len(noise)]


def learning(model):
    """{name: network} of those whose weights an optimizer moves: not of averages."""
    moved = {id(p) for _, optimizer in found_in(vars(model).items(), Optimizer)
             for p in optimizer.params}
    return {name: network for name, network in model.networks().items()
            if moved & set(map(id, network.parameters()))}


def asks(model):
    """What the model can be asked for when it draws: names such as "label"."""
    return list(signature(model.draw).parameters)[2:]


def shows_examples(model):
    """Whether it draws of the data's own pictures or captions if nothing else is asked for."""
    return hasattr(model, "examples")


def preview(seed):
    """The stream that snapshots and samples are drawn from: at its beginning, always the same."""
    return backend.Streams(seed)["preview"]


def noise(n, latent, seed):
    """(n, latent) standard normal numbers, float32, from `preview`."""
    return preview(seed).standard_normal((n, latent), dtype=np.float32)


def inherited(run, given):
    """The options that a run begun with another's weights has from it, unless they are given: what
    its networks are, and how they are trained unless a recipe or an objective is given."""
    options = BEFORE | read_options(run)["options"] | given
    found, names = {"model": options["model"]}, OF_NETWORKS
    if not {"recipe", "objective"} & given.keys():
        names = names | {"recipe", "objective", "d_norm", "dense"}
    own = model_class(found["model"]).OPTIONS
    for name in sorted(names & own.keys() & options.keys()):
        found[name] = value = options[name]
        default, _, *choices = own[name]
        least = 1 if default else 0  # as the command line has it
        if (value not in choices[0] if choices else type(value) is not type(default)
                or type(value) is int and value < least):
            raise RunError(f"--from {run}: its options.json has {name} {str(value)[:40]}")
    return found


def begin_from(model, run):
    """Give a new model the weights of another run's newest sound checkpoint; what was taken, as a
    line. A network that does not fit begins anew, and so do the optimizers. ValueError if the
    generator does not fit."""
    def taken_from(arrays):
        return int(arrays["trainer.steps"]), {
            part: {name.removeprefix(f"trainer.{part}."): array for name, array in arrays.items()
                   if name.startswith(f"trainer.{part}.")} for part in model.networks()}

    (steps, taken), complaints = newest_checkpoint(run, taken_from)
    others, anew = "", "the optimizers begin anew"
    for name, network in model.networks().items():
        own, said = name in ("generator", "averaged"), bool(network.parameters())
        try:
            network.load_state_dict(taken[name])
            others += f" and its {name}" if said and not own else ""
        except ValueError as error:
            if own:
                raise ValueError(f"--from {run}: its generator is another one than this run's, for "
                                 f"samples of another shape or with other layers ({error})"
                                 ) from None
            anew += f", and so does the {name}, which has other layers or shapes here" * said
    line = f"begun with the generator of {run} after step {steps}{others}; {anew}"
    return "; ".join([line, *complaints])


def load(run, checkpoint=None):
    """What a run has learned: `mg.load("runs/00000-…").sample(64)`.

    Its newest checkpoint that is sound and fits is read, or that of the step `checkpoint`, or
    "best", which `--keep-best` kept. ValueError, naming the files, if the folder is not a run or
    has none.
    """
    record = read_options(run)
    options, facts = BEFORE | record["options"], facts_in(record)

    def trained(arrays):
        most = sum(array.size for array in arrays.values())
        model = made(options, facts, backend.Streams(), most)
        model.load_state_dict({name.removeprefix("trainer."): array
                               for name, array in arrays.items() if name.startswith("trainer.")})
        return Trained(model, options)
    if checkpoint is None:
        return newest_checkpoint(run, trained)[0]
    return chosen_checkpoint(run, checkpoint, trained)
