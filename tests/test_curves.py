"""The curves of `report.html` hold the numbers of the log."""

import math
import re

import numpy as np
import pytest

from minigan.pictures import curves, report
from pages import Page, curve_of, lines, make_run, page_of, run

__all__ = ["run"]  # the fixture


def test_the_charts_hold_the_numbers_of_the_log(run):
    losses, scores, norms = page_of(run).charts()
    for chart, names in ((losses, ("d_loss", "g_loss")), (scores, ("real_score", "fake_score")),
                         (norms, ("d_grad_norm", "g_grad_norm"))):
        for i, name in enumerate(names):
            assert curve_of(chart, i) == [(line["step"], line[name]) for line in lines(4)]
    titles = page_of(run).texts("strong")
    assert titles == ["Losses", "Mean scores", "Norms of the gradients"]


def test_the_share_of_changed_pictures_has_a_chart_of_its_own(tmp_path):
    page = page_of(make_run(tmp_path / "a", records=lines(4, augmented_share=0.25)))
    assert page.texts("strong")[3:] == ["Shares"] and "augmented share" in page.texts("span", class_="key")[-1]
    assert curve_of(page.charts()[3]) == [(10 * i, 0.25) for i in range(1, 5)]


def test_the_drawn_path_goes_through_the_numbers(run):
    page = page_of(run)
    paths = [path["d"] for path, _ in page.all("path")]
    losses = page.charts()[0]
    numbers = [value for line in losses["lines"] for value in line["values"]]
    drawn = [re.findall(r"[ML]([\d.]+) ([\d.]+)", path) for path in paths[:2]]
    x, y = np.array([point for path in drawn for point in path], float).T
    np.testing.assert_allclose(x, np.tile([10, 20, 30, 40], 2) * 1000 / 40, atol=0.06)
    # y falls as the value grows, from one tenth of what is drawn above the least to as much below the greatest
    low, high = min(numbers), max(numbers)
    np.testing.assert_allclose(y, 1000 * (high + 0.05 * (high - low) - np.array(numbers)) / (1.1 * (high - low)),
                               atol=0.06)
    assert all(path.count("M") == 1 for path in paths)


def test_the_ticks_stand_where_their_numbers_are():
    assert curves._ticks(0, 300) == [(0, "0"), (100, "100"), (200, "200"), (300, "300")]
    assert [text for _, text in curves._ticks(-0.3, 0.2)] == ["−0.3", "−0.2", "−0.1", "0.0", "0.1", "0.2"]
    assert [text for _, text in curves._ticks(0.00123, 0.00127)] == ["0.00123", "0.00124", "0.00125", "0.00126",
                                                                     "0.00127"]
    assert [text for _, text in curves._ticks(0, 2, least=1)] == ["0", "1", "2"]
    assert [text for _, text in curves._ticks(0, 10_000)][-1] == "10,000"
    assert [text for _, text in curves._ticks(1e9, 1e9 + 3e3)] == ["1e+09", "1.000001e+09", "1.000002e+09",
                                                                   "1.000003e+09"]
    for low, high in ((0, 1e-99), (-1e99, 1e99), (1e9, 1e9 + 3e3), (0, 7), (-1, 17)):
        ticks = [tick for tick, _ in curves._ticks(low, high)]
        assert 2 <= len(ticks) <= 6 and low <= ticks[0] and ticks[-1] <= high
        np.testing.assert_allclose(np.diff(ticks), ticks[1] - ticks[0], rtol=1e-6)


def test_a_wasserstein_objective_shows_its_distance_in_place_of_the_loss(tmp_path):
    folder = make_run(tmp_path / "a", records=lines(4, wasserstein=7.0))
    page = page_of(folder)
    assert curve_of(page.charts()[0]) == [(10 * i, 7.0) for i in range(1, 5)]
    assert "wasserstein" in page.texts("span", class_="key")[0]


def test_each_evaluation_has_a_chart_with_the_steps_it_was_made_at(tmp_path):
    records = lines(6)
    records[1]["evaluation"], records[5]["evaluation"] = {"FD": 9.0, "modes": 3}, {"FD": 5.0}
    page = page_of(make_run(tmp_path / "a", records=records))
    assert page.texts("strong")[3:] == ["FD", "modes"]
    assert [curve_of(chart) for chart in page.charts()[3:]] == [[(20, 9.0), (60, 5.0)], [(20, 3)]]


def test_a_long_run_is_thinned_but_its_peaks_its_beginning_and_its_end_stay(tmp_path):
    records = lines(20_000)
    records[7777]["d_loss"], records[12_345]["g_loss"] = 99.0, -99.0
    text = report.page(make_run(tmp_path / "a", records=records, snapshots=()))
    losses = Page(text).charts()[0]
    d, g = (dict(curve_of(losses, i)) for i in (0, 1))
    assert d.keys() == g.keys() and 200 < len(d) <= curves.POINTS + 2 and list(d) == sorted(d)
    assert min(d) == 10 and max(d) == 200_000 and d[77_780] == 99.0 and g[123_460] == -99.0
    assert all(records[step // 10 - 1]["d_loss"] == value for step, value in d.items())
    assert len(text) < 250_000


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, None, "1.0", [1], True, 10 ** 400, 1e308])
def test_what_is_no_number_that_can_be_drawn_is_a_gap(tmp_path, odd):
    records = lines(5)
    records[2]["d_loss"] = odd
    page = page_of(make_run(tmp_path / "a", records=records))
    assert [value for _, value in curve_of(page.charts()[0])] == [1, 0.5, None, 0.25, 0.2]
    path = page.all("path")[0][0]["d"]
    assert path.count("M") == 2 and path.count("L") == 2
    assert not re.search("nan|inf", path)


@pytest.mark.parametrize("value", [0.0, 5.0, -1e99, 1e-300])
@pytest.mark.parametrize("n", [1, 3])
def test_a_curve_that_does_not_move_can_be_drawn(tmp_path, value, n):
    page = page_of(make_run(tmp_path / "a", records=lines(n, d_loss=value, g_loss=value)))
    assert re.findall(r"[ML][\d.]+ ([\d.]+)", page.all("path")[0][0]["d"]) == ["500.0"] * n


def test_a_chart_says_in_words_where_it_begins_and_ends(run):
    [label, *_] = [plot["aria-label"] for plot, _ in page_of(run).all("svg", role="img", tabindex="0")]
    assert label == ("Losses. d loss 1 at step 10 to 0.25 at step 40. g loss 2.841 at step 10 to 1.243 at step 40")
