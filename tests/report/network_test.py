import dataclasses
import re

import pytest

from keras_nas.report.network import network_table


def _rows(html):
    """Cell texts of every body and foot row."""
    body = html.split("</thead>")[1]
    rows = re.findall(r"<tr>(.*?)</tr>", body)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_one_row_a_piece_then_overhead_and_total(full):
    rows = _rows(network_table(full))
    assert len(rows) == len(full.pieces()) + 2
    names = [row[0] for row in rows]
    assert names[:4] == ["stem", "fixed", "1.1", "1.2"]
    assert names[-4:] == ["fixed", "head", "runtime overhead", "predicted latency"]


def test_latencies_and_shares_add_up_to_the_prediction(full):
    *rows, total = _rows(network_table(full))
    latencies = [float(row[-2]) for row in rows]
    shares = [float(row[-1].rstrip("%")) for row in rows]
    assert latencies == pytest.approx([*full.latency, 0.125], abs=5e-4)
    assert sum(latencies) == pytest.approx(float(total[-2]), abs=5e-4 * len(rows))
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(rows))
    assert shares == pytest.approx(
        [100 * value / full.predicted_ms() for value in (*full.latency, 0.125)], abs=0.051
    )


def test_rows_name_the_blocks_choices(full):
    rows = _rows(network_table(full))[1:-4]
    blocks = list(full.architecture.blocks())[:-1]
    for row, block in zip(rows, blocks, strict=True):
        assert row[2] == f"{block.kernel_size}×{block.kernel_size}"
        if block.kind == "ir":
            assert row[3] == f"×{block.expansion_ratio:g}"
        assert ("SE" in row[4]) == bool(block.se_ratio)
        assert row[5] == str(block.channels)


def test_shape_widths_are_channels_to_one_scale(full):
    html = network_table(full)
    widths = []
    for path in re.findall(r'd="(M[^"]*Z)"', html):
        xs = [float(point.split()[0]) for point in path[1:-1].split("L")]
        widths.append(max(xs) - min(xs))
    parts = full.pieces()
    channels = [
        max(
            p.input_shape[2], p.output_shape[2], p.part.middle_channels(p.input_shape[2])
        )
        for p in parts[2:-1]
    ]  # fmt: skip
    scale = widths[-2] / channels[-1]
    assert widths[2:-1] == pytest.approx([scale * c for c in channels], abs=0.2)


def test_residuals_are_drawn_where_the_network_has_them(full):
    expected = sum(
        p.part.has_residual(p.input_shape[2]) for p in full.pieces() if hasattr(p.part, "kind")
    )
    assert network_table(full).count('class="residual"') == expected > 0


def test_without_latencies_there_is_no_total(full):
    html = network_table(dataclasses.replace(full, latency=None))
    assert "predicted latency" not in html
    assert len(_rows(html)) == len(full.pieces())
