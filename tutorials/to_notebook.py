"""python tutorials/to_notebook.py NN: make NN_name.ipynb, for Jupyter, out of a chapter.

Python blocks become cells that run, all else cells of text. Where the chapter shows a figure, a cell shows the file
that its block has just written. The first cell installs minigan with pip, as hosted notebooks need; what it installs is
the option --install: the address of a repository, say, `git+https://…`, or the path of a clone.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import chapters
from chapters import FIGURES, Chapter, ChapterError

IMAGE = re.compile(r"!\[.*?\]\(figures/(\S+?)\)")


def notebook(chapter, install="minigan"):
    """The chapter as a notebook: what `json.dumps` makes an .ipynb of, format 4.5."""
    cells = [("code", f"%pip install --quiet {install}")]
    waiting = []  # figures that are shown before their block: a cell can show them after it only
    done = 0      # Python blocks
    for part in chapter.parts:
        if part.kind == "prose":
            texts = IMAGE.split(part.text)  # text, name of a figure, text, …
            cells.append(("markdown", texts[0]))
            for name, text in zip(texts[1::2], texts[2::2]):
                if _drawn_by(chapter, name) < done:
                    cells.append(_show(name))
                else:
                    waiting.append(name)
                cells.append(("markdown", text))
        elif part.kind == "code":
            cells.append(("code", part.text))
            cells += [_show(name) for name in waiting if _drawn_by(chapter, name) == done]
            waiting = [name for name in waiting if _drawn_by(chapter, name) > done]
            done += 1
        else:
            cells.append(("markdown", part.markdown))
    return {"cells": [_cell(f"{chapter.number}-{i:03d}", kind, text) for i, (kind, text) in enumerate(_joined(cells))],
            "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                         "language_info": {"name": "python"}},
            "nbformat": 4, "nbformat_minor": 5}


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
    parser.add_argument("--install", metavar="WHAT", default="minigan", help="what the first cell gives to `%%pip "
                        "install`: git+https://… of a repository, a path, a name (default: minigan)")
    parser.add_argument("--out", metavar="FOLDER", default=".", help="where the notebooks go (default: here)")
    given = parser.parse_args(arguments)
    try:
        for path in chapters.find(given.chapters):
            made = json.dumps(notebook(Chapter(path), given.install), indent=1, ensure_ascii=False) + "\n"
            target = Path(given.out, path.with_suffix(".ipynb").name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(made, encoding="utf-8")
            print(target)
    except (ChapterError, OSError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
