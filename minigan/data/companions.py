"""What a folder has beside its pictures: captions in a `captions.csv`, and pairs by equal names."""

import csv
import io
import os

import numpy as np

from minigan.data import disk, files
from minigan.data.files import CAPTIONS, DataError, printable

MOST_BYTES = 1 << 26  # of captions.csv


def read_companions(folder, dataset, names, pairs):
    """The data of a folder with its captions, where there are any, and as pairs if asked for.
    `names` are the pictures' paths in the folder."""
    captions = read_captions(folder, names)
    if not pairs:
        return dataset.with_companions(captions=captions)
    other, x = rows_of_pairs(folder, dataset, names)
    captions = None if captions is None else captions[x]
    return type(dataset)(dataset.x[x]).with_companions(dataset.x[other], captions)


def read_picture(path, shape):
    """A picture as (1, H, W, C) uint8 of this shape (H, W, C), cropped and resized as those of a
    folder are; grey is made of colours and the other way round. DataError if it cannot be read."""
    height, width, channels = shape
    try:
        with disk.regular(path) as file:
            picture = files.decode(file, (height, width))
    except Exception as error:  # a damaged picture can raise nearly anything inside the decoder
        raise files.unreadable(path, "a picture", error) from None
    if picture is None:
        raise DataError(f"{path} is a sheet of samples that minigan has drawn, and no picture")
    if channels == 1:
        picture = np.rint(picture.mean(-1, keepdims=True)).astype(np.uint8)
    return np.broadcast_to(picture, shape)[None].copy()


def read_captions(folder, names):
    """The captions (N,) of the pictures, or None if there is no `captions.csv`. It has the columns
    `file`, a picture's path in the folder, and `caption`; files that are not among the pictures are
    passed over. DataError if it cannot be read, or a picture has no caption."""
    path = os.path.join(folder, CAPTIONS)
    if not os.path.lexists(path):
        return None
    try:
        content = disk.content(path, MOST_BYTES).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(content, newline=""), strict=True))
        found = {os.path.normpath(row["file"]): row["caption"].strip() for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise files.unreadable(path, "captions", error) from None
    except (KeyError, AttributeError, TypeError):
        raise DataError(f"{path}: expected lines of a file and a caption below the title "
                        "file,caption") from None
    missing = [name for name in names if not found.get(name)]
    if missing:
        raise DataError(f"{path}: no caption for {len(missing)} of {len(names)} pictures, such as "
                        f"{missing[0]}")
    return np.array([printable(found[name]) for name in names])


def rows_of_pairs(folder, dataset, names):
    """The rows of the first and of the second pictures of each pair, in the order of their names.
    DataError if the folder has not two sub-folders with pictures of the same names and sizes."""
    if len(dataset.classes) != 2:
        raise DataError(f"{folder}: pairs lie in two sub-folders, as pictures of the same name, "
                        f"and it has {len(dataset.classes)} with pictures")
    sides = [{}, {}]
    for row, (name, label) in enumerate(zip(names, dataset.labels)):
        stem, _ = os.path.splitext(os.path.relpath(name, name.split(os.sep)[0]))
        if stem in sides[label]:
            raise DataError(f"{folder}: {name} and {names[sides[label][stem]]} have the same name "
                            "but for its end: which one is of the pair?")
        sides[label][stem] = row
    alone = sorted(sides[0].keys() ^ sides[1].keys())
    if alone:
        here = 0 if alone[0] in sides[0] else 1
        raise DataError(f"{folder}: {len(alone)} pictures have no counterpart, such as "
                        f"{names[sides[here][alone[0]]]}, which is missing in "
                        f"{dataset.classes[1 - here]}")
    for stem in sides[0]:
        first, second = [files.native_size(os.path.join(folder, names[side[stem]]))
                         for side in sides]
        if first != second:
            raise DataError(f"{folder}: the pair {stem} has pictures of {first[0]} × {first[1]} "
                            f"and {second[0]} × {second[1]} pixels: cropped, they would not lie on "
                            "each other")
    order = sorted(sides[0])
    return [np.array([side[stem] for stem in order]) for side in sides]
