import itertools
import math
import random
import re

import pytest

from keras_nas.report import charts, svg


@pytest.mark.parametrize(("low", "high"), [(0, 1), (3.2, 3.9), (-5, 12_000), (1e-4, 2e-4), (7, 31)])
def test_ticks_are_round_and_inside(low, high):
    values = svg.ticks(low, high, 5)
    assert 3 <= len(values) <= 9
    assert low - 1e-9 <= values[0] and values[-1] <= high + 1e-9
    step = values[1] - values[0]
    assert step / 10 ** math.floor(math.log10(step) + 1e-9) == pytest.approx(
        round(step / 10 ** math.floor(math.log10(step) + 1e-9))
    )
    labels = svg.tick_labels(values)
    assert len(set(labels)) == len(labels)


def test_large_tick_labels_have_a_unit():
    assert svg.tick_labels([0.0, 2e8, 4e8]) == ["0M", "200M", "400M"]
    assert svg.tick_labels([0.5, 1.0]) == ["0.5", "1.0"]


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [8.0, 8.0 + 1e-12]])
def test_axis_of_equal_values_does_not_blow_rounding_up(values):
    axis = svg.axis(values, 0, 100)
    assert axis.high - axis.low >= 1e-3 * max(values)
    assert axis(values[0]) == pytest.approx(50)


def test_thinned_points_keep_mean_and_extremes():
    generator = random.Random(0)
    points = [(float(n), generator.random()) for n in range(1000)]
    rows = svg.thinned(points, 100)
    assert len(rows) == 100
    for n, (x, mean, low, high) in enumerate(rows):
        values = [y for _, y in points[10 * n : 10 * n + 10]]
        assert x == 10 * n + 9
        assert mean == pytest.approx(sum(values) / 10)
        assert (low, high) == (min(values), max(values))
    assert svg.thinned(points[:100], 100)[7] == (7.0, *[points[7][1]] * 3)


def test_polyline_breaks_where_a_point_is_not_finite():
    path = svg.polyline([(0, 0), (1, 1), (2, math.nan), (3, 3), (4, 4)], "line")
    assert 'd="M0.0 0.0L1.0 1.0M3.0 3.0L4.0 4.0"' in path


def test_line_chart_draws_points_and_limit_to_one_scale():
    points = [(float(n), 2.0 * n) for n in range(1, 6)]
    html = charts.line_chart("t", {"a": points}, y_label="y", limit=(7.0, "limit 7"))
    path = re.search(r'd="M([^"]*)" class="line s0"', html)[1]
    heights = [float(point.split()[1]) for point in path.split("L")]
    limit = float(re.search(r'<line [^>]*y1="([\d.]+)"[^>]*class="limit"', html)[1])
    assert limit == pytest.approx((heights[2] + heights[3]) / 2, abs=0.1)
    assert [a - b for a, b in itertools.pairwise(heights)] == pytest.approx(
        [heights[0] - heights[1]] * 4, abs=0.15
    )
    assert "limit 7" in html


def test_long_series_show_their_range_and_short_ones_do_not():
    points = [(float(n), float(n % 7)) for n in range(1000)]
    assert 'class="band s0"' in charts.line_chart("t", {"a": points}, y_label="y")
    assert 'class="band s0"' not in charts.line_chart("t", {"a": points[:50]}, y_label="y")


def test_several_series_have_a_legend():
    series = {"a": [(1.0, 1.0)], "b": [(1.0, 2.0)]}
    html = charts.line_chart("t", series, y_label="y")
    assert html.count('class="key"') == 2
    assert html.count("<circle") == 2


def test_scatter_puts_exact_predictions_on_the_diagonal():
    html = charts.scatter("t", [(4.0, 4.0), (9.0, 9.0), (5.0, 7.0)], (6.0, 6.0), 0.1)
    x1, y1, x2, y2 = (
        float(v)
        for v in re.search(
            r'x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="diagonal"', html
        ).groups()
    )
    dots = [tuple(map(float, d)) for d in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', html)]
    on = [abs((y - y1) - (y2 - y1) / (x2 - x1) * (x - x1)) < 0.1 for x, y in dots]
    assert on == [True, True, False]
    assert 'class="found"' in html


def test_range_chart_has_one_scale_for_all_rows():
    rows = [
        charts.RangeRow("space", "", None, (2.0, 10.0)),
        charts.RangeRow("found", "6 ms", 6.0, spread=1.0),
    ]
    html = charts.range_chart("t", rows, (8.0, "limit"))
    start, width = map(
        float,
        re.search(r'<rect x="([\d.]+)" [^>]*width="([\d.]+)"[^>]*class="span"', html).groups(),
    )
    dot = float(re.search(r'cx="([\d.]+)"', html)[1])
    limit = float(re.search(r'<line x1="([\d.]+)"[^>]*class="limit"', html)[1])
    assert dot == pytest.approx(start + width / 2, abs=0.05)
    assert limit == pytest.approx(start + 0.75 * width, abs=0.05)


@pytest.mark.parametrize(("share", "width"), [(0.25, "25.00"), (2.0, "100.00"), (-1.0, "0.00")])
def test_bars_stay_inside(share, width):
    assert f"width:{width}%" in charts.bar(share)
