"""A whole run made up of round numbers, for the report's tests."""

import dataclasses

import pytest

from keras_nas.report import ReportData
from keras_nas.space import HARDCORE_NAS, pieces

SHAPE, CLASSES = (224, 224, 3), 10
DEPTHS = (2, 3, 4, 4, 3)
CONFIGURATIONS = tuple((5 * b + 3) % 12 for b in range(20))
DEVICE = {"name": "host", "processor": "Test CPU", "cores": 2}


def _search():
    rows = range(1, 11)
    return {
        "method": "hardcore_nas",
        "seed": 0,
        "limits": {"latency_ms": 8.0},
        "resources": {
            "latency_ms": {
                "smallest": 3.5,
                "typical": 6.25,
                "largest": 12.75,
                "limit": 8.0,
                "start": 7.875,
                "expected": 7.96,
            }
        },
        "start": {"alpha": [[1 / 12] * 12] * 20, "beta": [[1 / 3] * 3] * 5},
        "end": {
            "alpha": [[float(c == chosen) for c in range(12)] for chosen in CONFIGURATIONS],
            "beta": [[float(d + 2 == depth) for d in range(3)] for depth in DEPTHS],
        },
        "trajectory": [
            {
                "step": step,
                "loss": 3 / step,
                "accuracy": step / 20,
                "latency_ms": 8 - 1 / step,
                "alpha_entropy": 2 / step,
                "beta_entropy": 1 / step,
                "updated": "alpha",
            }
            for step in rows
        ],
        "timing": {"gradient_seconds": 99.0, "program_seconds": 1.0},
    }


def _projection():
    return {
        "method": "exact",
        "resources": {"latency_ms": 7.9},
        "candidates": {
            "exact": {"latency_ms": 7.9, "keeps_limits": True},
            "lp": {"latency_ms": 8.125, "keeps_limits": False},
        },
        "rounds": [
            {"target_ms": 8.0, "predicted_ms": 7.98, "measured_ms": 8.05, "spread_ms": 0.0625,
             "keeps_limit": False},
            {"target_ms": 7.92, "predicted_ms": 7.9, "measured_ms": 7.91, "spread_ms": 0.03125,
             "keeps_limit": True},
        ],
    }  # fmt: skip


def _history(steps):
    return [{"step": s, "loss": 2 / s, "accuracy": s / (s + 2)} for s in range(1, steps)]


@pytest.fixture
def full():
    """A run that has everything."""
    architecture = HARDCORE_NAS.architecture(DEPTHS, CONFIGURATIONS, "found")
    count = len(pieces(architecture, SHAPE, CLASSES))
    calibration = [
        {"architecture": {"name": f"random_{n}"}, "measured_ms": 5.0 + n, "predicted_ms": 5.1 + n,
         "held_out_ms": 5.2 + n}
        for n in range(3)
    ]  # fmt: skip
    return ReportData(
        title="Digits within 8 ms",
        space=HARDCORE_NAS,
        architecture=architecture,
        input_shape=SHAPE,
        classes=CLASSES,
        class_names=tuple(f"digit {n}" for n in range(CLASSES)),
        latency=[0.25 + 0.01 * n for n in range(count)],
        search=_search(),
        projection=_projection(),
        measurement={"latency_ms": 7.75, "spread_ms": 0.05, "samples_ms": [7.7, 7.8]},
        training={
            "pretrain": {"history": _history(20), "accuracy": 0.912, "seconds": 12.5},
            "finetune": {"history": _history(10), "accuracy": 0.9375, "seconds": 61.0},
        },
        table={
            "device": DEVICE,
            "method": "blocks alone",
            "overhead_ms": 0.125,
            "calibration": calibration,
            "mean_error": 0.02,
            "worst_error": 0.04,
        },
        files=[("network.tflite", 5_310_000), ("search.json", 900)],
        settings={"limits.latency_ms": 8.0, "search.steps": 10},
        versions={"keras": "3.15.0"},
        directory="runs/digits",
    )


@pytest.fixture
def bare(full):
    """A run that has nothing but its network."""
    empty = {
        f.name: type(getattr(full, f.name))()
        for f in dataclasses.fields(full)
        if f.name not in ("title", "space", "architecture", "input_shape", "classes", "latency")
    }
    return dataclasses.replace(full, latency=None, **empty)
