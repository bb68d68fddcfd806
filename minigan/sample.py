"""python -m minigan.sample: draw from the generator of a run."""

import sys

import numpy as np

from minigan import backend
from minigan.data import disk
from minigan.data.files import printable
from minigan.pictures import plots
from minigan.runs import models
from minigan.runs.commandline import Parser, command, non_negative, one_of, positive, say

PROG = "minigan.sample"


def parser():
    p = Parser(prog=PROG, description="Draw samples from the averaged generator of a run folder.")
    p.add_argument("run", metavar="RUN", help="a run folder")
    p.add_argument("--n", type=positive, default=64, help="how many")
    p.add_argument("--seed", type=non_negative, default=0, help="of the noise")
    p.add_argument("--grid", metavar="PNG",
                   help="write a picture (samples.png if --npz is not given either)")
    p.add_argument("--npz", metavar="NPZ",
                   help="write `images`, uint8 (N, H, W, C), or `points`, float32 (N, 2)")
    p.add_argument("--interpolate", action="store_true",
                   help=f"samples on n / {models.WAY} ways from noise to noise, {models.WAY} each: "
                   "one way a row of the picture")
    p.add_argument("--backend", type=one_of(backend.names()), default="numpy", metavar="NAME",
                   help=" or ".join(backend.names()))
    return p


def main(arguments=None):
    return command(PROG, lambda: run(parser().parse_args(arguments)))


def run(options):
    backend.use_backend(options.backend)
    generator = models.load(options.run)
    if options.interpolate:
        noise = models.ways(max(1, options.n // models.WAY), generator.latent, options.seed)
    else:
        noise = models.noise(options.n, generator.latent, options.seed)
    samples = generator.samples(noise)
    grid = options.grid or (None if options.npz else "samples.png")
    if grid:
        draw(grid, samples, models.WAY if options.interpolate else None)
    if options.npz:
        save(options.npz, samples)
    say(printable(f"{len(samples)} samples: {', '.join(filter(None, (grid, options.npz)))}"))


def draw(path, samples, columns):
    with disk.output(path) as file:
        if samples.ndim == 4:
            plots.save_grid(file, samples, columns)
        else:
            plots.save_points(file, samples)


def save(path, samples):
    """As an .npz that `--data` takes again."""
    with disk.output(path) as file:
        if samples.ndim == 4:
            np.savez_compressed(file, images=plots.to_pixels(samples))
        else:
            np.savez_compressed(file, points=samples)


if __name__ == "__main__":
    sys.exit(main())
