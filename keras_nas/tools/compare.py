"""Measures networks side by side on a device, as in the papers' tables, for *this* device.

    python -m keras_nas.tools.compare --output=runs/compare
    python -m keras_nas.tools.compare --networks=published,runs/mine,found.json=71.3 --output=DIR
    python -m keras_nas.tools.compare --networks=mnasnet_a1,mixnet_s --device=android --output=DIR

All published networks, or those named: by name, as an architecture's JSON file, or as a work
directory; `=71.3` behind a name is an accuracy measured by you, in percent. Each is converted with
fresh weights, on whose values latency does not depend, then all take turns in shuffled rounds in
several fresh processes. Run it again to go on after an interruption. The folder gets
`comparison.md`, `comparison.json` and `comparison.svg`, accuracy over latency. Published accuracies
and latencies stand beside what is measured and are labelled as published.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app, flags

from keras_nas.devices import DeviceError, Progress, device_from_name
from keras_nas.progress import Bar, quiet_native_code
from keras_nas.tools import measure
from keras_nas.tools.comparison import convert, measure_in_turns
from keras_nas.tools.comparison_entries import ALL, read_entries
from keras_nas.tools.comparison_page import write

_NETWORKS = flags.DEFINE_list(
    "networks", [ALL], f"Names, JSON files, work directories; {ALL}: all published networks."
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder for tables, picture, models and samples.")
_RESOLUTION = flags.DEFINE_integer(
    "resolution",
    None,
    "Height and width for all networks; by default what each was published or found for.",
    lower_bound=1,
)
_ROUNDS = flags.DEFINE_integer("rounds", 8, "Rounds in each process.", lower_bound=1)
# --config, --device, --threads, --batch, --precision and --json are the same there.
flags.adopt_module_key_flags(measure)


@contextlib.contextmanager
def _progress(name: str, unit: str) -> Iterator[Progress]:
    """A bar that appears with the first step, not before an error."""
    with contextlib.ExitStack() as stack:
        bars: list[Bar] = []

        def update(done: int, total: int, what: str) -> None:
            if not bars:
                bars.append(Bar(name, unit))
                stack.callback(bars[0].close)
            bars[0].update(done, total, what)

        yield update


def main(arguments: Sequence[str]) -> None:
    """Compares; ends with one line where something is wrong."""
    options = flags.FLAGS
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        if len(arguments) > 1:
            raise ValueError(
                f"unexpected argument {arguments[1]!r}; networks are named in --networks=a,b."
            )
        if not options.output:
            raise ValueError("--output is missing; name a folder: --output=runs/compare.")
        folder = Path(options.output)
        entries = read_entries(options.networks, options.resolution)
        settings = measure.load_settings(
            options.config,
            name=options.device,
            threads=options.threads,
            batch=options.batch,
            precision=options.precision,
        )
        device = device_from_name(settings.name, settings)
        with quiet_native_code():
            device.describe()  # one that is not there is better missed now than after converting
        with _progress("convert", "networks") as on_progress:
            paths = convert(
                entries, device, settings.precision, folder / "models", on_progress=on_progress
            )
        with _progress("measure", "rounds") as on_progress:
            comparison = measure_in_turns(
                entries,
                paths,
                device,
                settings,
                options.rounds,
                folder / "samples",
                on_progress=on_progress,
            )
        page = write(comparison, folder)
    except KeyboardInterrupt:
        print("interrupted: run again to continue.", file=sys.stderr)
        sys.exit(130)
    except (OSError, ValueError, DeviceError) as error:
        sys.exit(f"error: {error}")
    print(json.dumps(comparison.to_json_object(), indent=1) if options.json else page)


if __name__ == "__main__":
    app.run(main)
