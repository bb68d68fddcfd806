"""The pictures on the report page: the snapshots as a film, beside real samples."""

import base64
from html import escape

import numpy as np

from minigan.data import disk
from minigan.model import Model
from minigan.pictures import plots
from minigan.pictures.markup import columns, for_script, rows
from minigan.runs import models
from minigan.runs.run_folder import snapshots

FILM_BYTES = 4_000_000   # of all snapshots together; with all else a page stays below 8 MB
FRAME = 120_000, 640     # a PNG of more bytes is reduced to this side in pixels: samples,
FIGURE = 600_000, 1000   # and figures with text


def samples(run, frames):
    """The snapshots as a film, beside real samples."""
    film, real = _film(run.folder, frames), _uri(run.folder / "reals.png", FRAME)
    generated, controls, legend = "", "", _legend(run)
    if len(film) > 1:
        last, total = len(film) - 1, len(snapshots(run.folder))
        some = "" if len(film) == total else f" {len(film)} of {total} snapshots are in this page."
        # The last is in the page already.
        frames = [{"step": step, "uri": uri if i < last else None}
                  for i, (step, uri) in enumerate(film)]
        controls = f"""<div class="controls" hidden>
<button type="button">Play</button>
<input type="range" min="0" max="{last}" value="{last}" aria-label="Snapshot">
</div>
<p class="note">The same noise{" and examples" if legend else ""} at every step.{some}</p>
{for_script(frames)}
"""
    if film:
        step, uri = film[-1]
        generated = _figure(uri, "Generated samples", f"step <output>{step}</output>",
                            controls=controls + legend, drawn=_points(run))
    beside = _figure(real, "Real samples", "from the training data", generated=False,
                     drawn=_points(run))
    return rows(generated, beside) if _points(run) else columns(generated, beside)


def _legend(run):
    legend = _model(run).legend
    return f'<p class="note">{escape(legend)}</p>\n' if legend else ""


def _model(run):
    """The class of the run's model, or what all have in common, of a model that is not known."""
    name = run.options.get("model")
    return models.model_class(name) if name in models.names() else Model


def _points(run):
    """Whether the samples are points: their pictures are drawings on white, with text to read."""
    return len(run.record["sample_shape"]) == 1


def _film(folder, most):
    """[(step, data: URI)] of the snapshots, at most `most`, evenly chosen, and not more bytes than
    FILM_BYTES."""
    chosen = ((int(path.stem), _uri(path, FRAME)) for path in _evenly(snapshots(folder), most))
    film = [(step, uri) for step, uri in chosen if uri]
    while len(film) > 1 and (share := FILM_BYTES / sum(len(uri) * 3 / 4 for _, uri in film)) < 1:
        film = _evenly(film, int(share * len(film)))
    return film


def _evenly(items, n):
    """At most n ≥ 1 of the items, the first and the last among them; of one, the last."""
    chosen = np.linspace(len(items) - 1, 0, max(1, min(n, len(items))))
    return [items[i] for i in sorted({round(i) for i in chosen})] if items else []


def _uri(path, most):
    """A PNG file as a data: URI, reduced if it is larger than `most` (bytes, side); None without a
    whole PNG."""
    try:
        content = disk.content(path)
    except OSError:
        return None
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or not content.endswith(b"IEND\xaeB`\x82"):
        return None  # it is being written
    kind, (limit, side) = "png", most
    if len(content) > limit:
        kind, content = "jpeg", plots.reduced(content, side)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}" if content else None


def _figure(uri, description, caption, generated=True, controls="", drawn=False):
    """A picture with its mark, "" without one. The caption and the controls are HTML; what is
    `drawn`, on white, is turned dark where the page is."""
    if not uri:
        return ""
    mark = ('<span class="mark made">generated</span>' if generated
            else '<span class="mark">real</span>')
    kinds = " ".join(("film",) * bool(controls) + ("drawn",) * drawn)
    return f"""<figure{f' class="{kinds}"' if kinds else ""}>
<figcaption>{mark} {caption}</figcaption>
<img src="{uri}" alt="{escape(description)}">
{controls}</figure>
"""


def ways(run):
    return _figure(_uri(run.folder / "interpolation.png", FRAME),
                   "Generated samples on ways between points of noise",
                   "each row leads from one of the first four samples to one of the next four")


def exhibits(run):
    """What only this model can show, each picture with what is to be seen."""
    return columns(*(_figure(_uri(run.folder / f"{name}.png", FRAME), f"Generated: {seen}",
                             escape(seen)) for name, seen in _model(run).EXHIBITS.items()))


def last_samples(run):
    return "".join(_figure(uri, f"Generated samples of {run.name}",
                           f"{escape(run.name)}, step {step}", drawn=_points(run))
                   for step, uri in _film(run.folder, 1))


def picture_of_evaluation(run):
    return _figure(_uri(run.folder / "evaluation.png", FIGURE),
                   "Real beside generated samples, as they were evaluated",
                   "beside real, as they were measured", drawn=_points(run))
