"""python -m minigan.train: train a GAN, and leave everything about the run in a folder."""

import argparse
import os
import platform
import re
import shlex
import signal
import sys
import time
from pathlib import Path

import numpy as np

from minigan import __version__, backend, data, experiment, files, judges, models, parallel, plots, report
from minigan.commandline import USER_ERRORS, Parser, fail, non_negative, one_of, positive, real
from minigan.experiment import Experiment
from minigan.trainer import RECIPES

PROG = "minigan.train"
CHANGEABLE = {"steps", "log_every", "snapshot_every", "evaluate_every", "classifier", "checkpoint_every", "keep",
              "backend"}  # by a run that is resumed
DEFAULTS = dict(data="fashion-mini", objective="gan", backend="numpy", seed=0, image_size=None, log_every=50,
                snapshot_every=100, evaluate_every=0, classifier=None, checkpoint_every=250, keep=2)
ABOUT_THIS_CALL = {"out", "name", "resume", "dry_run", "tf32"}  # and not the run


def parser(prog=PROG, **more):
    """The options. Those left out are not in the result at all, so that a resumed run can tell what was asked for."""
    p = Parser(prog=prog, description="Train a GAN. Everything about the run is left in a folder of its own.",
               argument_default=argparse.SUPPRESS, **more)
    p.add_argument("--data", metavar="NAME|PATH", help=f"{', '.join(data.NAMES)}, a folder of pictures, or an .npz "
                   "with `images` (default: fashion-mini)")
    p.add_argument("--objective", metavar="NAME", type=one_of(list(RECIPES)),
                   help=f"{', '.join(RECIPES)} (default: gan)")
    p.add_argument("--backend", metavar="NAME", type=one_of(backend.names()),
                   help=f"{' or '.join(backend.names())} (default: numpy)")
    p.add_argument("--tf32", action="store_true",
                   help="with cupy: faster, less exact products of matrices (10 binary digits)")
    p.add_argument("--steps", type=positive, help="generator updates (default: 2500 on images, 10000 on points)")
    p.add_argument("--batch-size", type=positive, help="samples per batch (default: 64 images, 256 points)")
    p.add_argument("--width", type=positive, help="channels next to the image, or hidden units (default: 64, 128)")
    p.add_argument("--latent", type=positive, help="width of the noise (default: 100 for images, 2 for points)")
    p.add_argument("--lr-g", type=real, help="the generator's learning rate (default: the objective's)")
    p.add_argument("--lr-d", type=real, help="the discriminator's (default: the objective's)")
    p.add_argument("--n-critic", type=positive,
                   help="discriminator steps per generator step (default: the objective's)")
    p.add_argument("--clip", type=real, help="bound on the critic's weights, 0 for none (default: the objective's)")
    p.add_argument("--gp-weight", type=real,
                   help="weight of the gradient penalty, 0 for none (default: the objective's)")
    p.add_argument("--ema", type=real, help="decay of the averaged generator, below 1 (default: 0.999)")
    p.add_argument("--pack", type=positive, metavar="SAMPLES",
                   help="how many the discriminator judges at once, against mode collapse (default: 1)")
    p.add_argument("--lr-decay", type=real, metavar="SHARE", help="part of the learning rates that is left at the last "
                   "step; they fall on a straight line (default: 1)")
    p.add_argument("--seed", type=non_negative, help="of all random numbers (default: 0)")
    p.add_argument("--image-size", type=positive, help="side of the pictures of a folder (default: 64)")
    p.add_argument("--out", metavar="FOLDER", help="where run folders are made (default: runs)")
    p.add_argument("--name", help="the run folder's name after its number (default: from data, objective and seed)")
    p.add_argument("--log-every", type=positive, metavar="STEPS", help="(default: 50)")
    p.add_argument("--snapshot-every", type=positive, metavar="STEPS", help="a picture of samples (default: 100)")
    p.add_argument("--evaluate-every", type=non_negative, metavar="STEPS",
                   help="quick measures of 2000 samples, into stats.jsonl and losses.png (default: 0, never)")
    p.add_argument("--classifier", metavar="NAME|FILE", help="the feature network to measure images with: mnist, "
                   "fashion, or a file that python -m minigan.classifier wrote (default: by the data)")
    p.add_argument("--checkpoint-every", type=positive, metavar="STEPS", help="a state to resume from (default: 250)")
    p.add_argument("--keep", type=positive, help="how many checkpoints stay (default: 2)")
    p.add_argument("--resume", nargs="?", const="latest", metavar="RUN",
                   help="go on with this run folder, or with the latest one that has a checkpoint")
    p.add_argument("--dry-run", action="store_true", help="print the resolved options, run one step, write nothing")
    return p


def of_the_run(given):
    return {name: value for name, value in given.items() if name not in ABOUT_THIS_CALL}


def recorded_options(record, folder, prog=PROG):
    """The options in a run's options.json, read as if they were typed, so that what was tampered with is refused."""
    options, path = record["options"], folder / "options.json"
    typed = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    read = vars(parser(prog, hint=f"in {path}").parse_args(typed))
    expected = DEFAULTS.keys() | models.defaults(DEFAULTS["objective"], record["sample_shape"]).keys()
    if options.keys() != expected or any(read.get(name) != value for name, value in options.items()):
        raise ValueError(f"{path} does not hold a run's options")
    return options


def resume_options(given, recorded, folder):
    """The options of a run that goes on. ValueError, listing every difference, if others than CHANGEABLE differ."""
    chosen = of_the_run(given)
    differences = [f"--{name.replace('_', '-')} {value} (it has {recorded.get(name)})"
                   for name, value in chosen.items() if name not in CHANGEABLE and value != recorded.get(name)]
    if differences:
        raise ValueError(f"{folder} was started with other options, and a resumed run keeps its own: "
                         + ", ".join(differences))
    return recorded | chosen


def use_backend(name, given):
    if given.get("tf32"):
        if name != "cupy":
            raise ValueError(f"--tf32 is for --backend cupy, not {name}")
        backend.allow_tf32()
    backend.use_backend(name)


def load_data(options):
    return data.load(options["data"], image_size=options["image_size"], seed=options["seed"])


def versions():
    """What the bits of a run may depend on beside its options."""
    found = {"minigan": __version__, "python": platform.python_version(), "numpy": np.__version__,
             "platform": platform.platform()}
    current = backend.current()
    if current.xp is np:
        return found | parallel.use_all_cores()
    return found | {current.name: current.xp.__version__, "tf32": os.environ.get("CUPY_TF32") == "1"}


def build(options, x):
    """(trainer, batches, streams), all at their beginning."""
    if backend.current().xp is np:
        parallel.use_all_cores()
    backend.seed(options["seed"])
    batches = data.Batches(x, options["batch_size"], backend.streams["data"])
    return models.trainer(options, x.shape[1:], backend.streams), batches, backend.streams


class Pictures:
    """What a run looks like, drawn into its folder."""

    def __init__(self, folder, trainer, x, options):
        self.folder, self.trainer, self.image = folder, trainer, models.is_image(x.shape[1:])
        self.noise = models.noise(64 if self.image else 2500, options["latent"], options["seed"])
        self.ways = models.ways(4, options["latent"], options["seed"])
        chosen = backend.Streams(options["seed"])["preview reals"].permutation(len(x))[:len(self.noise)]
        self.reals = data.to_unit(x[np.sort(chosen)])

    def reals_once(self):
        plots.save_samples(self.folder / "reals.png", self.reals, generated=False)

    def snapshot(self, step):
        """samples/NNNNNN.png: the averaged generator at the same noise every time. Of images also interpolation.png,
        the ways from the first samples to the next ones. report.html as far as it goes."""
        path = self.folder / "samples" / f"{step:06d}.png"
        samples = backend.to_numpy(self.trainer.sample(self.noise))
        if self.image:
            plots.save_samples(path, samples)
            between = backend.to_numpy(self.trainer.sample(self.ways))
            plots.save_grid(self.folder / "interpolation.png", between, models.WAY)
        else:
            plots.save_game(path, samples, self.reals, self._feedback, self._from_plane,
                            self.trainer.objective.undecided,
                            "score" if self.trainer.pack == 1 else f"score beside {self.trainer.pack - 1} copies")
        report.write(self.folder, report.FRAMES_IN_TRAINING)

    def _feedback(self, points):
        return [backend.to_numpy(array) for array in self.trainer.feedback(points)]

    def _from_plane(self, z):
        """Points of the plane of the first two latent numbers, the others 0 → samples."""
        noise = np.zeros((len(z), self.noise.shape[1]), np.float32)
        noise[:, :2] = z[:, :noise.shape[1]]
        return backend.to_numpy(self.trainer.sample(noise))

    def finish(self):
        """losses.png, progress.gif and the whole report.html."""
        plots.save_losses(self.folder / "losses.png", experiment.read_stats(self.folder), self.trainer.headline)
        plots.save_gif(self.folder / "progress.gif", experiment.snapshots(self.folder))
        report.write(self.folder)


class Evaluation:
    """The quick measures of the averaged generator, at the same noise and beside the same training data every time.
    ValueError for data that cannot be judged."""

    def __init__(self, trainer, x, options):
        self.trainer, n = trainer, min(2000 if models.is_image(x.shape[1:]) else 2500, len(x))
        self.noise = models.noise(n, options["latent"], options["seed"])
        chosen = judges.some(x, n, backend.Streams(options["seed"])["evaluation reals"])
        self.judge = judges.judge_for(options["data"], chosen, options["classifier"])
        judges.quick(self.judge, chosen)  # now, not hundreds of steps later

    def __call__(self):
        samples = backend.to_numpy(self.trainer.sample(self.noise))
        if not np.isfinite(samples).all():
            raise ArithmeticError(f"the generator's samples are not finite after step {self.trainer.steps}")
        return judges.quick(self.judge, samples)


def dry_run(options, x):
    """Print what would run, and run one step of it."""
    trainer, batches, _ = build(options, x)
    width = max(map(len, options))
    for name, value in options.items():
        print(f"{name:{width}}  {files.printable(str(value))}")
    for name in ("generator", "discriminator"):
        network = getattr(trainer, name)
        print(f"{name}, {_count(network)} parameters: {network}")
    with np.errstate(all="ignore"):
        stats = trainer.step([batches.next() for _ in range(trainer.batches_per_step)])
    trainer.check_finite()
    print("one step: " + "  ".join(f"{name} {float(backend.to_numpy(value)):.4g}" for name, value in stats.items()))


def _count(network):
    return f"{sum(p.size for p in network.parameters()):,}"


def start(given):
    """(run folder, options, x) of a new run, its folder made as the last thing that can go wrong."""
    options = DEFAULTS | of_the_run(given)
    use_backend(options["backend"], given)
    x = load_data(options).x
    options = models.defaults(options["objective"], x.shape[1:]) | options
    if given.get("dry_run"):
        return None, options, x
    trainer, _, _ = build(options, x)  # refuses what does not fit before there is a folder
    if options["evaluate_every"]:
        Evaluation(trainer, x, options)
    name = given.get("name", f"{Path(options['data']).stem}-{options['objective']}-s{options['seed']}")
    folder = experiment.new_folder(given.get("out", "runs"), re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60])
    experiment.write_options(folder, {"options": options, "sample_shape": list(x.shape[1:]),
                                      "data": data.fingerprint(x), "versions": versions()})
    return folder, options, x


def resume(given):
    """(run folder, options, x) of the run to go on with."""
    out = given.get("out", "runs")
    folder = experiment.latest_folder(out) if given["resume"] == "latest" else Path(given["resume"])
    record = experiment.read_options(folder)
    options = resume_options(given, recorded_options(record, folder), folder)
    use_backend(options["backend"], given)
    x = load_data(options).x
    if data.fingerprint(x) != record.get("data"):
        raise ValueError(f"{options['data']} has changed since {folder} was started: a run goes on with its own data")
    return folder, options, x


def main(arguments=None):
    try:
        return run(vars(parser().parse_args(arguments)))
    except KeyboardInterrupt:
        return fail(PROG, "interrupted", 130)


def run(given):
    began = time.perf_counter()
    try:
        resuming = "resume" in given
        folder, options, x = resume(given) if resuming else start(given)
        if given.get("dry_run"):
            dry_run(options, x)
            return 0
        trainer, batches, streams = build(options, x)
        pictures = Pictures(folder, trainer, x, options)
        evaluation = Evaluation(trainer, x, options) if options["evaluate_every"] else None
        work = Experiment(folder, trainer, batches, streams, pictures.snapshot, pictures.finish, evaluation)
        if resuming:
            work.restore()
            if trainer.steps >= options["steps"]:
                raise ValueError(f"{folder} has already done {trainer.steps} steps: give more with --steps")
            experiment.write_options(folder, experiment.read_options(folder) | {"options": options})
    except USER_ERRORS as error:
        return fail(PROG, error, 2)
    except ArithmeticError as error:
        return fail(PROG, error, 1)

    try:
        work.say(f"{folder}: {options['objective']} on {options['data']}, {len(x)} samples {x.shape[1:]}, generator "
                 f"{_count(trainer.generator)} parameters, discriminator {_count(trainer.discriminator)}"
                 + (f", going on after step {trainer.steps}" if resuming else ""))
        pictures.reals_once()
        stopped_by = work.run(options["steps"], options["log_every"], options["snapshot_every"],
                              options["checkpoint_every"], options["keep"], options["evaluate_every"])
        if stopped_by is not None:
            work.say(f"stopped after step {trainer.steps} by {signal.Signals(stopped_by).name}; to go on: "
                     f"python -m minigan.train --resume {shlex.quote(str(folder))}")
            return 128 + stopped_by
        work.say(f"{trainer.steps} steps, {time.perf_counter() - began:.0f} s: look at {folder / 'report.html'}")
        return 0
    except (ArithmeticError, OSError, MemoryError) as error:
        return fail(PROG, f"{str(error) or 'not enough memory'}: stopped; {what_is_left(folder)}", 1)


def what_is_left(folder):
    """Of a run that has failed: its last statistics, which are finite, and its last checkpoint."""
    left = f"the last good checkpoint is {next(iter(experiment.checkpoints(folder)), 'none')}"
    if stats := experiment.read_stats(folder):
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in stats[-1].items() if isinstance(value, float))
        left = f"the last finite statistics are those of step {stats[-1]['step']}: {numbers}; {left}"
    return left


if __name__ == "__main__":
    sys.exit(main())
