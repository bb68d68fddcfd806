"""The run folder: options, log, statistics, snapshots.

    runs/00000-fashion-mini-gan-s0/
        options.json       the resolved options, the data's shape and hash, versions
        log.txt            what was said, in plain lines
        stats.jsonl        one JSON object per logged step; stats.csv is the same as a table
        checkpoints/       000500.npz …: everything a step depends on
        samples/           000500.png …: pictures, drawn by the caller's `on_snapshot`
        lock               empty; locked by the process that trains

Nothing in it is written or removed through a symbolic link, and only regular files are read.
"""

import contextlib
import json
import re
from pathlib import Path

from minigan.captioned import LONGEST
from minigan.data import DataError, disk
from minigan.data.disk import write_whole
from minigan.runs.statistics import read_stats  # noqa: F401 (it belongs here)

FORMAT = 1  # of options.json; to be raised when older versions could not read it rightly


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
    content = json.dumps(record | {"format": FORMAT}, indent=2)
    write_whole(Path(folder) / "options.json", content.encode() + b"\n")


def read_options(folder):
    """What `write_options` wrote."""
    path = Path(folder) / "options.json"
    try:
        record = json.loads(disk.content(path).decode("utf-8"))
        version = record.pop("format", 1)
        if type(version) is int and version > FORMAT:
            raise RunError(f"{path} has format {version}, this version reads up to {FORMAT}: it is "
                           "of a newer minigan")
        if entry := _unsound(record):
            raise RunError(f"{path} does not hold a run's options: its {entry} cannot be a run's")
        return record
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"{folder} is not a run folder: cannot read {path} "
                       f"({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RunError(f"{path} does not hold a run's options") from None


def _unsound(record):
    """The name of an entry that is not what a run writes, or ""."""
    options, shape = record["options"], record["sample_shape"]
    classes, shares = record.get("classes", []), record.get("shares", [])  # runs of old have none
    if not isinstance(options, dict):
        return "options"
    other = record.get("other_shape", [])
    for name, sides in (("sample_shape", shape), *([("other_shape", other)] if other else [])):
        if not isinstance(sides, list) or len(sides) not in (1, 3) or any(
                type(n) is not int or n < 1 for n in sides):
            return name
    if not isinstance(classes, list) or any(type(name) is not str for name in classes):
        return "classes"
    if not isinstance(shares, list) or len(shares) != len(classes) or any(
            type(share) is not float or not 0 <= share <= 1 for share in shares) or (
            shares and abs(sum(shares) - 1) > 1e-8):
        return "shares"
    words = record.get("words", [])
    if not isinstance(words, list) or any(
            type(word) is not str or not 0 < len(word) <= LONGEST for word in words):
        return "words"
    return ""


@contextlib.contextmanager
def held(folder):
    """A context in which this process alone trains in the folder. The lock ends with the process,
    however that ends. RunError if another process has it."""
    with disk.open_lock(Path(folder, "lock")) as file:
        if not disk.lock(file):
            raise RunError(f"{folder} is being trained by another process: wait until that ends, "
                           "or end it")
        yield


def subfolder(folder, name):
    """The folder of this name in a run's folder, made if there is none. RunError for a symbolic
    link, for files would be written and removed where it leads."""
    path = Path(folder, name)
    if path.is_symlink():
        raise RunError(f"{path} is a symbolic link: expected a folder, for nothing is written "
                       "through links in a run folder")
    path.mkdir(exist_ok=True)
    return path


def remove_halves(folder):
    """What a crash left half written; not what somebody is writing."""
    folder = Path(folder)
    disk.remove_abandoned([*folder.glob("*.partial"), *folder.glob("checkpoints/*.partial"),
                           *folder.glob("samples/[0-9]*.partial")])


def checkpoints(folder):
    """The checkpoint files of a run, newest first."""
    return sorted(_numbered(Path(folder, "checkpoints"), "npz"), key=lambda path: int(path.stem),
                  reverse=True)


def snapshots(folder):
    """The pictures in samples/ of a run, oldest first."""
    return sorted(_numbered(Path(folder, "samples"), "png"), key=lambda path: int(path.stem))


def _numbered(folder, suffix):
    return [path for path in folder.glob(f"*.{suffix}") if re.fullmatch("[0-9]{6,}", path.stem)]
