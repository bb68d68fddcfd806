"""Runs written by hand, and their pages as a browser reads them: for the tests of `report.html`."""

import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest

from minigan import plots
from minigan.pictures import report
from minigan.runs import run_folder

VOID = {"meta", "img", "input", "br", "link", "hr"}


class Page(HTMLParser):
    """A parsed page: every element with its attributes and its text. It fails where a browser would have to guess."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self._open = [], []
        self.feed(text)
        self.close()
        assert self._open == [], "elements left open"
        ids = [element["id"] for _, element, _ in self.elements if "id" in element]
        assert len(ids) == len(set(ids))

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), (tag, names)
        self.elements.append((tag, dict(attributes), []))
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), []))

    def handle_endtag(self, tag):
        assert self._open and self._open[-1][0] == tag, f"</{tag}> in {[element[0] for element in self._open]}"
        self._open.pop()

    def handle_data(self, data):
        for _, _, text in self._open:
            text.append(data)

    def all(self, tag, **attributes):
        """[(attributes, text)] of the elements of this name and these attributes, `class_` for class."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [(found, "".join(text)) for name, found, text in self.elements
                if name == tag and wanted.items() <= found.items()]

    def texts(self, tag, **attributes):
        return [text for _, text in self.all(tag, **attributes)]

    def data(self):
        """What the page hands to its script, in the order it stands there."""
        return [json.loads(text) for text in self.texts("script", type="application/json")]

    def charts(self):
        return [data for data in self.data() if isinstance(data, dict)]

    def film(self):
        [film] = [data for data in self.data() if isinstance(data, list)]
        return film


def page_of(folder, *more):
    return Page(report.page(folder, *more))


def lines(n, every=10, **more):
    return [{"step": every * i, "d_loss": 1 / i, "g_loss": 2 + math.sin(i), "real_score": float(i), "fake_score": -i,
             "d_grad_norm": 0.5, "g_grad_norm": 0.25 * i, "steps_per_s": 9.0} | more for i in range(1, n + 1)]


def write_lines(folder, records):
    (folder / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records))


def images(n=4, side=4, C=1, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, side, side, C)).astype(np.float32)


MEASURED = {"step": 40, "n": 500, "against": "test", "seed": 0, "metrics": {
    "FD-LeNet-mnist": {"value": 12.5, "standard_error": 0.25, "training_data": 3.5,
                       "better": "↓"},
    "recall": {"value": None, "standard_error": None, "training_data": None}}}


def make_run(folder, snapshots=(0, 20, 40), records=None, complete=True, **options):
    """A run's folder, written by hand."""
    (folder / "samples").mkdir(parents=True)
    known = {"objective": "gan", "data": "digits", "steps": 40, "seed": 0, "image_size": None, "lr_g": 2e-4}
    run_folder.write_options(folder, {"options": known | options, "sample_shape": [4, 4, 1],
                                      "data": {"sha256": "abc"}, "versions": {"numpy": "2.0"}})
    for step in snapshots:
        plots.save_grid(folder / "samples" / f"{step:06d}.png", images(seed=step))
    if complete:
        write_lines(folder, lines(4) if records is None else records)
        plots.save_grid(folder / "reals.png", images(seed=90), generated=False)
        plots.save_grid(folder / "interpolation.png", images(32, seed=91), 8)
        plots.save_grid(folder / "evaluation.png", images(seed=92))
        (folder / "metrics.json").write_text(json.dumps(MEASURED))
    return folder


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "00000-digits-gan-s0")


def curve_of(chart, i=0):
    return list(zip(chart["lines"][i]["steps"], chart["lines"][i]["values"]))
