"""Is a block's time linear in its width, as TF-NAS takes it to be between measured knots?

    python -m benchmarks.width_steps --channels=24 --resolution=8 --kernel_size=3

Measures networks of equal blocks in many widths, on this machine and in one run, and compares each
with the straight line between its neighbours among the multiples of `--knot`. On a processor with
AVX-512 (LiteRT, XNNPACK, float32, one thread) time is a staircase with a step after every 16
channels: just above a step a block takes 6 to 21% longer than the line between knots 8 apart says.
See `TFNASSpace.width_divisor`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags

from keras_nas import files
from keras_nas.devices import Effort, HostDevice, timing
from keras_nas.devices.conversion import fresh_model
from keras_nas.space import Architecture, Block, Head, Stem

_CHANNELS = flags.DEFINE_integer("channels", 24, "Of a block's input and output.", lower_bound=1)
_RESOLUTION = flags.DEFINE_integer("resolution", 8, "Of a block's input.", lower_bound=1)
_KERNEL_SIZE = flags.DEFINE_integer("kernel_size", 3, "Of its depthwise convolution.")
_ACTIVATION = flags.DEFINE_string("activation", "relu", "Of the block.")
_WIDTHS = flags.DEFINE_list(
    "widths", [str(width) for width in (*range(48, 81, 2), 81, 88, 96, 97, 104, 112)], "To measure."
)
_KNOT = flags.DEFINE_integer("knot", 8, "Its multiples are the line's knots.", lower_bound=1)

BLOCKS = 6
"""In a network."""


def network(width: int, blocks: int) -> Architecture:
    """A network of equal blocks."""
    block = Block(
        kind="ir",
        kernel_size=_KERNEL_SIZE.value,
        stride=1,
        channels=_CHANNELS.value,
        activation=_ACTIVATION.value,
        fixed_middle_channels=width,
    )
    stages = ((Block("cn", 1, 1, _CHANNELS.value),), *(((block,) * blocks,) if blocks else ()))
    return Architecture(f"width_{width}", Stem(16), stages, Head(128))


def block_microseconds(widths: Sequence[int]) -> np.ndarray:
    """Time of one block in every width: what `BLOCKS` of them add to a network, by their number."""
    input_shape = (2 * _RESOLUTION.value, 2 * _RESOLUTION.value, 3)
    networks = {str(width): network(width, BLOCKS) for width in widths}
    networks |= {"none": network(widths[0], 0), "reference": network(widths[0], 2)}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, f"{name}.tflite") for name in networks}
        for name, path in paths.items():
            files.write_bytes(path, fresh_model(networks[name], input_shape, 10))
        reference = paths.pop("reference")
        runs = timing.measure(HostDevice(1), paths, reference, Effort(0.01, rounds=12))
    ratios = np.array([timing.ratio(runs, str(width)) for width in widths])
    shares = (ratios - timing.ratio(runs, "none")) / BLOCKS
    return 1000 * timing.reference_ms(runs) * shares


def main(_: Sequence[str]) -> None:
    widths = sorted(map(int, _WIDTHS.value))
    knots = [width for width in widths if width % _KNOT.value == 0]
    if not knots or (knots[0], knots[-1]) != (widths[0], widths[-1]):
        raise app.UsageError(f"--widths should begin and end with a multiple of {_KNOT.value}.")
    times = block_microseconds(widths)
    at_knots = [times[widths.index(knot)] for knot in knots]
    size = _RESOLUTION.value
    print(
        f"{BLOCKS} blocks of {_CHANNELS.value} channels at {size}x{size}, kernel size "
        f"{_KERNEL_SIZE.value}, {_ACTIVATION.value}; line through multiples of {_KNOT.value}"
    )
    print(f"{'width':>6}{'us a block':>12}{'ns a channel':>14}{'over the line':>15}")
    for width, time, line in zip(widths, times, np.interp(widths, knots, at_knots), strict=True):
        print(f"{width:6}{time:12.2f}{1000 * time / width:14.1f}{time / line - 1:15.1%}")


if __name__ == "__main__":
    app.run(main)
