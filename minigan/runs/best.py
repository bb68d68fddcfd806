"""The best state of a run by a quick measure, and any checkpoint by its name."""

from pathlib import Path

import numpy as np

from minigan.runs.checkpoints import load_checkpoint, save_checkpoint
from minigan.runs.run_folder import RunError, checkpoints
from minigan.runs.statistics import records_of


class KeepBest:
    """Evaluates, and keeps the state with the least Fréchet distance so far.

    `evaluate() -> {name: number}` measures; `state() -> {name: array}` is what a checkpoint holds.
    It is kept as checkpoints/best.npz, which stays whatever happens to the others.
    """

    def __init__(self, folder, evaluate, state):
        self.folder, self.evaluate, self.state = Path(folder), evaluate, state
        self.least = None  # known once it is asked for: a run that goes on is restored first

    def __call__(self):
        measured = self.evaluate()
        distance = _distance(measured)
        if self.least is None:
            self.least = self._recorded()
        if distance < self.least:
            save_checkpoint(self.folder / "checkpoints" / "best.npz", self.state())
            self.least = distance
        return measured

    def _recorded(self):
        """The distance of the state that is kept, infinite if there is none that the log knows."""
        try:
            step = int(load_checkpoint(self.folder / "checkpoints" / "best.npz")["trainer.steps"])
        except (RunError, KeyError, TypeError):
            return np.inf
        found = [_distance(line.get("evaluation", {})) for line in records_of(self.folder, step)]
        return min(found, default=np.inf)


def _distance(measured):
    found = measured.items() if isinstance(measured, dict) else ()  # it may be anybody's
    return min([value for name, value in found
                if name.startswith("FD-") and isinstance(value, (int, float))], default=np.inf)


def chosen_checkpoint(folder, name, use):
    """use(arrays) of the checkpoint of a run that is called `name`: a step, or "best". RunError,
    listing what is there, if there is none or it cannot be used."""
    kept = {str(int(path.stem)): path for path in reversed(checkpoints(folder))}
    best = Path(folder, "checkpoints", "best.npz")
    kept |= {"best": best} if best.is_file() else {}
    if str(name) not in kept:
        raise RunError(f"{folder} has no checkpoint {name}: there is {', '.join(kept) or 'none'} "
                       "(--keep says how many stay, --keep-best keeps the best one)")
    arrays = load_checkpoint(kept[str(name)])
    try:
        return use(arrays)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise RunError(f"{kept[str(name)]} does not fit the run's options ({error})") from None
