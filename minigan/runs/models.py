"""From a run's options to its trainer, and from a finished run's folder to its generator."""

from math import prod

import numpy as np

from minigan import backend, data, networks
from minigan.data import files
from minigan.metrics.latent import slerp
from minigan.runs.best import chosen_checkpoint
from minigan.runs.checkpoints import newest_checkpoint
from minigan.runs.run_folder import RunError, checkpoints, read_options
from minigan.tensor import Tensor, no_grad
from minigan.trainer import RECIPES, GANTrainer

WAY = 8  # samples on one way from noise to noise
# What options were, in effect, in runs from before there were any. Whoever adds an option to the
# others adds it here, with the value that changes nothing.
BEFORE = dict(image_size=None, evaluate_every=0, classifier=None, pack=1, lr_decay=1.0,
              mirror=False, keep_best=False, **{"from": None})


def defaults(objective, sample_shape):
    """All options of the trainer: what follows from the objective is its paper's, what from the
    kind of data ours.

    On points a penalty weighs 0.1 instead of 10, as in the experiments on such mixtures of
    arXiv:1704.00028's authors: 10 holds the critic's slope so close to 1 that it does not see modes
    as narrow as these.
    """
    if objective not in RECIPES:
        raise ValueError(f"unknown objective {objective!r}: expected one of {', '.join(RECIPES)}")
    recipe = RECIPES[objective]
    common = dict(objective=objective, lr_g=recipe.lr, lr_d=recipe.lr, n_critic=recipe.n_critic,
                  clip=recipe.clip, ema=0.999, pack=1, lr_decay=1.0)
    if data.is_image(sample_shape):
        return common | dict(steps=2500, batch_size=64, width=64, latent=100,
                             gp_weight=recipe.gp_weight)
    return common | dict(steps=10_000, batch_size=256, width=128, latent=max(2, *sample_shape),
                         gp_weight=recipe.gp_weight / 100)


def pair(options, sample_shape, rng=None):
    """Generator and discriminator for samples of this shape."""
    common = dict(latent=options["latent"], width=options["width"], pack=options["pack"], rng=rng)
    if data.is_image(sample_shape):
        return networks.dcgan_pair(sample_shape, penalised=options["gp_weight"] > 0, **common)
    return networks.mlp_pair(sample_shape[0], **common)


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


def trainer(options, sample_shape, streams, most=None):
    """The trainer that `options`, complete as in options.json, describe; with `most`, its layers
    have at most so many weights each."""
    check_packs(options)
    settings = "latent objective lr_g lr_d n_critic clip gp_weight ema pack lr_decay steps".split()
    rng = Rationed(streams["init"], most) if most else streams["init"]
    return GANTrainer(*pair(options, sample_shape, rng), streams=streams,
                      **{name: options[name] for name in settings})


def check_packs(options):
    if options["batch_size"] % options["pack"]:
        raise ValueError(f"a batch of {options['batch_size']} cannot be divided into packs of "
                         f"{options['pack']}")


def build(options, x, most=None):
    """(trainer, batches, streams), all at their beginning. The streams are the run's own, so that
    another one in this process draws nothing from them."""
    taken = options["n_critic"] * options["batch_size"] * prod(x.shape[1:]) * 4
    if taken > files.MAX_BYTES:
        raise ValueError(f"{options['n_critic']} batches of {options['batch_size']} in each step "
                         f"take {taken / 2**30:.3g} GiB: expected at most "
                         f"{files.MAX_BYTES // 2**30}; a smaller --n-critic needs less")
    streams = backend.Streams(options["seed"])
    mirror = streams["mirror"] if options["mirror"] else None
    batches = data.Batches(x, options["batch_size"], streams["data"], mirror)
    return trainer(options, x.shape[1:], streams, most), batches, streams


class TrainedGenerator:
    """The averaged generator of a run after `steps`, in evaluation mode, and its `discriminator`,
    which judges packs of `options["pack"]` samples, in evaluation mode too."""

    def __init__(self, network, discriminator, latent, options, steps):
        self.network, self.discriminator, self.latent = network, discriminator, latent
        self.options, self.steps = options, steps

    def __call__(self, noise):
        """Noise (N, latent), a tensor or an array → a tensor of samples: images (N, H, W, C) in
        (−1, 1), or points. An array becomes float32, as the weights are."""
        if not isinstance(noise, Tensor):
            noise = Tensor(backend.asarray(noise, self.network.parameters()[0].dtype))
        return self.network(noise)

    def sample(self, n, seed=0, block=256):
        """n samples as a NumPy array, from the noise that `seed` draws, computed `block` at a time.
        """
        return self.samples(noise(n, self.latent, seed), block)

    def samples(self, noise, block=256):
        """Noise (N, latent) → samples as a NumPy array."""
        return np.concatenate(list(self.blocks(noise, block)))

    def blocks(self, noise, block=256):
        """The same, `block` at a time, so that nobody has to hold all."""
        with no_grad():
            if len(noise) == 0:  # none, of the right shape
                yield self(np.zeros((1, self.latent))).numpy()[:0]
            for begin in range(0, len(noise), block):
                yield self(noise[begin:begin + block]).numpy()


def noise(n, latent, seed):
    """(n, latent) standard normal numbers, float32, from the stream "preview" of `seed`."""
    return backend.Streams(seed)["preview"].standard_normal((n, latent), dtype=np.float32)


def ways(n, latent, seed):
    """Noise (n · WAY, latent) on n ways from the first n points of `noise` to the next n."""
    ends = noise(2 * n, latent, seed)
    return slerp(ends[:n], ends[n:], np.linspace(0.0, 1.0, WAY)).reshape(n * WAY, -1)


def inherited(run):
    """The options that a run begun with another's weights has from it, unless others are given."""
    options = BEFORE | read_options(run)["options"]
    found = {name: options.get(name) for name in ("width", "latent", "pack")}
    for name, value in found.items():
        if type(value) is not int or value < 1:
            raise RunError(f"--from {run}: its options.json has {name} {str(value)[:40]}")
    return found


def begin_from(trainer, run):
    """Give a new trainer the weights of another run's newest sound checkpoint; what was taken, as a
    line. A discriminator that does not fit begins anew, and so do the optimizers. ValueError if the
    generator does not fit."""
    def taken_from(arrays):
        return int(arrays["trainer.steps"]), {
            part: {name.removeprefix(f"trainer.{part}."): array for name, array in arrays.items()
                   if name.startswith(f"trainer.{part}.")}
            for part in ("generator", "averaged", "discriminator")}

    (steps, taken), complaints = newest_checkpoint(run, taken_from)
    try:
        trainer.generator.load_state_dict(taken["generator"])
        trainer.averaged.load_state_dict(taken["averaged"])
    except ValueError as error:
        raise ValueError(f"--from {run}: its generator is another one than this run's ({error})"
                         ) from None
    line = f"begun with the generator of {run} after step {steps}"
    try:
        trainer.discriminator.load_state_dict(taken["discriminator"])
        line += " and its discriminator; the optimizers begin anew"
    except ValueError as error:
        line += ("; the optimizers begin anew, and so does the discriminator, which differs "
                 f"({error})")
    return "; ".join([line, *complaints])


def load(run, checkpoint=None):
    """The trained generator of a run folder: `mg.load("runs/00000-…").sample(64)`.

    Its newest checkpoint that is sound and fits is read, or that of the step `checkpoint`, or
    "best", which `--keep-best` kept. ValueError, naming the files, if the folder is not a run or
    has none.
    """
    record = read_options(run)
    options = BEFORE | record["options"]

    def trained(arrays):
        rng = Rationed(backend.Streams()["init"], sum(array.size for array in arrays.values()))
        networks = pair(options, tuple(record["sample_shape"]), rng)
        for network, part in zip(networks, ("trainer.averaged.", "trainer.discriminator.")):
            network.load_state_dict({name.removeprefix(part): array
                                     for name, array in arrays.items() if name.startswith(part)})
        generator, discriminator = [network.eval() for network in networks]
        return TrainedGenerator(generator, discriminator, options["latent"], options,
                                int(arrays["trainer.steps"]))
    if checkpoint is None:
        return newest_checkpoint(run, trained)[0]
    return chosen_checkpoint(run, checkpoint, trained)
