"""The run folder: options, log, statistics, snapshots, checkpoints, exact resume.

    runs/00000-fashion-mini-gan-s0/
        options.json       the resolved options, the data's shape and hash, versions
        log.txt            what was said, in plain lines
        stats.jsonl        one JSON object per logged step
        checkpoints/       000500.npz …: everything a step depends on
        samples/           000500.png …: pictures, drawn by the caller's `on_snapshot`

This file knows no GAN theory. It needs of a trainer `step(batches) -> {name: 0-d array}`, `batches_per_step`, `steps`,
`state_dict`, `load_state_dict`, `check_finite` and `headline`, the names of the statistics worth a place on the screen.
"""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np

from minigan import backend, files

FORMAT = 1  # of checkpoints; to be raised when an old one can no longer be read


class RunError(ValueError):
    """A run folder or a checkpoint cannot be used; the message names the file and says why."""


# Folders

def new_folder(out, name):
    """Make and return out/NNNNN-name, numbered after the highest that is there. Two runs started at once get two."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    while True:
        numbers = [int(match[0]) for path in out.iterdir() if (match := re.match(r"\d{5,}(?=-)", path.name))]
        folder = out / f"{max(numbers, default=-1) + 1:05d}-{name}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            continue


def latest_folder(out):
    """The run in `out` with the highest number that has a checkpoint to resume from."""
    runs = [path for path in Path(out).glob("*-*") if re.match(r"\d{5,}-", path.name) and checkpoints(path)]
    if not runs:
        raise RunError(f"no run with a checkpoint in {out}")
    return max(runs, key=lambda path: int(path.name.split("-")[0]))


def write_options(folder, record):
    write_whole(Path(folder) / "options.json", json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n")


def read_options(folder):
    """What `write_options` wrote."""
    path = Path(folder) / "options.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        shape = record["sample_shape"]
        if not isinstance(record["options"], dict) or not isinstance(shape, list) or len(shape) not in (1, 3) or any(
                type(n) is not int or n < 1 for n in shape):
            raise ValueError
        return record
    except OSError as error:
        raise RunError(f"{folder} is not a run folder: cannot read {path} ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RunError(f"{path} does not hold a run's options") from None


# Checkpoints

def checkpoints(folder):
    """The checkpoint files of a run, newest first."""
    return sorted(_numbered(Path(folder, "checkpoints"), "npz"), key=lambda path: int(path.stem), reverse=True)


def snapshots(folder):
    """The pictures in samples/ of a run, oldest first."""
    return sorted(_numbered(Path(folder, "samples"), "png"), key=lambda path: int(path.stem))


def _numbered(folder, suffix):
    return [path for path in folder.glob(f"*.{suffix}") if re.fullmatch("[0-9]{6,}", path.stem)]


def save_checkpoint(path, arrays):
    """Write {name: NumPy array} to an .npz file that is, whatever happens, either whole or not there."""
    path = Path(path)
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as file:
        np.savez(file, **arrays, format=np.int64(FORMAT))  # the format last: where it is, the list is whole
        _to_disk(file)
    _put(partial, path)


def load_checkpoint(path):
    """The {name: array} of a checkpoint. RunError if it is damaged, foreign, or of another format."""
    try:
        arrays = files.read_arrays(path)
    except files.DataError as error:
        raise RunError(f"{path} is damaged or no checkpoint ({error})") from None
    if "format" not in arrays or arrays["format"].shape != () or arrays["format"].dtype.kind not in "iu":
        raise RunError(f"{path} is not a checkpoint of minigan")
    if arrays["format"] != FORMAT:
        raise RunError(f"{path} has checkpoint format {arrays['format']}, this version reads {FORMAT}")
    return arrays


def newest_checkpoint(folder):
    """(arrays, complaints): the newest sound checkpoint, and a line about each newer one that is not."""
    complaints = []
    for path in checkpoints(folder):
        try:
            return load_checkpoint(path), complaints
        except RunError as error:
            complaints.append(str(error))
    raise RunError("; ".join([f"{folder} has no checkpoint that can be read", *complaints]))


def write_whole(path, content):
    """Write these bytes to a file that, whatever happens, holds either what it held or all of them."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(content)
        _to_disk(file)
    _put(partial, path)


def _to_disk(file):
    file.flush()
    os.fsync(file.fileno())


def _put(partial, path):
    """Rename, and have the folder's new entry on the disk before going on."""
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# The run

class StopRequest:
    """While active, Ctrl-C and SIGTERM are noted in `.signal` instead of interrupting a step half way; a second one of
    the same kind does what it always did."""

    def __enter__(self):
        self.signal = None
        self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _note(self, number, frame):
        self.signal = number
        signal.signal(number, self._previous[number])

    def __exit__(self, *exception):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Experiment:
    """A trainer at work in a run folder.

    `batches.next()` gives real batches; `streams` are all random streams the trainer and the batches draw from.
    `on_snapshot(step)` draws; `on_finish()` draws what needs the whole run; `on_evaluate()` measures, {name: number}.
    """

    def __init__(self, folder, trainer, batches, streams, on_snapshot, on_finish, on_evaluate=None):
        self.folder, self.trainer, self.batches, self.streams = Path(folder), trainer, batches, streams
        self.on_snapshot, self.on_finish, self.on_evaluate = on_snapshot, on_finish, on_evaluate
        self._saved = None  # the step of the newest checkpoint
        for name in ("checkpoints", "samples"):
            (self.folder / name).mkdir(exist_ok=True)

    # Saving and restoring

    def _parts(self):
        return {"trainer": self.trainer, "batches": self.batches, "streams": self.streams}

    def save(self, keep):
        """Write a checkpoint of this very step, then remove all but the newest `keep`. ArithmeticError for a state with
        a number that is not finite: the last good checkpoint stays."""
        self.trainer.check_finite()
        arrays = {f"{part}.{name}": array for part, owner in self._parts().items()
                  for name, array in owner.state_dict().items()}
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ArithmeticError(f"{name} is not finite after step {self.trainer.steps}")
        save_checkpoint(self.folder / "checkpoints" / f"{self.trainer.steps:06d}.npz", arrays)
        self._saved = self.trainer.steps
        for old in checkpoints(self.folder)[keep:]:
            old.unlink()

    def restore(self):
        """Go back to the newest sound checkpoint, and forget what was logged and drawn after it."""
        arrays, complaints = newest_checkpoint(self.folder)
        for complaint in complaints:
            self.say(f"{complaint}: using the one before it")
        try:
            for part, owner in self._parts().items():
                owner.load_state_dict({name.removeprefix(part + "."): array for name, array in arrays.items()
                                       if name.startswith(part + ".")})
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"the checkpoint in {self.folder} does not fit the run's options ({error})") from None
        self._saved = step = self.trainer.steps
        kept = [line for line in read_stats(self.folder) if line["step"] <= step]
        write_whole(self.folder / "stats.jsonl", "".join(json.dumps(line) + "\n" for line in kept).encode())
        for file in checkpoints(self.folder) + snapshots(self.folder):
            if int(file.stem) > step:
                file.unlink()

    # Training

    def run(self, steps, log_every, snapshot_every, checkpoint_every, keep, evaluate_every=0):
        """Train until `steps` have been done. Returns None, or the number of the signal that ended it early."""
        if self.trainer.steps == 0:
            self.on_snapshot(0)
            self.save(keep)  # so that there is a state to resume from, whenever the run is killed
        speed = _Speed(self.trainer.steps)
        with StopRequest() as stop, np.errstate(all="ignore"):  # what is not finite is found by the trainer's flags
            while self.trainer.steps < steps and stop.signal is None:
                batches = [self.batches.next() for _ in range(self.trainer.batches_per_step)]
                stats = self.trainer.step(batches)
                step = self.trainer.steps
                evaluating = evaluate_every and (step % evaluate_every == 0 or step == steps)
                if step % log_every == 0 or step == steps or evaluating:
                    self._log(step, steps, stats, speed, evaluating)
                if step % snapshot_every == 0 or step == steps:
                    self.on_snapshot(step)
                if step % checkpoint_every == 0:
                    self.save(keep)
            if self._saved != self.trainer.steps:
                self.save(keep)
        if stop.signal is None:
            self.on_finish()
        return stop.signal

    def _log(self, step, steps, stats, speed, evaluating):
        self.trainer.check_finite()
        values = {name: float(backend.to_numpy(value)) for name, value in stats.items()}
        rate = speed.at(step)
        record = {"step": step, **values, "steps_per_s": round(rate, 3)}
        measured = self.on_evaluate() if evaluating else {}
        if measured:
            record["evaluation"] = measured
        with open(self.folder / "stats.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        shown = {name: values[name] for name in self.trainer.headline} | measured
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        self.say(f"step {step}/{steps}  {numbers}  {rate:.3g} steps/s  {_clock((steps - step) / rate)} left",
                 passing=step < steps)

    def say(self, line, passing=False):
        """A line to log.txt and the screen; on a terminal the next line takes the place of a passing one."""
        with open(self.folder / "log.txt", "a", encoding="utf-8") as file:
            file.write(line + "\n")
        if sys.stdout.isatty():
            print(f"\r\x1b[K{line}", end="" if passing else "\n", flush=True)
        else:
            print(line, flush=True)


def read_stats(folder):
    """The records of stats.jsonl, oldest first; a line torn by a crash is left out."""
    try:
        lines = Path(folder, "stats.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


class _Speed:
    """Steps per second since it was last asked."""

    def __init__(self, step):
        self._step, self._time = step, time.perf_counter()

    def at(self, step):
        now = time.perf_counter()
        rate = (step - self._step) / max(now - self._time, 1e-9)
        self._step, self._time = step, now
        return rate


def _clock(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
