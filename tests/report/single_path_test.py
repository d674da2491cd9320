"""The report of a search over gates: curves, both networks, and a summary of both results."""

import dataclasses

import numpy as np
import pytest

from keras_nas.report import render, summary
from keras_nas.space import SINGLE_PATH_SE, pieces
from keras_nas.space.single_path_gates import (
    SKIP,
    architecture_of_configurations,
    gate_names,
    gate_shapes,
)

SHAPES = gate_shapes(SINGLE_PATH_SE)
SEARCHED = np.array([11] * 20)
EXACT = np.where(np.arange(20) == 6, SKIP, np.where(np.arange(20) == 0, 3, SEARCHED))


@pytest.fixture
def run(full):
    """Norms that fall through their thresholds in the kernels of every block."""
    network = architecture_of_configurations(SINGLE_PATH_SE, EXACT, "found")
    count = len(pieces(network, (224, 224, 3), 10))

    def gates(**values):
        return {
            field: np.full(shape, values.get(field, 1.0)).tolist()
            for field, shape in SHAPES.items()
        }

    rows = [
        {
            "step": step,
            "loss": 3 / step,
            "cross_entropy": 2 / step,
            "accuracy": step / 20,
            "sampled_ms": 12 - step / 2,
            "runtime_ms": 12.5 - step / 2,
            "runtime_weight": 20.0,
            "skipped_blocks": step // 3,
            "configurations": SEARCHED.tolist(),
            "norms": gates(kernel=1 - step / 8),
            "thresholds": gates(kernel=0.5, expansion=0.5, squeeze_excite=0.5),
        }
        for step in range(1, 8)
    ]
    limits = {key: full.search[key] for key in ("limits", "resources")}
    search = limits | {
        "method": "single_path",
        "runtime": {"table": "latency_table.json", "form": "paper", "weight": 20.0},
        "gates": gate_names(SINGLE_PATH_SE),
        "trajectory": rows,
        "end": {"margins": gates(kernel=-0.375)},
    }
    both = {
        "search": {"latency_ms": 10.0, "keeps_limits": False, "skipped_blocks": 0,
                   "configurations": SEARCHED.tolist(), "one_shot_accuracy": 0.9125},
        "exact": {"latency_ms": 7.9, "keeps_limits": True, "skipped_blocks": 1,
                  "configurations": EXACT.tolist(), "one_shot_accuracy": 0.8875,
                  "measured_ms": 7.75, "spread_ms": 0.0625},
    }  # fmt: skip
    return dataclasses.replace(
        full,
        space=SINGLE_PATH_SE,
        architecture=network,
        latency=[0.25] * count,
        search=search,
        projection={"method": "exact", "candidates": both, "rounds": []},
    )


def test_every_gate_has_its_curve(run):
    page = render(run)
    cells = 20 * 5 - 5  # the first block of a stage is never skipped
    assert page.count("ends open, norm minus threshold 1") == 2 * (4 * 20 - 5)
    assert page.count('aria-label="block 3.2, k5: ends shut, norm minus threshold -0.375"') == 1
    assert page.count("<td>always</td>") == 5
    assert page.count('<td class="open') + page.count('<td class="shut') == cells
    for text in ("norm", "threshold", "e3", "e6", "se0.25", "se0.5"):
        assert f">{text}<" in page


def test_a_gate_behind_a_shut_one_does_not_count(run):
    run.search["end"]["margins"]["expansion"][6][0] = -1.0
    page = render(run)
    assert "block 2.3, e6: ends open, norm minus threshold 1; does not count" in page
    assert "block 2.3, k5: ends shut, norm minus threshold -0.375; does not count" in page
    assert "block 2.4, e6: ends open, norm minus threshold 1; does not count" not in page


def test_both_networks_and_runtime_against_the_limit(run):
    page = render(run)
    assert '<th scope="row">2.3</th><td>e6 k5 se0.5</td><td>skipped</td><td>changed</td>' in page
    assert '<th scope="row">1.1</th><td>e6 k5 se0.5</td><td>e3 k5</td><td>changed</td>' in page
    assert '<th scope="row">1.2</th><td>e6 k5 se0.5</td><td>e6 k5 se0.5</td><td></td>' in page
    assert "Runtime by the device&#x27;s table" in page and "limit 8.000 ms" in page
    assert "exact (used)" in page and "91.2%" in page and "7.750 ms ± 0.062 ms" in page
    text = summary(run)
    assert "soft result   10.00 ms predicted (25.0% above the limit), 91.2% before training" in text
    assert "exact result  7.900 ms predicted (1.2% below the limit), 88.8% before training" in text


def test_runtime_by_a_published_table_has_no_limit(run):
    run.search["runtime"]["table"] = "pixel1.json"
    page = render(run)
    assert "Runtime by pixel1.json" in page and "Runtime by the device" not in page


def test_what_is_missing_is_said(run):
    page = render(dataclasses.replace(run, projection={}))
    assert "The networks that the gates were read as are not recorded." in page
    page = render(dataclasses.replace(run, search={"gates": {}}))
    assert "The search recorded no gates of this space." in page
    assert "The search recorded no trajectory." in page


def test_other_formulations_say_what_is_drawn(run):
    assert "its margin: its logit" not in render(run)
    run.search["formulation"] = "multi_path"
    assert "its margin: its logit" in render(run)
    for row in run.search["trajectory"]:
        del row["norms"]
    page = render(run)
    assert "Random search decides at its end." in page and "norm minus threshold" not in page
    assert "within the limits" in page
