import dataclasses
import math

import pytest

from keras_nas.report.data import Kept, limits_kept
from keras_nas.resources import macs, piece_macs


def test_prediction_is_overhead_and_all_pieces(full):
    assert full.predicted_ms() == pytest.approx(math.fsum(full.latency) + 0.125, rel=1e-15)


def test_latency_may_be_a_function_of_the_piece(full):
    data = dataclasses.replace(full, latency=lambda piece: piece_macs(piece) / 1e6, table={})
    total = macs(full.architecture, full.input_shape, full.classes) / 1e6
    assert data.predicted_ms() == pytest.approx(total)


def test_wrong_number_of_latencies_is_an_error(full):
    with pytest.raises(ValueError, match=f"has {len(full.latency)} pieces, received 2 latencies"):
        dataclasses.replace(full, latency=[1.0, 2.0]).predicted_ms()


def test_a_latency_that_is_not_finite_is_no_prediction(full):
    data = dataclasses.replace(full, latency=[math.nan] * len(full.latency))
    assert data.predicted_ms() is None


def test_final_accuracy_is_the_last_known(full):
    assert full.final_accuracy() == ("finetune", 0.9375)
    full.training["finetune"]["accuracy"] = math.nan
    assert full.final_accuracy() == ("pretrain", 0.912)


def test_limits_are_compared_with_formula_and_measurement(full):
    full.search["limits"] = {"macs": 1e9, "latency_ms": 8.0, "parameters": math.inf}
    latency, resource = limits_kept(full)
    assert (latency.resource, latency.limit, latency.measured) == ("latency_ms", 8.0, 7.75)
    assert resource.predicted == macs(full.architecture, full.input_shape, full.classes)
    assert resource.measured is None


@pytest.mark.parametrize(
    ("measured", "spread", "kept", "within"),
    [(7.0, 1.0, True, False), (7.5, 1.0, False, True), (8.5, 1.0, False, False),
     (8.0, None, True, False)],
)  # fmt: skip
def test_a_limit_is_kept_with_the_spread_inside(measured, spread, kept, within):
    row = Kept("latency_ms", 8.0, 9.0, measured, spread)
    assert row.by_prediction() is False
    assert row.by_measurement() is kept
    assert row.yes() is kept
    assert row.within_spread() is within


def test_without_measurement_the_prediction_decides():
    assert Kept("latency_ms", 8.0, 8.0).yes() is True
    assert Kept("latency_ms", 8.0, 8.001).yes() is False
    assert Kept("latency_ms", 8.0, None).yes() is None


def test_the_order_of_a_sum_breaks_no_limit():
    total = sum([0.1] * 10)
    assert Kept("latency_ms", total, math.fsum([0.1] * 10)).by_prediction() is True
