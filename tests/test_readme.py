"""The README says what is so."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import images
from minigan import data
from minigan.train import parser
from minigan.trainer import RECIPES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(heading):
    """The rows of the table whose first heading this is, as lists of cells."""
    rows = README[README.index(f"| {heading} |"):].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_reading_map_lists_every_file_with_its_length():
    listed = {re.match(r"\[(.*?)\]", row[0])[1]: int(row[1]) for row in table("file")}
    files = {path.name: len(path.read_text(encoding="utf-8").splitlines())
             for path in (ROOT / "minigan").glob("*.py") if path.name != "__init__.py"}
    assert listed == files


def test_the_first_gradient_runs():
    [block] = re.findall(r"```python\n(.*?)```", README, re.S)
    names = {}
    exec(block, names)
    assert names["g"].shape == names["h"].shape == (3,)


def test_the_objectives_and_their_defaults():
    rows = {row[0].strip("`"): row[-1] for row in table("objective")}
    assert rows.keys() == RECIPES.keys()
    for name, text in rows.items():
        recipe = RECIPES[name]
        assert text.startswith(recipe.optimizer.__name__)
        assert float(text.split()[1].strip(",")) == recipe.lr
        steps = re.search(r"(\d) critic steps", text)
        assert (int(steps[1]) if steps else 1) == recipe.n_critic


def test_every_option_and_data_set_it_names_exists():
    options = {option for action in parser()._actions for option in action.option_strings}
    sample = {"--n", "--grid", "--interpolate"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README))
    assert named <= options | sample, named - options - sample
    for name in data.NAMES:
        assert f"`{name}`" in README


def test_the_ring_table_is_what_was_measured():
    measured = json.loads((ROOT / "benchmarks/results/ring8.json").read_text())
    expected = [[f"`{run['objective']}`", " ".join(map(str, run["modes"])),
                 " ".join(f"{share:.1%}" for share in run["high_quality"])] for run in measured["runs"]]
    assert table("trained with") == expected
    assert f"{measured['steps']:,} steps" in README


@pytest.mark.parametrize("placeholder", [r"\b[A-Z]+_[A-Z]+\b(?<!MINIGAN_DATA)", "TODO", "XXX"])
def test_nothing_is_left_to_fill_in(placeholder):
    assert not re.search(placeholder, README)


def test_the_table_of_training_steps_is_what_was_measured():
    page = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks/results/train_step.json").read_text())["rows"]
    for row in rows:
        assert (f"| `{row['work']}` | {row['minigan_ms']:.1f} ms | {row['torch_ms']:.1f} ms | "
                "{:.2f} ({:.2f} … {:.2f}) |".format(*row["ratio"])) in page
    ratios = [row["ratio"][0] for row in rows]
    assert f"from {min(ratios):.2f} to {max(ratios):.2f} times" in README


def test_the_table_of_metrics_is_what_was_measured():
    page = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks/results/metrics.json").read_text())["rows"]
    for row in rows:
        assert f"| `{row['metric']}` | {row['seconds']:.2f} | {row['mib']:.0f} MiB |" in page
        assert row["seconds"] < 30 and row["mib"] < 2000


@pytest.mark.parametrize("source", images.SEEDS)
def test_the_tables_of_images_are_what_was_measured(source):
    page = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    measured = json.loads((ROOT / f"benchmarks/results/images_{source}.json").read_text())
    assert images.table(measured["training_data"], measured["runs"]) in page
    for objective, gap in images.gaps(measured["runs"]).items():
        assert images.sentence(objective, *gap) in page
    assert measured["settings"] == images.SETTINGS | {"haste": images.HASTE}
    assert {run["steps"] for run in measured["runs"]} == {images.STEPS} and f"{images.STEPS:,} generator steps" in page


def test_the_largest_deviations_from_pytorch_are_those_measured():
    page = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks/results/trajectories.json").read_text())["rows"]
    for objective in RECIPES:
        found = [f"{row[what]:.1e}" for row in rows if row["objective"] == objective
                 for what in ("losses", "weights", "samples")]
        assert f"| `{objective}` | {' | '.join(found)} |" in page
