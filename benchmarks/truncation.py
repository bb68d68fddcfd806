"""python -m benchmarks.truncation RUN: what a smaller noise does to a BigGAN's samples.

The truncation trick of Brock et al. 2019, arXiv:1809.11096, §3.1: numbers of the noise beyond ± t
are drawn again. As many samples as there are real test samples, for each t of a run of
`--model biggan` (by default one is trained on `--data`): precision should rise and recall fall as t
falls. Samples of each class are as frequent as in the data. The figures go into
benchmarks/results/truncation.json, with a picture beside it.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks import pairing
from benchmarks.zoo import RESULTS, command
from minigan import data
from minigan.metrics import judges
from minigan.pictures import plots
from minigan.runs import models
from minigan.runs.run_folder import read_options

TRUNCATIONS = None, 1.5, 1.0, 0.7, 0.4  # None: no truncation
SHOWN = "precision", "recall", "class_agreement"


def swept(run, seed=0):
    """[{"truncation", "precision", "recall", …}] of a run folder."""
    source, trained = read_options(run)["options"]["data"], models.load(run)
    real = data.load(source, split="test").x if data.has_test(source) else data.load(source).x
    judge, rows = judges.judge_for(source, real), []
    for truncation in TRUNCATIONS:
        drawn = trained.draw(len(judge.real), seed, truncation=truncation)
        measures = [*judge.measures(drawn.x), *trained.model.measures(drawn, judge)]
        found = {"truncation": truncation}
        for measure in measures:
            found |= measure.numbers(measure.metric(*measure.arrays))
        rows.append({name: value for name, value in found.items()
                     if name == "truncation" or name.startswith(("FD-", *SHOWN))})
        print(rows[-1], flush=True)
    return rows


def monotone(rows):
    """Whether precision rises and recall falls with each smaller truncation."""
    steps = list(zip(rows, rows[1:]))
    return (all(a["precision"] < b["precision"] for a, b in steps)
            and all(a["recall"] > b["recall"] for a, b in steps))


def table(rows):
    """Markdown."""
    names = [name for name in rows[0] if name != "truncation"]
    lines = [f"| truncation | {' | '.join(names)} |", "|--:|" + "--:|" * len(names)]
    for row in rows:
        cells = " | ".join(f"{row[name]:.4g}" for name in names)
        lines.append(f"| {row['truncation'] or 'none'} | {cells} |")
    return "\n".join(lines)


def save_picture(path, rows):
    """Precision and recall at each truncation."""
    drawing, axes = plots.figure(5.5, 3.5)
    for name, colour in zip(SHOWN[:2], plots.COLOURS):
        axes.plot(range(len(rows)), [row[name] for row in rows], color=colour, marker="o",
                  label=name)
    axes.set_xticks(range(len(rows)), [str(row["truncation"] or "none") for row in rows])
    axes.set(xlabel="truncation", ylabel="share of samples")
    axes.legend()
    axes.grid(alpha=0.3)
    drawing.savefig(path)


def main():
    p = argparse.ArgumentParser(description=" ".join(__doc__.split("\n\n")[1].split()))
    p.add_argument("run", nargs="?", help="a run folder of biggan (default: one is trained)")
    p.add_argument("--data", default="mnist", help="of the run that is trained")
    p.add_argument("--json", default=str(RESULTS / "truncation.json"), metavar="FILE")
    given = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not given.run:
            command("train", "--model", "biggan", "--data", given.data, "--out", folder)
            [given.run] = Path(folder).iterdir()
        rows = swept(given.run)
    pairing.keep(given.json, {"rows": rows, "monotone": monotone(rows)})
    save_picture(Path(given.json).with_suffix(".png"), rows)
    print(table(rows))


if __name__ == "__main__":
    main()
