"""Emoji, drawn twice: colour pictures with names, in two styles, each with its counterpart."""

import os

import numpy as np

from minigan.data import files
from minigan.data.files import DataError

BUNDLED = os.path.join(os.path.dirname(__file__), "datasets", "emoji.npz")
STYLES = "Noto", "Twemoji"
EVERY = 8  # the test split has those whose first code point is divisible by it


def read_emoji(split, size=None):
    """Pictures (n, 32, 32, 3) uint8 by Noto Emoji, labels and class names of their Unicode groups,
    the same emoji by Twemoji, and their Unicode names as captions.

    The test split (234 of 1,636) has the emoji whose first code point is divisible by 8. So all
    that are composed with the same first sign, such as a runner of each sex, are on the same side.
    size: None, or 32 × 32, or 64 × 64, which is not bundled: `emoji/emoji64.npz` in the folder that
    $MINIGAN_DATA names. `DataError` if it is not there.
    """
    arrays = files.read_arrays(_path(size))
    first = np.array([int(code.split("-")[0], 16) for code in arrays["code"]])
    rows = np.flatnonzero((first % EVERY == 0) == (split == "test"))
    classes = tuple(map(str, arrays["classes"]))
    return (arrays["noto"][rows], arrays["labels"][rows], classes, arrays["twemoji"][rows],
            arrays["names"][rows])


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
