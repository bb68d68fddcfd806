"""The README says what is so."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import images, mixtures
from minigan import classifier, data, evaluate, sample, train
from minigan.metrics import judges
from minigan.runs import models
from minigan.trainer import RECIPES
from helpers import FUZZ_MANY, FUZZ_QUICK

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(heading, text=README):
    """The rows of the first table in `text` whose first heading this is, as lists of cells."""
    rows = text[text.index(f"| {heading} |"):].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def linked(rows):
    """The names in [ ] of the first cells, in order."""
    return [name for row in rows for name in re.findall(r"\[(.*?)\]", row[0])]


def files_of(folder):
    return {path.name for path in (ROOT / "minigan" / folder).glob("*.py") if not path.name.startswith("__")}


def test_the_evening_and_the_commands_are_all_files_at_the_top():
    assert sorted([*linked(table("file")), *linked(table("command"))]) == sorted(files_of("."))


def test_a_file_of_the_evening_comes_after_those_it_imports():
    files = linked(table("file"))
    for i, name in enumerate(files):
        text = (ROOT / "minigan" / name).read_text(encoding="utf-8")
        names = re.findall(r"^from minigan import (.*)", text, re.M) + re.findall(r"^from minigan\.(\w+)", text, re.M)
        needed = {f"{word}.py" for line in names for word in re.findall(r"\w+", line)} & set(files)
        assert needed <= set(files[:i]), name


def test_every_folder_and_every_file_of_the_fast_engine_is_listed():
    assert set(linked(table("folder"))) == {path.parent.name for path in (ROOT / "minigan").glob("*/__init__.py")}
    files = linked(table("file", README[README.index("## Two engines"):]))
    assert sorted(files) == sorted(files_of("fast"))


def test_its_blocks_run():
    names = {}
    for block in re.findall(r"```python\n(.*?)```", README, re.S):
        exec(block, names)
    assert names["g"].shape == names["h"].shape == (3,)
    names["trainer"].check_finite()


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
    parsers = [*(module.parser() for module in (sample, evaluate, classifier)), *map(train.parser, models.names())]
    options = {option for parser in parsers for action in parser._actions for option in action.option_strings}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", README))
    assert named <= options, named - options
    for name in data.NAMES:
        assert f"`{name}`" in README


def test_every_measure_has_its_row():
    named = set(re.findall(r"`([\w-]+)", " ".join(row[0] for row in table("measure"))))
    x, points = data.load("fashion-mini").x[:30], data.load("ring8", n=30).x
    judge = judges.judge_for("fashion-mini", x, "mnist")
    found = [*judge.measures(x), *judges.judge_for("ring8", points).measures(points),
             judges.training_distance(points, points, points)]
    names = {name for measure in found for name in measure.names}
    assert {name.replace("LeNet-mnist", "") if not name.startswith("FD") else name for name in names} - named == {
        "FD-points"}
    assert named <= {name.replace("LeNet-mnist", "") for name in names} | {"FD-LeNet-mnist"}


def test_the_ring_table_is_what_was_measured():
    measured = json.loads((ROOT / "benchmarks/results/ring8.json").read_text())
    expected = [[f"`{run['objective']}`", " ".join(map(str, run["modes"])),
                 " ".join(f"{share:.1%}" for share in run["high_quality"])] for run in measured["runs"]]
    assert table("trained with") == expected
    assert f"{measured['steps']:,} steps" in README


@pytest.mark.parametrize("placeholder", [r"\b(?!MINIGAN_|XDG_)[A-Z]+_[A-Z]+\b", "TODO", "XXX"])
def test_nothing_is_left_to_fill_in(placeholder):
    assert not re.search(placeholder, README)


def test_the_tables_of_training_steps_are_what_was_measured():
    page = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks/results/train_step.json").read_text())["rows"]
    ratio = "{:.2f} ({:.2f} … {:.2f})".format
    for row in rows:
        assert (f"| `{row['work']}` | {row['minigan_ms']:.1f} ms | {row['torch_ms']:.1f} ms | {ratio(*row['ratio'])} | "
                f"{row['plain_ms']:.0f} ms | {ratio(*row['plain_ratio'])} |") in page
    ratios = [row["ratio"][0] for row in rows]
    assert f"from {min(ratios):.2f} to {max(ratios):.2f} times" in README


def test_the_table_of_metrics_is_what_was_measured():
    page = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    rows = json.loads((ROOT / "benchmarks/results/metrics.json").read_text())["rows"]
    for row in rows:
        assert f"| `{row['metric']}` | {row['seconds']:.2f} | {row['mib']:.0f} MiB |" in page
        assert row["seconds"] < 30 and row["mib"] < 2000


def test_the_list_of_chapters_is_that_of_the_tutorials():
    chapters = sorted(path.name for path in (ROOT / "tutorials").glob("[0-9]*.md"))
    for page, folder in ((README, "tutorials/"), ((ROOT / "tutorials/README.md").read_text(encoding="utf-8"), "")):
        assert re.findall(rf"^\| (\d\d) \| \[.*?\]\({folder}(\S+?)\) \|", page, re.M) == [
            (name[:2], name) for name in chapters]


# The table of faults

FAULTS = (ROOT / "tests/README.md").read_text(encoding="utf-8")


def test_every_test_that_the_table_of_faults_names_exists():
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", FAULTS)
    assert len(named) > 50
    for file, test in named:
        assert f"\ndef {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{test}"
    for row in FAULTS[FAULTS.index("| fault |"):].split("\n\n")[0].splitlines()[2:]:
        assert re.fullmatch(r"\| .+ \| .+ \| `[^|]+` \|", row) and "::" in row, row


def test_the_counts_of_kills_and_of_command_lines_are_those_that_were_run():
    text = " ".join(FAULTS.split())
    found = json.loads((ROOT / "benchmarks/results/kills.json").read_text())
    halves = found["left_half_written"]
    for said in ("killed a run {kills} times, {at_a_random_moment} times at a random moment and "
                 "{in_the_middle_of_a_write} times in the middle of a write: it survived {survived}, "
                 "{arrays_that_differ} arrays differ", "{lines_lost} lines of statistics were lost and {lines_doubled} "
                 "doubled", "hit the run {while_it_was_resuming} times while it was resuming"):
        assert said.format(**found) in text
    assert "left {} files, {} lines and {} pictures half written".format(
        halves["checkpoint or statistics"], halves["line"], halves["picture"]) in text
    assert found["survived"] == found["kills"] >= 200
    assert not any(number for name, number in found.items() if name.endswith(("differ", "lost", "doubled", "over")))
    assert "{train} command lines for `train`, {sample} for `sample`, {evaluate} for `evaluate` and {classifier} for " \
        "`classifier`".format(**FUZZ_MANY) in text
    assert "the quick one {train}, {sample}, {evaluate} and {classifier}".format(**FUZZ_QUICK) in text


@pytest.mark.parametrize("mixture", mixtures.PUBLISHED)
def test_the_tables_of_mixtures_are_what_was_measured(mixture):
    page = (ROOT / "benchmarks/README.md").read_text(encoding="utf-8")
    runs = json.loads((ROOT / f"benchmarks/results/mixtures_{mixture}.json").read_text())["runs"]
    assert mixtures.table(mixture, runs) in page
    due = mixtures.runs_of(mixtures.STEPS[mixture])
    assert all({name: run[name] for name in ("setting", "steps", "seed")} in due for run in runs)
    best = [run for run in runs if run["steps"] == mixtures.STEPS[mixture]]
    assert len(best) >= 5 and {run["modes"] for run in best} == {len(data.MIXTURES[mixture].modes)}
    assert sum(run["high_quality"] for run in best) / len(best) >= 0.95


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
