"""Which reference network keeps measured ratios the same over time?

    python -m benchmarks.reference_network --experiment=configs/tf_nas_fashion_mnist.py

A measured latency is a ratio to a reference network that runs in turns with the measured one. Here
networks of an experiment's space run in fresh processes, one process after the other, and each is
divided by the lightest network, by the middle one (the reference of our tables), and by the
heaviest. A network's drift is the largest median of so many processes in a row as measure a network
in the pipeline, relative to the smallest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags
from numpy.typing import NDArray

from benchmarks import common
from keras_nas import files
from keras_nas.command_line import check_config_file
from keras_nas.devices import HostDevice
from keras_nas.devices.conversion import fresh_model
from keras_nas.devices.measurement import NETWORK_EFFORT
from keras_nas.devices.profile import calibration_architectures, reference_among
from keras_nas.method_space import method_space

_EXPERIMENT = flags.DEFINE_string(
    "experiment", "configs/tf_nas_fashion_mnist.py", "Configuration file."
)
_NETWORKS = flags.DEFINE_integer("networks", 8, "Of its space.", lower_bound=4)
_PROCESSES = flags.DEFINE_integer("processes", 60, "One after the other.", lower_bound=20)
_ROUNDS = flags.DEFINE_integer("rounds", 8, "In each process.", lower_bound=1)

CLASSES = 10
WINDOW = NETWORK_EFFORT.max_processes


def process_ms(paths: Mapping[str, Path], reference: str, seed: int) -> dict[str, float]:
    """Time of every network in one fresh process, the median over rounds."""
    others = {name: path for name, path in paths.items() if name != reference}
    run = HostDevice(1).run(
        others, paths[reference], rounds=_ROUNDS.value, seed=seed, on_round=lambda done: None
    )
    ms = {name: float(np.median(values)) for name, values in run.ms.items()}
    references = np.concatenate(list(run.reference_ms.values()))
    return ms | {reference: float(np.median(references))}


def drift(ratios: NDArray[np.float64]) -> float:
    """Of a network's ratios [processes]: largest / smallest median of a window, less 1."""
    windows = np.lib.stride_tricks.sliding_window_view(ratios, WINDOW)  # [windows, WINDOW]
    medians = np.median(windows, axis=1)
    return float(medians.max() / medians.min() - 1)


def main(_: Sequence[str]) -> None:
    space = method_space(check_config_file(_EXPERIMENT.value))
    networks = calibration_architectures(space, _NETWORKS.value)
    with tempfile.TemporaryDirectory() as folder:
        paths = {network.name: Path(folder, f"{network.name}.tflite") for network in networks}
        for network in networks:
            model = fresh_model(network, space.input_shape, CLASSES)
            files.write_bytes(paths[network.name], model)
        sizes = {name: path.stat().st_size for name, path in paths.items()}
        middle = reference_among(networks, sizes).name
        rows = []
        for number in range(_PROCESSES.value):
            rows.append(process_ms(paths, middle, number))
            if (number + 1) % 10 == 0:
                common.log(f"{number + 1} of {_PROCESSES.value} processes")
    ms = {name: np.array([row[name] for row in rows]) for name in paths}  # each [processes]
    candidates = {"lightest": "lightest", "middle": middle, "heaviest": "heaviest"}
    print(f"\n{space.name} at {space.resolution}x{space.resolution}; drift divided by")
    print(f"{'network':12}{'MB':>6}{'ms':>8}" + "".join(f"{what:>11}" for what in candidates))
    for name in sorted(paths, key=lambda name: sizes[name]):
        cells = (drift(ms[name] / ms[other]) for other in candidates.values())
        line = "".join(f"{cell:11.1%}" for cell in cells)
        print(f"{name:12}{sizes[name] / 1e6:6.2f}{np.median(ms[name]):8.3f}{line}")
    for what, other in candidates.items():
        values = [drift(ms[name] / ms[other]) for name in paths if name not in candidates.values()]
        print(f"divided by the {what}: mean drift {np.mean(values):.2%}, worst {max(values):.2%}")


if __name__ == "__main__":
    app.run(main)
