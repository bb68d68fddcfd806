"""Differentiable augmentation: the discriminator sees real and fake pictures changed alike.

With few pictures a discriminator learns them by heart. Changed at random they are never twice the
same; and since the fake ones are changed in the same ways, in D's step and in G's, and G's gradient
passes through the change, G learns to make pictures as they were before. Each transformation draws
its numbers from `rng` for each sample (N, H, W, C) apart. Source: Zhao et al. 2020,
arXiv:2006.10738, and the ranges of the authors' published code.
"""

import numpy as np

from minigan import backend, ops
from minigan.module import Module
from minigan.tensor import constant, op


def brightness(x, rng):
    """x + b, b uniform in [−½, ½)."""
    return x + _each(rng.random(len(x)) - 0.5, x)


def contrast(x, rng):
    """Distances from the picture's mean times c, c uniform in [½, 1½)."""
    mean = x.mean((1, 2, 3), keepdims=True)
    return mean + (x - mean) * _each(rng.random(len(x)) + 0.5, x)


def translation(x, rng):
    """Moved by up to an eighth of the height and of the width, whole pixels; what comes in is 0."""
    down, right = [rng.integers(-_eighth(side), _eighth(side) + 1, len(x)) for side in x.shape[1:3]]
    return shift_rows(shift_rows(x, down).transpose(0, 2, 1, 3), right).transpose(0, 2, 1, 3)


@op
def shift_rows(x, /, shifts):
    """Row i of sample n becomes row i + shifts[n], and zeros come in: x (N, H, …), shifts (N,)
    integers on the host. It is a product with matrices of 0 and 1. The adjoint shifts back."""
    shifts, i = np.asarray(shifts), np.arange(x.shape[1])
    matrices = backend.asarray(i[:, None] == i + shifts[:, None, None], x.dtype)
    rows = x.xp.ascontiguousarray(x.data.reshape(*x.shape[:2], -1))
    return x.xp.matmul(matrices, rows).reshape(x.shape), (lambda g: shift_rows(g, -shifts),)


def cutout(x, rng):
    """0 in a rectangle of half the height and half the width, which may hang over the edge."""
    rows, columns = [_window(side, rng.integers(0, side + 1 - _half(side) % 2, len(x)))
                     for side in x.shape[1:3]]
    kept = 1.0 - (rows[:, :, None, None] & columns[:, None, :, None])
    return x * backend.asarray(kept, x.dtype)


# name: what is done, one after another
POLICIES = {"none": (), "colour": (brightness, contrast), "translation": (translation,),
            "cutout": (cutout,), "all": (brightness, contrast, translation, cutout)}


def augment(x, policy, rng, p=1.0):
    """x changed by each transformation of a policy, a name of POLICIES, with probability p, decided
    for each sample apart. p is a number, or an array (1,) where x is."""
    for transformation in POLICIES[policy]:
        changed = transformation(x, rng)
        chosen = backend.asarray(rng.random((len(x), 1, 1, 1))) < p
        x = ops.where(changed, x, chosen)
    return x


class Adaptive(Module):
    """The probability p of augmentation, moved until D is as sure of real samples as `target` says.

    r = E sign D(real) is 0 where D cannot tell and 1 where it knows each sample. After each batch
    of n, p rises by n/`images` if r is above `target`, and falls by as much if it is below, within
    [0, 1]. Source: Karras et al. 2020, arXiv:2006.06676, whose target is 0.6 and whose p
    could go from 0 to 1 in 500,000 images."""

    buffer_names = ("p",)

    def __init__(self, target, images):
        super().__init__()
        self.target, self.images = float(target), int(images)
        self.p = backend.asarray(np.zeros(1, np.float32))

    def observe(self, scores):
        """`scores` of a real batch, positive where D takes a sample for real."""
        xp, n = scores.xp, len(scores)
        sure = constant(xp.sign(scores.data).reshape(1, n)).mean(1).data
        self.p = (self.p + xp.sign(sure - self.target) * (n / self.images)).clip(0.0, 1.0)


def _each(numbers, x):
    """A number for each sample, to be broadcast over it."""
    return backend.asarray(numbers.reshape(-1, 1, 1, 1), x.dtype)


def _eighth(side):
    return int(side / 8 + 0.5)


def _half(side):
    return int(side / 2 + 0.5)


def _window(side, centres):
    """(N, side): whether a place is in the window of half the side around the centre."""
    first = centres[:, None] - _half(side) // 2
    return (np.arange(side) >= first) & (np.arange(side) < first + _half(side))
