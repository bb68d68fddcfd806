"""The page a run is looked at on: python -m minigan.report. One file that needs nothing beside it.

Training writes RUN/report.html at each snapshot; several runs are set side by side on one page. Pictures are data:
URIs, curves are SVG. The page loads nothing and runs no script but the one below: its Content-Security-Policy forbids
both.
Whatever is from elsewhere, names and paths too, comes into it through `escape` or `_json`.
"""

import base64
import hashlib
import json
import sys
from html import escape
from itertools import cycle
from math import ceil, floor, log10
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minigan import __version__, experiment, plots
from minigan.commandline import USER_ERRORS, Parser, fail

PROG = "minigan.report"
FRAMES, FRAMES_IN_TRAINING = 60, 12  # the most snapshots on a page
FILM_BYTES = 4_000_000   # and together; with all else a page stays below 8 MB
FRAME = 120_000, 640     # a PNG of more bytes is reduced to this side in pixels: samples,
FIGURE = 600_000, 1000   # and figures with text
POINTS = 400             # on a curve


def parser():
    p = Parser(prog=PROG, description="Write RUN/report.html again, the page a run is looked at on; of several runs, "
               "one page with all side by side.")
    p.add_argument("runs", metavar="RUN", nargs="+", help="a run folder")
    p.add_argument("--out", metavar="FILE", help="(default: RUN/report.html; of several runs comparison.html)")
    return p


def main(arguments=None):
    given = parser().parse_args(arguments)
    folders = [Path(run) for run in dict.fromkeys(given.runs)]
    try:
        if len(folders) == 1:
            out, content = given.out or folders[0] / "report.html", page(folders[0])
        else:
            out, content = given.out or "comparison.html", comparison(folders)
        _save(out, content)
    except USER_ERRORS as error:
        return fail(PROG, error, 2)
    print(out)
    return 0


def write(folder, frames=FRAMES):
    """report.html in the folder of a run, with at most so many of its snapshots. It is whole at every moment."""
    _save(Path(folder) / "report.html", page(folder, frames))


def _save(path, content):
    experiment.write_whole(path, content.encode("utf-8", "replace"))  # a path may hold what is no text


# The two pages

class Run(NamedTuple):
    """What a run's folder says."""
    folder: Path
    name: str
    record: dict   # options.json
    options: dict  # in it
    lines: list    # of stats.jsonl, in the order of their steps
    step: int      # the newest one that a line or a picture is of
    metrics: dict  # metrics.json, empty without it; None if it cannot be read


def _read(folder, name=None):
    folder, record = Path(folder), experiment.read_options(folder)
    lines = sorted((line for line in experiment.read_stats(folder) if 0 <= line["step"] < 1e15),
                   key=lambda line: line["step"])
    steps = [line["step"] for line in lines[-1:]] + [int(path.stem) for path in experiment.snapshots(folder)[-1:]]
    return Run(folder, name or folder.resolve().name, record, record["options"], lines, max(steps, default=0),
               _read_metrics(folder / "metrics.json"))


def page(folder, frames=FRAMES):
    """The text of the page of one run: what there is so far. RunError if the folder is not a run's."""
    run = _read(folder)
    goal = run.options.get("steps")
    lead = f"{run.options.get('objective')} on {run.options.get('data')}: step {run.step} of {goal}."
    if run.step != goal:
        lead += " While it trains, load this page again to see more."
    return _document(run.name, lead, {
        "Samples": _samples(run, frames),
        "From noise to noise": _ways(run),
        "Curves": _charts([run]),
        "Measures": _columns(_measures([run]), _picture_of_evaluation(run)),
        "Options and versions": _options(run)})


def comparison(folders):
    """The text of one page with several runs side by side: each curve of all of them in one frame."""
    names = [folder.resolve().name for folder in folders]
    runs = [_read(folder, name if names.count(name) == 1 else str(folder)) for folder, name in zip(folders, names)]
    charts = _charts(runs)
    if charts and len({str(run.options.get("objective")) for run in runs}) > 1:
        charts = "<p>The losses of different objectives are different quantities: compare how they run, not how high." \
            f"</p>{charts}"
    return _document(f"{len(runs)} runs side by side", ", ".join(run.name for run in runs) + ".", {
        "Last samples": _columns(*(_last_samples(run) for run in runs)),
        "Curves": charts,
        "Measures": _measures(runs),
        "Options and versions that differ": _differences(runs)})


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


def _columns(*parts):
    return f'<div class="columns">{"".join(parts)}</div>' if any(parts) else ""


def _json(data):
    """Data for the script; no string in it can end the element."""
    text = json.dumps(data, allow_nan=False).replace("<", r"\u003c")
    return f'<script type="application/json">{text}</script>'


# Pictures

def _uri(path, most):
    """A PNG file as a data: URI, reduced if it is larger than `most` (bytes, side); None without a whole PNG."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or not content.endswith(b"IEND\xaeB`\x82"):
        return None  # it is being written
    kind, (limit, side) = "png", most
    if len(content) > limit:
        kind, content = "jpeg", plots.reduced(content, side)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}" if content else None


def _figure(uri, description, caption, generated=True, controls=""):
    """A picture with its mark, "" without one. The caption and the controls are HTML."""
    if not uri:
        return ""
    mark = '<span class="mark made">generated</span>' if generated else '<span class="mark">real</span>'
    return f"""<figure{' class="film"' if controls else ""}>
<figcaption>{mark} {caption}</figcaption>
<img src="{uri}" alt="{escape(description)}">
{controls}</figure>
"""


def _samples(run, frames):
    """The snapshots as a film, beside real samples."""
    film, real = _film(run.folder, frames), _uri(run.folder / "reals.png", FRAME)
    generated, controls = "", ""
    if len(film) > 1:
        last, total = len(film) - 1, len(experiment.snapshots(run.folder))
        some = "" if len(film) == total else f" {len(film)} of {total} snapshots are in this page."
        controls = f"""<div class="controls" hidden>
<button type="button">Play</button>
<input type="range" min="0" max="{last}" value="{last}" aria-label="Snapshot">
</div>
<p class="note">The same noise at every step.{some}</p>
{_json([{"step": step, "uri": uri if i < last else None} for i, (step, uri) in enumerate(film)])}
"""     # the last is in the page already
    if film:
        step, uri = film[-1]
        generated = _figure(uri, "Generated samples", f"step <output>{step}</output>", controls=controls)
    return _columns(generated, _figure(real, "Real samples", "from the training data", generated=False))


def _film(folder, most):
    """[(step, data: URI)] of the snapshots, at most `most`, evenly chosen, and not more bytes than FILM_BYTES."""
    chosen = ((int(path.stem), _uri(path, FRAME)) for path in _evenly(experiment.snapshots(folder), most))
    film = [(step, uri) for step, uri in chosen if uri]
    while len(film) > 1 and (share := FILM_BYTES / sum(len(uri) * 3 / 4 for _, uri in film)) < 1:
        film = _evenly(film, int(share * len(film)))
    return film


def _evenly(items, n):
    """At most n ≥ 1 of the items, the first and the last among them; of one, the last."""
    chosen = np.linspace(len(items) - 1, 0, max(1, min(n, len(items))))
    return [items[i] for i in sorted({round(i) for i in chosen})] if items else []


def _ways(run):
    return _figure(_uri(run.folder / "interpolation.png", FRAME), "Generated samples on ways between points of noise",
                   "each row leads from one of the first four samples to one of the next four")


def _last_samples(run):
    return "".join(_figure(uri, f"Generated samples of {run.name}", f"{escape(run.name)}, step {step}")
                   for step, uri in _film(run.folder, 1))


def _picture_of_evaluation(run):
    return _figure(_uri(run.folder / "evaluation.png", FIGURE), "Real beside generated samples, as they were evaluated",
                   "beside real, as they were measured")


# Curves

class Line(NamedTuple):
    label: str
    steps: list
    values: list  # None for what is no finite number


PENS = [f'stroke="{colour}" stroke-dasharray="{dashes}"' for dashes in ("none", "6 4", "2 4")
        for colour in plots.COLOURS]


def _charts(runs):
    """Of one run a chart for the losses, the scores, the gradients, and each evaluation; of several a chart for each
    quantity, with a line for each run."""
    evaluated = sorted({name for run in runs for line in run.lines for name in _evaluation(line)})
    if len(runs) == 1:
        [run] = runs
        loss = "wasserstein" if any("wasserstein" in line for line in run.lines) else "d_loss"
        charts = {"Losses": (loss, "g_loss"), "Mean scores": ("real_score", "fake_score"),
                  "Norms of the gradients": ("d_grad_norm", "g_grad_norm")}
        charts |= {_words(name): (name,) for name in evaluated}
        drawn = [_chart(title, [_line(_words(name) if len(names) > 1 else "", run.lines, name, names)
                                for name in names])
                 for title, names in charts.items()]
    else:
        names = "wasserstein d_loss g_loss real_score fake_score d_grad_norm g_grad_norm".split() + evaluated
        drawn = [_chart(_words(name), [_line(run.name, run.lines, name, [name]) for run in runs])
                 for name in names]
    return f'<div class="charts">{"".join(drawn)}</div>' if any(drawn) else ""


def _line(label, lines, name, together):
    """The values of `name`, at the same steps as those of the other names that are drawn `together`."""
    lines = _thin([line for line in lines if name in line or name in _evaluation(line)], together)
    return Line(label, [line["step"] for line in lines], [_value(line, name) for line in lines])


def _thin(lines, names):
    """Enough lines for a curve: of each stretch those with the least and the greatest value of each name."""
    if len(lines) <= POINTS:
        return lines
    kept = {0, len(lines) - 1}
    for stretch in np.array_split(np.arange(len(lines)), POINTS // (2 * len(names))):
        for name in names:
            found = [(value, int(i)) for i in stretch if (value := _value(lines[i], name)) is not None]
            kept |= {min(found)[1], max(found)[1]} if found else set()
    return [lines[i] for i in sorted(kept)]


def _evaluation(line):
    return found if isinstance(found := line.get("evaluation"), dict) else {}


def _value(line, name):
    return _number(line.get(name, _evaluation(line).get(name)))


def _number(value):
    """What can be drawn, or None."""
    return value if type(value) in (int, float) and abs(value) < 1e100 else None  # false for NaN too


def _words(name):
    return name.replace("_", " ")


def _text(number):
    return "–" if _number(number) is None else f"{number:.4g}".replace("-", "−")


def _chart(title, lines):
    """Lines in one frame, as SVG. Places are in per cent: the curves stretch with the page, the text does not."""
    drawn = [(line, pen) for line, pen in zip(lines, cycle(PENS)) if any(value is not None for value in line.values)]
    if not drawn:
        return ""
    last = max(step for line, _ in drawn for step in line.steps) or 1
    low, high = _widened([value for line, _ in drawn for value in line.values if value is not None])
    across, down = lambda step: 100 * step / last, lambda value: 100 * (high - value) / (high - low)
    axes = "".join(f'<line x2="100%" y1="{down(value):.2f}%" y2="{down(value):.2f}%"/><text dx="-8" '
                   f'y="{down(value):.2f}%" dy=".35em" text-anchor="end">{label}</text>\n'
                   for value, label in _ticks(low, high))
    axes += "".join(f'<text x="{across(step):.2f}%" y="100%" dy="1.5em" text-anchor="middle">{label}</text>\n'
                    for step, label in _ticks(0, last, least=1))
    curves, keys, story = "", "", title
    for line, pen in drawn:
        places = [(10 * across(step), 10 * down(value)) if value is not None else None
                  for step, value in zip(line.steps, line.values)]
        curves += f'<path {pen} d="{_path(places)}"/>\n'
        keys += (f'<span class="key"><svg width="22" height="10" aria-hidden="true"><line y1="5" x2="22" y2="5" '
                 f'{pen}/></svg>{escape(line.label)} <b>{_text(line.values[-1])}</b></span>\n')
        story += (f". {line.label or 'From'} {_text(line.values[0])} at step {line.steps[0]} to "
                  f"{_text(line.values[-1])} at step {line.steps[-1]}")
    return f"""<figure class="chart">
<figcaption><strong>{escape(title)}</strong> <output class="note">at the end</output>
<span class="keys">{keys}</span></figcaption>
<svg class="plot" role="img" tabindex="0" aria-label="{escape(story)}">
<rect width="100%" height="100%"/>
{axes}<text x="100%" y="100%" dy="2.9em" text-anchor="end">generator updates</text>
<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%">
{curves}</svg>
<line class="cursor" y2="100%" visibility="hidden"/>
</svg>
{_json({"last": last, "lines": [{"steps": line.steps, "values": line.values} for line, _ in drawn]})}
</figure>
"""


def _path(places):
    """Through all places in turn, with a gap at each None; a place alone is a dot."""
    pen_is_down, path = False, []
    for place in places:
        if place:
            x, y = (f"{number:.1f}" for number in place)
            path.append(f"L{x} {y}" if pen_is_down else f"M{x} {y}h0")
        pen_is_down = place is not None
    return "".join(path)


def _widened(values):
    """(least, greatest), with some room around them; never equal."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    room = 0.05 * (high - low) if high - low > 1e-6 * size else 0.1 * size or 1.0
    return low - room, high + room


def _ticks(low, high, most=5, least=0.0):
    """[(number, text)] of the round numbers from low to high: 1, 2 or 5 times a power of ten apart."""
    room = (high - low) / most
    power = 10.0 ** floor(log10(room))
    step = max(least, next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * room))
    decimals = max(0, -floor(log10(step) + 1e-9))
    ticks = [k * step for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]
    largest = max(-low, high)
    form = f",.{decimals}f" if decimals < 5 and largest < 1e7 else f".{1 + max(0, ceil(log10(largest / step)))}g"
    return [(tick, f"{tick:{form}}".replace("-", "−")) for tick in ticks]


# Tables

def _table(caption, heads, rows):
    """Rows of text, the first cell of each its head."""
    line = lambda tag, cells: "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells)
    head = f"<thead><tr>{line('th', heads)}</tr></thead>" if heads else ""
    body = "\n".join(f'<tr><th scope="row">{escape(str(first))}</th>{line("td", cells)}</tr>' for first, *cells in rows)
    return (f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>\n'
            f"<caption>{escape(caption)}</caption>{head}<tbody>\n{body}\n</tbody></table></div>\n") if rows else ""


def _cell(value):
    return value if isinstance(value, str) else "–" if value is None else json.dumps(value, ensure_ascii=False)


def _read_metrics(path):
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for row in record["metrics"].values():
            row.keys()
        return record if {"n", "step", "against"} <= record.keys() else None
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _measures(runs):
    """A table of what `evaluate` found: a row for each measure, a column for each run."""
    unread = "".join(f"<p>{escape(str(run.folder / 'metrics.json'))} cannot be read.</p>\n"
                     for run in runs if run.metrics is None)
    found = [run.metrics or {"metrics": {}} for run in runs]
    names = dict.fromkeys(name for record in found for name in record["metrics"])
    if not names:
        return unread
    about = [f"{_cell(record['n'])} samples after step {_cell(record['step'])} beside {_cell(record['against'])} data"
             if record["metrics"] else "not measured" for record in found]
    rows = [[_words(name), *(_measure(record["metrics"].get(name, {})) for record in found)] for name in names]
    if len(runs) > 1:
        return unread + _table("Value ± standard error", ["", *(run.name for run in runs)], [["of", *about], *rows])
    for row, numbers in zip(rows, found[0]["metrics"].values()):
        row.append(_text(numbers.get("training_data")))
    return unread + _table(about[0], ["", "value ± standard error", "training data in their place"], rows)


def _measure(row):
    value, error = row.get("value"), row.get("standard_error")
    return _text(value) + (f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{error:.2g}" if _number(error) is not None else "")


def _options(run):
    options, *others = (
        _table(caption, [], [(name, _cell(value)) for name, value in rows.items()]) if isinstance(rows, dict) else ""
        for caption, rows in (("Options", run.options), ("Versions", run.record.get("versions")),
                              ("Data", run.record.get("data"))))
    return _columns(options, f'<div class="stack">{"".join(others)}</div>')


def _differences(runs):
    known = [{**(run.record["versions"] if isinstance(run.record.get("versions"), dict) else {}), **run.options}
             for run in runs]
    rows = [[name, *(_cell(values.get(name)) for values in known)]
            for name in dict.fromkeys(name for values in reversed(known) for name in values)]
    return _table("What all have alike is left out", ["", *(run.name for run in runs)],
                  [row for row in rows if len(set(row[1:])) > 1])


STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2024; --soft: #586069; --line: #d5dae0; --panel: #f5f7f9;
  --mark: #0072B2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14171a; --ink: #e4e7ea; --soft: #9da7b1; --line: #363d45; --panel: #1d2126; --mark: #5db5e8; }
  .plot path, .key line { filter: brightness(1.3); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 2.5rem 0 1rem; font-size: 1.2rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
header p, footer, .note, caption { color: var(--soft); }
header p { margin: .3rem 0 0; }
footer { margin-top: 3rem; font-size: .875rem; }
figure { margin: 0; min-width: 0; }
figcaption { margin-bottom: .5rem; font-size: .9375rem; }
img { display: block; width: 100%; max-width: 40rem; background: #fff; border-radius: 4px; }
.columns, .charts { display: grid; gap: 2rem; align-items: start; }
.columns { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); }
.charts { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); row-gap: .25rem; }
.chart { display: grid; grid-row: span 2; grid-template-rows: subgrid; }
.stack { display: grid; gap: 2rem; min-width: 0; }
.mark { border: 1px solid currentColor; border-radius: 1em; padding: 0 .6em; font-size: .8125rem; color: var(--soft); }
.made, footer em { color: var(--mark); }
.note { margin: .5rem 0 0; font-size: .875rem; }
output, .key b, td { font-variant-numeric: tabular-nums; }
.controls:not([hidden]) { display: flex; gap: .75rem; margin-top: .75rem; align-items: center; max-width: 40rem; }
button { font: inherit; min-width: 5.5rem; min-height: 2.75rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--panel); color: var(--ink); cursor: pointer; }
input { flex: 1; min-width: 0; height: 2.75rem; accent-color: var(--mark); }
:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
.keys { display: flex; flex-wrap: wrap; gap: 0 1.25rem; font-size: .875rem; }
.key svg { margin-right: .4rem; vertical-align: middle; }
svg { fill: none; stroke-width: 2; stroke-linecap: round; stroke-linejoin: round; }
.plot { display: block; width: calc(100% - 4.25rem); height: 13rem; margin: .5rem 1rem 3.5rem 3.25rem;
  overflow: visible; touch-action: pan-y; }
.plot rect { fill: var(--panel); }
.plot > line { stroke: var(--line); stroke-width: 1; }
.plot .cursor { stroke: var(--soft); }
.plot text { fill: var(--soft); font-size: .8125rem; }
.plot path { vector-effect: non-scaling-stroke; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; min-width: min(100%, 24rem); font-size: .9375rem; }
caption { text-align: left; padding-bottom: .4rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem 1rem .3rem 0; border-top: 1px solid var(--line);
  font-weight: normal; }
th[scope] { color: var(--soft); white-space: nowrap; }
th { overflow-wrap: normal; }
"""

SCRIPT = """
"use strict";
const dataOf = figure => JSON.parse(figure.querySelector("script").textContent);

for (const film of document.querySelectorAll(".film")) {
  const [picture, range, play, step] = ["img", "input", "button", "output"].map(name => film.querySelector(name));
  const frames = dataOf(film), last = frames.length - 1;
  frames[last].uri = picture.src;
  let timer = null;
  const show = i => {
    range.value = i;
    picture.src = frames[i].uri;
    step.textContent = frames[i].step;
    range.setAttribute("aria-valuetext", "step " + frames[i].step);
  };
  const stop = () => { clearInterval(timer); timer = null; play.textContent = "Play"; };
  play.onclick = () => {
    if (timer) return stop();
    if (+range.value === last) show(0);
    play.textContent = "Pause";
    timer = setInterval(() => { show(+range.value + 1); if (+range.value === last) stop(); },
                        Math.max(120, Math.min(600, 7000 / last)));
  };
  range.oninput = () => { stop(); show(+range.value); };
  range.setAttribute("aria-valuetext", "step " + frames[last].step);
  film.querySelector(".controls").hidden = false;
}

for (const chart of document.querySelectorAll(".chart")) {
  const plot = chart.querySelector(".plot"), cursor = chart.querySelector(".cursor");
  const label = chart.querySelector("output"), values = chart.querySelectorAll(".key b");
  const {last, lines} = dataOf(chart);
  const steps = [...new Set(lines.flatMap(line => line.steps))].sort((a, b) => a - b);
  const text = value => value == null ? "–" : String(+value.toPrecision(4)).replace("-", "−");
  let at = steps.length - 1;
  const show = (i, visible) => {
    at = Math.max(0, Math.min(steps.length - 1, i));
    const x = 100 * steps[at] / last + "%";
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", visible ? "visible" : "hidden");
    label.textContent = "step " + steps[at];
    lines.forEach((line, k) => {  // the newest number that there was then
      const ended = steps[at] > line.steps[line.steps.length - 1];
      const newest = line.steps.filter(step => step <= steps[at]).length - 1;
      values[k].textContent = text(ended ? null : line.values[newest]);
    });
  };
  const leave = () => {
    cursor.setAttribute("visibility", "hidden");
    label.textContent = "at the end";
    lines.forEach((line, k) => values[k].textContent = text(line.values[line.values.length - 1]));
  };
  plot.onpointermove = event => {
    const box = plot.getBoundingClientRect(), step = last * (event.clientX - box.left) / box.width;
    show(steps.reduce((best, s, i) => Math.abs(s - step) < Math.abs(steps[best] - step) ? i : best, 0), true);
  };
  plot.onpointerleave = plot.onblur = leave;
  plot.onkeydown = event => {
    const to = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: steps.length - 1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(to, true);
  };
}
"""


if __name__ == "__main__":
    sys.exit(main())
