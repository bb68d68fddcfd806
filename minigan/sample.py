"""python -m minigan.sample: draw from the generator of a run."""

import sys
from pathlib import Path

import numpy as np

from minigan import backend, models, parallel, plots
from minigan.commandline import USER_ERRORS, Parser, fail, non_negative, one_of, positive

PROG = "minigan.sample"
PATH = 8  # samples on one way from noise to noise


def parser():
    p = Parser(prog=PROG, description="Draw samples from the averaged generator of a run folder.")
    p.add_argument("run", metavar="RUN", help="a run folder")
    p.add_argument("--n", type=positive, default=64, help="how many")
    p.add_argument("--seed", type=non_negative, default=0, help="of the noise")
    p.add_argument("--grid", metavar="PNG", help="write a picture (samples.png if --npz is not given either)")
    p.add_argument("--npz", metavar="NPZ", help="write `images`, uint8 (N, H, W, C), or `points`, float32 (N, 2)")
    p.add_argument("--interpolate", action="store_true",
                   help=f"samples on n / {PATH} ways from noise to noise, {PATH} each: one way a row of the picture")
    p.add_argument("--backend", type=one_of(backend.names()), default="numpy", metavar="NAME",
                   help=" or ".join(backend.names()))
    return p


def slerp(a, b, t):
    """Spherical interpolation of noise a, b (N, latent) at the fractions t (T,) → (N, T, latent).

    sin((1 − t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b, Ω the angle between a and b. Unlike the straight line it keeps the
    length of normal noise, on which a generator was trained. Source: White 2016, arXiv:1609.04468, §2.
    """
    cosine = np.sum(a * b, axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))[:, None, None]
    t = np.asarray(t)[None, :, None]
    parallel = np.sin(angle) < 1e-6  # the same direction, or opposite ones with no way singled out: straight on
    sine = np.where(parallel, 1.0, np.sin(angle))
    toward_a = np.where(parallel, 1.0 - t, np.sin((1.0 - t) * angle) / sine)
    toward_b = np.where(parallel, t, np.sin(t * angle) / sine)
    return (toward_a * a[:, None] + toward_b * b[:, None]).astype(a.dtype)


def main(arguments=None):
    options = parser().parse_args(arguments)
    try:
        backend.use_backend(options.backend)
        if backend.current().xp is np:
            parallel.use_all_cores()
        generator = models.load(options.run)
        if options.interpolate:
            ways = max(1, options.n // PATH)
            ends = models.noise(2 * ways, generator.latent, options.seed)
            noise = slerp(ends[:ways], ends[ways:], np.linspace(0.0, 1.0, PATH)).reshape(ways * PATH, -1)
        else:
            noise = models.noise(options.n, generator.latent, options.seed)
        samples = generator.samples(noise)
        grid = options.grid or (None if options.npz else "samples.png")
        if grid:
            draw(grid, samples, PATH if options.interpolate else None)
        if options.npz:
            save(options.npz, samples)
    except USER_ERRORS as error:
        return fail(PROG, error, 2)
    print(f"{len(samples)} samples: {', '.join(filter(None, (grid, options.npz)))}")
    return 0


def draw(path, samples, columns):
    if samples.ndim == 4:
        plots.save_grid(path, samples, columns)
    else:
        plots.save_points(path, samples)


def save(path, samples):
    """As an .npz that `--data` takes again."""
    with open(Path(path), "wb") as file:
        if samples.ndim == 4:
            np.savez_compressed(file, images=plots.to_pixels(samples))
        else:
            np.savez_compressed(file, points=samples)


if __name__ == "__main__":
    sys.exit(main())
