"""Which piece of a network an operation that the runtime timed belongs to.

Two steps. The converted model names its tensors after Keras' layers, and those begin with the name
of their piece; so each operation of the model gets its piece, and that every piece begins where the
one before ended is checked. Then the runtime's operations are matched with the model's. The
runtime fuses, splits and inserts cheap operations (activations, additions, reshapes), but never
those that cost: convolutions, dense layers, means. These anchors must agree one to one; what ran
between two of them belongs to the piece of the model's operations there.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from keras_nas.devices.device import DeviceError

ANCHORS = {
    "CONV_2D": ("Convolution", "Fully Connected"),
    "DEPTHWISE_CONV_2D": ("Convolution",),
    "TRANSPOSE_CONV": ("Deconvolution",),
    "FULLY_CONNECTED": ("Fully Connected", "Convolution"),
    "MEAN": ("Mean", "Global Average Pooling"),
    "AVERAGE_POOL_2D": ("Average Pooling", "Global Average Pooling"),
    "MAX_POOL_2D": ("Max Pooling",),
}
"""TFLite operation -> how its names begin in XNNPACK. Where XNNPACK does not take the operation,
the runtime uses TFLite's own name."""

_RUNTIME_ANCHORS = tuple({name for names in ANCHORS.values() for name in names} | set(ANCHORS))
_BUILTIN_NAMES = {
    code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)
}


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a converted model: TFLite's name of its kind, number of its piece."""

    kind: str
    piece: int


def model_operations(
    tflite: bytes, piece_names: Sequence[str], output_shapes: Sequence[Sequence[int]]
) -> list[Operation]:
    """Operations of a converted network in order, with the piece that each belongs to.

    Args:
      tflite: the file.
      piece_names: prefix of the layer names of each piece, in order.
      output_shapes: of each piece, without the batch.

    Raises:
      ValueError: the pieces cannot be told apart in the file.
    """
    model = schema.Model.GetRootAsModel(tflite, 0)
    graph = model.Subgraphs(0)
    pattern = re.compile(rf"(?:^|[/;])({'|'.join(map(re.escape, piece_names))})_")
    number = {name: n for n, name in enumerate(piece_names)}
    piece_of_tensor = {int(tensor): 0 for tensor in graph.InputsAsNumpy()}
    found, last_output = [], {}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        inputs = [int(t) for t in operator.InputsAsNumpy() if int(t) in piece_of_tensor]
        if not inputs:
            continue  # on constants, such as float16 weights made float32: done while loading
        kind = _BUILTIN_NAMES[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()]
        outputs = [graph.Tensors(int(tensor)) for tensor in operator.OutputsAsNumpy()]
        # What has no name of a layer, such as an activation, goes with what it works on.
        before = max(piece_of_tensor[tensor] for tensor in inputs)
        named = {number[n] for t in outputs for n in pattern.findall(t.Name().decode())}
        piece = min(named, default=before)
        if len(named) > 1 or not before <= piece <= before + 1:
            raise ValueError(
                f"operation {index} ({kind}) of the converted network cannot be told to belong to "
                f"{piece_names[before]!r} or the piece after it; its output is named "
                f"{outputs[0].Name().decode()!r}. Name its layer after the piece."
            )
        piece_of_tensor.update((int(tensor), piece) for tensor in operator.OutputsAsNumpy())
        found.append(Operation(kind, piece))
        last_output[piece] = outputs[0].ShapeAsNumpy()
    _check_pieces(piece_names, output_shapes, last_output)
    return found


def _check_pieces(
    names: Sequence[str], shapes: Sequence[Sequence[int]], found: dict[int, np.ndarray]
) -> None:
    """Raises ValueError unless each piece has operations, and its last one makes its output."""
    for number, (name, shape) in enumerate(zip(names, shapes, strict=True)):
        if number not in found or math.prod(found[number][1:]) != math.prod(shape):
            size = list(map(int, found[number])) if number in found else "nothing"
            raise ValueError(
                f"in the converted network {name!r} ends in {size}, expected an image of "
                f"{'x'.join(map(str, shape))}; its operations cannot be told apart by name."
            )


def pieces_of_operations(operations: Sequence[Operation], ran: Sequence[str]) -> list[int]:
    """Number of the piece of each operation that the runtime ran.

    Args:
      operations: of the model, see `model_operations`.
      ran: kinds of what the runtime ran, in order, by its own names.

    Raises:
      DeviceError: the two cannot be matched; says where.
    """
    kinds = [kind.removeprefix("Delegate/") for kind in ran]
    expected = [i for i, operation in enumerate(operations) if operation.kind in ANCHORS]
    found = [j for j, kind in enumerate(kinds) if kind.startswith(_RUNTIME_ANCHORS)]
    if len(expected) != len(found):
        raise DeviceError(
            f"the runtime ran {len(found)} convolutions, dense layers and means, the model has "
            f"{len(expected)}: the profile cannot be divided among the blocks."
        )
    result: list[int] = []
    start = ran_start = 0
    for end, ran_end in zip(expected, found, strict=True):
        anchor = operations[end]
        if not kinds[ran_end].startswith((*ANCHORS[anchor.kind], anchor.kind)):
            raise DeviceError(
                f"the runtime's operation {ran_end} is {kinds[ran_end]!r}, where the model has "
                f"{anchor.kind}: the profile cannot be divided among the blocks."
            )
        result += _spread(operations[start:end], anchor, ran_end - ran_start)
        result.append(anchor.piece)
        start, ran_start = end + 1, ran_end + 1
    return result + _spread(operations[start:], operations[-1], len(kinds) - ran_start)


def _spread(between: Sequence[Operation], following: Operation, count: int) -> list[int]:
    """Pieces of `count` cheap operations, where the model has those `between` two anchors."""
    if count == len(between):
        return [operation.piece for operation in between]
    # Those that the runtime inserts, such as reshapes, serve what follows.
    pieces = {operation.piece for operation in between or [following]}
    if len(pieces) > 1:
        raise DeviceError(
            f"the runtime ran {count} operations where the model has {len(between)}, of different "
            "blocks: the profile cannot be divided among the blocks."
        )
    return [*pieces] * count
