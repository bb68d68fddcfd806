"""What the bits of a run depend on beside its options: versions, the engine, the platform."""

import os
import platform

import numpy as np

from minigan import __version__, backend, fast


def versions():
    """{what: which} here and now."""
    found = {"minigan": __version__, "python": platform.python_version(), "numpy": np.__version__,
             "platform": platform.platform()}
    current = backend.current()
    if current.xp is not np:
        found |= {current.name: current.xp.__version__, "tf32": os.environ.get("CUPY_TF32") == "1"}
    return found | fast.about()


def keep_engine(recorded):
    """Go on with the engine that a run had last, by its record; a line about what is not the same
    any more. Other bits come of another engine, number of threads, or matrix library."""
    recorded = _last(recorded).get("versions")
    recorded = recorded if isinstance(recorded, dict) else {}
    if recorded.get("engine") == "plain":
        fast.off()
    here = fast.about()
    other = [f"{name} {value} (it had {recorded[name]})" for name, value in here.items()
             if name in recorded and recorded[name] != value]
    return f"not to the bit as it would have gone on: {', '.join(other)}" if other else ""


def with_versions(record, step):
    """The record of a run that goes on, with the versions it goes on with where they are others."""
    now = versions()
    if _last(record).get("versions") == now:
        return record
    return record | {"resumed": [*_resumed(record), {"step": step, "versions": now}]}


def _last(record):
    """The entry with the versions that a run had last; a stranger's record may hold anything."""
    last = [record, *_resumed(record)][-1]
    return last if isinstance(last, dict) else {}


def _resumed(record):
    resumed = record.get("resumed")
    return resumed if isinstance(resumed, list) else []
