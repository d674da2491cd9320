"""What the benchmarks of Single-Path NAS make of their runs; nothing is trained."""

import numpy as np
import pytest

from benchmarks import single_path_tables
from benchmarks.single_path_formulations import FORMULATIONS
from benchmarks.subset_ablation import kernel_space, report, trainings
from keras_nas.space import SINGLE_PATH_SE

KERNELS = (3, 5)


def row(accuracy=0.9, runtime_ms=2.0, history=((0.1, 9.0), (0.6, 3.0), (0.8, 2.0)), evaluated=()):
    return {
        "accuracy": accuracy,
        "runtime_ms": runtime_ms,
        "inherited_accuracy": 0.5,
        "search_cpu_seconds": 10.0,
        "history": [{"held_out_accuracy": a, "runtime_ms": ms} for a, ms in history],
        "evaluated": [{"accuracy": a, "runtime_ms": ms} for a, ms in evaluated],
    }


def test_a_trace_is_what_the_run_would_end_in():
    np.testing.assert_array_equal(single_path_tables.trace(row()), [(0.1, 9), (0.6, 3), (0.8, 2)])
    searched = row(history=(), evaluated=((0.5, 1.0), (0.4, 2.0), (0.7, 3.0), (0.7, 4.0)))
    np.testing.assert_array_equal(
        single_path_tables.trace(searched), [(0.5, 1), (0.5, 1), (0.7, 3), (0.7, 3)]
    )


def test_spread_within_a_run_is_of_its_last_part():
    np.testing.assert_allclose(single_path_tables.within(row()), [0.2 / np.sqrt(2), 1 / np.sqrt(2)])


def test_table_verdicts_and_figure():
    found = {name: [] for name in FORMULATIONS}
    found["single-path sigmoid"] = [row(0.90, 2.0), row(0.80, 4.0), row(0.85, 3.0)]
    found["multi-path softmax"] = [row(0.95, 2.0), row(0.84, 4.0), row(0.91, 3.0)]
    found["random search"] = [row(0.7, history=(), evaluated=((0.5, 1.0), (0.7, 2.0)))]
    text = list(single_path_tables.report(found))
    line = next(line for line in text if line.startswith("single-path sigmoid"))
    assert line.split()[2:8] == ["3", "85.00%", "±", "5.00%", "80.00%", "90.00%"]
    assert "3.0000 ± 1.0000" in line and "14.14%" in line
    assert next(line for line in text if line.startswith("multi-path sigmoid")).split()[-1] == "0"
    verdicts = [line for line in text if line.startswith("  multi-path softmax")]
    assert verdicts[0].startswith("  multi-path softmax, accuracy: higher, +5.00% +- 0.58%")
    assert "log runtime: not decided, +0.000" in verdicts[1]
    assert "  random search, accuracy: not decided, 1 runs" in text
    figure = single_path_tables.figure_8(found)
    assert len(figure.axes) == 3 and figure.axes[2].get_legend() is not None


def test_kernels_are_all_that_is_chosen(absl_flags):
    space = kernel_space(SINGLE_PATH_SE, KERNELS)
    assert [c.kernel_size for c in space.configurations] == [3, 5]
    assert {len(depths) for depths in space.depths} == {1}
    assert kernel_space(SINGLE_PATH_SE, (5,)).heaviest().stages == space.heaviest().stages


@pytest.fixture
def absl_flags():
    """With their defaults."""
    from absl import flags

    flags.FLAGS(["test"])


def test_subset_table():
    found = {name: [] for name in trainings(KERNELS)}
    assert list(found) == [
        "alone, kernel 3", "alone, kernel 5", "shared, same steps", "shared, 2 times the steps",
    ]  # fmt: skip
    found["alone, kernel 3"] = [{"3": 0.90, "cpu_seconds": 5.0}, {"3": 0.92, "cpu_seconds": 5.0}]
    found["shared, same steps"] = [
        {"3": 0.80, "5": 0.7, "cpu_seconds": 9.0}, {"3": 0.83, "5": 0.7, "cpu_seconds": 9.0},
    ]  # fmt: skip
    text = list(report(found, KERNELS))
    assert text[1].split() == ["alone,", "kernel", "3", "2", "91.00%", "±", "1.41%", "5"]
    assert "  shared, same steps, kernel 3: worse, -9.50% +- 0.50% over 2 seeds" in text
    assert "  shared, same steps, kernel 5: not decided, 0 seeds" in text
