"""python -m minigan.sample: draw from what a run has learned."""

import difflib
import sys
from functools import partial
from inspect import signature
from pathlib import Path

import numpy as np

from minigan import backend, data
from minigan.captioned import check_known
from minigan.data import disk, files
from minigan.data.files import printable
from minigan.model import WAY
from minigan.pictures import examples, plots
from minigan.runs import models, supply
from minigan.runs.commandline import (
    Parser, command, non_negative, one_of, path, positive, say)
from minigan.runs.options import data_folders, data_of_run, recorded_options
from minigan.runs.run_folder import read_options

PROG = "minigan.sample"
BLOCK = 256
OTHER_FILES = (".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".svg", ".pdf", ".npz",
               ".npy", ".zip")


def parser():
    p = Parser(prog=PROG, description="Draw samples from what a run has learned.",
               examples=("python -m minigan.sample runs/00000-fashion-mini-gan-s0 --grid out.png",
                         "python -m minigan.sample RUN --n 1000 --files pictures",
                         "python -m minigan.sample RUN --input outline.png",
                         "python -m minigan.sample RUN --caption 'a small red star at the left'",
                         "python -m minigan.sample RUN --n 10000 --npz samples.npz"))
    p.add_argument("run", metavar="RUN", type=path, help="a run folder")
    p.add_argument("--n", type=positive, help="how many (default: 64, 1 of an --input)")
    p.add_argument("--seed", type=non_negative, default=0, help="of the noise")
    p.add_argument("--grid", metavar="PNG", type=path, help="write a picture of all (samples.png "
                   "if neither --npz nor --files is given)")
    p.add_argument("--npz", metavar="NPZ", type=path,
                   help="write `images`, uint8 (N, H, W, C), or `points`, float32 (N, d)")
    p.add_argument("--files", metavar="FOLDER", type=path,
                   help="write each image as a PNG of its own size, 000000.png and so on, into a "
                   "new folder")
    p.add_argument("--checkpoint", metavar="STEP|best", help="of this step, or the best one that "
                   "--keep-best kept (default: the newest)")
    p.add_argument("--label", metavar="CLASS", help="of a model of classes: all of this class, by "
                   "its name or number (default: as they are in the data)")
    p.add_argument("--input", metavar="PICTURE", type=path, help="of a model that makes pictures "
                   "of others: of this one (default: of those of the test set, or of the data)")
    p.add_argument("--caption", metavar="TEXT", help="of a model of captions: what is to be seen "
                   "(default: those of the test set, or of the data)")
    p.add_argument("--truncation", metavar="T", type=float, help="of a model that can be asked for "
                   "typical samples: below 1, the better and the less varied (default: all)")
    p.add_argument("--interpolate", action="store_true",
                   help=f"n samples on ways from noise to noise, {WAY} on each: one way a row of "
                   "the picture")
    p.add_argument("--backend", type=one_of(backend.names()), default="numpy", metavar="NAME",
                   help=" or ".join(backend.names()))
    return p


def main(arguments=None):
    return command(PROG, lambda: run(parser().parse_args(arguments)))


def run(options):
    backend.use_backend(options.backend)
    run = models.load(options.run, options.checkpoint)
    grid = options.grid or (None if options.npz or options.files else "samples.png")
    check(grid, options)
    asked = {} if options.label is None else {"label": label(run, options.label)}
    if options.input:
        asked["inputs"] = picture(run, options.input)
    if options.caption is not None:
        asked["caption"] = caption(run, options.caption)
    if options.truncation is not None:
        asked["truncation"] = truncation(run, options.truncation)
    if models.shows_examples(run.model) and not {"inputs", "caption"} & asked.keys():
        show_examples(run.model, Path(options.run))
    options.n = options.n or (1 if options.input else 64)
    if options.interpolate:
        samples = walked(run, options, asked)
        save_grid = partial(save_picture, samples=samples, columns=WAY)
    elif models.shows_examples(run.model):
        made = run.model.draw(options.n, models.preview(options.seed), **asked)
        made = made._replace(x=backend.to_numpy(made.x))
        samples = pixels(made)
        save_grid = partial(examples.save_examples, drawn=made)
    else:
        samples = drawn(run, options, asked)
        save_grid = partial(save_picture, samples=samples)
    if grid:
        with disk.output(grid) as file:
            save_grid(file)
    if options.npz:
        save(options.npz, samples)
    if options.files:
        save_each(Path(options.files), samples)
    written = filter(None, (grid, options.npz, options.files))
    say(printable(f"{len(samples)} samples: {', '.join(written)}"))


def check(grid, options):
    """Refuse what cannot be written before anything is computed."""
    if grid and Path(grid).suffix.lower() in OTHER_FILES:
        raise ValueError(f"--grid {grid}: a PNG is written, so expected a name that ends in .png")
    folder = options.files and Path(options.files)
    if folder and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"--files {folder}: expected a new or an empty folder")
    known = data_folders(read_options(options.run), options.run) if folder else ()
    if folder and (source := files.read_along(folder, known)):
        raise ValueError(f"--files {folder}: it lies among the pictures of {source}, and the next "
                         "training on those would take the samples for data: give a folder outside")


def label(run, text):
    """The number of the class that `text` names. ValueError if the model has none of it."""
    if "label" not in models.asks(run.model):
        raise ValueError(f"--label {text}: the run's model is {run.options['model']}, which cannot "
                         "be asked for a class")
    classes = run.model.label_names()
    if text in classes:
        return classes.index(text)
    if text.isdecimal() and int(text) < len(classes):
        return int(text)
    near = difflib.get_close_matches(text, classes)
    raise ValueError(f"--label {text}: there is no such class"
                     + (f", did you mean {' or '.join(near)}?" if near else "")
                     + f" (classes: {', '.join(classes)[:400]})")


def picture(run, path):
    """The picture (1, H, W, C) at `path`, for a model that makes others of it."""
    if "inputs" not in models.asks(run.model):
        raise ValueError(f"--input {path}: the run's model is {run.options['model']}, which does "
                         "not make pictures of others")
    return data.to_unit(data.read_picture(path, run.model.input_shape()))


def caption(run, text):
    """The text, for a model that makes pictures of captions and knows its words."""
    if "caption" not in models.asks(run.model):
        raise ValueError(f"--caption {text}: the run's model is {run.options['model']}, which does "
                         "not make pictures of captions")
    check_known(text, run.model.facts.words)
    return text


def truncation(run, bound):
    """The number, for a model that can be asked for typical samples."""
    if "truncation" not in models.asks(run.model):
        raise ValueError(f"--truncation {bound}: the run's model is {run.options['model']}, which "
                         "cannot be asked for typical samples")
    return bound


def show_examples(model, folder):
    """Give a model the pictures or captions that it draws of, where nothing else is asked for."""
    record = read_options(folder)
    options = recorded_options(record, folder, PROG)
    model.examples = supply.examples_of(options, data_of_run(record, options, folder), model.NEEDS)


def pixels(drawn):
    """Images as pixels, uint8, or points, on the host."""
    x = backend.to_numpy(drawn.x)
    return plots.to_pixels(x) if x.ndim == 4 else x


def drawn(run, options, asked):
    """A block at a time, for floats would take four times as much memory as the result, several
    times over."""
    rng, result = models.preview(options.seed), None
    for begin in range(0, options.n, BLOCK):
        block = pixels(run.model.draw(min(BLOCK, options.n - begin), rng, **asked))
        if result is None:
            result = np.empty((options.n, *block.shape[1:]), block.dtype)
        result[begin:begin + BLOCK] = block
    return result


def walked(run, options, asked):
    if run.model.walk is None:
        raise ValueError(f"--interpolate: the run's model is {run.options['model']}, which has no "
                         "noise to go from and to")
    for name in asked.keys() - signature(run.model.walk).parameters.keys():
        raise ValueError(f"--interpolate: this model's ways cannot be asked for --{name}")
    count = -(-options.n // WAY)
    return pixels(run.model.walk(models.preview(options.seed), count, **asked))[:options.n]


def save_picture(file, samples, columns=None):
    if samples.ndim == 4:
        plots.save_grid(file, samples, columns)
    else:
        plots.save_points(file, samples)


def save(path, samples):
    """As an .npz that `--data` takes again."""
    with disk.output(path) as file:
        if samples.ndim == 4:
            np.savez_compressed(file, images=samples)
        else:
            np.savez_compressed(file, points=samples)


def save_each(folder, samples):
    if samples.ndim != 4:
        raise ValueError(f"--files {folder}: expected images, the run has samples "
                         f"{samples.shape[1:]}: --npz writes points")
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(samples):
        plots.save_image(folder / f"{i:06d}.png", image)


if __name__ == "__main__":
    sys.exit(main())
