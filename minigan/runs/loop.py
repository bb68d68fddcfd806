"""A trainer at work in a run folder: train, log, save; resume exactly.

This file knows no GAN theory. It needs of a trainer, a `Model`, `step(batch) -> {name: 0-d
array}`, `batches_per_step`, `accumulate`, `steps`, `state_dict`, `load_state_dict`, `check_finite`
and `headline`, the names of the statistics worth a place on the screen.
"""

import contextlib
import json
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from minigan import backend
from minigan.data import disk
from minigan.data.files import printable
from minigan.runs import commandline
from minigan.runs.checkpoints import check_counts, newest_checkpoint, save_checkpoint
from minigan.runs.pace import FirstStep, Pace
from minigan.runs.run_folder import checkpoints, remove_halves, snapshots, subfolder
from minigan.runs.statistics import forget_after

HANGUP = getattr(signal, "SIGHUP", None)  # which Windows does not have


class StopRequest:
    """While active, Ctrl-C, SIGTERM and the terminal's end are noted in `.signal` instead of
    interrupting a step half way; a second one of the same kind does what it always did. Only the
    main thread of a process gets signals. It may be entered again while it is active; the first
    exit ends it."""

    def __init__(self):
        self.signal, self._previous = None, {}

    def __enter__(self):
        if self._previous:
            return self
        self.signal = None
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM]
            if HANGUP and signal.getsignal(HANGUP) != signal.SIG_IGN:  # as nohup asks for
                numbers.append(HANGUP)
            self._previous = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def _note(self, number, frame):
        self.signal = number
        signal.signal(number, self._previous[number])

    def __exit__(self, *exception):
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


class Experiment:
    """A trainer at work in a run folder.

    `batches.deal(count)` gives so many real batches as one; `streams` are all random streams the
    trainer and the batches draw from. `on_snapshot(step)` draws; `on_finish()` draws what needs the
    whole run; `on_evaluate()` measures, {name: number}. `on_log(record)` may have something to say,
    a line or None. `stop` may be active before the run is.
    """

    def __init__(self, folder, trainer, batches, streams, on_snapshot, on_finish, on_evaluate=None,
                 stop=None):
        self.folder, self.trainer = Path(folder), trainer
        self.batches, self.streams = batches, streams
        self.on_snapshot, self.on_finish, self.on_evaluate = on_snapshot, on_finish, on_evaluate
        self.on_log = lambda record: None
        self.progress = lambda: 0  # how many batches the trainer has had, if it tells within a step
        self._saved = None  # the step of the newest checkpoint
        self._stop = stop or StopRequest()
        for name in ("checkpoints", "samples"):
            subfolder(self.folder, name)

    # Saving and restoring

    def _parts(self):
        return {"trainer": self.trainer, "batches": self.batches, "streams": self.streams}

    def state(self):
        """{name: NumPy array}: everything a checkpoint holds."""
        return {f"{part}.{name}": array for part, owner in self._parts().items()
                for name, array in owner.state_dict().items()}

    def save(self, keep):
        """Write a checkpoint of this very step, then remove all but `keep`: this one and those
        before it. ArithmeticError for a state with a number that is not finite: the last good
        checkpoint stays."""
        self.trainer.check_finite()
        arrays = self.state()
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ArithmeticError(f"{name} is not finite after step {self.trainer.steps}")
        with disk.appending(self.folder / "stats.jsonl") as file:
            # First, for whoever goes on from the checkpoint counts on what was logged before it.
            disk.to_disk(file)
        save_checkpoint(self.folder / "checkpoints" / f"{self.trainer.steps:06d}.npz", arrays)
        self._saved = self.trainer.steps
        before = [path for path in checkpoints(self.folder) if int(path.stem) < self._saved]
        for old in before[keep - 1:]:
            old.unlink()

    def restore(self):
        """Go back to the newest checkpoint that is sound and fits, and forget what was logged and
        drawn after it, and what a crash left half written."""
        _, complaints = newest_checkpoint(self.folder, self._load)
        for complaint in complaints:
            self.say(f"{complaint}: using the one before it")
        self._saved = step = self.trainer.steps
        forget_after(self.folder, step)
        for file in checkpoints(self.folder) + snapshots(self.folder):
            if int(file.stem) > step:
                file.unlink()
        remove_halves(self.folder)

    def _load(self, arrays):
        d_steps = self.trainer.batches_per_step // self.trainer.accumulate
        check_counts(arrays, d_steps, self.streams.seed)
        for part, owner in self._parts().items():
            owner.load_state_dict({name.removeprefix(part + "."): array
                                   for name, array in arrays.items()
                                   if name.startswith(part + ".")})

    # Training

    def run(self, steps, log_every, snapshot_every, checkpoint_every, keep, evaluate_every=0):
        """Train until `steps` have been done. Returns None, or the number of the signal that ended
        it early."""
        # What is not finite is found by the trainer's flags.
        with self._stop as stop, np.errstate(all="ignore"), contextlib.ExitStack() as watching:
            if self.trainer.steps == 0:
                self.on_snapshot(0)
                # So that there is a state to resume from, whenever the run is killed.
                self.save(keep)
            speed, pace = _Speed(self.trainer.steps), Pace(self.trainer.steps, steps)
            first = watching.enter_context(FirstStep(
                self.say, self.trainer.steps + 1, steps, self.trainer.batches_per_step,
                self.progress))
            while self.trainer.steps < steps and stop.signal is None:
                stats = self.trainer.step(self.batches.deal(self.trainer.batches_per_step))
                step = self.trainer.steps
                first.done()
                evaluating = evaluate_every and (step % evaluate_every == 0 or step == steps)
                if step % log_every == 0 or step == steps or evaluating:
                    self._log(step, steps, stats, speed, evaluating)
                if line := pace.after(step, logged=step % log_every == 0 or step == steps):
                    self.say(line)
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
        for name, value in values.items():
            if not np.isfinite(value):
                raise ArithmeticError(f"{name} is not finite in step {step}")
        rate = speed.at(step)
        record = {"step": step, **values, "steps_per_s": round(rate, 3)}
        measured = self.on_evaluate() if evaluating else {}
        if measured:
            record["evaluation"] = measured
        with disk.appending(self.folder / "stats.jsonl") as file:
            file.write(json.dumps(record) + "\n")
        headline = [name for name in self.trainer.headline if name in values]
        shown = {name: values[name] for name in headline} | measured
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in shown.items())
        self.say(f"step {step}/{steps}  {numbers}  {rate:.3g} steps/s  "
                 f"{_clock((steps - step) / rate)} left", passing=step < steps)
        if line := self.on_log(record):
            self.say(line)

    def say(self, line, passing=False):
        """A line to log.txt and the screen; on a terminal the next line takes the place of a
        passing one."""
        line = printable(line)
        with disk.appending(self.folder / "log.txt") as file:
            file.write(line + "\n")
        try:
            if sys.stdout is not None and sys.stdout.isatty():
                commandline.say(f"\r\x1b[K{line}", end="" if passing else "\n")
            else:
                commandline.say(line)
        except commandline.OutputError:
            if not HANGUP or self._stop.signal != HANGUP:
                raise  # after a hangup nobody is there, and what counts is to save


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
