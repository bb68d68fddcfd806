"""Your own files, a folder of pictures or an `.npz`: read, never trusted.

Nothing here unpickles, or takes memory on a file's word before checking it. What cannot be used is
refused with a `DataError`, or skipped and counted; names found in files are made printable before
they go anywhere.
"""

import contextlib
import errno
import io
import math
import os
import sys
import warnings
import zipfile

import numpy as np
from numpy.lib import format as npy

from minigan.data import disk, pictures

MAX_BYTES = 8 * 2**30  # of pictures, decoded: as much as a workstation holds beside a training run
MAX_CLASSES = 10_000
MAX_MEMBERS = 10_000  # of an archive
MAX_HEADER, MAX_ITEM = 1 << 16, 1 << 12  # bytes of an array's header, and of one of its items
MAX_UNPACKED = 1 << 26, 4  # bytes, or times the file's size: `read_arrays` takes no bombs
ROUNDING = 1e-3  # so far below 0 is a picture in [0, 1] still one
CAPTIONS = "captions.csv"  # what may lie beside the pictures of a folder
SHEET = "a sheet drawn by minigan"  # the title of pictures that show samples side by side

# What the system says of files that will not be there, or no files, the next time either.
LASTING = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO,
           errno.EFBIG, None}


class DataError(ValueError):
    """The data asked for is missing or cannot be used: one line saying what is wrong and what to do
    about it."""

    def __init__(self, message):
        super().__init__(printable(message))


class NotNow(DataError):
    """A file could not be read just now (no permission, no memory, a failing disk): it may be as
    good as ever."""


def printable(text):
    """`text` on one line: line ends, terminal codes and bytes that are no characters, as their
    escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def tell(message, who="minigan"):
    """One line on stderr, if anybody is there."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            print(f"{who}: {printable(message)}", file=sys.stderr, flush=True)


# A folder of pictures

def read_folder(folder, size):
    """All pictures (of `pictures.FORMATS`) below `folder`, in the order of their paths.

    Each is turned upright (EXIF), laid on white where it is transparent, cropped around its centre
    and resized to `size`, (height, width); of an animation, the first frame. What is no picture
    is skipped, and one line on stderr says how many were. Links to folders are not followed. Hidden
    files and folders, run folders, and sheets of samples that minigan has drawn are no data.

    Returns pictures (N, height, width, C) uint8, C = 1 if all are grey, else 3; labels (N,) int64
    and class names where every picture lies in a subfolder (the class is the first folder on the
    way to it; one without a picture is a class too), else None and (); the pictures' paths in the
    folder.
    `DataError` if no picture can be read, or they are too many for memory.
    """
    skipped, names, subfolders = [], [], None
    for where, inside, found in os.walk(folder, onerror=lambda e: skipped.append(e.filename)):
        runs = [name for name in inside if _is_run(os.path.join(where, name))]
        inside[:] = [name for name in inside if not is_hidden(name) and name not in runs]
        if subfolders is None:  # `folder` itself comes first
            subfolders = set(inside)
        elif runs:  # not a class, but where `--out` puts them
            subfolders.discard(os.path.relpath(where, folder).split(os.sep)[0])
        names += [os.path.relpath(os.path.join(where, name), folder) for name in found
                  if not is_hidden(name) and name != CAPTIONS]
    most = most_pictures(folder, len(names), size)
    x = np.empty((min(len(names), most), *size, 3), np.uint8)
    kept, grey, sheets = [], True, 0
    for name in sorted(names):
        try:
            picture = _read_picture(os.path.join(folder, name), size)
        except Exception:  # a damaged picture can raise nearly anything inside the decoder
            skipped.append(name)
            continue
        if picture is None:
            sheets += 1
            continue
        if len(kept) == most:
            raise too_many(folder, most, size)
        x[len(kept)] = picture
        kept.append(name)
        grey = grey and picture.shape[2] == 1
    if not kept:
        raise DataError(f"{folder}: none of its {len(names)} files is a readable "
                        f"{pictures.NAMED} picture (links to folders are not followed; run "
                        "folders, hidden files and sheets of samples are passed over)")
    if sheets:
        tell(f"{folder}: {sheets} files passed over, sheets of samples that minigan has drawn")
    if skipped:
        tell(f"{folder}: {len(skipped)} files skipped, not readable {pictures.NAMED} pictures "
             f"(such as {skipped[0]})")
    x = x[:len(kept)]
    return (x[..., :1].copy() if grey else x), *classes_of(kept, folder, subfolders), kept


def most_pictures(source, n, size):
    """How many pictures of this size memory is taken for. DataError if it is no size."""
    height, width = size
    most = MAX_BYTES // (height * width * 3) if min(size) > 0 else 0
    if most < 1:
        raise DataError(f"{source}: {n} files as {height} × {width} pictures: expected a "
                        f"size of at least 1 and at most {MAX_BYTES // 2**30} GiB in all")
    return most


def too_many(source, most, size):
    return DataError(f"{source}: more than {most} pictures of {size[0]} × {size[1]} pixels: "
                     f"expected at most {MAX_BYTES // 2**30} GiB in all")


def is_hidden(name):
    """Whether this is the name of what programs leave behind: thumbnails, checkpoints, indexes."""
    return name.startswith(".") or name in ("@eaDir", "__MACOSX")


def read_along(folder, known=()):
    """The folder of pictures with which `folder`, which need not be there yet, would be read: one
    of those `known`, or the one it lies in if that has pictures. None if there is none."""
    folder = os.path.realpath(folder)
    above = os.path.dirname(folder)
    while not os.path.isdir(above) and above != os.path.dirname(above):
        above = os.path.dirname(above)
    sources = [*map(os.path.realpath, known), *([above] if _has_pictures(above) else [])]
    return next((source for source in sources if _goes_into(source, folder)), None)


def _has_pictures(folder):
    """Whether pictures that are data lie right in the folder, by the first of its files."""
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder))[:1000]:
            with contextlib.suppress(Exception):  # as `read_folder` passes over it
                if not is_hidden(name) and (
                        _read_picture(os.path.join(folder, name), (8, 8)) is not None):
                    return True
    return False


def _goes_into(source, folder):
    """Whether `read_folder(source)` looks into `folder`."""
    while folder != source:
        above, name = os.path.split(folder)
        if above == folder or is_hidden(name) or _is_run(folder):
            return False
        folder = above
    return True


def _is_run(folder):
    """Whether this is a run's folder: its pictures are no data, wherever `--out` has put it."""
    return (os.path.isfile(os.path.join(folder, "options.json"))
            and os.path.isdir(os.path.join(folder, "checkpoints")))


def _read_picture(path, size):
    """(height, width, 1 or 3) uint8; None for a sheet of samples. Raises what the decoder raises.
    """
    with disk.regular(path) as file:
        return decode(file, size)


def native_size(path):
    """(height, width) of a picture, as it is stored."""
    from PIL import Image

    with disk.regular(path) as file, Image.open(file, formats=pictures.FORMATS) as picture:
        return picture.height, picture.width


def decode(file, size):
    """As `_read_picture`, of an open file."""
    from PIL import Image, ImageOps

    height, width = size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about harmless oddities
        # A file of few bytes may unfold to over 89 megapixels.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file, formats=pictures.FORMATS) as picture:
            if picture.info.get("Title") == SHEET:
                return None
            # A JPEG can be decoded at 1/2, 1/4, 1/8 for the asking.
            picture.draft(None, (2 * width, 2 * height))
            picture = ImageOps.exif_transpose(picture)
            # 16-bit grey, which Pillow would clip at 255; take the high byte.
            if picture.mode.startswith("I"):
                deep = np.asarray(picture)
                if deep.min() < 0 or deep.max() >= 1 << 16:
                    raise DataError(f"numbers from {deep.min()} to {deep.max()}")
                picture = Image.fromarray((deep >> 8).astype(np.uint8))
            if picture.mode == "F":
                raise DataError("floats, of which nobody says what is black and what is white")
            grey = picture.mode in ("1", "L", "LA")
            if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = ImageOps.fit(picture.convert("L" if grey else "RGB"), (width, height),
                                   Image.Resampling.LANCZOS)
    return np.asarray(picture).reshape(height, width, -1)


def classes_of(names, folder, subfolders=()):
    """(labels, class names) from the first folder of each path, or (None, ()) if a picture lies in
    none. All `subfolders` are classes."""
    folders = [name.split(os.sep)[0] for name in names if os.sep in name]
    if len(folders) < len(names):
        if folders:
            stray = [name for name in names if os.sep not in name]
            tell(f"{folder}: no classes, for {len(stray)} pictures lie above its sub-folders (such "
                 f"as {stray[0]})")
        return None, ()
    classes = sorted({*folders, *subfolders})
    labels = np.searchsorted(classes, folders)
    return labels, tuple(printable(name) for name in classes)


# An .npz

def read_npz(path):
    """The arrays of an `.npz`: `images` or `points`, and if they are there `labels` and `classes`.

    images: (N, H, W), (N, H, W, 1) or (N, H, W, 3), uint8, or floats that all lie in [0, 1] (but
        for ROUNDING) or all in [−1, 1]
    points: (N, d), finite floats
    labels: (N,) integers ≥ 0; classes: (K,) strings, the numbers themselves unless given
    other: as images, the second pictures of pairs

    Returns pictures (N, H, W, C), uint8 or float32 in [−1, 1], or points float32; labels int64 or
    None; class names; the second pictures or None.
    `DataError`, naming the file, if anything else is in it: shapes and dtypes are checked before
    memory is taken.
    """
    def read(archive):
        if {"points.npy", "images.npy"} <= archive.NameToInfo.keys():
            raise DataError("has both points and images: expected one of them")
        x = _npz_points(archive) if "points.npy" in archive.NameToInfo else _npz_images(archive)
        other = _npz_images(archive, "other") if "other.npy" in archive.NameToInfo else None
        return x, *_npz_labels(archive, len(x)), other
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
        least, times = MAX_UNPACKED
        most = min(MAX_BYTES, max(least, times * os.fstat(archive.fp.fileno()).st_size))
        if total > most:
            raise DataError(f"{total} bytes of arrays: expected at most {most}")
        return {name: _npy_array(archive, name) for name in names}
    return _read_archive(path, read)


def _read_archive(path, read):
    try:
        with disk.regular(path) as file, zipfile.ZipFile(file) as archive:
            if len(archive.namelist()) > MAX_MEMBERS:
                raise DataError(f"has {len(archive.namelist())} members, expected at most "
                                f"{MAX_MEMBERS}")
            return read(archive)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:
        # Zip, zlib, npy and the file system each have several ways of saying no.
        raise unreadable(path, "an .npz", error) from error


def unreadable(path, kind, error):
    """The DataError for a file that this error keeps from being read as `kind`."""
    just_now = isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno not in LASTING)
    return (NotNow if just_now else DataError)(
        f"{path}: cannot be read as {kind} ({type(error).__name__}: {error})")


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


def _npz_images(archive, name="images"):
    shape, dtype = _npy_header(archive, name)
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)) or min(shape) < 1 or not (
            dtype == np.uint8 or dtype.kind == "f"):
        raise DataError(f"{name} is {dtype} {shape}, expected uint8 or float (N, H, W), "
                        "(N, H, W, 1) or (N, H, W, 3)")
    images = np.ascontiguousarray(_npy_array(archive, name).reshape(*shape[:3], -1))
    if dtype == np.uint8:
        return images
    low, high = images.min(), images.max()
    if not (low >= -1 and high <= 1):  # so written, NaN is caught too
        raise DataError(f"{name} are floats from {low} to {high}, expected all in [0, 1] or all in "
                        "[-1, 1]")
    images = images.astype(np.float32)
    # Arithmetic leaves tiny negative numbers; pictures in [−1, 1] have larger ones.
    if low < -ROUNDING:
        if low > -0.5:
            tell(f"{name} are floats from {low:.3g} to {high:.3g}: taken as pictures in [-1, 1]")
        return images
    return 2 * np.clip(images, 0, 1) - 1


def _npz_labels(archive, n):
    """(labels (n,) int64, class names), or (None, ()) if the archive has no labels."""
    if "labels.npy" not in archive.NameToInfo:
        return None, ()
    shape, dtype = _npy_header(archive, "labels")
    if shape != (n,) or dtype.kind not in "iu":
        raise DataError(f"labels is {dtype} {shape}, expected integers ({n},), one per picture")
    labels = _npy_array(archive, "labels")
    if "classes.npy" in archive.NameToInfo:
        shape, dtype = _npy_header(archive, "classes")
        if len(shape) != 1 or shape[0] > MAX_CLASSES or dtype.kind != "U":
            raise DataError(f"classes is {dtype} {shape}, expected strings (K,), at most "
                            f"{MAX_CLASSES}")
        classes = tuple(printable(str(name)) for name in _npy_array(archive, "classes"))
        if len(set(classes)) < len(classes):
            twice = next(name for name in classes if classes.count(name) > 1)
            raise DataError(f"classes names {twice!r} twice, expected each name once")
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
    if member not in archive.NameToInfo:
        raise DataError(f"has no array '{name}', only "
                        f"{', '.join(archive.namelist()[:10]) or 'nothing'}")
    with archive.open(member) as stream:
        head = io.BytesIO(stream.read(MAX_HEADER))  # it may claim to be 4 GiB long
    version = npy.read_magic(head)
    shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0)
                       else npy.read_array_header_2_0)(head)
    held = archive.getinfo(member).file_size - head.tell()
    if not dtype.hasobject and not 0 < dtype.itemsize <= MAX_ITEM:
        raise DataError(f"{name} is {dtype} {shape}, items of {dtype.itemsize} bytes: expected 1 "
                        f"to {MAX_ITEM}; the file is damaged")
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
