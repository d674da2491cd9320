"""A found network against others under width multipliers, on this device (SP Figure 7).

    python -m benchmarks.width_scaling
    python -m benchmarks.width_scaling --networks=single_path_nas_v1,runs/mine --multipliers=0.5,1

Every network at every multiplier is converted with fresh weights, on whose values latency does not
depend, and measured in turns with all others. Parameters and MACs are counted. Accuracies are
published ones, of sources named below the table, where there are any; nothing was trained here. Run
it again to go on after an interruption.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from keras_nas import files
from keras_nas.config import DeviceConfig
from keras_nas.devices import device_from_name
from keras_nas.progress import Bar
from keras_nas.space.width_multiplier import widened
from keras_nas.tools.comparison import ComparedNetwork, Comparison, convert, measure_in_turns
from keras_nas.tools.comparison_entries import Entry
from keras_nas.tools.networks import NamedNetwork, named_network

_NETWORKS = flags.DEFINE_list(
    "networks",
    ["single_path_nas_v1", "mobilenetv2_100", "mobilenetv3_large_100", "semnasnet_100"],
    "The found network first, then those it is compared with: names, files, work directories.",
)
_MULTIPLIERS = flags.DEFINE_list("multipliers", ["0.35", "0.5", "0.75", "1", "1.4"], "Widths.")
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks/width_scaling", "Folder.")
_DEVICE = flags.DEFINE_string("device", "host", "Where to measure.")
_ROUNDS = flags.DEFINE_integer("rounds", 6, "Rounds in each process.")

SLIM = "github.com/tensorflow/models, research/slim/nets/mobilenet"
TPU = "github.com/tensorflow/tpu, models/official/mnasnet"
HEADS = {"mobilenetv2_100": "grows", "mobilenetv3_large_100": "grows"}
"""Networks whose last features grow with multipliers above 1, as published; others' are fixed."""
PUBLISHED = {
    "mobilenetv2_100": (SLIM, {0.35: 60.3, 0.5: 65.4, 0.75: 69.8, 1.0: 71.8, 1.3: 74.4, 1.4: 75.0}),
    "mobilenetv3_large_100": (SLIM, {0.75: 73.3, 1.0: 75.2}),
    "semnasnet_100": (TPU, {0.35: 64.1, 0.5: 68.9, 0.75: 73.3, 1.0: 75.2, 1.4: 77.2}),
    "single_path_nas_v1": ("arXiv 1904.02877", {1.0: 74.96}),
}
"""Network -> source of ImageNet top-1 at 224x224 in percent, by multiplier. Recipes differ."""
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#444444")


def scaled(base: NamedNetwork, multiplier: float) -> Entry:
    """A network at a width multiplier, with its published accuracy if there is one."""
    architecture = widened(base.architecture, multiplier, head=HEADS.get(base.name, "fixed"))
    source, accuracies = PUBLISHED.get(base.name, ("", {}))
    network = NamedNetwork(
        f"{base.name} x{multiplier:g}", architecture, base.input_shape, base.classes
    )
    return Entry(network, accuracies.get(multiplier), f"published: {source}")


def table(comparison: Comparison, names: Sequence[str], multipliers: Sequence[float]) -> str:
    """The result as Markdown, a row a network."""
    lines = [
        "| network | width | parameters | MACs | measured here, ms | published top-1, % |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    found = {network.name: network for network in comparison.networks}
    for name, multiplier in itertools.product(names, multipliers):
        row = found[f"{name} x{multiplier:g}"]
        accuracy = "–" if row.accuracy is None else f"{row.accuracy:g}"
        lines.append(
            f"| {name} | {multiplier:g} | {row.parameters / 1e6:.2f} M | {row.macs / 1e6:.1f} M | "
            f"{row.latency_ms:.2f} ± {row.spread_ms:.2f} | {accuracy} |"
        )
    sources = {f"{name}: {PUBLISHED[name][0]}" for name in names if name in PUBLISHED}
    return "\n".join([*lines, "", f"Published: {'; '.join(sorted(sources))}."])


def against_found(comparison: Comparison, names: Sequence[str]) -> list[str]:
    """What each other network reaches at the found one's latency, between its own widths."""
    found, *others = names
    by_name = _families(comparison, names)
    points = [row for row in by_name[found] if row.accuracy is not None]
    lines = []
    for row, name in itertools.product(points, others):
        known = sorted((r.latency_ms, r.accuracy) for r in by_name[name] if r.accuracy is not None)
        ms, accuracies = zip(*known, strict=True) if known else ((), ())
        if not known:
            lines.append(f"{name}: no published accuracy")
            continue
        if not ms[0] <= row.latency_ms <= ms[-1]:
            end = 0 if row.latency_ms < ms[0] else -1
            which = "fastest" if end == 0 else "slowest"
            lines.append(
                f"{row.name}: published {row.accuracy:g}% at {row.latency_ms:.2f} ms; {name}, "
                f"{which} published width: {accuracies[end]:g}% at {ms[end]:.2f} ms"
            )
            continue
        # Accuracy grows about linearly with the logarithm of latency.
        reached = np.interp(np.log(row.latency_ms), np.log(ms), accuracies)
        lines.append(
            f"{row.name}: published {row.accuracy:g}% at {row.latency_ms:.2f} ms; {name} reaches "
            f"{reached:.1f}% there, between its widths ({row.accuracy - reached:+.1f} points)"
        )
    return lines


def plot(comparison: Comparison, names: Sequence[str]) -> bytes:
    """Published accuracy over latency measured here, and MACs over latency, as SVG."""
    figure = Figure(figsize=(10.0, 4.5), dpi=72, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for (name, rows), colour in zip(
        _families(comparison, names).items(), itertools.cycle(COLOURS), strict=False
    ):
        known = [row for row in rows if row.accuracy is not None]
        style = {"color": colour, "marker": "o", "markersize": 4.5, "linewidth": 1.2}
        left.errorbar(
            [row.latency_ms for row in known],
            [row.accuracy for row in known],
            xerr=[row.spread_ms for row in known],
            label=name,
            **style,
        )
        right.errorbar(
            [row.latency_ms for row in rows],
            [row.macs / 1e6 for row in rows],
            xerr=[row.spread_ms for row in rows],
            label=name,
            **style,
        )
    for axes, label in ((left, "published top-1 (ImageNet), %"), (right, "MACs, millions")):
        axes.set_xlabel("latency measured here, ms")
        axes.set_ylabel(label)
        axes.grid(color="#e5e5e5", linewidth=0.6)
    right.legend(fontsize=8)
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _families(comparison: Comparison, names: Sequence[str]) -> dict[str, list[ComparedNetwork]]:
    """Name -> its widths, fastest first."""
    return {
        name: [row for row in comparison.networks if row.name.rpartition(" x")[0] == name]
        for name in names
    }


def main(_) -> None:
    folder = Path(_OUTPUT.value)
    multipliers = [float(value) for value in _MULTIPLIERS.value]
    bases = [named_network(name) for name in _NETWORKS.value]
    entries = [scaled(base, multiplier) for base in bases for multiplier in multipliers]
    settings = DeviceConfig(name=_DEVICE.value, max_processes=3, target_error=0.02)
    device = device_from_name(settings.name, settings)
    bar = Bar("convert", "networks")
    paths = convert(entries, device, settings.precision, folder / "models", on_progress=bar.update)
    bar.close()
    bar = Bar("measure", "rounds")
    comparison = measure_in_turns(
        entries, paths, device, settings, _ROUNDS.value, folder / "samples", on_progress=bar.update
    )
    bar.close()
    names = [base.name for base in bases]
    processor = comparison.device.processor
    print(f"{processor}, {settings.threads} thread, {settings.precision}; {comparison.processes} "
          f"processes of {comparison.rounds} rounds; ± between processes\n")  # fmt: skip
    print(table(comparison, names, multipliers))
    print("\n" + "\n".join(against_found(comparison, names)))
    files.write_json(folder / "width_scaling.json", comparison.to_json_object())
    files.write_bytes(folder / "width_scaling.svg", plot(comparison, names))
    print(f"\n{folder / 'width_scaling.svg'}")


if __name__ == "__main__":
    app.run(main)
