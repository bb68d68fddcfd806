"""python -m benchmarks.gpu: everything that is measured on a GPU, one after another.

How far runs are from those on the CPU, and the training steps of both engines against PyTorch, with
and without TF32. The results lie in `benchmarks/results`, each under the name of the card. What
fails is said at the end, and does not stop the rest.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks import pairing
from minigan import backend

RUNS = {
    "parity": ("benchmarks.parity",),
    "train_step": ("benchmarks.train_step", "--engines"),
    "train_step_tf32": ("benchmarks.train_step", "--tf32"),
}


def commands(card, folder):
    """What is run, as lists of arguments."""
    name = card.lower().replace(" ", "-")
    path = lambda run: str(folder / f"{run}_{name}.json")
    return [[sys.executable, "-m", *module, "--backend", "cupy", "--json", path(run)]
            for run, module in RUNS.items()]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--results", metavar="FOLDER", type=Path,
                   default=Path(__file__).parent / "results")
    options = p.parse_args()
    try:
        with backend.use_backend("cupy") as cupy:
            card = pairing.card(cupy.xp)
    except backend.BackendError as error:
        p.error(str(error))
    failed = []
    for command in commands(card, options.results):
        print(" ".join(command[1:]), flush=True)
        if subprocess.run(command).returncode:
            failed.append(" ".join(command[1:]))
    return f"failed on {card}: " + "; ".join(failed) if failed else 0


if __name__ == "__main__":
    sys.exit(main())
