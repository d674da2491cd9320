"""Measures `.tflite` files on this machine.

    python -m keras_nas.tools.measure network.tflite other.tflite --threads=1

The files take turns in shuffled rounds in several fresh processes, so that they can be compared
with one another even while the machine is busy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from keras_nas.devices import DeviceError, HostDevice, timing
from keras_nas.devices.measurement import NETWORK_EFFORT

_THREADS = flags.DEFINE_integer("threads", 1, "Threads of the runtime.", lower_bound=1)
_JSON = flags.DEFINE_boolean("json", False, "Print JSON instead of a table.")


def measure_files(paths: Sequence[str], threads: int) -> list[dict[str, object]]:
    """One row a file: `file`, `latency_ms` (median over processes), `spread` (relative standard
    deviation between processes of the ratio), `ratio` (to the first file).

    Raises:
      FileNotFoundError: a file does not exist.
      ValueError: no file, or a file given twice.
      DeviceError: a file cannot be run.
    """
    if not paths:
        raise ValueError("no file given; name one .tflite file or more.")
    if len(set(paths)) < len(paths):
        raise ValueError(f"a file is given twice in {', '.join(paths)}; name each once.")
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f"no .tflite file at {path}; check the path.")
    models = {path: Path(path) for path in paths}
    runs = timing.measure(HostDevice(threads), models, models[paths[0]], NETWORK_EFFORT)
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
    try:
        rows = measure_files(arguments[1:], _THREADS.value)
    except (OSError, ValueError, DeviceError) as error:
        sys.exit(f"error: {error}")
    if _JSON.value:
        print(json.dumps(rows, indent=1))
        return
    print(format_table(rows))


if __name__ == "__main__":
    app.run(main)
