"""A `.zip` of pictures, read as the folder that it would be, without unpacking it anywhere."""

import io
import os
import zipfile

import numpy as np

from minigan.data import disk, files, pictures
from minigan.data.files import DataError

MOST = 64 * 2**20  # bytes of one picture's file, unpacked


def read_zip(path, size):
    """All pictures in a `.zip`, as `files.read_folder` reads those of a folder, and with its
    classes: (pictures, labels, class names). `size` is (height, width). A folder that all of it
    lies in is no class. `DataError` if no picture can be read, or they are too many for memory."""
    try:
        with disk.regular(path) as file, zipfile.ZipFile(file) as archive:
            runs = _runs(archive.namelist())
            members = [member for member in archive.infolist() if not member.is_dir()
                       and not _hidden(member.filename) and not member.filename.startswith(runs)]
            most = files.most_pictures(path, len(members), size)
            x = np.empty((min(len(members), most), *size, 3), np.uint8)
            kept, skipped, grey, sheets = [], [], True, 0
            for member in sorted(members, key=lambda member: member.filename):
                try:
                    picture = files.decode(_content(archive, member), size)
                except Exception:  # the archive and the decoder can raise nearly anything
                    skipped.append(member.filename)
                    continue
                if picture is None:
                    sheets += 1
                    continue
                if len(kept) == most:
                    raise files.too_many(path, most, size)
                x[len(kept)] = picture
                kept.append(member.filename)
                grey = grey and picture.shape[2] == 1
    except DataError:
        raise
    except (OSError, MemoryError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise files.unreadable(path, "a .zip of pictures", error) from None
    if not kept:
        raise DataError(f"{path}: none of its {len(members)} files is a readable {pictures.NAMED} "
                        "picture (run folders, hidden files and sheets of samples are passed "
                        "over)")
    if sheets:
        files.tell(f"{path}: {sheets} files passed over, sheets of samples that minigan has drawn")
    if skipped:
        files.tell(f"{path}: {len(skipped)} files skipped, not readable {pictures.NAMED} pictures "
                   f"(such as {skipped[0]})")
    x = x[:len(kept)]
    labels, classes = files.classes_of(_below_the_common_folder(kept), path)
    return (x[..., :1].copy() if grey else x), labels, classes


def _runs(names):
    """The folders of runs: what they hold is no data. That of all is none, as for a folder."""
    found = [name.removesuffix("options.json") for name in names if name.endswith("/options.json")]
    return tuple(run for run in found
                 if any(name.startswith(run + "checkpoints/") for name in names))


def _hidden(name):
    return any(files.is_hidden(part) for part in name.split("/"))


def _content(archive, member):
    if member.file_size > MOST:
        raise DataError(f"{member.filename} claims {member.file_size} bytes")
    with archive.open(member) as stream:
        content = stream.read(MOST + 1)
    if len(content) > MOST:
        raise DataError(f"{member.filename} has more bytes than it claims")
    return io.BytesIO(content)


def _below_the_common_folder(names):
    while all("/" in name for name in names) and len({name.split("/")[0] for name in names}) == 1:
        names = [name.split("/", 1)[1] for name in names]
    return [name.replace("/", os.sep) for name in names]
