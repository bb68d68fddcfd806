"""`report.html`: one file, sound and closed in itself, that shows what a run's folder holds, whatever that is."""

import base64
import hashlib
import io
import json
import os
import re

import pytest
from PIL import Image

from minigan import plots
from minigan.pictures import film, markup, report
from minigan.report import main
from minigan.runs import run_folder
from pages import MEASURED, Page, curve_of, images, lines, make_run, page_of, run, write_lines

__all__ = ["run"]  # the fixture
HOSTILE = """</script><script>alert('1')</script><img src="http://x.invalid/" onerror=a>&amp;"]]>"""


def content_of(uri):
    kind, content = re.fullmatch(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", uri).groups()
    return kind, base64.b64decode(content)


# One file

def assert_closed_in_itself(text):
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>\n") and page.all("html", lang="en") and page.all("meta", charset="utf-8")
    assert page.all("meta", name="viewport", content="width=device-width, initial-scale=1")
    for tag, attributes, _ in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "a", "use"), tag
        for name, value in attributes.items():
            if name in ("src", "href", "srcset", "poster", "action", "data", "xlink:href"):
                content_of(value)
            assert not name.startswith("on"), "the script is in one place"
    style, script = "".join(page.texts("style")), page.texts("script")[-1]
    assert "url(" not in style and "@import" not in style
    assert not re.search(r"fetch|XMLHttp|import|eval|innerHTML|document\.write|https?:", script)
    [(policy, _)] = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["content"].split("; ") == ["default-src 'none'", "img-src data:", "style-src 'unsafe-inline'",
                                             f"script-src 'sha256-{digest}'"]
    assert [kind.get("type") for kind, _ in page.all("script")] == [*["application/json"] * len(page.data()), None]
    return page


def test_the_page_is_sound_and_refers_to_nothing_outside_itself(run):
    assert_closed_in_itself(report.page(run))


def test_a_comparison_is_sound_and_refers_to_nothing_outside_itself(run, tmp_path):
    other = make_run(tmp_path / "00001-b", objective="wgan")
    assert_closed_in_itself(report.comparison([run, other]))


def test_no_string_of_a_run_becomes_markup(tmp_path):
    name = HOSTILE.replace("/", "⁄")  # the only sign a folder's name cannot have
    folder = make_run(tmp_path / name, data=HOSTILE, objective=HOSTILE, **{HOSTILE: [HOSTILE]})
    write_lines(folder, lines(3, **{"evaluation": {HOSTILE: 1.0}}))
    (folder / "metrics.json").write_text(json.dumps(MEASURED | {
        "against": HOSTILE, "n": HOSTILE, "metrics": {HOSTILE: {"value": HOSTILE, "standard_error": HOSTILE}}}))
    other = make_run(tmp_path / "b" / name, data="'\"<&>", steps=HOSTILE)
    for text in (report.page(folder), report.comparison([folder, other])):
        page = assert_closed_in_itself(text)
        assert not page.all("img", src="http://x.invalid/")
        assert HOSTILE in page.texts("strong"), "it stands there as it is"
        assert HOSTILE in page.texts("td")
    assert page_of(folder).texts("h1") == [name] and page_of(folder).texts("title") == [name]
    assert str(folder) in "".join(Page(report.comparison([folder, other])).texts("figcaption"))


def test_data_for_the_script_cannot_end_its_element():
    text = markup.for_script([HOSTILE, "<!--", {"a<b": None}])
    assert text.count("<") == 2 and Page(text).data() == [[HOSTILE, "<!--", {"a<b": None}]]


def test_a_name_that_is_no_text_does_not_stop_it(run):
    folder = run.rename(os.fsdecode(os.fsencode(run) + b"\xff"))
    report.write(folder)
    assert "00000-digits-gan-s0?" in Page((folder / "report.html").read_text(encoding="utf-8")).texts("h1")


# Pictures

def test_the_snapshots_are_frames_in_order_and_the_last_is_shown_without_the_script(run):
    page = page_of(run)
    assert [frame["step"] for frame in page.film()] == [0, 20, 40]
    [first, second, last] = [frame["uri"] for frame in page.film()]
    shown = page.all("img")[0][0]["src"]
    assert last is None  # it is in the page once
    for step, uri in ((0, first), (20, second), (40, shown)):
        assert content_of(uri) == ("png", (run / "samples" / f"{step:06d}.png").read_bytes())
    assert page.texts("output")[0] == "40"
    [(slider, _)] = page.all("input", type="range")
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "2", "2") and slider["aria-label"]
    assert "hidden" in page.all("div", class_="controls")[0][0], "what needs the script is shown by the script"


def test_all_pictures_of_the_folder_are_there_with_a_description_and_a_mark(run):
    page = page_of(run)
    names = ["samples/000040.png", "reals.png", "interpolation.png", "evaluation.png"]
    assert [content_of(image["src"])[1] for image, _ in page.all("img")] == [(run / n).read_bytes() for n in names]
    assert all(image["alt"] for image, _ in page.all("img"))
    marks = [text.split()[0] for text in page.texts("figcaption")][:2]
    assert marks == ["generated", "real"]
    assert len(page.texts("span", class_="mark made")) == 3 and len(page.texts("span", class_="mark")) == 1


@pytest.mark.parametrize("there, most, expected", [
    (1, 60, [0]), (5, 60, [0, 1, 2, 3, 4]), (5, 3, [0, 2, 4]), (5, 2, [0, 4]), (5, 1, [4]),
    (100, 5, [0, 25, 50, 74, 99])])
def test_frames_are_chosen_evenly_and_the_last_is_always_among_them(tmp_path, there, most, expected):
    folder = make_run(tmp_path / "a", snapshots=range(there))
    assert [step for step, _ in film._film(folder, most)] == expected
    assert (f"{len(expected)} of {there} snapshots" in report.page(folder, most)) == (1 < len(expected) < there)


def test_the_steps_are_ordered_as_numbers(tmp_path):
    folder = make_run(tmp_path / "a", snapshots=(999_950, 1_000_000))
    assert [frame["step"] for frame in page_of(folder).film()] == [999_950, 1_000_000]


@pytest.mark.parametrize("C", [1, 3])
def test_a_page_has_a_bounded_size_and_pictures_that_were_reduced_keep_their_mark(tmp_path, monkeypatch, C):
    folder = make_run(tmp_path / "a", snapshots=())
    for step in range(12):
        plots.save_grid(folder / "samples" / f"{step:06d}.png", images(64, 96, C, seed=step))  # noise, hard to compress
    monkeypatch.setattr(film, "FILM_BYTES", 1_000_000)
    text = report.page(folder)
    frames = Page(text).film()
    assert 2 <= len(frames) < 12 and (frames[0]["step"], frames[-1]["step"]) == (0, 11)
    assert len(text) < 1.5e6
    kind, content = content_of(frames[0]["uri"])
    with Image.open(io.BytesIO(content)) as picture:
        assert (kind, picture.format, max(picture.size)) == ("jpeg", "JPEG", 640)
        assert picture.info["comment"] == plots.MARK.encode()


def test_points_are_shown_as_they_were_drawn(tmp_path, rng):
    folder = make_run(tmp_path / "ring", snapshots=(), data="ring8")
    plots.save_points(folder / "samples" / "000040.png", rng.standard_normal((50, 2)))
    os.remove(folder / "interpolation.png")
    page = page_of(folder)
    assert content_of(page.all("img")[0][0]["src"])[1] == (folder / "samples" / "000040.png").read_bytes()
    assert "From noise to noise" not in page.texts("h2")


@pytest.mark.parametrize("torn", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a" + 9 * b"IEND\xaeB`\x82"])
def test_a_picture_that_is_being_written_is_left_out(run, torn):
    (run / "samples" / "000040.png").write_bytes(torn)
    (run / "reals.png").write_bytes(torn)
    page = page_of(run)
    assert [frame["step"] for frame in page.film()] == [0, 20] and len(page.all("img")) == 3


def test_a_large_file_that_only_looks_like_a_picture_is_left_out(run):
    content = (run / "reals.png").read_bytes()
    (run / "reals.png").write_bytes(content[:40] + bytes(200_000) + content[40:])
    assert len(page_of(run).all("img")) == 3


# What is not there, or not as it should be

def test_a_run_that_has_just_begun_has_a_page(tmp_path):
    folder = make_run(tmp_path / "a", snapshots=(), complete=False)
    page = page_of(folder)
    assert page.texts("h2") == ["Options and versions"] and page.all("img") == [] == page.data()
    assert "step 0 of 40" in page.texts("header")[0] and "again" in page.texts("header")[0]


def test_without_a_log_or_without_pictures_the_other_is_shown(tmp_path):
    page = page_of(make_run(tmp_path / "a", complete=False))
    assert page.texts("h2") == ["Samples", "Options and versions"] and page.charts() == []
    folder = make_run(tmp_path / "b", complete=False, snapshots=())
    write_lines(folder, lines(3))
    page = page_of(folder)
    assert page.texts("h2") == ["Curves", "Options and versions"] and len(page.charts()) == 3
    assert "step 30 of 40" in page.texts("header")[0]


def test_a_finished_run_does_not_ask_to_be_loaded_again(run):
    assert page_of(run).texts("header")[0].split("\n")[2] == "gan on digits: step 40 of 40."


def test_torn_and_foreign_lines_are_left_out(run):
    with open(run / "stats.jsonl", "a") as file:
        file.write('{"step": 50, "d_l\n[]\n{"step": "x"}\n{"step": 1e999}\n{"step": 45, "evaluation": [1]}\n'
                   '{"step": -7}\n{"step": 1' + 99 * "0" + '}\n{"step": 1')
    assert [len(curve_of(chart)) for chart in page_of(run).charts()] == [4, 4, 4]


def test_the_measures_are_a_table_with_errors_and_what_has_no_value_is_a_dash(run):
    page = page_of(run)
    rows = dict(zip(page.texts("th", scope="row"), zip(*(page.texts("td")[i::3] for i in range(3)))))
    explained = "distance of means and covariances of features: fidelity and variety in one number"
    assert rows["FD-LeNet-mnist ↓"] == ("12.5\xa0±\xa00.25", "3.5", explained)
    assert rows["recall"][:2] == ("–", "–") and "↑ more is better, ↓ less is." in page.texts("p")
    assert page.texts("caption")[0] == "500 samples after step 40 beside test data"


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"metrics": {}}', '{"metrics": []}', "[" * 100_000,
                                  '{"metrics": {"a": 7}, "n": 1, "step": 1, "against": ""}'])
def test_measures_that_cannot_be_read_are_named(run, text):
    (run / "metrics.json").write_text(text)
    page = page_of(run)
    assert f"{run / 'metrics.json'} cannot be read." in page.texts("p")


def test_all_options_versions_and_the_data_are_listed(run):
    page = page_of(run)
    assert page.texts("caption")[1:] == ["Options", "Versions", "Data"]
    names = page.texts("th", scope="row")[2:]
    assert dict(zip(names, page.texts("td")[6:])) == {
        "objective": "gan", "data": "digits", "steps": "40", "seed": "0", "image_size": "–", "lr_g": "0.0002",
        "numpy": "2.0", "sha256": "abc"}


@pytest.mark.parametrize("odd", [None, [], "x", 7])
def test_a_record_without_versions_or_data_is_enough(run, odd):
    record = run_folder.read_options(run) | {"versions": odd, "data": odd}
    run_folder.write_options(run, record)
    assert page_of(run).texts("caption")[1:] == ["Options"]
    Page(report.comparison([run, run]))


def test_a_half_written_page_is_never_seen(run, monkeypatch):
    report.write(run)
    before = (run / "report.html").read_bytes()

    def full(*what):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        report.write(run)
    assert (run / "report.html").read_bytes() == before


# Side by side

def test_a_comparison_has_each_curve_of_all_runs_in_one_chart(run, tmp_path):
    records = lines(8, d_loss=3.0, wasserstein=1.5)
    other = make_run(tmp_path / "00001-wgan", records=records, objective="wgan")
    page = Page(report.comparison([run, other]))
    charts = dict(zip(page.texts("strong"), page.charts()))
    assert list(charts) == ["wasserstein", "d loss", "g loss", "real score", "fake score", "d grad norm", "g grad norm"]
    assert curve_of(charts["d loss"], 0) == [(line["step"], line["d_loss"]) for line in lines(4)]
    assert curve_of(charts["d loss"], 1) == [(line["step"], 3.0) for line in records]
    assert charts["d loss"]["last"] == 80
    [alone] = charts["wasserstein"]["lines"]
    assert alone["values"] == [1.5] * 8
    strokes = [path["stroke"] for path, _ in page.all("path")]
    assert strokes == [plots.COLOURS[1], *plots.COLOURS[:2] * 6], "a run has one colour in all charts"
    assert any("different models and objectives" in text for text in page.texts("p"))


def test_lines_of_many_runs_differ_in_colour_or_dashes(run, tmp_path):
    runs = [make_run(tmp_path / f"{i:05d}-x") for i in range(12)]
    page = Page(report.comparison(runs))
    [first, *_] = [page.all("path")[i:i + 12] for i in range(0, 12, 12)]
    assert len({(path["stroke"], path["stroke-dasharray"]) for path, _ in first}) == 12
    assert not any("different models and objectives" in text for text in page.texts("p"))


def test_a_comparison_shows_the_last_samples_of_each_and_the_options_that_differ(run, tmp_path):
    other = make_run(tmp_path / "00001-b", snapshots=(0, 30), lr_g=0.5, clip=0.01)
    os.remove(other / "metrics.json")
    page = Page(report.comparison([run, other]))
    assert [content_of(image["src"])[1] for image, _ in page.all("img")] == [
        (run / "samples" / "000040.png").read_bytes(), (other / "samples" / "000030.png").read_bytes()]
    assert [text.split("\n")[0] for text in page.texts("figcaption")[:2]] == [
        "generated 00000-digits-gan-s0, step 40", "generated 00001-b, step 30"]
    rows, cells = page.texts("th", scope="row"), page.texts("td")
    table = dict(zip(rows, zip(cells[::2], cells[1::2])))
    assert table == {"of": ("500 samples after step 40 beside test data", "not measured"),
                     "FD-LeNet-mnist ↓": ("12.5\xa0±\xa00.25", "–"), "recall": ("–", "–"),
                     "lr_g": ("0.0002", "0.5"), "clip": ("–", "0.01")}


# The command line

@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            status = main([*map(str, arguments)])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()
    return call


def test_one_run_gets_its_page_again(command, run):
    assert command(run) == (0, f"{run / 'report.html'}\n", "")
    assert (run / "report.html").read_text(encoding="utf-8") == report.page(run)
    assert command(run, "--out", "there.html") == (0, "there.html\n", "")
    assert (run / "report.html").read_bytes() == (run.parent / "there.html").read_bytes()


def test_several_runs_get_one_page(command, run, tmp_path):
    other = make_run(tmp_path / "00001-b")
    assert command(run, other) == (0, "comparison.html\n", "")
    assert (tmp_path / "comparison.html").read_text(encoding="utf-8") == report.comparison([run, other])
    assert command(run, other, "--out", "x.html")[:2] == (0, "x.html\n")
    assert not list(tmp_path.glob("*/report.html")), "the runs are left as they are"


def test_a_run_named_twice_is_one_run(command, run):
    assert command(run, run) == (0, f"{run / 'report.html'}\n", "")


@pytest.mark.parametrize("arguments, words", [
    ((), "RUN"), (("nowhere",), "nowhere is not a run folder"), (("{run}", "nowhere"), "nowhere is not a run folder"),
    (("{run}", "--out", "no/such/folder.html"), "no/such/folder.html"), (("{run}", "--to", "x"), "--to"),
    (("{run}/options.json",), "is not a run folder")])
def test_a_mistake_is_one_line(command, run, arguments, words):
    status, out, err = command(*(argument.format(run=run) for argument in arguments))
    assert (status, out) == (2, "") and err.count("\n") == 1 and err.startswith("minigan.report: ") and words in err
    assert not (run / "report.html").exists()


def test_options_that_are_no_run_s_are_refused(command, run):
    (run / "options.json").write_text("[]")
    status, _, err = command(run)
    assert (status, err) == (2, f"minigan.report: {run / 'options.json'} does not hold a run's options\n")


def test_drawings_of_points_are_wide_and_turn_dark_with_the_page(tmp_path):
    folder = make_run(tmp_path / "00000-ring8-gan-s0")
    run_folder.write_options(folder, run_folder.read_options(folder) | {"sample_shape": [2]})
    page, pictures = report.page(folder), report.page(make_run(tmp_path / "00001-digits-gan-s0"))
    assert '<div class="stack wide"><figure class="film drawn">' in page and 'class="film"' in pictures
    assert "drawn" not in pictures.split("<main>")[1]
    dark = report.STYLE.split("prefers-color-scheme: dark")[1].split("\n}")[0]
    assert ".drawn img { filter: invert(" in dark and "img { filter: brightness(" in dark
