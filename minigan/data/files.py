"""Your own files, a folder of pictures or an `.npz`: read, never trusted.

Nothing here unpickles, or takes memory on a file's word before checking it. What cannot be used is
refused with a `DataError`, or skipped and counted; names found in files are made printable before
they go anywhere.
"""

import math
import os
import sys
import warnings
import zipfile

import numpy as np
from numpy.lib import format as npy

from minigan.data import pictures

MAX_BYTES = 8 * 2**30  # of pictures, decoded: as much as a workstation holds beside a training run
MAX_CLASSES = 10_000


class DataError(ValueError):
    """The data asked for is missing or cannot be used: one line saying what is wrong and what to do
    about it."""

    def __init__(self, message):
        super().__init__(printable(message))


def printable(text):
    """`text` on one line: line ends, terminal codes and bytes that are no characters, as their
    escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def tell(message):
    """One line on stderr."""
    print("minigan: " + printable(message), file=sys.stderr)


# A folder of pictures

def read_folder(folder, size):
    """All pictures (of `pictures.FORMATS`) below `folder`, in the order of their paths.

    Each is turned upright (EXIF), laid on white where it is transparent, cropped around its centre
    and resized to `size`, (height, width); of an animation, the first frame. What is no picture
    is skipped, and one line on stderr says how many were. Links to folders are not followed.

    Returns pictures (N, height, width, C) uint8, C = 1 if all are grey, else 3; labels (N,) int64
    and class names where every picture lies in a subfolder (the class is the first folder on the
    way to it), else None and ().
    `DataError` if no picture can be read, or they are too many for memory.
    """
    skipped, names = [], []
    for where, _, found in os.walk(folder, onerror=lambda error: skipped.append(error.filename)):
        names += [os.path.relpath(os.path.join(where, name), folder) for name in found]
    height, width = size
    if min(size) < 1 or len(names) * height * width * 3 > MAX_BYTES:
        raise DataError(f"{folder}: {len(names)} files as {height} × {width} pictures: expected a "
                        f"size of at least 1 and at most {MAX_BYTES // 2**30} GiB in all")
    x = np.empty((len(names), height, width, 3), np.uint8)
    kept, grey = [], True
    for name in sorted(names):
        try:
            picture = _read_picture(os.path.join(folder, name), size)
        except Exception:  # a damaged picture can raise nearly anything inside the decoder
            skipped.append(name)
            continue
        x[len(kept)] = picture
        kept.append(name)
        grey = grey and picture.shape[2] == 1
    if not kept:
        raise DataError(f"{folder}: none of its {len(names)} files is a readable "
                        f"{pictures.NAMED} picture (links to folders are not followed)")
    if skipped:
        tell(f"{folder}: {len(skipped)} files skipped, not readable {pictures.NAMED} pictures "
             f"(such as {skipped[0]})")
    x = x[:len(kept)]
    return (x[..., :1].copy() if grey else x), *_classes_of(kept)


def _read_picture(path, size):
    """(height, width, 1 or 3) uint8. Raises whatever the decoder raises."""
    if not os.path.isfile(path):
        raise OSError("not a regular file: opening a pipe would wait for ever")
    return decode(path, size)


def decode(source, size):
    """A path or a stream → (height, width, 1 or 3) uint8. Raises whatever the decoder raises."""
    from PIL import Image, ImageOps

    height, width = size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about harmless oddities
        # A file of few bytes may unfold to over 89 megapixels.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(source, formats=pictures.FORMATS) as picture:
            # A JPEG can be decoded at 1/2, 1/4, 1/8 for the asking.
            picture.draft(None, (2 * width, 2 * height))
            picture = ImageOps.exif_transpose(picture)
            # 16-bit grey, which Pillow would clip at 255; take the high byte.
            if picture.mode.startswith("I"):
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            grey = picture.mode in ("1", "L", "LA")
            if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = ImageOps.fit(picture.convert("L" if grey else "RGB"), (width, height),
                                   Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(height, width, -1)


def _classes_of(names):
    """(labels, class names) from the first folder of each path, or (None, ()) if a picture lies in
    none."""
    folders = [name.split(os.sep)[0] for name in names if os.sep in name]
    if len(folders) < len(names):
        return None, ()
    classes = sorted(set(folders))
    labels = np.searchsorted(classes, folders)
    return labels, tuple(printable(name) for name in classes)


# An .npz

def read_npz(path):
    """The arrays of an `.npz`: `images` or `points`, and if they are there `labels` and `classes`.

    images: (N, H, W), (N, H, W, 1) or (N, H, W, 3), uint8, or floats that all lie in [0, 1] or all
        in [−1, 1]
    points: (N, d), finite floats
    labels: (N,) integers ≥ 0; classes: (K,) strings, the numbers themselves unless given

    Returns pictures (N, H, W, C), uint8 or float32 in [−1, 1], or points float32; labels int64 or
    None; class names.
    `DataError`, naming the file, if anything else is in it: shapes and dtypes are checked before
    memory is taken.
    """
    def read(archive):
        x = _npz_points(archive) if "points.npy" in archive.namelist() else _npz_images(archive)
        return x, *_npz_labels(archive, len(x))
    return _read_archive(path, read)


def read_arrays(path):
    """{name: array} of everything in an `.npz`. `DataError`, naming the file, if it is damaged or
    lies about sizes."""
    def read(archive):
        names = [member.removesuffix(".npy") for member in archive.namelist()]
        if len(names) != _counted(archive):
            raise DataError(f"lists {len(names)} arrays and counts {_counted(archive)}: the file "
                            "is damaged")
        headers = [_npy_header(archive, name) for name in names]
        total = sum(math.prod(shape) * dtype.itemsize for shape, dtype in headers)
        if total > MAX_BYTES:
            raise DataError(f"{total / 2**30:.1f} GiB of arrays: expected at most "
                            f"{MAX_BYTES // 2**30} GiB")
        return {name: _npy_array(archive, name) for name in names}
    return _read_archive(path, read)


def _read_archive(path, read):
    try:
        with zipfile.ZipFile(path) as archive:
            return read(archive)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:
        # Zip, zlib, npy and the file system each have several ways of saying no.
        raise DataError(f"{path}: cannot be read as an .npz ({type(error).__name__}: "
                        f"{error})") from error


def _counted(archive):
    """How many members the archive's last record counts. A flipped bit in one entry of the
    directory can make zipfile read over the next, which nothing else guards."""
    archive.fp.seek(-22 - len(archive.comment), os.SEEK_END)
    return int.from_bytes(archive.fp.read(12)[10:], "little")


def _npz_points(archive):
    shape, dtype = _npy_header(archive, "points")
    if len(shape) != 2 or min(shape) < 1 or dtype.kind != "f":
        raise DataError(f"points is {dtype} {shape}, expected floats (N, d)")
    points = _npy_array(archive, "points").astype(np.float32)
    if not np.isfinite(points).all():
        raise DataError("points holds numbers that are not finite")
    return points


def _npz_images(archive):
    shape, dtype = _npy_header(archive, "images")
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)) or min(shape) < 1 or not (
            dtype == np.uint8 or dtype.kind == "f"):
        raise DataError(f"images is {dtype} {shape}, expected uint8 or float (N, H, W), "
                        "(N, H, W, 1) or (N, H, W, 3)")
    images = np.ascontiguousarray(_npy_array(archive, "images").reshape(*shape[:3], -1))
    if dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    if not (low >= -1 and high <= 1):  # so written, NaN is caught too
        raise DataError(f"images are floats from {low} to {high}, expected all in [0, 1] or all in "
                        "[-1, 1]")
    images = images.astype(np.float32)
    return images if low < 0 else 2 * images - 1


def _npz_labels(archive, n):
    """(labels (n,) int64, class names), or (None, ()) if the archive has no labels."""
    if "labels.npy" not in archive.namelist():
        return None, ()
    shape, dtype = _npy_header(archive, "labels")
    if shape != (n,) or dtype.kind not in "iu":
        raise DataError(f"labels is {dtype} {shape}, expected integers ({n},), one per picture")
    labels = _npy_array(archive, "labels")
    if "classes.npy" in archive.namelist():
        shape, dtype = _npy_header(archive, "classes")
        if len(shape) != 1 or shape[0] > MAX_CLASSES or dtype.kind != "U":
            raise DataError(f"classes is {dtype} {shape}, expected strings (K,), at most "
                            f"{MAX_CLASSES}")
        classes = tuple(printable(str(name)) for name in _npy_array(archive, "classes"))
    else:
        classes = tuple(str(k) for k in range(min(int(labels.max()) + 1, MAX_CLASSES)))
    if labels.min() < 0 or labels.max() >= len(classes):
        raise DataError(f"labels run from {labels.min()} to {labels.max()}, expected 0 … K - 1 for "
                        f"K classes, K being {len(classes)} here and at most {MAX_CLASSES}")
    return labels.astype(np.int64), classes


def _npy_header(archive, name):
    """(shape, dtype) of array `name` as its header declares them, once they are known to be true
    and affordable."""
    member = name + ".npy"
    if member not in archive.namelist():
        raise DataError(f"has no array '{name}', only "
                        f"{', '.join(archive.namelist()[:10]) or 'nothing'}")
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0)
                           else npy.read_array_header_2_0)(stream)
        held = archive.getinfo(member).file_size - stream.tell()
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != held:
        raise DataError(f"{name} is declared as {dtype} {shape}, but {held} bytes are there: the "
                        "file is damaged")
    if held > MAX_BYTES:
        raise DataError(f"{name} is {dtype} {shape}, {held / 2**30:.1f} GiB: expected at most "
                        f"{MAX_BYTES // 2**30} GiB")
    return shape, dtype


def _npy_array(archive, name):
    with archive.open(name + ".npy") as stream:
        return npy.read_array(stream, allow_pickle=False)
