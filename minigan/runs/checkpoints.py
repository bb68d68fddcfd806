"""Checkpoints: written whole or not at all, and read without trust."""

import numpy as np

from minigan.data import DataError, files
from minigan.data.disk import whole
from minigan.runs.run_folder import RunError, checkpoints

FORMAT = 1  # of checkpoints; to be raised when an old one can no longer be read


def save_checkpoint(path, arrays):
    """Write {name: NumPy array} to an .npz file that is, whatever happens, either whole or not
    there."""
    with whole(path) as file:
        np.savez(file, **arrays, format=np.int64(FORMAT))


def load_checkpoint(path):
    """The {name: array} of a checkpoint, finite numbers. RunError if it is damaged, foreign, or of
    another format; `files.NotNow` if it can only not be read now."""
    try:
        arrays = files.read_arrays(path)
    except files.NotNow:
        raise
    except DataError as error:
        raise RunError(f"{path} is damaged or no checkpoint ({error})") from None
    version = arrays.get("format")
    if version is None or version.shape != () or version.dtype.kind not in "iu":
        raise RunError(f"{path} is not a checkpoint of minigan")
    if version != FORMAT:
        raise RunError(f"{path} has checkpoint format {version}, this version reads "
                       f"{FORMAT}")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise RunError(f"{path} is no checkpoint: its {name} holds more than finite numbers "
                           f"({array.dtype})")
        if reason := _impossible(name, array):
            raise RunError(f"{path} is no checkpoint: its {name} {reason}")
    steps = arrays.get("trainer.steps")
    if steps is not None and path.stem.isdecimal() and (
            steps.shape != () or steps.dtype.kind not in "iu" or int(steps) != int(path.stem)):
        raise RunError(f"{path} is no checkpoint: its trainer.steps is {steps}, not the "
                       f"{int(path.stem)} of its name")
    return arrays


def _impossible(name, array):
    """Why no training can have left this array, or ""."""
    if array.dtype.kind != "f" or array.size == 0:
        return ""
    low, high = array.min(), array.max()
    owner, _, last = name.rpartition(".")
    if max(-low, high) > np.finfo(np.float32).max:
        return f"holds {high if high > -low else low}, beyond float32"
    squares = last == "v" and "optimizer" in owner  # Adam's and RMSprop's mean of them
    if low < 0 and (squares or last in ("running_var", "lr")):
        return f"holds {low}, expected numbers ≥ 0"
    return ""


def check_counts(arrays, d_steps, seed):
    """ValueError for a checkpoint that no training of these options has left: the generator's
    optimizer steps once a step, the discriminator's `d_steps` times, and one seed is everything's.
    """
    steps = int(arrays["trainer.steps"])
    for name, number in (("trainer.g_optimizer.steps", steps),
                         ("trainer.d_optimizer.steps", steps * d_steps),
                         ("streams.seed", seed)):
        if name in arrays and not np.array_equal(arrays[name], number):
            raise ValueError(f"its {name} is {str(arrays[name])[:40]}, expected {number}")


def newest_checkpoint(folder, use):
    """(use(arrays), complaints): of the newest checkpoint that is sound and fits, and a line about
    each newer one that is not or does not. `use` raises ValueError, KeyError, TypeError or
    OverflowError for arrays that do not fit. A checkpoint that only cannot be read now is no reason
    to take an older one: `files.NotNow`."""
    complaints = []
    for path in checkpoints(folder):
        try:
            return use(load_checkpoint(path)), complaints
        except files.NotNow:
            raise
        except RunError as error:
            complaints.append(str(error))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            complaints.append(f"{path} does not fit the run's options ({error})")
    raise RunError("; ".join([f"{folder} has no checkpoint that can be used", *complaints]))
