"""Emoji, drawn twice: colour pictures with names, in two styles, each with its counterpart."""

import os

import numpy as np

from minigan.data import files
from minigan.data.files import DataError

BUNDLED = os.path.join(os.path.dirname(__file__), "datasets", "emoji.npz")
STYLES = "Noto", "Twemoji"
EVERY = 8  # the test split has those whose code point is divisible by it
# Boy, girl, man, woman, person; what joins signs; what asks for colour
COMPOSING = {*range(0x1F466, 0x1F46A), 0x1F9D1, 0x200D, 0xFE0F}
FAMILY = 0x1F46A


def read_emoji(split, size=None, by_style=False):
    """Pictures (n, 32, 32, 3) uint8 by Noto Emoji, labels and class names of their Unicode groups,
    the same emoji by Twemoji, and their Unicode names as captions.

    The test split (201 of 1,636) has the emoji whose code point is divisible by 8; of a composed
    one that of the first sign which is no person. So those that are drawn almost alike, such as a
    runner or a firefighter of each sex, are on the same side.
    by_style: the pictures of both styles one after the other, labelled by it, each with its
    counterpart in the other one.
    size: None, or 32 × 32, or 64 × 64, which is not bundled: `emoji/emoji64.npz` in the folder that
    $MINIGAN_DATA names. `DataError` if it is not there.
    """
    arrays = files.read_arrays(_path(size))
    told = np.array([_telling(code) for code in arrays["code"]])
    rows = np.flatnonzero((told % EVERY == 0) == (split == "test"))
    classes = tuple(map(str, arrays["classes"]))
    noto, twemoji, names = [arrays[name][rows] for name in ("noto", "twemoji", "names")]
    if by_style:
        return (np.concatenate([noto, twemoji]), np.repeat([0, 1], len(rows)), STYLES,
                np.concatenate([twemoji, noto]), np.concatenate([names, names]))
    return noto, arrays["labels"][rows], classes, twemoji, names


def _telling(code):
    """Of code points in hexadecimal, such as 1F468-200D-1F692, the one that says what it is."""
    points = [int(point, 16) for point in code.split("-")]
    return next((point for point in points if point not in COMPOSING), FAMILY)


def _path(size):
    if size in (None, (32, 32)):
        return BUNDLED
    if size != (64, 64):
        raise DataError(f"emoji: image size {size[0]}x{size[1]} was asked for: there are 32 and 64")
    found = os.path.join(os.environ.get("MINIGAN_DATA", ""), "emoji", "emoji64.npz")
    if not os.path.isfile(found):
        raise DataError(f"emoji: pictures of 64 × 64 are not bundled, and {found} is not there: "
                        "MINIGAN_DATA names the folder that has emoji/emoji64.npz")
    return found
