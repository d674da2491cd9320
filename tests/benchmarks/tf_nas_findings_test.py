"""What the benchmark of TF-NAS' findings makes of its searches; no search is run."""

import numpy as np
import pytest

from benchmarks import tf_nas_tables
from benchmarks.tf_nas_searches import in_microseconds, variants
from keras_nas.config import TFNASConfig
from keras_nas.methods.tf_nas_architecture import LatencyObjective
from keras_nas.resources.width_latency import Curve, WidthLatency
from keras_nas.space import ElasticStage, TFNASOperation, TFNASSpace

NAMES = ["k3", "k5", "k5_se"]
TARGET = 60.0


def row(accuracy=0.5, after=(1.0, 1.0), operations=(0, 1, 0), kept=(True, True, True), seed=0):
    epochs = [
        {
            "epoch": 2 + i,
            "operations": list(operations),
            "kept": list(kept),
            "before": 2.0,
            "after": value,
            "alpha_entropy": 1.0,
        }
        for i, value in enumerate(after)
    ]
    return {"accuracy": accuracy, "epochs": epochs, "seed": seed}


def test_shares_count_the_blocks_that_are_kept():
    epoch = row(operations=(2, 1, 2, 0), kept=(True, True, True, False))["epochs"][0]
    shares = tf_nas_tables.operation_shares(epoch, 3)
    np.testing.assert_allclose(shares, [0, 1 / 3, 2 / 3])
    assert tf_nas_tables.entropy(shares) == pytest.approx(np.log(3) - np.log(2) * 2 / 3)
    assert tf_nas_tables.entropy(np.array([1.0, 0.0])) == 0


def test_networks_count_equally_however_deep():
    rows = [row(operations=(0,), kept=(True,)), row(operations=(1, 1), kept=(True, True))]
    np.testing.assert_allclose(tf_nas_tables.pooled_shares(rows, 3), [[0.5, 0.5, 0]] * 2)


@pytest.mark.parametrize(
    ("larger", "smaller", "word"),
    [
        ((0.9, 0.8, 0.7), (0.8, 0.7, 0.59), "  holds:"),
        ((0.8, 0.7, 0.59), (0.9, 0.8, 0.7), "  does not hold:"),
        ((0.9, 0.8, 0.7), (0.9, 0.7, 0.9), "  not decided:"),
        ((0.9,), (0.1, 0.2), "  not decided, 1 seeds:"),
        ((0.9, 0.8, float("nan")), (0.8, float("nan"), 0.6), "  not decided, 1 seeds:"),
    ],
)
def test_a_finding_is_decided_beyond_its_noise(larger, smaller, word):
    rows = ([row(value, seed=n) for n, value in enumerate(side)] for side in (larger, smaller))
    text = tf_nas_tables.compare("bigger", *rows, lambda one: one["accuracy"], 100.0)
    assert text.startswith(word) and "bigger" in text


def test_tables_name_what_was_found_and_what_was_not():
    found = {name: [] for name in variants(TFNASConfig(), TARGET)}
    found["paper"] = [row(0.9, (1.5, 0.9)), row(0.7, (0.9, 1.0), seed=1)]
    found["paper unscaled"] = [row(0.9, (2, 2)), row(float("nan"), (2, 2.2), seed=1)]
    text = list(tf_nas_tables.report(found, NAMES))
    paper = next(line for line in text if line.startswith("random "))
    assert paper.split()[1:8] == ["2", "2", "80.00%", "70.00%", "90.00%", "3.00", "0.950"]
    assert "17.5%" in paper and "k3 67%" in paper
    assert next(line for line in text if line.startswith("C2, scaled")).split()[-1] == "0"
    verdict = next(line for line in text if "with target, scaled: nearer" in line)
    assert verdict.startswith("  holds") and "+87.50" in verdict
    assert set(tf_nas_tables.figures(found, NAMES)) == {"figure_2", "figure_4a", "figure_5"}


def test_every_objective_pulls_equally_at_the_target():
    searches = variants(TFNASConfig(latency_weight=0.3), TARGET)
    assert len(searches) == 13 and searches["paper"] == TFNASConfig(latency_weight=0.3)
    for name in ("paper", "C1", "C2"):
        settings = searches[name]
        objective = LatencyObjective(
            settings.objective, TARGET, settings.latency_weight, settings.latency_exponent
        )
        # In float32: a step that is large, from the target on.
        slope = (float(objective(TARGET + 0.5)) - float(objective(TARGET))) / 0.5
        assert slope == pytest.approx(0.3 / TARGET, rel=0.01)
        assert searches[f"{name} unscaled"].elasticity_scaling is False


def test_microseconds():
    space = TFNASSpace("tiny", stages=(ElasticStage(8, 1, min_depth=1, max_depth=1),),
                       operations=(TFNASOperation(3, 1, 2),))  # fmt: skip
    bounds = [[space.smallest_widths()[0, 0], space.largest_widths()[0, 0]]]
    curves = ((Curve(np.array(bounds[0], float), np.array([0.1, 0.2])),),)
    fastest, slowest = in_microseconds(WidthLatency(space, 0.01, curves)).range_ms()
    assert (fastest, slowest) == pytest.approx((110, 210))
