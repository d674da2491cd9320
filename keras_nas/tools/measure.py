"""Measures finished networks on a device, with their spread.

    python -m keras_nas.tools.measure network.tflite other.tflite
    python -m keras_nas.tools.measure network.tflite --device=android:SERIAL
    python -m keras_nas.tools.measure network.keras --device=keras:gpu --batch=64

The files take turns in shuffled rounds in several fresh processes, so that they can be compared
with one another even while the machine is busy. `--config` takes a device's settings from a file
such as configs/devices/phone.py; flags override them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from keras_nas import files
from keras_nas.config import Config, DeviceConfig, LimitsConfig
from keras_nas.devices import DeviceError, device_from_name, timing
from keras_nas.devices.device import Device, Progress, no_progress
from keras_nas.devices.measurement import NETWORK_EFFORT
from keras_nas.progress import Bar, quiet_native_code

_CONFIG = flags.DEFINE_string("config", None, "File whose get_config() gives a DeviceConfig.")
_OVERRIDES = (
    flags.DEFINE_string("device", None, "host, android, android:SERIAL, keras:cpu or keras:gpu."),
    flags.DEFINE_integer("threads", None, "Threads of the runtime."),
    flags.DEFINE_integer("batch", None, "Images in a call of a Keras device."),
    flags.DEFINE_string("precision", None, "Of a Keras device: float32 or mixed_float16, ..."),
)
_JSON = flags.DEFINE_boolean("json", False, "Print JSON instead of a table.")

SUFFIXES = {"tflite": ".tflite", "graph": ".keras"}
"""Format that a device runs -> files that it takes."""


def load_settings(path: str | None, **overrides: Any) -> DeviceConfig:
    """A device's settings from a file, or the default ones, with overrides that are not None.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it does not give a DeviceConfig, or a setting is out of its range.
    """
    settings = DeviceConfig()
    if path:
        if not Path(path).is_file():
            raise FileNotFoundError(f"no configuration file {path!r}; check the path.")
        try:
            settings = runpy.run_path(path)["get_config"]()
        except Exception as error:
            raise ValueError(
                f"configuration file {path} cannot be loaded: {type(error).__name__}: {error}."
            ) from error
    if not isinstance(settings, DeviceConfig):
        raise ValueError(
            f"get_config() of configuration file {path} should return a "
            f"keras_nas.config.DeviceConfig; it returned a {type(settings).__name__}."
        )
    given = {name: value for name, value in overrides.items() if value is not None}
    settings = dataclasses.replace(settings, **given)
    Config(device=settings, limits=LimitsConfig(latency_ms=1.0)).validate()
    return settings


def measure_files(
    paths: Sequence[str],
    settings: DeviceConfig,
    on_progress: Progress = no_progress,
) -> list[dict[str, object]]:
    """One row a file: `file`, `latency_ms` (median over processes), `spread` (relative standard
    deviation between processes of the ratio), `ratio` (to the first file).

    Args:
      paths: `.tflite` files, or `.keras` files for a Keras device.
      settings: of the device.
      on_progress: called after each round.

    Raises:
      FileNotFoundError: a file does not exist.
      ValueError: no file, a file given twice, one that the device does not take, or bad settings.
      DeviceError: a file cannot be run.
    """
    device = device_from_name(settings.name, settings)
    if not paths:
        raise ValueError("no file given; name one .tflite file or more.")
    if len(set(paths)) < len(paths):
        raise ValueError(f"a file is given twice in {', '.join(paths)}; name each once.")
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f"no file at {path}; check the path.")
    with tempfile.TemporaryDirectory() as folder:
        models = _prepared(paths, device, settings.precision, Path(folder))
        runs = timing.measure(
            device, models, models[paths[0]], NETWORK_EFFORT, on_progress=on_progress
        )
    first = timing.ratio(runs, paths[0])
    return [
        {
            "file": path,
            "latency_ms": timing.raw_ms(runs, path),
            "spread": timing.spread(runs, path),
            "ratio": timing.ratio(runs, path) / first,
        }
        for path in paths
    ]


def _prepared(
    paths: Sequence[str], device: Device, precision: str, folder: Path
) -> dict[str, Path]:
    """Path as given -> what the device runs.

    Raises:
      ValueError: the device does not take such a file, or it cannot be loaded or converted.
    """
    suffix = SUFFIXES[device.format]
    wrong = [path for path in paths if Path(path).suffix == ".keras" and suffix != ".keras"]
    wrong += [path for path in paths if Path(path).suffix != ".keras" and suffix == ".keras"]
    if wrong:
        raise ValueError(
            f"this device measures {suffix} files, received {wrong[0]}. A .keras file is for "
            "--device=keras:cpu or keras:gpu, a .tflite file for host and android."
        )
    if device.format == "tflite":
        return {path: Path(path) for path in paths}
    with quiet_native_code():
        import keras

        from keras_nas.export import CONVERTERS
    models = {}
    for number, path in enumerate(paths):
        try:
            model = keras.models.load_model(path, compile=False)
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise ValueError(f"{path} cannot be loaded: {str(error).splitlines()[0]}") from error
        models[path] = folder / str(number)
        data = CONVERTERS[device.format](model, precision, device.batch)
        files.write_bytes(models[path], data)
    return models


def format_table(rows: Sequence[dict[str, object]]) -> str:
    """The rows of `measure_files` as text."""
    width = max(len(str(row["file"])) for row in rows)
    lines = [f"{'file':{width}} {'ms':>10} {'spread':>8} {'ratio':>8}"]
    lines += [
        f"{row['file']:{width}} {row['latency_ms']:10.4f} {row['spread']:8.2%} {row['ratio']:8.4f}"
        for row in rows
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    overrides = {("name" if f.name == "device" else f.name): f.value for f in _OVERRIDES}
    with contextlib.ExitStack() as stack:
        bars: list[Bar] = []

        def show(done: int, total: int, what: str) -> None:
            if not bars:  # nothing is shown where nothing can be measured
                bars.append(Bar("measure", "rounds"))
                stack.callback(bars[0].close)
            bars[0].update(done, total, what)

        try:
            settings = load_settings(_CONFIG.value, **overrides)
            rows = measure_files(arguments[1:], settings, show)
        except (OSError, ValueError, DeviceError) as error:
            sys.exit(f"error: {error}")
    if _JSON.value:
        print(json.dumps(rows, indent=1))
        return
    print(format_table(rows))


if __name__ == "__main__":
    app.run(main)
