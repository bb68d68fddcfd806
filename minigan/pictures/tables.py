"""The tables on the report page: what was measured, and the options."""

import json
from html import escape

from minigan.data import disk
from minigan.pictures.markup import columns, number, short, text, words

ROWS = 200  # of a table


def read_metrics(path):
    try:
        record = json.loads(disk.content(path).decode("utf-8"))
        for row in record["metrics"].values():
            row.keys()
        return record if {"n", "step", "against"} <= record.keys() else None
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def measures(runs):
    """A table of what `evaluate` found: a row for each measure, a column for each run."""
    unread = "".join(f"<p>{escape(str(run.folder / 'metrics.json'))} cannot be read.</p>\n"
                     for run in runs if run.metrics is None)
    found = [run.metrics or {"metrics": {}} for run in runs]
    names = dict.fromkeys(name for record in found for name in record["metrics"])
    if not names:
        return unread
    about = [f"{_cell(record['n'])} samples after step {_cell(record['step'])} beside "
             f"{_cell(record['against'])} data"
             if record["metrics"] else "not measured" for record in found]
    rows = [[f"{words(name)} {_arrow(name, found)}".strip(),
             *(_measure(record["metrics"].get(name, {})) for record in found)] for name in names]
    note = '<p class="note">↑ more is better, ↓ less is.</p>\n'
    if len(runs) > 1:
        return unread + _table("Value ± standard error", ["", *(run.name for run in runs)],
                               [["of", *about], *rows]) + note
    heads, measured = ["", "value ± standard error"], found[0]["metrics"]
    if any(numbers.get("training_data") is not None for numbers in measured.values()):
        heads.append("training data in their place")
        for row, numbers in zip(rows, measured.values()):
            row.append(text(numbers.get("training_data")))
    for row, name in zip(rows, measured):
        row.append(explanation(name))
    table = _table(about[0], [*heads, "what it is"], rows)
    return f'{unread}<div class="measures">{table}{note}</div>'


# By the beginning of a measure's name.
EXPLANATIONS = {
    "FD-": "distance of means and covariances of features: fidelity and variety in one number",
    "KD-": "distance of features by a kernel, which needs fewer samples",
    "IS-": "are single samples clear, and all of them varied? Real ones are not looked at",
    "MS-": "are single samples clear, and classes as frequent as in the real ones?",
    "class_divergence": "how far the shares of the classes are from the real ones'",
    "precision": "share of samples that lie among real ones",
    "recall": "share of real ones that lie among samples",
    "density": "how many real ones lie around a sample, 1 as for real ones",
    "coverage": "share of real ones with a sample nearby",
    "training_distance": "distance to the nearest training sample: 1 is like new data, 0 copied",
    "class_agreement": "share of samples that show the class they were asked to be",
    "code_agreement": "share of samples whose code is the class that is seen, each code one class",
    "L1-input": "L1 of doing nothing: of the input itself",
    "L1": "mean distance of pixels from what should have been made, from 0 to 2",
    "PSNR-hole-mean": "PSNR of the hole filled with the mean of the training pictures",
    "PSNR-hole": "PSNR within the hole",
    "PSNR-bicubic": "PSNR of bicubic interpolation",
    "PSNR-reconstructed": "PSNR of pictures that were encoded and decoded",
    "PSNR": "mean squared distance as decibels: 10 more are a tenth of it",
    "SSIM": "likeness of brightness, contrast and structure of patches, 1 is the same",
    "SWD-": "sliced Wasserstein distance, times 1,000, of patches of pictures of this side",
    "right_all_seen": "right_all of kinds in colours that training has seen together",
    "right_all_unseen": "right_all of kinds in colours that training has never seen together",
    "right_all_plain": "right_all of pictures that should be plain",
    "right_all_striped": "right_all of pictures that should be striped",
    "right_all": "share of pictures that show all of what they should",
    "right_": "share of pictures that show this as they should",
    "modes": "how many modes of the mixture have a good sample",
    "high_quality": "share of samples within three standard deviations of a mode",
    "reverse_kl": "how far the modes' shares are from equal ones"}


def explanation(name):
    """A line on what a measure is, "" for one that is not known."""
    return next((line for start, line in EXPLANATIONS.items() if name.startswith(start)), "")


def _arrow(name, records):
    found = [record["metrics"].get(name, {}).get("better") for record in records]
    return next((arrow for arrow in "↑↓" if arrow in found), "")


def _measure(row):
    value, error = row.get("value"), row.get("standard_error")
    return text(value) + (f"\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{error:.2g}"
                          if number(error) is not None else "")


def options(run):
    options, *others = (
        _table(caption, [], [(name, _cell(value)) for name, value in rows.items()])
        if isinstance(rows, dict) else ""
        for caption, rows in (("Options", run.options), ("Versions", run.record.get("versions")),
                              ("Data", run.record.get("data"))))
    return columns(options, f'<div class="stack">{"".join(others)}</div>')


def differences(runs):
    versions = [run.record.get("versions") for run in runs]
    known = [{**(found if isinstance(found, dict) else {}), **run.options}
             for run, found in zip(runs, versions)]
    rows = [[name, *(_cell(values.get(name)) for values in known)]
            for name in dict.fromkeys(name for values in reversed(known) for name in values)]
    return _table("What all have alike is left out", ["", *(run.name for run in runs)],
                  [row for row in rows if len(set(row[1:])) > 1])


def _table(caption, heads, rows):
    """Rows of text, the first cell of each its head; so many as a page has room for."""
    more = len(rows) - ROWS
    rows = [[short(cell) for cell in row] for row in rows[:ROWS]]
    caption = short(caption) + (f" ({more} more rows are left out)" if more > 0 else "")
    line = lambda tag, cells: "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells)
    head = f"<thead><tr>{line('th', heads)}</tr></thead>" if heads else ""
    body = "\n".join(f'<tr><th scope="row">{escape(str(first))}</th>{line("td", cells)}</tr>'
                     for first, *cells in rows)
    if not rows:
        return ""
    return ('<div class="scroll" role="region" tabindex="0" '
            f'aria-label="{escape(caption)}"><table>\n'
            f"<caption>{escape(caption)}</caption>{head}"
            f"<tbody>\n{body}\n</tbody></table></div>\n")


def _cell(value):
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
