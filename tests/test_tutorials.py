"""The tutorials: each chapter runs as it is printed, and says and shows what is so. First the tools, on a small chapter
made up here; then every chapter."""

import ast
import codeop
import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import build
import chapters
import to_notebook
from chapters import Chapter, ChapterError
from minigan.fast import native

ROOT = Path(__file__).parent.parent

MADE_UP = '''# 03 · Halves

A question.

![A line through two points, rising.](figures/03_line.png)

```python
from pathlib import Path
import numpy as np
from minigan import plots
STEPS = 2  # full: 5
figures = Path("tutorials/figures")
figures.mkdir(parents=True, exist_ok=True)
plots.save_image(figures / "03_line.png", np.zeros((100, 200, 1)))
```

The rate falls.

```python
print(STEPS / 4, "½")
```

<!-- output -->
```text
0.5 ½
```

```python from minigan/objectives.py: Minimax.generator_loss
def generator_loss(self, fake_scores):
    _check_scores(fake_scores)
    return -ops.softplus(fake_scores).mean()
```

`tests/test_objectives.py` and [the source](../minigan/objectives.py) and [above](#03--halves).

```sh
python -m minigan.train
```
'''


def made_up(text=MADE_UP, path=ROOT / "tutorials/03_halves.md"):
    return Chapter(path, text)


def changed(before, after):
    assert before in MADE_UP
    return made_up(MADE_UP.replace(before, after))


def line_of(text):
    return MADE_UP[:MADE_UP.index(text)].count("\n") + 1


@pytest.fixture(scope="module")
def result():
    return chapters.run(made_up())


# Reading

def test_the_parts_of_a_chapter_are_the_chapter():
    chapter = made_up()
    assert "".join(part.markdown for part in chapter.parts) == MADE_UP
    assert [part.kind for part in chapter.parts] == ["prose", "code", "prose", "code", "prose", "output", "prose",
                                                     "excerpt", "prose", "other"]
    lines = MADE_UP.splitlines()
    for part in chapter.parts:
        assert lines[part.line - 1] == part.text.splitlines()[0]


@pytest.mark.parametrize("before, after, message", [
    ("```sh", "```bash", "unknown kind of block ```bash"),
    ("```sh", "  ```sh", "at the start of a line"),
    ("```sh\npython -m minigan.train\n```", "```sh", "has no end"),
    ("```text\n0.5", "```sh\n0.5", "stands between a Python block and"),
    ("STEPS = 2  # full: 5", "STEPS = 2  # full 5", "a step count is written"),
    ("STEPS = 2  # full: 5", "    STEPS = 2  # full: 5", "a step count is written"),
])
def test_a_mistake_in_the_markdown_is_named_with_its_line(before, after, message):
    with pytest.raises(ChapterError, match=rf"^tutorials/03_halves.md:{line_of(before)}: .*{re.escape(message)}"):
        changed(before, after)


def test_chapters_are_found_by_number_and_a_wrong_number_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "HERE", tmp_path)
    monkeypatch.setattr(chapters, "PAGES", ["own.md"])
    for name in ("03_halves.md", "10_tenths.md", "README.md", "own.md"):
        (tmp_path / name).touch()
    assert [path.name for path in chapters.find()] == ["03_halves.md", "10_tenths.md", "own.md"]
    assert [path.name for path in chapters.find(["3"])] == ["03_halves.md"]
    assert [path.name for path in chapters.find(["own"])] == ["own.md"]
    with pytest.raises(ChapterError, match="there is no chapter 04"):
        chapters.find(["4"])


# Running

def test_blocks_share_one_namespace_and_their_prints_and_figures_come_back(result):
    assert result.outputs == ["", "0.5 ½\n"]
    assert list(result.figures) == ["03_line.png"] and result.figures["03_line.png"].startswith(b"\x89PNG")
    assert result.seconds > 0


def test_named_step_counts_are_replaced_when_a_chapter_runs_in_full():
    assert chapters.run(made_up(), full=True).outputs[1] == "1.25 ½\n"


@pytest.mark.parametrize("line, error", [
    ("assert STEPS == 3", "AssertionError"), ("import warnings; warnings.warn('x')", "UserWarning: x"),
    ("raise SystemExit", "SystemExit"), ("STEPS ==", "SyntaxError")])
def test_a_block_that_fails_is_named_with_its_lines_in_the_markdown(line, error):
    begin = line_of("print(STEPS")
    with pytest.raises(ChapterError) as raised:
        chapters.run(changed("print(STEPS", f"1\n{line}\nprint(STEPS"))
    message = str(raised.value)
    assert message.startswith(f"tutorials/03_halves.md:{begin + 1}: the block that begins on line {begin} fails\n")
    assert error in message and line in message and "chapters.py" not in message


def test_a_chapter_that_hangs_is_stopped():
    with pytest.raises(ChapterError, match="still running after 1 s"):
        chapters.run(changed("print(STEPS", "import time\ntime.sleep(60)\nprint(STEPS"), timeout=1)


# What is wrong with a chapter

def test_nothing_is_wrong_with_the_chapter_as_it_stands(result, tmp_path):
    chapter = made_up()
    (tmp_path / "03_line.png").write_bytes(result.figures["03_line.png"])
    assert chapters.title_problems(chapter) == chapters.drift(chapter, result.outputs) == []
    assert chapters.figure_problems(chapter, result.figures, tmp_path) == []
    assert chapters.link_problems(chapter) == chapters.test_name_problems(chapter) == []


@pytest.mark.parametrize("before, after", [
    ("0.5 ½\n", "0.6 ½\n"), ("0.5 ½\n", ""), ("\n<!-- output -->\n```text\n0.5 ½\n```\n", ""),
    ("    return -ops", "    return  -ops"), ("    return -ops.softplus(fake_scores).mean()\n", "")])
def test_drift_of_outputs_and_excerpts_is_found_and_put_right(before, after, result):
    chapter = changed(before, after)
    [message] = chapters.drift(chapter, result.outputs)
    line = line_of(before) + (not after and before[0] == "\n")
    assert message.startswith(f"tutorials/03_halves.md:{line}: an output or an excerpt is out of date")
    assert chapters.refreshed(chapter, result.outputs) == MADE_UP


def test_an_output_of_nothing_is_dropped():
    assert "<!-- output -->" not in chapters.refreshed(made_up(), ["", ""])


@pytest.mark.parametrize("before, after, message", [
    ("figures/03_line.png", "figures/03_none.png", ["stands in no Python block", "made tutorials/figures/03_none.png",
                                                    "does not exist", "03_line.png is drawn and never shown"]),
    ("figures/03_line.png", "figures/04_line.png", ["a figure's name is 03_name.png", "in no Python block", "no Python",
                                                    "does not exist", "never shown"]),
    ("figures/03_line.png", "03_line.png", ["03_line.png is not in figures/"]),
    ("A line through two points, rising.", "A line", ["needs a sentence for those who cannot see it"]),
])
def test_a_figure_that_is_not_shown_as_it_should_be_is_found(before, after, message, result, tmp_path):
    (tmp_path / "03_line.png").write_bytes(result.figures["03_line.png"])
    found = chapters.figure_problems(changed(before, after), result.figures, tmp_path)
    assert len(found) == len(message) and all(part in text for part, text in zip(message, found)), found


def test_a_figure_that_is_missing_too_large_or_of_another_size_is_found(result, tmp_path):
    drawn = result.figures["03_line.png"]
    [message] = chapters.figure_problems(made_up(), result.figures, tmp_path)
    assert "does not exist: python tutorials/build.py 03" in message
    (tmp_path / "03_line.png").write_bytes(drawn + bytes(200_000))
    [message] = chapters.figure_problems(made_up(), result.figures, tmp_path)
    assert "200000" in message
    (tmp_path / "03_line.png").write_bytes(drawn[:16] + b"\0\0\x04\0" + drawn[20:])
    wide, other = chapters.figure_problems(made_up(), result.figures, tmp_path)
    assert "1024 pixels wide" in wide and "its block draws (200, 100)" in other


@pytest.mark.parametrize("before, after, message", [
    ("../minigan/objectives.py", "../minigan/objective.py", "leads nowhere"),
    ("#03--halves", "#halves", "no heading #halves"),
    ("tests/test_objectives.py", "tests/test_objective.py", "no test test_objective"),
    ("tests/test_objectives.py", "tests/test_objectives.py::test_that_is_not_there", "no test test_that_is_not_there"),
])
def test_a_link_or_a_test_that_is_not_there_is_found(before, after, message):
    chapter = changed(before, after)
    found = chapters.link_problems(chapter) + chapters.test_name_problems(chapter)
    assert found and message in found[0]
    assert all(text.startswith(f"tutorials/03_halves.md:{line_of(before)}: ") for text in found)


def test_a_test_is_looked_for_in_the_file_it_is_said_to_be_in():
    here = "test_a_test_is_looked_for_in_the_file_it_is_said_to_be_in"
    assert chapters.test_name_problems(changed("test_objectives.py", f"test_tutorials.py::{here}")) == []
    assert len(chapters.test_name_problems(changed("test_objectives.py", f"test_ops.py::{here}"))) == 1
    said = "`tests/test_objectives.py`"
    assert chapters.test_name_problems(changed(said, f"`{here}` in `tests/test_tutorials.py`")) == []
    assert len(chapters.test_name_problems(changed(said, f"`{here}`\nin `tests/test_ops.py`"))) == 1


# Excerpts

SOURCE = '''
COLOURS = ("red",
           "blue")


class Pair:
    """Two."""

    left: int = 0

    @property
    @cached
    def both(self):
        """Both
        of them."""

        # why
        return self


def lone():
    """Only said."""
'''


@pytest.mark.parametrize("name, docstring, expected", [
    ("COLOURS", True, 'COLOURS = ("red",\n           "blue")\n'),
    ("Pair.both", True, '@property\n@cached\ndef both(self):\n    """Both\n    of them."""\n\n    # why\n'
                        '    return self\n'),
    ("Pair.both", False, "@property\n@cached\ndef both(self):\n    # why\n    return self\n"),
    ("Pair", False, "class Pair:\n    left: int = 0\n\n    @property\n    @cached\n    def both(self):\n"
                    '        """Both\n        of them."""\n\n        # why\n        return self\n'),
    ("lone", False, "def lone():\n"),
])
def test_an_excerpt_is_the_definition_with_its_decorators_and_without_its_indentation(name, docstring, expected):
    assert chapters.definition(SOURCE, name, docstring) == expected


@pytest.mark.parametrize("after, message", [("minigan/objectives.py: Minimax.none", "has no definition Minimax.none"),
                                            ("minigan/none.py: Minimax", "there is no file minigan/none.py")])
def test_an_excerpt_of_what_is_not_there_is_named_with_its_line(after, message):
    chapter = changed("minigan/objectives.py: Minimax.generator_loss", after)
    with pytest.raises(ChapterError, match=f"^tutorials/03_halves.md:{line_of('```python from')}: .*{message}"):
        chapters.refreshed(chapter)


# The commands

@pytest.fixture
def clone(tmp_path, monkeypatch):
    """The folder of a clone with the made-up chapter, out of date in everything."""
    folder = tmp_path / "tutorials"
    folder.mkdir()
    stale = MADE_UP.replace("0.5 ½", "0.6 ½").replace("-ops", "+ops")
    (folder / "03_halves.md").write_text(stale, encoding="utf-8")
    for name in ("minigan", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr(chapters, "HERE", folder)
    monkeypatch.setattr(chapters, "ROOT", tmp_path)
    return tmp_path


def test_building_brings_a_chapter_up_to_date_and_checking_changes_nothing(clone, capsys):
    page, figure = clone / "tutorials/03_halves.md", clone / "tutorials/figures/03_line.png"
    stale = page.read_text(encoding="utf-8")
    assert build.main(["--check"]) == 1 and page.read_text(encoding="utf-8") == stale and not figure.exists()
    said = capsys.readouterr().out
    assert f"tutorials/03_halves.md:{line_of('0.5 ½')}: an output or an excerpt is out of date" in said

    assert build.main(["3"]) == 1 and page.read_text(encoding="utf-8") == MADE_UP and not figure.exists()
    said = capsys.readouterr().out
    assert "--full draws them" in said and "does not exist: python tutorials/build.py 03 --full" in said

    assert build.main(["3", "--full"]) == 0 and figure.exists() and page.read_text(encoding="utf-8") == MADE_UP
    assert build.main(["--check"]) == 0


def test_a_chapter_that_fails_does_not_stop_the_others(clone, capsys):
    good = MADE_UP.replace("03", "04").replace("  # full: 5", "")
    (clone / "tutorials/04_quarters.md").write_text(good, encoding="utf-8")
    bad = MADE_UP.replace("print(", "print(NONE, ")
    (clone / "tutorials/03_halves.md").write_text(bad, encoding="utf-8")
    assert build.main([]) == 1
    said = capsys.readouterr().out
    line = line_of("print(")
    assert f"tutorials/03_halves.md:{line}: the block that begins on line {line} fails" in said
    assert "NameError" in said
    assert "tutorials/04_quarters.md: 2 blocks" in said and (clone / "tutorials/figures/04_line.png").exists()
    with pytest.raises(SystemExit, match="2"):
        build.main(["7"])


def test_the_notebook_command_writes_the_same_file_every_time(clone, capsys):
    assert to_notebook.main(["3", "--out", str(clone), "--install", "git+https://example.org/minigan"]) == 0
    once = (clone / "03_halves.ipynb").read_bytes()
    assert to_notebook.main(["03", "--out", str(clone), "--install", "git+https://example.org/minigan"]) == 0
    assert (clone / "03_halves.ipynb").read_bytes() == once
    first = json.loads(once)["cells"][0]
    assert first["source"] == ['%pip install --quiet "git+https://example.org/minigan"']


# Notebooks

def check_notebook(made):
    """What the schema of nbformat 4.5 asks of a notebook like these, and no more than that."""
    assert made.keys() == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (made["nbformat"], made["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in made["cells"]]
    assert len(set(names)) == len(names) and all(re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name) for name in names)
    for cell in made["cells"]:
        more = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert cell.keys() == {"cell_type", "id", "metadata", "source"} | more
        assert cell["cell_type"] in ("code", "markdown") and cell["source"]
        assert all(line.endswith("\n") for line in cell["source"][:-1]) and not cell["source"][-1].endswith("\n")
        if more:
            assert cell["execution_count"] is None and cell["outputs"] == []


def code_of(made):
    return ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code"]


def test_a_figure_is_shown_after_the_block_that_draws_it_and_text_stays_text():
    made = to_notebook.notebook(made_up())
    check_notebook(made)
    install, draw, show, last = code_of(made)
    assert install == f'%pip install --quiet "{ROOT}"'
    assert [draw, last] == [part.text.rstrip("\n") for part in made_up().code]
    assert show == 'from IPython.display import Image\nImage(filename="tutorials/figures/03_line.png")'
    kinds = [cell["cell_type"] for cell in made["cells"]]
    assert kinds == ["code", "markdown", "code", "code", "markdown", "code", "markdown"]
    text = "".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "markdown")
    assert "A question." in text and "```python from" in text and "0.5 ½" not in text and "```sh" in text
    assert "03_line.png" not in text


def test_a_notebook_of_a_figure_that_no_block_names_is_refused():
    with pytest.raises(ChapterError, match="03_none.png"):
        to_notebook.notebook(changed("figures/03_line.png", "figures/03_none.png"))


ANSWER = """
<details>
<summary>Answer</summary>

See [02](02_gradients_of_gradients.md) and `[x](y)`.

```python
print(STEPS)
```

<!-- output -->
```text
2
```

</details>
"""


def test_an_answer_stays_folded_in_one_cell_with_its_output():
    """A <details> that closed in another cell would leave the answer open."""
    made = to_notebook.notebook(Chapter("03_halves.md", MADE_UP + ANSWER))
    check_notebook(made)
    [cell] = ["".join(cell["source"]) for cell in made["cells"] if "<details>" in "".join(cell["source"])]
    assert cell.count("</details>") == 1
    assert "```python\nprint(STEPS)" in cell and "```text\n2\n" in cell and "<!--" not in cell
    assert not any("print(STEPS)\n" in code for code in code_of(made))


@pytest.mark.parametrize("install, out, expected", [
    ("git+https://example.org/me/minigan.git@v1", ".", "https://example.org/me/minigan/blob/v1"),
    (str(ROOT), str(ROOT / "some" / "where"), "../.."), (str(ROOT), str(ROOT), ".")])
def test_links_lead_to_the_chapters_and_the_source_from_where_the_notebook_is(install, out, expected):
    base = to_notebook.base_of(install, out)
    made = json.dumps(to_notebook.notebook(Chapter("03_halves.md", MADE_UP + ANSWER), install, base))
    at = "" if expected == "." else expected + "/"
    assert f"[the source]({at}minigan/objectives.py)" in made and f"[02]({at}tutorials/02_" in made
    assert "[above](#03--halves)" in made and "`[x](y)`" in made


def test_a_notebook_installs_from_a_source_and_never_by_a_bare_name(clone, capsys):
    with pytest.raises(SystemExit, match="2"):
        to_notebook.main(["3", "--out", str(clone), "--install", "minigan"])
    assert "something else" in capsys.readouterr().err
    assert to_notebook.main(["3", "--out", str(clone)]) == 0
    first = json.loads((clone / "03_halves.ipynb").read_text(encoding="utf-8"))["cells"][0]
    assert first["source"] == [f'%pip install --quiet "{ROOT}"']


# The chapters

PATHS = chapters.find()


@pytest.fixture(scope="module", params=PATHS, ids=lambda path: path.stem)
def chapter(request):
    return Chapter(request.param)


@pytest.fixture(scope="module")
def compiled():
    """So that no chapter is the first to use the kernels."""
    native.functions(np.dtype("float32")), native.functions(np.dtype("float64"))


@pytest.fixture(scope="module")
def ran(chapter, compiled):
    """What happened when the chapter ran, from top to bottom, in a folder that is no clone."""
    return chapters.run(chapter, timeout=300)


def test_a_chapter_takes_at_most_15_seconds_of_a_processor(ran):
    assert ran.seconds < 15


def test_a_chapter_begins_with_its_number_and_title(chapter):
    assert chapters.title_problems(chapter) == []


def test_what_a_chapter_prints_and_quotes_is_so(chapter, ran):
    assert chapters.drift(chapter, ran.outputs) == []


def test_a_chapter_shows_the_figures_it_draws(chapter, ran):
    assert chapters.figure_problems(chapter, ran.figures) == []


def test_a_chapters_blocks_can_be_pasted_into_pythons_prompt(chapter):
    """Which reads line by line: a blank line ends a function or a loop, and one must."""
    for part in chapter.code:
        read, waiting = codeop.CommandCompiler(), []
        for number, line in enumerate([*part.text.splitlines(), ""], part.line):
            waiting.append(line)
            try:
                complete = read("\n".join(waiting), chapter.label, "single")
            except SyntaxError as error:
                pytest.fail(f"{chapter.label}:{number}: {error.msg}: {line!r}")
            if complete is not None:
                waiting = []
        assert not "".join(waiting).strip(), f"{chapter.label}:{part.line}: the last statement is not ended"


def test_no_block_shows_the_statistics_of_every_step_in_pythons_prompt(chapter):
    """Which prints the value of a statement, also inside a loop: `_ = trainer.step(…)` prints nothing."""
    bare = [node.value for part in chapter.code for node in ast.walk(ast.parse(part.text))
            if isinstance(node, ast.Expr)]
    assert not [call for call in bare if isinstance(call, ast.Call) and ast.unparse(call.func) == "trainer.step"]


def test_what_a_chapter_links_to_is_there(chapter):
    assert chapters.link_problems(chapter) == []


def test_the_tests_that_a_chapter_names_exist(chapter):
    assert chapters.test_name_problems(chapter) == []


def test_a_chapter_runs_as_a_notebook_too(chapter, ran, tmp_path, monkeypatch):
    """Its cells are the chapter's blocks, in order, so they run; and each file is shown once it is there."""
    made = to_notebook.notebook(chapter)
    check_notebook(made)
    install, *cells = code_of(made)
    assert install.startswith("%pip install ")
    shown = [cell for cell in cells if cell.startswith("from IPython.display import Image\n")]
    hidden = "".join(re.findall("(?s)<details>.*?</details>", chapter.text))  # answers, which stay text
    assert [cell for cell in cells if cell not in shown] == [part.text.strip("\n") for part in chapter.code
                                                             if part.text not in hidden]
    assert len(shown) == len(chapter.shown())
    displayed = types.ModuleType("IPython.display")
    displayed.Image = lambda filename: (tmp_path / Path(filename).name).read_bytes()
    monkeypatch.setitem(sys.modules, "IPython", types.ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", displayed)
    for cell in cells:
        if cell in shown:
            exec(cell, {})
        else:  # what this block has drawn, by name
            for name, content in ran.figures.items():
                if name in cell:
                    (tmp_path / name).write_bytes(content)


def test_every_figure_is_shown_by_a_chapter_or_by_the_readme():
    pages = "".join(path.read_text(encoding="utf-8") for path in [*PATHS, ROOT / "README.md"])
    assert [path.name for path in (ROOT / "tutorials/figures").glob("*") if f"figures/{path.name}" not in pages] == []
