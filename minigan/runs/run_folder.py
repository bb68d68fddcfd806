"""The run folder: options, log, statistics, snapshots.

    runs/00000-fashion-mini-gan-s0/
        options.json       the resolved options, the data's shape and hash, versions
        log.txt            what was said, in plain lines
        stats.jsonl        one JSON object per logged step; stats.csv is the same as a table
        checkpoints/       000500.npz …: everything a step depends on
        samples/           000500.png …: pictures, drawn by the caller's `on_snapshot`
"""

import contextlib
import json
import os
import re
from pathlib import Path

from minigan.data import DataError


class RunError(DataError):
    """A run folder or a checkpoint cannot be used; the message names the file and says why."""


def new_folder(out, name):
    """Make and return out/NNNNN-name, numbered after the highest that is there.

    Runs started at once get a number each: the bare folder out/NNNNN can be made by one of them
    only, and is renamed.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    while True:
        numbers = [int(match[0]) for path in out.iterdir()
                   if (match := re.match(r"[0-9]{5,}(?![^-])", path.name))]
        claim = out / f"{max(numbers, default=-1) + 1:05d}"
        try:
            claim.mkdir()
        except FileExistsError:
            continue
        # Nobody had claimed and renamed it since we looked
        if not any(out.glob(f"{claim.name}-*")):
            return claim.rename(out / f"{claim.name}-{name}")
        claim.rmdir()


def latest_folder(out):
    """The run in `out` with the highest number that has a checkpoint to resume from."""
    runs = [path for path in Path(out).glob("*-*") if re.match("[0-9]{5,}-", path.name)
            and checkpoints(path)]
    if not runs:
        raise RunError(f"no run with a checkpoint in {out}")
    return max(runs, key=lambda path: int(path.name.split("-")[0]))


def write_options(folder, record):
    write_whole(Path(folder) / "options.json", json.dumps(record, indent=2).encode() + b"\n")


def read_options(folder):
    """What `write_options` wrote."""
    path = Path(folder) / "options.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        shape = record["sample_shape"]
        if not isinstance(record["options"],
                          dict) or not isinstance(shape, list) or len(shape) not in (1, 3) or any(
                type(n) is not int or n < 1 for n in shape):
            raise ValueError
        return record
    except OSError as error:
        raise RunError(f"{folder} is not a run folder: cannot read {path} "
                       f"({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RunError(f"{path} does not hold a run's options") from None


def checkpoints(folder):
    """The checkpoint files of a run, newest first."""
    return sorted(_numbered(Path(folder, "checkpoints"), "npz"), key=lambda path: int(path.stem),
                  reverse=True)


def snapshots(folder):
    """The pictures in samples/ of a run, oldest first."""
    return sorted(_numbered(Path(folder, "samples"), "png"), key=lambda path: int(path.stem))


def _numbered(folder, suffix):
    return [path for path in folder.glob(f"*.{suffix}") if re.fullmatch("[0-9]{6,}", path.stem)]


def read_stats(folder):
    """The records of stats.jsonl, oldest first; a line that is torn or damaged is left out."""
    try:
        lines = Path(folder, "stats.jsonl").read_text(encoding="utf-8",
                                                      errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


def write_whole(path, content):
    """Write these bytes to a file that, whatever happens, holds what it held or all of them."""
    with whole(path) as file:
        file.write(content)


@contextlib.contextmanager
def whole(path):
    """A file to write to under another name, which becomes `path` when all of it is on the disk."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    try:
        with open(partial, "wb") as file:
            yield file
            to_disk(file)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)  # a full disk is not to be filled with halves
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # its new entry
    finally:
        os.close(folder)


def to_disk(file):
    file.flush()
    os.fsync(file.fileno())
