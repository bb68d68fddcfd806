"""The README says what is so."""

import json
import re
from pathlib import Path

import pytest

from minigan import classifier, data, evaluate, judges, sample, train
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
    parsers = [module.parser() for module in (train, sample, evaluate, classifier)]
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


def test_the_list_of_chapters_is_that_of_the_tutorials():
    chapters = sorted(path.name for path in (ROOT / "tutorials").glob("[0-9]*.md"))
    for page, folder in ((README, "tutorials/"), ((ROOT / "tutorials/README.md").read_text(encoding="utf-8"), "")):
        assert re.findall(rf"^\| (\d\d) \| \[.*?\]\({folder}(\S+?)\) \|", page, re.M) == [
            (name[:2], name) for name in chapters]
