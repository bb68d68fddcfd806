"""Differentiable augmentation: the discriminator sees real and fake pictures changed alike.

With few pictures a discriminator learns them by heart. Changed at random they are seldom twice the
same; and since the fake ones are changed in the same ways, in D's step and in G's, and G's gradient
passes through the change, G learns to make pictures as they were before. Each transformation draws
its numbers from `rng` for each sample (N, H, W, C) apart.

Two papers of one year: POLICIES are those of Zhao et al. 2020, arXiv:2006.10738, with the ranges of
the authors' published code, without saturation. ADAPTIVE is part of the pipeline of Karras et al.
2020, arXiv:2006.06676, §2: flips, quarter turns and moves by whole pixels, and brightness and
contrast, in the other paper's ranges. Left out are rotations by any angle and scaling, other
changes of colour, and filters, noise and cutout, of which that paper found little use.
"""

import numpy as np

from minigan import backend, ops
from minigan.module import Module
from minigan.tensor import constant


def brightness(x, rng):
    """x + b, b uniform in [−½, ½)."""
    return x + _each(rng.random(len(x)) - 0.5, x)


def contrast(x, rng):
    """Distances from the picture's mean times c, c uniform in [½, 1½)."""
    mean = x.mean((1, 2, 3), keepdims=True)
    return mean + (x - mean) * _each(rng.random(len(x)) + 0.5, x)


def translation(x, rng):
    """Moved by up to an eighth of the height and of the width, whole pixels; what comes in is 0."""
    return _placed(x, *_moves(x, rng))


def mirrored_translation(x, rng):
    """The same, but what comes in is what a mirror at the edge shows. ValueError for sides of 1."""
    if min(x.shape[1:3]) < 2:
        raise ValueError(f"mirrored_translation: expected sides of 2 at least, got {x.shape}")
    return _placed(x, *[side - 1 - abs(side - 1 - abs(i))
                        for i, side in zip(_moves(x, rng), x.shape[1:3])])


def flip(x, rng):
    """Left and right exchanged in one half of the samples."""
    return _placed(x, None, _turned(x.shape[2], rng.random(len(x)) < 0.5))


def quarter_turn(x, rng):
    """By 0, 90, 180 or 270 degrees against the clock, each as likely; by 0 or 180 if H ≠ W."""
    N, H, W = x.shape[:3]
    turns = rng.integers(0, 4, N) if H == W else 2 * rng.integers(0, 2, N)
    if H == W:
        odd = backend.asarray((turns % 2 == 1).reshape(-1, 1, 1, 1))
        x = ops.where(x.transpose(0, 2, 1, 3), x, odd)
    return _placed(x, _turned(H, (turns == 1) | (turns == 2)), _turned(W, turns >= 2))


def cutout(x, rng):
    """0 in a rectangle of half the height and half the width, which may hang over the edge."""
    rows, columns = [_window(side, rng.integers(0, side + 1 - _half(side) % 2, len(x)))
                     for side in x.shape[1:3]]
    kept = 1.0 - (rows[:, :, None, None] & columns[:, None, :, None])
    return x * backend.asarray(kept, x.dtype)


# name: what is done, one after another
POLICIES = {"none": (), "colour": (brightness, contrast), "translation": (translation,),
            "cutout": (cutout,), "all": (brightness, contrast, translation, cutout)}
# For p up to MOST. If all pictures are turned at random, none tells which way is up. At p = 0.8 two
# fifths of them are upright, and a fifth is turned to each other side.
ADAPTIVE = flip, quarter_turn, mirrored_translation, brightness, contrast
MOST = 0.8


def augment(x, transformations, rng, p=1.0):
    """x changed by one transformation after another, each with probability p, decided for each
    sample apart. p is a number, or an array (1,) where x is."""
    for transformation in transformations:
        changed = transformation(x, rng)
        chosen = backend.asarray(rng.random((len(x), 1, 1, 1))) < p
        x = ops.where(changed, x, chosen)
    return x


class Adaptive(Module):
    """The probability p of augmentation, moved until D is as sure of real samples as `target` says.

    r = E sign D(real) is 0 where D cannot tell and 1 where it knows each sample. After each batch
    of n, p rises by n/`images` if r is above `target`, and falls by as much if it is below, within
    [0, `most`]. Source: Karras et al. 2020, arXiv:2006.06676, whose target is 0.6 and whose p
    could go from 0 to 1 in 500,000 images."""

    buffer_names = ("p",)

    def __init__(self, target, images, most=1.0):
        super().__init__()
        self.target, self.images, self.most = float(target), int(images), float(most)
        self.p = backend.asarray(np.zeros(1, np.float32))

    def observe(self, scores):
        """`scores` of a real batch, positive where D takes a sample for real → p, as a statistic
        of the step."""
        xp, n = scores.xp, len(scores)
        sure = constant(xp.sign(scores.data).reshape(1, n)).mean(1).data
        self.p = (self.p + xp.sign(sure - self.target) * (n / self.images)).clip(0.0, self.most)
        return {"augmented_share": self.p.reshape(())}


def _each(numbers, x):
    """A number for each sample, to be broadcast over it."""
    return backend.asarray(numbers.reshape(-1, 1, 1, 1), x.dtype)


def _placed(x, rows, columns):
    """y[n, i, j] = x[n, rows[n, i], columns[n, j]], 0 where that is outside; None leaves an axis. x
    (N, H, W, C), rows (N, H), columns (N, W), integers on the host. It is a product with matrices
    of 0 and 1 for each axis, so gradients of every order pass."""
    for places in (rows, columns):
        if places is not None:
            picked = places[:, :, None] == np.arange(x.shape[1])
            lines = x.reshape(len(x), x.shape[1], -1)
            x = (constant(backend.asarray(picked, x.dtype)) @ lines).reshape(x.shape)
        x = x.transpose(0, 2, 1, 3)
    return x


def _moves(x, rng):
    """Where the rows and the columns of each sample are from, (N, H) and (N, W), outside as well,
    moved by up to an eighth."""
    return [np.arange(side) - rng.integers(-_eighth(side), _eighth(side) + 1, len(x))[:, None]
            for side in x.shape[1:3]]


def _turned(side, whether):
    """(N, side): 0 … side − 1 for each sample, backwards where `whether` (N,) is True."""
    i = np.arange(side)
    return np.where(whether[:, None], i[::-1], i)


def _eighth(side):
    return int(side / 8 + 0.5)


def _half(side):
    return int(side / 2 + 0.5)


def _window(side, centres):
    """(N, side): whether a place is in the window of half the side around the centre."""
    first = centres[:, None] - _half(side) // 2
    return (np.arange(side) >= first) & (np.arange(side) < first + _half(side))
