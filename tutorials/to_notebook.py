"""python tutorials/to_notebook.py NN: make NN_name.ipynb, for Jupyter, out of a chapter.

Python blocks become cells that run, all else cells of text. Where the chapter shows a figure, a cell shows the file
that its block has just written. Printed outputs are left out, for the cells print them; answers stay folded, each in
one cell of text. The first cell installs minigan with pip, as hosted notebooks need, out of this clone or of what the
option --install names: the address of a repository, say, `git+https://…`, or the path of another clone. It never
installs by a bare name, which an index may have given to something else.
"""

import argparse
import json
import os
import posixpath
import re
import sys
from pathlib import Path

import chapters
from chapters import FIGURES, MARK, ROOT, Chapter, ChapterError

IMAGE = re.compile(r"!\[.*?\]\(figures/(\S+?)\)")
LINK = re.compile(r"\]\((?![a-z]+:|#)(\S+?)\)")
FOLD = re.compile(r"(</?details>)")


def notebook(chapter, install=ROOT, base="tutorials"):
    """The chapter as a notebook: what `json.dumps` makes an .ipynb of, format 4.5. `base` is where the chapters are, as
    seen from the notebook: links lead there."""
    cells = [("code", f'%pip install --quiet "{install}"')]
    waiting = []  # figures that are shown before their block: a cell can show them after it only
    done = 0      # Python blocks
    folded = False  # whether an answer is open
    inside = [hidden for hidden, part in zip(_folded(chapter), chapter.parts) if part.kind == "code"]
    unseen = {block for block, hidden in enumerate(inside) if hidden}  # which stay text
    for part in chapter.parts:
        if part.kind == "prose":
            for piece in FOLD.split(part.text.replace(MARK, "")):
                folded = piece == "<details>" or folded and piece != "</details>"
                texts = [piece] if folded else IMAGE.split(piece)  # text, name of a figure, text, …
                cells.append(("markdown", _linked(texts[0], base)))
                for name, text in zip(texts[1::2], texts[2::2]):
                    block = _drawn_by(chapter, name)
                    if block in unseen:
                        cells.append(("markdown", f"![{name}]({posixpath.join(base, 'figures', name)})"))
                    elif block < done:
                        cells.append(_show(name))
                    else:
                        waiting.append(name)
                    cells.append(("markdown", _linked(text, base)))
        elif part.kind == "code":
            if done in unseen:
                cells.append(("markdown", part.markdown))
            else:
                cells.append(("code", part.text))
                cells += [_show(name) for name in waiting if _drawn_by(chapter, name) == done]
                waiting = [name for name in waiting if _drawn_by(chapter, name) > done]
            done += 1
        elif part.kind != "output" or folded:
            cells.append(("markdown", part.markdown))
    return {"cells": [_cell(f"{chapter.number}-{i:03d}", kind, text) for i, (kind, text) in enumerate(_joined(cells))],
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}},
            "nbformat": 4, "nbformat_minor": 5}


def _folded(chapter):
    """Of each part whether it stands in an answer that is folded away."""
    inside, found = False, []
    for part in chapter.parts:
        if part.kind == "prose":
            for mark in FOLD.findall(part.text):
                inside = mark == "<details>"
        found.append(inside)
    return found


def _linked(text, base):
    """The text with its relative links leading to `base`; code and formulas are left alone."""
    def lead(match):
        target, sharp, anchor = match[1].partition("#")
        where = posixpath.join(base, target)
        if "://" not in base:
            where = posixpath.normpath(where)
        elif target.startswith("../"):
            where = posixpath.join(posixpath.dirname(base), target.removeprefix("../"))
        return f"]({where}{sharp}{anchor})"
    pieces = re.split(r"(`[^`]*`|\$[^$]*\$)", text)
    return "".join(LINK.sub(lead, piece) if i % 2 == 0 else piece for i, piece in enumerate(pieces))


def source(text):
    """A type for argparse: what pip may install from."""
    if re.match(r"(git\+)?[a-z]+://", text):
        return text
    if (Path(text) / "setup.cfg").is_file():
        return str(Path(text).resolve())
    raise argparse.ArgumentTypeError(f"expected git+https://… of a repository or the path of a clone, got {text!r}: "
                                     "what an index has under a name may be something else")


def base_of(install, out):
    """Where the chapters are, as seen from a notebook in the folder `out`."""
    if "://" not in install:
        return Path(os.path.relpath(Path(install, "tutorials"), out)).as_posix()
    address, at, branch = install.removeprefix("git+").partition("@")
    return f"{address.removesuffix('.git')}/blob/{branch or 'HEAD'}/tutorials"


def _drawn_by(chapter, name):
    block = chapters.drawing_block(chapter, name)
    if block is None:
        raise ChapterError(f"{chapter.label}: the name of its figure {name} stands in no Python block")
    return block


def _show(name):
    return "code", f"from IPython.display import Image\nImage(filename=\"{FIGURES.as_posix()}/{name}\")"


def _joined(cells):
    """Neighbouring texts as one cell, and none that is empty."""
    joined = []
    for kind, text in cells:
        if kind == "markdown" and joined and joined[-1][0] == "markdown":
            joined[-1] = kind, joined[-1][1] + text
        else:
            joined.append((kind, text))
    return [(kind, text.strip("\n")) for kind, text in joined if text.strip()]


def _cell(name, kind, text):
    cell = {"cell_type": kind, "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell if kind == "markdown" else cell | {"execution_count": None, "outputs": []}


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="tutorials/to_notebook.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("chapters", nargs="+", metavar="NN", help="numbers of chapters")
    parser.add_argument("--install", metavar="WHAT", type=source, default=str(ROOT), help="what the first cell gives "
                        "to `%%pip install`: git+https://… of a repository, or the path of a clone (default: this one)")
    parser.add_argument("--out", metavar="FOLDER", default=".", help="where the notebooks go (default: here)")
    given = parser.parse_args(arguments)
    try:
        for path in chapters.find(given.chapters):
            made = notebook(Chapter(path), given.install, base_of(given.install, given.out))
            made = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
            target = Path(given.out, path.with_suffix(".ipynb").name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(made, encoding="utf-8")
            print(target)
    except (ChapterError, OSError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
