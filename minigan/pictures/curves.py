"""The curves on the report page, as SVG."""

from html import escape
from itertools import cycle
from math import ceil, floor, log10
from typing import NamedTuple

import numpy as np

from minigan.pictures.laboratory import COLOURS
from minigan.pictures.markup import for_script, number, text, words

ENDINGS = {"_loss": "Losses", "_score": "Mean scores", "_grad_norm": "Norms of the gradients",
           "_share": "Shares"}
POINTS = 400  # on a curve
CHARTS = 24   # of evaluations, on a page
PENS = [f'stroke="{colour}" stroke-dasharray="{dashes}"' for dashes in ("none", "6 4", "2 4")
        for colour in COLOURS]


class Line(NamedTuple):
    label: str
    steps: list
    values: list  # None for what is no finite number


def charts(runs):
    """Of one run a chart for the losses, the scores, the gradients, and each evaluation; of several
    a chart for each quantity, with a line for each run."""
    evaluated = sorted({name for run in runs for line in run.lines for name in _evaluation(line)})
    evaluated = evaluated[:CHARTS]
    if len(runs) == 1:
        [run] = runs
        shown = {title: _named(run.lines, end) for end, title in ENDINGS.items()}
        if any("wasserstein" in line for line in run.lines):  # a critic's estimate, not its loss
            shown["Losses"] = ["wasserstein", *[n for n in shown["Losses"] if n != "d_loss"]]
        shown |= {words(name): [name] for name in evaluated}
        drawn = [_chart(title, [_line("" if title == words(name) else words(name), run.lines, name,
                                      names) for name in names])
                 for title, names in shown.items()]
    else:
        lines = [line for run in runs for line in run.lines]
        names = ["wasserstein", *[name for end in ENDINGS for name in _named(lines, end)]]
        drawn = [_chart(words(name), [_line(run.name, run.lines, name, [name]) for run in runs])
                 for name in [*names, *evaluated]]
    return f'<div class="charts">{"".join(drawn)}</div>' if any(drawn) else ""


def _named(lines, end):
    """The names of the statistics that end like this, in the order in which they were logged."""
    names = dict.fromkeys(name for line in lines for name in line)
    return [name for name in names if name.endswith(end)][:CHARTS]


def _line(label, lines, name, together):
    """The values of `name`, at the same steps as those of the other names that are drawn
    `together`."""
    lines = _thin([line for line in lines if name in line or name in _evaluation(line)], together)
    return Line(label, [line["step"] for line in lines], [_value(line, name) for line in lines])


def _thin(lines, names):
    """Enough lines for a curve: of each stretch those with the least and the greatest value of each
    name."""
    if len(lines) <= POINTS:
        return lines
    kept = {0, len(lines) - 1}
    for stretch in np.array_split(np.arange(len(lines)), POINTS // (2 * len(names))):
        for name in names:
            found = [(value, int(i)) for i in stretch
                     if (value := _value(lines[i], name)) is not None]
            kept |= {min(found)[1], max(found)[1]} if found else set()
    return [lines[i] for i in sorted(kept)]


def _evaluation(line):
    return found if isinstance(found := line.get("evaluation"), dict) else {}


def _value(line, name):
    return number(line.get(name, _evaluation(line).get(name)))


def _chart(title, lines):
    """Lines in one frame, as SVG. Places are in per cent: the curves stretch with the page, the
    text does not."""
    drawn = [(line, pen) for line, pen in zip(lines, cycle(PENS))
             if any(value is not None for value in line.values)]
    if not drawn:
        return ""
    last = max(step for line, _ in drawn for step in line.steps) or 1
    low, high = _widened([value for line, _ in drawn for value in line.values if value is not None])
    across, down = lambda step: 100 * step / last, lambda value: 100 * (high - value) / (high - low)
    axes = "".join(f'<line x2="100%" y1="{down(value):.2f}%" y2="{down(value):.2f}%"/>'
                   '<text dx="-8" '
                   f'y="{down(value):.2f}%" dy=".35em" text-anchor="end">{label}</text>\n'
                   for value, label in _ticks(low, high))
    axes += "".join(f'<text x="{across(step):.2f}%" y="100%" dy="1.5em" '
                    f'text-anchor="middle">{label}</text>\n'
                    for step, label in _ticks(0, last, least=1))
    curves, keys, story = "", "", title
    for line, pen in drawn:
        places = [(10 * across(step), 10 * down(value)) if value is not None else None
                  for step, value in zip(line.steps, line.values)]
        curves += f'<path {pen} d="{_path(places)}"/>\n'
        keys += ('<span class="key"><svg width="22" height="10" aria-hidden="true">'
                 '<line y1="5" x2="22" y2="5" '
                 f'{pen}/></svg>{escape(line.label)} <b>{text(line.values[-1])}</b></span>\n')
        story += (f". {line.label or 'From'} {text(line.values[0])} at step {line.steps[0]} to "
                  f"{text(line.values[-1])} at step {line.steps[-1]}")
    numbers = for_script({"last": last, "lines": [{"steps": line.steps, "values": line.values}
                                                  for line, _ in drawn]})
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
{numbers}
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
    """[(number, text)] of the round numbers from low to high, 1, 2 or 5 · 10ⁿ apart."""
    room = (high - low) / most
    power = 10.0 ** floor(log10(room))
    round_steps = [factor * power for factor in (1, 2, 5, 10)]
    step = max(least, next(step for step in round_steps if step >= 0.999 * room))
    decimals = max(0, -floor(log10(step) + 1e-9))
    ticks = [k * step for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]
    largest = max(-low, high)
    form = f",.{decimals}f"
    if decimals >= 5 or largest >= 1e7:
        form = f".{1 + max(0, ceil(log10(largest / step)))}g"
    return [(tick, f"{tick:{form}}".replace("-", "−")) for tick in ticks]
