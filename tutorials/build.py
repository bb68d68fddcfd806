"""python tutorials/build.py [NN …]: run chapters, and bring their outputs, excerpts and figures up to date in place.

A chapter runs with its step counts as they stand, which is what the outputs come from. Its figures come from there too,
unless it has a line `STEPS = 300  # full: 6000`: then they are drawn with --full, which runs it once more.
"""

import argparse
import sys
import time

import chapters
from chapters import Chapter, ChapterError


def build(chapter, full=False):
    """Run a chapter, write it anew and write its figures. Returns (what is done, as one line, and what is wrong with it
    still, as messages)."""
    chapters.refreshed(chapter)  # finds a wrong name in an excerpt before the chapter runs
    result = chapters.run(chapter)
    fresh = chapters.refreshed(chapter, result.outputs)
    done = [f"{chapter.label}: {len(chapter.code)} blocks, {result.seconds:.1f} s"]
    if fresh != chapter.text:
        chapter.path.write_text(fresh, encoding="utf-8")
        chapter = Chapter(chapter.path)
        done.append("outputs and excerpts refreshed")
    figures = result.figures
    if full and chapter.has_full_counts:
        began = time.perf_counter()
        figures = chapters.run(chapter, full=True).figures
        done.append(f"with the full step counts {time.perf_counter() - began:.0f} s by the clock")
    if chapter.has_full_counts and not full:
        done.append("figures left alone: --full draws them")
    else:
        folder = chapters.ROOT / chapters.FIGURES
        folder.mkdir(exist_ok=True)
        for name, content in figures.items():
            (folder / name).write_bytes(content)
        done.append(f"drawn: {' '.join(figures) or 'nothing'}")
    return ", ".join(done), chapters.problems(chapter, result)


def check(chapter):
    """The same, and nothing is written."""
    result = chapters.run(chapter)
    return (f"{chapter.label}: {len(chapter.code)} blocks, {result.seconds:.1f} s",
            chapters.problems(chapter, result))


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="tutorials/build.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("chapters", nargs="*", metavar="NN", help="numbers of chapters (default: all)")
    parser.add_argument("--check", action="store_true", help="change nothing, and fail if anything is out of date")
    parser.add_argument("--full", action="store_true", help="draw the figures with the full step counts")
    given = parser.parse_args(arguments)
    failed = False
    try:
        paths = chapters.find(given.chapters)
    except ChapterError as error:
        parser.error(str(error))
    for path in paths:
        try:
            chapter = Chapter(path)
            done, wrong = check(chapter) if given.check else build(chapter, given.full)
            print("\n".join([done, *wrong]), flush=True)
        except ChapterError as error:
            print(error, flush=True)
            wrong = [error]
        failed |= bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
