"""Models with fresh weights as a device runs them, made for measuring."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import keras

from keras_nas import files
from keras_nas.devices.device import Device, Progress, no_progress
from keras_nas.export import CONVERTERS, stitch
from keras_nas.models import build_network, build_piece
from keras_nas.resources.latency_table import all_pieces
from keras_nas.space import Architecture, BatchNorm, Piece, StagedSpace, pieces

EMPTY = "empty"
"""Name of the almost empty network."""
PIECES_IN_MEMORY = 256
"""More than the pieces of the paper's space, which take 100 MB."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What models are made for.

    Attributes:
      space: which networks and pieces belong to.
      classes: of the head.
      device: its format and batch.
      precision: see `export.convert_frozen`.
    """

    space: StagedSpace
    classes: int
    device: Device
    precision: str


def fresh_model(
    architecture: Architecture,
    input_shape: Sequence[int],
    classes: int,
    *,
    model_format: str = "tflite",
    precision: str = "float32",
    batch: int = 1,
) -> bytes:
    """A network with fresh weights as a device runs it.

    A `.tflite` file is stitched of its pieces, each converted alone: the same operations as if it
    was converted as a whole. For int8 that is also what makes it right: through a whole network of
    fresh weights activations vanish, and XNNPACK does not add numbers of so different size.

    Args:
      architecture: the network.
      input_shape: height, width, channels.
      classes: of the head.
      model_format: see `Device.format`.
      precision, batch: see `export.convert_frozen`.

    Raises:
      ValueError: unknown precision, or a bad input shape or number of classes.
    """
    if model_format != "tflite":
        model = build_network(architecture, input_shape, classes)
        return CONVERTERS[model_format](model, precision, batch)
    parts = pieces(architecture, input_shape, classes)
    return stitch([_piece(part, architecture.batch_norm, precision, batch) for part in parts])


@functools.lru_cache(maxsize=PIECES_IN_MEMORY)
def _piece(piece: Piece, batch_norm: BatchNorm, precision: str, batch: int) -> bytes:
    """One piece as a `.tflite` file. The next network has many of them again."""
    return CONVERTERS["tflite"](build_piece(piece, batch_norm), precision, batch)


def convert_models(
    target: Target,
    folder: Path,
    *,
    architectures: Iterable[Architecture] = (),
    names: Iterable[str] = (),
    on_progress: Progress = no_progress,
) -> dict[str, Path]:
    """Converts what is not in the folder yet, each piece once.

    Args:
      target: what for.
      folder: holds files of this target only.
      architectures: networks to convert; each is called by its name.
      names: pieces to convert, by key, and `EMPTY`.
      on_progress: called after each conversion.

    Returns:
      Name -> file: what was asked for, and the pieces that `.tflite` networks are made of.

    Raises:
      ValueError: unknown precision, or a model that cannot be converted.
    """
    networks = list(architectures)
    known = {piece.key: piece for piece in all_pieces(target.space, target.classes)}
    parts = {a.name: _parts(target, a) for a in networks}
    # Free widths need not be those that are measured.
    known |= {part.key: part for row in parts.values() for part in row}
    wanted = list(dict.fromkeys([*names, *(part.key for row in parts.values() for part in row)]))
    total = len(wanted) + len(networks)
    paths: dict[str, Path] = {}
    for done, name in enumerate(wanted, start=1):
        paths[name] = _path(target, folder, name)
        if not paths[name].exists():
            model = (
                _empty_network()
                if name == EMPTY
                else build_piece(known[name], target.space.batch_norm)
            )
            files.write_bytes(paths[name], _convert(target, model))
        on_progress(done, total, f"converting {name}")
    for done, network in enumerate(networks, start=len(wanted) + 1):
        # By content: random networks of one name may differ between versions of this program.
        path = paths[network.name] = _path(target, folder, network.to_json())
        if not path.exists():
            made_of = [paths[part.key].read_bytes() for part in parts[network.name]]
            files.write_bytes(path, stitch(made_of) if made_of else _whole(target, network))
        on_progress(done, total, f"converting {network.name}")
    return paths


def digest(value: object) -> str:
    """Short name of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _parts(target: Target, network: Architecture) -> list[Piece]:
    """The pieces that a network's file is stitched of; none where it is not."""
    if target.device.format != "tflite":
        return []
    return pieces(network, target.space.input_shape, target.classes)


def _path(target: Target, folder: Path, what: str) -> Path:
    return folder / f"{digest(what)}.{target.device.format}"


def _whole(target: Target, network: Architecture) -> bytes:
    return _convert(target, build_network(network, target.space.input_shape, target.classes))


def _convert(target: Target, model: keras.Model) -> bytes:
    return CONVERTERS[target.device.format](model, target.precision, target.device.batch)


def _empty_network() -> keras.Model:
    """One operation on 8 numbers: calling it costs what calling any network costs."""
    inputs = keras.Input((1, 1, 8))
    return keras.Model(inputs, keras.layers.ReLU()(inputs))
