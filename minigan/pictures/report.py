"""The page a run is looked at on: one file that needs nothing beside it.

Training writes RUN/report.html at each snapshot; several runs are set side by side on one page.
Pictures are data: URIs, curves are SVG. The page loads nothing and runs no script but report.js:
its Content-Security-Policy forbids both. Whatever is from elsewhere, names and paths too, comes
into it through `escape` or `for_script`.
"""

import base64
import hashlib
from html import escape
from pathlib import Path
from typing import NamedTuple

from minigan import __version__
from minigan.data import disk
from minigan.pictures import curves, film, tables
from minigan.pictures.markup import columns, short
from minigan.runs import run_folder
from minigan.runs.statistics import read_stats

FRAMES, FRAMES_IN_TRAINING = 60, 12  # the most snapshots on a page
STYLE, SCRIPT = (Path(__file__).with_name(name).read_text(encoding="utf-8")
                 for name in ("report.css", "report.js"))


def write(folder, frames=FRAMES, lines=None):
    """report.html in the folder of a run, with at most so many of its snapshots. It is whole at
    every moment. `lines` are the records of its stats.jsonl, where they have been read already."""
    save(Path(folder) / "report.html", page(folder, frames, lines))


def save(path, content, to=disk.whole):
    with to(path) as file:
        file.write(content.encode("utf-8", "replace"))  # a path may hold what is no text


class Run(NamedTuple):
    """What a run's folder says."""
    folder: Path
    name: str
    record: dict   # options.json
    options: dict  # in it
    lines: list    # of stats.jsonl, in the order of their steps
    step: int      # the newest one that a line or a picture is of
    metrics: dict  # metrics.json, empty without it; None if it cannot be read


def _read(folder, name=None, lines=None):
    folder, record = Path(folder), run_folder.read_options(folder)
    lines = read_stats(folder) if lines is None else lines
    lines = sorted((line for line in lines if 0 <= line["step"] < 1e15),
                   key=lambda line: line["step"])
    steps = [line["step"] for line in lines[-1:]]
    steps += [int(path.stem) for path in run_folder.snapshots(folder)[-1:]]
    return Run(folder, name or folder.resolve().name, record, record["options"], lines,
               max(steps, default=0), tables.read_metrics(folder / "metrics.json"))


def page(folder, frames=FRAMES, lines=None):
    """The text of the page of one run, as far as it goes. RunError if the folder is not a run's."""
    run = _read(folder, lines=lines)
    goal, source = run.options.get("steps"), run.options.get("data")
    lead = f"{short(_trained(run))} on {short(source)}: step {run.step} of {short(goal)}."
    if run.step != goal:
        lead += " While it trains, load this page again to see more."
    return _document(run.name, lead, {
        "Samples": film.samples(run, frames),
        "From noise to noise": film.ways(run),
        "What only this model shows": film.exhibits(run),
        "Curves": curves.charts([run]),
        "Measures": columns(tables.measures([run]), film.picture_of_evaluation(run)),
        "Options and versions": tables.options(run)})


def _trained(run):
    """The objective of a `gan`, the name of any other model."""
    return run.options.get("objective") or run.options.get("model")


def comparison(folders):
    """The text of one page with several runs side by side: each curve of all of them in one frame.
    """
    names = [folder.resolve().name for folder in folders]
    runs = [_read(folder, name if names.count(name) == 1 else str(folder))
            for folder, name in zip(folders, names)]
    charts = curves.charts(runs)
    if charts and len({str(_trained(run)) for run in runs}) > 1:
        charts = ("<p>The losses of different models and objectives are different quantities: "
                  f"compare how they run, not how high.</p>{charts}")
    return _document(f"{len(runs)} runs side by side", ", ".join(run.name for run in runs) + ".", {
        "Last samples": columns(*(film.last_samples(run) for run in runs)),
        "Curves": charts,
        "Measures": tables.measures(runs),
        "Options and versions that differ": tables.differences(runs)})


def _document(title, lead, sections):
    """The whole file; of the sections {heading: HTML} those that hold something."""
    body = "\n".join(f"<section>\n<h2>{heading}</h2>\n{content}\n</section>"
                     for heading, content in sections.items() if content)
    script = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
style-src 'unsafe-inline'; script-src 'sha256-{script}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="minigan {__version__}">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p>{escape(lead)}</p>
</header>
<main>
{body or "<p>There is nothing to see yet.</p>"}
</main>
<footer>Pictures marked <em>generated</em> were made by a network and show nothing that exists. \
minigan {__version__}</footer>
<script>{SCRIPT}</script>
</body>
</html>
"""
