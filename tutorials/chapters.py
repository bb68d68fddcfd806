"""What a chapter is: Markdown whose Python blocks run, in order, in one namespace, and whose other blocks are checked.

    ```python                                           is executed
    <!-- output --> and then ```text                    is what the Python block above it prints
    ```python from minigan/conv.py: conv2d              is that definition, from the source (`without docstring`)
    ```text, ```sh                                      are for the reader

A line `STEPS = 300  # full: 6000` of a Python block names a step count: the tests run 300, `build.py --full` 6000.
This file reads chapters, runs them and finds what is wrong in them; it never changes one. Standard library only.
"""

import ast
import contextlib
import io
import json
import linecache
import os
import re
import struct
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
PAGES = ["a_gan_of_your_own.md"]     # that are tested as chapters are, and have no number
ROOT = HERE.parent
FIGURES = Path("tutorials/figures")  # in the folder where a chapter runs, and in the clone
FULL = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*) = (?P<short>[0-9_.e]+)  # full: (?P<full>[0-9_.e]+)")
FROM = re.compile(r"python from (?P<file>\S+): (?P<name>[\w.]+)(?P<bare> without docstring)?")
MARK = "<!-- output -->"
MOST_BYTES, MOST_PIXELS = 200_000, 900  # of a figure, and of its width


class ChapterError(Exception):
    """A chapter cannot be read or run; the message says which line of which file, and why."""


class Part(NamedTuple):
    """A piece of a chapter. Its lines, one after the other, are the chapter's Markdown."""
    kind: str   # prose, code, output, excerpt or other
    line: int   # of the Markdown, from 1: of the first line of `text`
    text: str   # prose, or what stands between the fences
    fences: tuple = ("", "")

    @property
    def markdown(self):
        return self.fences[0] + self.text + self.fences[1]


class Run(NamedTuple):
    """What happened when a chapter ran."""
    outputs: list   # what each Python block printed
    figures: dict   # {file name: bytes} of what it left in tutorials/figures
    seconds: float  # of processor time


class Chapter:
    """A chapter, read: `parts` of it, of which `code` are the Python blocks. `number` is "03", or the name of a page
    without one; `label` names it in messages."""

    def __init__(self, path, text=None):
        self.path = Path(path)
        self.number = number_of(self.path)
        self.label = f"tutorials/{self.path.name}"
        self.text = self.path.read_text(encoding="utf-8") if text is None else text
        self.parts = list(self._parts())
        self.code = [part for part in self.parts if part.kind == "code"]
        self.has_full_counts = any(FULL.search(part.text) for part in self.code)

    def error(self, line, message):
        return ChapterError(f"{self.label}:{line}: {message}")

    def _parts(self):
        lines = self.text.splitlines(keepends=True)
        i = begin = 0
        after_code = False  # whether nothing but the mark and white space came since a Python block
        while i < len(lines):
            if lines[i].lstrip().startswith(("```", "~~~")) and not lines[i].startswith("```"):
                raise self.error(i + 1, "a block begins with ``` at the start of a line")
            if not lines[i].startswith("```"):
                i += 1
                continue
            prose, info = "".join(lines[begin:i]), lines[i][3:].strip()
            marked = prose.rstrip().endswith(MARK)
            if marked and not (after_code and info == "text" and prose.strip() == MARK):
                raise self.error(i + 1, f"{MARK} stands between a Python block and the text block with its output")
            if prose:
                yield Part("prose", begin + 1, prose)
            end = next((k for k in range(i + 1, len(lines)) if lines[k].rstrip() == "```"), None)
            if end is None:
                raise self.error(i + 1, "this block has no end: a line of nothing but ```")
            kind = "output" if marked else self._kind(info, i + 1)
            part = Part(kind, i + 2, "".join(lines[i + 1:end]), (lines[i], lines[end]))
            if kind == "code":
                self._check_counts(part)
            yield part
            after_code = kind == "code"
            i = begin = end + 1
        if begin < len(lines):
            yield Part("prose", begin + 1, "".join(lines[begin:]))

    def _kind(self, info, line):
        if info == "python":
            return "code"
        if FROM.fullmatch(info):
            return "excerpt"
        if info in ("text", "sh"):
            return "other"
        raise self.error(line, f"unknown kind of block ```{info}: expected python, python from FILE: NAME, text or sh")

    def _check_counts(self, part):
        for i, line in enumerate(part.text.splitlines()):
            if "# full" in line and not FULL.fullmatch(line):
                raise self.error(part.line + i, "a step count is written `STEPS = 300  # full: 6000`, in capitals, at "
                                 "the top level of the block")

    def prose(self):
        """(line, text) of each line outside of blocks."""
        return [(part.line + i, line) for part in self.parts if part.kind == "prose"
                for i, line in enumerate(part.text.splitlines())]

    def shown(self):
        """[(line, alternative text, target)] of the images."""
        return [(line, *image) for line, text in self.prose() for image in re.findall(r"!\[(.*?)\]\((\S+?)\)", text)]


def number_of(path):
    return path.name[:2] if path.name[:2].isdigit() else path.stem


def find(numbers=()):
    """The paths of all chapters and pages, or of those with the numbers or names given ("3" and "03" are the same)."""
    paths = sorted(HERE.glob("[0-9][0-9]_*.md")) + [HERE / name for name in PAGES if (HERE / name).exists()]
    wanted = [number.zfill(2) for number in numbers]
    for number in wanted:
        if number not in map(number_of, paths):
            raise ChapterError(f"there is no chapter {number} in {HERE}")
    return [path for path in paths if not wanted or number_of(path) in wanted]


# Running

def run(chapter, full=False, timeout=None):
    """Run the Python blocks in a process of their own, in an empty folder. ChapterError, with the traceback in lines of
    the Markdown, if one fails."""
    blocks = [(part.line, with_full_counts(part.text) if full else part.text) for part in chapter.code]
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"MPLBACKEND": "Agg"} | ({} if full else {"OPENBLAS_NUM_THREADS": "1"})
        try:
            end = subprocess.run([sys.executable, "-W", "error", str(Path(__file__).resolve())], cwd=folder,
                                 input=json.dumps([chapter.label, chapter.text, blocks]), encoding="utf-8",
                                 capture_output=True, env=environment, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ChapterError(f"{chapter.label}: still running after {timeout} s") from None
        if end.returncode:
            raise ChapterError(end.stderr.strip() or f"{chapter.label}: Python ended with status {end.returncode}")
        result = json.loads(end.stdout.splitlines()[-1])
        figures = {path.name: path.read_bytes() for path in sorted(Path(folder, FIGURES).glob("*.*"))}
    return Run(result["outputs"], figures, result["seconds"])


def with_full_counts(code):
    """The block with its named step counts at their full values."""
    return FULL.sub(r"\g<name> = \g<full>  # full: \g<full>", code)


def run_here(label, text, blocks):
    """In the process that `run` starts: execute the blocks and print what they printed, as JSON."""
    sys.path[0] = ""  # the folder where it runs, as in Python's shell
    linecache.cache[label] = (len(text), None, text.splitlines(keepends=True), label)  # for tracebacks
    names, outputs = {"__name__": "__main__"}, []
    for line, code in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                exec(compile("\n" * (line - 1) + code, label, "exec"), names)  # the line numbers of the Markdown
            except (Exception, SystemExit) as error:
                here = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == label]
                print(f"{label}:{here[-1] if here else getattr(error, 'lineno', line)}: the block that begins on line "
                      f"{line} fails", file=sys.stderr)
                traceback.print_exception(type(error), error, error.__traceback__.tb_next)
                sys.exit(1)
        outputs.append(printed.getvalue())
    print("\n" + json.dumps({"outputs": outputs, "seconds": sum(os.times()[:4])}))


# What the blocks that do not run should be

def refreshed(chapter, outputs=None):
    """The chapter's Markdown with each excerpt as it is in the source and, if the `outputs` of its Python blocks are
    given, with these: an output block is added where something is printed, and dropped where nothing is."""
    markdown, block, parts = [], -1, chapter.parts
    for i, part in enumerate(parts):
        if part.kind == "excerpt":
            part = part._replace(text=excerpt(chapter, part))
        if part.kind == "output":
            part = part._replace(text=_lines(outputs[block]) if outputs else part.text)
            if outputs and not part.text:
                markdown.pop()  # the mark
                continue
        markdown.append(part.markdown)
        if part.kind == "code":
            block += 1
            has_output = [p.kind for p in parts[i + 1:i + 3]] == ["prose", "output"]
            if outputs and outputs[block] and not has_output:
                markdown.append(f"\n{MARK}\n```text\n{_lines(outputs[block])}```\n")
    return "".join(markdown)


def _lines(text):
    return text if text.endswith("\n") or not text else text + "\n"


def excerpt(chapter, part):
    """The definition that an excerpt names, out of the source: with its decorators, and without its indentation."""
    named = FROM.fullmatch(part.fences[0][3:].strip())
    path = ROOT / named["file"]
    if not path.is_file():
        raise chapter.error(part.line - 1, f"there is no file {named['file']}")
    source = path.read_text(encoding="utf-8")
    try:
        return definition(source, named["name"], not named["bare"])
    except LookupError:
        raise chapter.error(part.line - 1, f"{named['file']} has no definition {named['name']}") from None


def definition(source, name, docstring=True):
    """The text of a class, function, method ("Class.method") or top-level name in `source`, dedented. LookupError if
    there is none."""
    node = ast.parse(source)
    for word in name.split("."):
        found = [child for child in getattr(node, "body", []) if _defines(child, word)]
        if not found:
            raise LookupError(name)
        node = found[0]
    begin = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
    kept = set(range(begin, node.end_lineno + 1))
    lines = source.splitlines()
    if not docstring and not isinstance(node, ast.Assign) and ast.get_docstring(node) is not None:
        last = node.body[0].end_lineno
        while last < node.end_lineno and not lines[last].strip():
            last += 1  # blank lines after it
        kept -= set(range(node.body[0].lineno, last + 1))
    return "".join(lines[i - 1][node.col_offset:] + "\n" for i in sorted(kept))


def _defines(node, name):
    targets = node.targets if isinstance(node, ast.Assign) else []
    return getattr(node, "name", None) == name or any(getattr(target, "id", None) == name for target in targets)


# What is wrong with a chapter: each function returns messages, [] where all is well

def title_problems(chapter):
    first = chapter.text.splitlines()[0] if chapter.text else ""
    numbered = f"{chapter.number} · " if chapter.number.isdigit() else ""
    if re.fullmatch(rf"# {numbered}\S.*", first):
        return []
    return [f"{chapter.label}:1: the first line is `# {chapter.number} · Title`"]


def drift(chapter, outputs):
    """Outputs and excerpts that are not as they should be."""
    found = chapter.text.splitlines()
    wanted = refreshed(chapter, outputs).splitlines()
    if found == wanted:
        return []
    line = next((i for i, pair in enumerate(zip(found, wanted)) if pair[0] != pair[1]), min(len(found), len(wanted)))
    return [f"{chapter.label}:{line + 1}: an output or an excerpt is out of date: it says "
            f"{'nothing' if line >= len(found) else repr(found[line])}, it should say "
            f"{'nothing' if line >= len(wanted) else repr(wanted[line])}: "
            f"python tutorials/build.py {chapter.number}"]


def figure_problems(chapter, made, folder=None):
    """Figures that are shown and not made, or made and not shown, missing in `folder` (the clone's), or not fit for a
    page. `made`: {file name: bytes}, of a run."""
    folder = folder or ROOT / FIGURES
    problems, again = [], f"python tutorials/build.py {chapter.number} --full"
    for line, alternative, target in chapter.shown():
        if not target.startswith("figures/"):
            problems.append(f"{chapter.label}:{line}: {target} is not in figures/")
            continue
        name = target.removeprefix("figures/")
        path = folder / name
        if not re.fullmatch(rf"{chapter.number}_\w+\.png", name):
            problems.append(f"{chapter.label}:{line}: a figure's name is {chapter.number}_name.png, not {name}")
        if len(alternative) < 10:
            problems.append(f"{chapter.label}:{line}: {name} needs a sentence for those who cannot see it, in [ ]")
        if drawing_block(chapter, name) is None:
            problems.append(f"{chapter.label}:{line}: the name {name} stands in no Python block")
        if name not in made:
            problems.append(f"{chapter.label}:{line}: no Python block made {FIGURES / name}")
        if not path.exists():
            problems.append(f"{chapter.label}:{line}: {FIGURES / name} does not exist: {again}")
            continue
        if path.stat().st_size > MOST_BYTES or _size(path.read_bytes())[0] > MOST_PIXELS:
            problems.append(f"{chapter.label}:{line}: {name} has {path.stat().st_size} bytes and is "
                            f"{_size(path.read_bytes())[0]} pixels wide, more than {MOST_BYTES} or {MOST_PIXELS}")
        if name in made and _size(made[name]) != _size(path.read_bytes()):
            problems.append(f"{chapter.label}:{line}: {name} is {_size(path.read_bytes())} pixels, its block draws "
                            f"{_size(made[name])}: {again}")
    shown = {target.removeprefix("figures/") for _, _, target in chapter.shown()}
    return problems + [f"{chapter.label}: {name} is drawn and never shown" for name in made if name not in shown]


def drawing_block(chapter, name):
    """The index among the Python blocks of the first that names this figure, None if none does."""
    return next((i for i, part in enumerate(chapter.code) if name in part.text), None)


def _size(png):
    """(width, height) out of a PNG file's header."""
    return struct.unpack(">II", png[16:24]) if png.startswith(b"\x89PNG\r\n\x1a\n") else (0, 0)


def link_problems(chapter):
    """Links to files that are not there, and to headings that are not there."""
    problems = []
    for line, text in chapter.prose():
        for target in re.findall(r"(?<!!)\[[^\]]*\]\((\S+?)\)", re.sub(r"`[^`]*`|\$[^$]*\$", "", text)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            path = chapter.path.parent / name
            if not path.exists():
                problems.append(f"{chapter.label}:{line}: the link to {target} leads nowhere")
            elif anchor and (path.suffix == ".md" or not name) and anchor not in anchors(
                    path.read_text(encoding="utf-8") if name else chapter.text):
                problems.append(f"{chapter.label}:{line}: {name or 'this chapter'} has no heading #{anchor}")
    return problems


def anchors(markdown):
    """The names under which GitHub links to the headings of a page."""
    headings = re.findall(r"^#+ (.*?)\s*$", re.sub(r"^```.*?^```", "", markdown, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_name_problems(chapter):
    """Tests that a chapter names and that are not there: `tests/test_x.py`, `test_name`, `tests/test_x.py::test_name`,
    and `test_name` in `tests/test_x.py`."""
    files = {path.stem: set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M))
             for path in (ROOT / "tests").glob("test_*.py")}
    known = set(files).union(*files.values())
    problems = []
    for line, text in _lines_but_code(chapter):
        for name in re.findall(r"(?<!\w)test_\w+", text):
            if name not in known:
                problems.append(f"{chapter.label}:{line}: there is no test {name}")
        for file, name in re.findall(r"tests/(\w+)\.py::(\w+)", text):
            if name not in files.get(file, ()):
                problems.append(f"{chapter.label}:{line}: tests/{file}.py has no {name}")
    for part in chapter.parts:
        for found in re.finditer(r"`(test_\w+)`\s+in\s+`tests/(\w+)\.py`", part.text if part.kind == "prose" else ""):
            if found[1] not in files.get(found[2], ()):
                line = part.line + part.text[:found.start()].count("\n")
                problems.append(f"{chapter.label}:{line}: tests/{found[2]}.py has no {found[1]}")
    return problems


def _lines_but_code(chapter):
    return [(part.line + i, line) for part in chapter.parts if part.kind in ("prose", "other")
            for i, line in enumerate(part.text.splitlines())]


def problems(chapter, result):
    """All that is wrong with a chapter, given its `run`."""
    return [*title_problems(chapter), *drift(chapter, result.outputs), *figure_problems(chapter, result.figures),
            *link_problems(chapter), *test_name_problems(chapter)]


if __name__ == "__main__":
    run_here(*json.load(sys.stdin))
