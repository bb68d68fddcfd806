"""`shapes`: pictures that are made on the spot from known attributes.

A picture is an integer, its *code*, which stands for one value of each of the ATTRIBUTES. So it is
known what a generator was asked for, and `metrics.exact` reads off what it has drawn: it compares
the picture with all COUNT renderings.
"""

from functools import cache
from math import prod
from typing import NamedTuple

import numpy as np

from minigan.data.files import DataError

ATTRIBUTES = {
    "kind": ("circle", "square", "triangle", "cross", "star", "ring"),
    "colour": ("red", "yellow", "green", "cyan", "blue", "magenta"),
    "size": ("small", "medium", "large"),
    "place": ("top left", "top", "top right", "left", "centre", "right",
              "bottom left", "bottom", "bottom right"),
    "texture": ("plain", "striped")}
LENGTHS = tuple(map(len, ATTRIBUTES.values()))
COUNT = prod(LENGTHS)  # 1,944
DRAWN = {"train": 20_000, "test": 2_000}

SIDE, FINE = 32, 8  # pixels of a side; a pixel is the mean of FINE × FINE points
STEP = 6            # pixels from each place to the next
RADII = (5, 7, 9)   # pixels, of each size
PERIOD = 4          # pixels: a bar of half of it, a gap of the other half
WHITE, DARK = 255, 20  # the ground and the bars
COLOURS = np.array([(230, 30, 40), (255, 200, 0), (30, 185, 70),
                    (40, 210, 235), (45, 75, 240), (225, 50, 200)])


# Drawing

def _star(x, y):
    """Five tips at distance 1.1, the first one at the top, and between them notches at 0.5."""
    turn = 2 * np.pi / 5
    from_tip = abs((np.arctan2(x, y) + turn / 2) % turn - turn / 2)  # the angle to the nearest tip
    edge = 0.5 * np.exp(0.5j * turn) - 1.1  # from the tip to the notch
    point = np.hypot(x, y) * np.exp(1j * from_tip) - 1.1
    return (edge.conj() * point).imag >= 0


# Which points lie inside, x to the right and y upwards from the centre of mass. A radius is 1.
INSIDE = {
    "circle": lambda x, y: x * x + y * y <= 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) <= 0.86,
    "triangle": lambda x, y: (y >= -0.55) & (np.sqrt(3) * abs(x) + y <= 1.1),
    "cross": lambda x, y: (np.minimum(abs(x), abs(y)) <= 0.36) & (np.maximum(abs(x), abs(y)) <= 1),
    "star": _star,
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.78) <= 0.22}


def _coverage(kind, radius):
    """The share of each pixel that a figure in the centre covers between its bars, and on them:
    (2, SIDE, SIDE)."""
    points = (np.arange(SIDE * FINE) + 0.5) / FINE - SIDE / 2
    x, y = points, -points[:, None]
    inside, bar = INSIDE[kind](x / radius, y / radius), np.cos(2 * np.pi * y / PERIOD) > 0
    both = np.stack([inside & ~bar, inside & bar])
    return both.reshape(2, SIDE, FINE, SIDE, FINE).mean(axis=(2, 4))


@cache
def _renderings():
    table = np.empty((*LENGTHS, SIDE, SIDE, 3), np.uint8)
    colours = COLOURS[:, None, None] - WHITE
    for k, kind in enumerate(ATTRIBUTES["kind"]):
        for s, radius in enumerate(RADII):
            centred = _coverage(kind, radius)
            for p in range(9):
                move = STEP * (p // 3 - 1), STEP * (p % 3 - 1)  # whole pixels: nothing else changes
                gaps, bars = np.roll(centred, move, axis=(1, 2))[..., None]
                table[k, :, s, p, 0] = np.rint(WHITE + (gaps + bars) * colours)
                table[k, :, s, p, 1] = np.rint(WHITE + gaps * colours + bars * (DARK - WHITE))
    return table.reshape(COUNT, SIDE, SIDE, 3)


def render(codes):
    """The pictures of codes (n,): (n, 32, 32, 3) uint8, on white.

    A figure's centre of mass is the centre of the picture, or STEP pixels from it along either
    axis. Edges are smoothed by FINE × FINE points a pixel. Stripes are dark horizontal bars within
    the figure, PERIOD apart, one of them in its centre; its outline stays what it was. All COUNT
    pictures are made at the first call: 6 MB. `DataError` for what is no code.
    """
    return _renderings()[_checked(codes)]


# Codes and what they stand for

def attributes_of(codes):
    """{attribute: (n,) int64}: for each code, which of the ATTRIBUTES' values it stands for."""
    return dict(zip(ATTRIBUTES, np.unravel_index(_checked(codes), LENGTHS)))


def codes_of(attributes):
    """The codes (n,) of {attribute: (n,) integers}, all of the ATTRIBUTES: the inverse of
    `attributes_of`. `DataError` if one is missing or has no such value."""
    if attributes.keys() != ATTRIBUTES.keys():
        raise DataError(f"codes_of: expected {', '.join(ATTRIBUTES)}, got {', '.join(attributes)}")
    for name, values in attributes.items():
        _check_integers(name, values, len(ATTRIBUTES[name]))
    if len({len(values) for values in attributes.values()}) > 1:
        raise DataError("codes_of: expected equally many values of each attribute, got "
                        + ", ".join(f"{len(v)} of {name}" for name, v in attributes.items()))
    return np.ravel_multi_index([attributes[name] for name in ATTRIBUTES], LENGTHS)


def counterpart(codes, attribute, value):
    """The same pictures but for one attribute, which is now `value`: an integer, or (n,) of them.
    `DataError` if there is no such attribute or value."""
    attributes = attributes_of(codes)
    value = np.full(len(codes), value) if np.ndim(value) == 0 else value
    return codes_of(attributes | {_known(attribute): value})


def caption(code):
    """The picture in words: "a small red striped star at the top left". A plain one is called
    nothing: "a large blue ring in the centre"."""
    kind, colour, size, place, texture = [
        ATTRIBUTES[name][value] for name, [value] in attributes_of([code]).items()]
    words = (size, colour, kind) if texture == "plain" else (size, colour, texture, kind)
    return f"a {' '.join(words)} {'in' if place == 'centre' else 'at'} the {place}"


@cache
def _codes_by_caption():
    return {caption(code): code for code in range(COUNT)}


def codes_said(captions):
    """The codes (n,) of captions, the inverse of `caption`. `DataError` for what is none."""
    known = _codes_by_caption()
    if unknown := [words for words in captions if words not in known]:
        raise DataError(f"codes_said: '{unknown[0]}' is not said of any picture of shapes, "
                        f"expected such as '{caption(0)}'")
    return np.array([known[words] for words in captions], np.int64)


def _checked(codes):
    return _check_integers("shapes: codes", codes, COUNT)


def _check_integers(what, values, count):
    values = np.asarray(values)
    if (values.ndim != 1 or values.dtype.kind not in "iu" or len(values) == 0
            or values.min() < 0 or values.max() >= count):
        seen = f"from {values.min()} to {values.max()}" if values.size else ""
        raise DataError(f"{what}: expected (n,) integers from 0 to {count - 1}, got {values.dtype} "
                        f"{values.shape} {seen}".rstrip())
    return values


def _known(attribute):
    if attribute not in ATTRIBUTES:
        raise DataError(f"shapes has no attribute '{attribute}': expected "
                        f"{', '.join(ATTRIBUTES)}")
    return attribute


# The split

def is_unseen(codes):
    """Whether the kind and the colour are never together in the training split: (n,) bool. These
    are 6 of 36 combinations, (kind + colour) % 6 == 0, one of each kind and each colour."""
    attributes = attributes_of(codes)
    return (attributes["kind"] + attributes["colour"]) % 6 == 0


def codes_in(split):
    """The codes of a split, "train" or "test", ascending.

    The test split holds the unseen combinations, and of the others every fifth picture: those with
    (code // 2) % 5 == 0. The last bit of a code is the texture, so a picture and its counterpart in
    the other texture are in the same split: what a translation is to make was never seen either.
    5 shares no divisor with the numbers of values. So each pair of values of two attributes is in
    the training split, unseen combinations aside.
    """
    codes = np.arange(COUNT)
    test = is_unseen(codes) | (codes // 2 % 5 == 0)
    return codes[test if split == "test" else ~test]


class Shapes(NamedTuple):
    x: np.ndarray         # (n, 32, 32, 3) uint8
    labels: np.ndarray    # (n,) int64: the attribute that was asked for
    classes: tuple        # its values' names
    captions: np.ndarray  # (n,) of text
    other: np.ndarray     # like x: the same picture in the other texture
    codes: np.ndarray     # (n,) int64


def read_shapes(split, rng, attribute="kind"):
    """Pictures of a split, "train" or "test", labelled by one attribute → `Shapes`; n is
    DRAWN[split].

    Each picture of the split is there equally often, or once more than others. The generator `rng`
    draws their order. `DataError` if there is no such attribute.
    """
    classes = ATTRIBUTES[_known(attribute)]
    codes = rng.permutation(np.resize(codes_in(split), DRAWN[split]))
    attributes = attributes_of(codes)
    captions = np.array([caption(code) for code in range(COUNT)])
    return Shapes(render(codes), attributes[attribute], classes, captions[codes],
                  render(counterpart(codes, "texture", 1 - attributes["texture"])), codes)
