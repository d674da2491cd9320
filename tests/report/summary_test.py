import dataclasses
import re

import pytest

from keras_nas import report


def _lines(data):
    """First word -> rest of each line."""
    rows = (re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in
            report.summary(data).splitlines())  # fmt: skip
    return {row[0]: row[-1] for row in rows if row[0]}


def test_summary_shows_the_run_s_numbers(full):
    lines = _lines(full)
    assert report.summary(full).startswith("Digits within 8 ms\n")
    assert lines["limit"] == "latency 8.000 ms"
    assert lines["predicted"] == f"{full.predicted_ms():.3f} ms"
    assert lines["measured"] == "7.750 ms ± 0.05 ms"
    assert lines["accuracy"] == "pretrain 91.2%, finetune 93.8%"
    assert lines["keeps limit"] == "yes, measured 3.1% below"
    assert lines["network.tflite"] == "5.31 MB"
    assert "Files in runs/digits" in lines


@pytest.mark.parametrize(
    ("measurement", "expected"),
    [
        ({"latency_ms": 7.99, "spread_ms": 0.05},
         "no, measured 0.1% below, which is less than the measurement's spread"),
        ({"latency_ms": 8.4, "spread_ms": 0.05}, "no, measured 5.0% above"),
    ],
)  # fmt: skip
def test_summary_says_when_the_limit_is_not_kept(full, measurement, expected):
    assert _lines(dataclasses.replace(full, measurement=measurement))["keeps limit"] == expected


def test_summary_says_what_a_refitted_table_predicts(full):
    refitted = dataclasses.replace(full, projection={**full.projection, "table_scale": 0.5})
    predicted = full.predicted_ms()
    assert _lines(refitted)["predicted"] == (
        f"{predicted:.3f} ms, {predicted / 2:.3f} ms by the table as refitted on it"
    )


def test_several_limits_each_get_a_verdict(full):
    full.search["limits"]["parameters"] = 1e3
    verdict = _lines(full)["keeps limit"]
    assert verdict.startswith("latency: yes, measured 3.1% below; parameters: no, predicted ")


def test_a_bare_run_has_a_summary(bare):
    lines = _lines(bare)
    assert lines["limit"] == "none"
    assert lines["measured"] == "not measured"
    assert lines["accuracy"] == "unknown"
    assert lines["keeps limit"] == "no limit was set"
    assert "Files" not in lines


def test_a_limit_without_any_number_is_unknown(full, bare):
    data = dataclasses.replace(bare, search={"limits": full.search["limits"]})
    assert _lines(data)["keeps limit"] == "unknown, neither predicted nor measured"


def test_size_and_memory_are_compared_as_exported(full):
    limits = full.search["limits"] | {"tflite_bytes": 6e6, "peak_memory_bytes": 2e6}
    data = dataclasses.replace(
        full,
        search=full.search | {"limits": limits},
        exported={"bytes": 5_970_000, "activation_memory_bytes": 2_020_000},
    )
    lines = _lines(data)
    assert "file size 6.00 MB" in lines["limit"]
    assert "peak activation memory 2.00 MB" in lines["limit"]
    assert "file size: yes, measured 0.5% below" in lines["keeps limit"]
    assert "peak activation memory: no, measured 1.0% above" in lines["keeps limit"]
    assert lines["memory"].endswith(" of activations")
