"""Which piece of a network an operation that the runtime timed belongs to.

Which operations of the model belong to which piece is known, since the model is stitched of its
pieces. The runtime, however, fuses, splits and inserts cheap operations (activations, additions,
reshapes). It never does that to those that cost: convolutions, dense layers, means. These anchors
must agree one to one; what ran between two of them belongs to the piece of the model's operations
there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

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


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a model: TFLite's name of its kind, and the number of its piece."""

    kind: str
    piece: int


def pieces_of_operations(operations: Sequence[Operation], ran: Sequence[str]) -> list[int]:
    """Number of the piece of each operation that the runtime ran.

    Args:
      operations: of the model, in order, see `export.operations_of_parts`.
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
