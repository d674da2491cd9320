"""`Architecture`: one chosen network as data, in JSON and in block-string notation, both ways."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from keras_nas.space.blocks import Block, blocks_from_string
from keras_nas.space.squeeze_excite import SqueezeExcite
from keras_nas.space.values import check_activation, positive_integer

FORMAT = "keras_nas.architecture"
VERSION = 1

PADDINGS = ("same", "symmetric")


@dataclasses.dataclass(frozen=True)
class Stem:
    """The first convolution: `kernel_size`, `stride`, output `channels`, `activation`."""

    channels: int = 32
    kernel_size: int = 3
    stride: int = 2
    activation: str = "relu"

    def __post_init__(self) -> None:
        positive_integer(self.channels, "stem channels")
        positive_integer(self.kernel_size, "stem kernel size")
        if self.stride not in (1, 2):
            raise ValueError(f"stem stride should be 1 or 2, received {self.stride!r}.")
        check_activation(self.activation, "stem")

    @property
    def kernel_sizes(self) -> tuple[int]:
        """All kernel sizes, as of a `Block`: one."""
        return (self.kernel_size,)


@dataclasses.dataclass(frozen=True)
class Head:
    """What follows the last stage, up to the classifier.

    Attributes:
      features: channels of the 1x1 convolution in front of the classifier; 0 means none.
      activation: after that convolution.
      before_pooling: False: pool, then convolution with bias and without batch norm (as MobileNetV3
        and the published HardCoRe-NAS networks); True: convolution with batch norm, then pool.
      dropout_rate: in front of the classifier.
      bias: whether the convolution after pooling has a bias; before pooling it never has.
    """

    features: int = 1280
    activation: str = "hard_swish"
    before_pooling: bool = False
    dropout_rate: float = 0.0
    bias: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.features, int) or self.features < 0:
            raise ValueError(f"head features should be an integer >= 0, received {self.features}.")
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"head dropout should be in [0, 1), received {self.dropout_rate}.")
        if self.before_pooling and not self.bias:
            raise ValueError("bias=False belongs to a head after pooling; leave it out before.")
        check_activation(self.activation, "head")

    def to_json_object(self) -> dict[str, Any]:
        """The fields; `bias`, which came later, only where it is not the default, so that older
        files and fingerprints of spaces stay what they were."""
        fields = dataclasses.asdict(self)
        if self.bias:
            del fields["bias"]
        return fields


@dataclasses.dataclass(frozen=True)
class BatchNorm:
    """Batch norm's constants. `momentum` in Keras' terms: the share of the old average kept."""

    momentum: float = 0.9
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1 or not self.epsilon > 0:
            raise ValueError(
                "batch norm needs momentum in [0, 1) and epsilon above 0, received "
                f"{self.momentum} and {self.epsilon}."
            )


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One network, without input size and number of classes: those belong to the data.

    Attributes:
      name: for tables and file names.
      stem: first convolution.
      stages: blocks, grouped by stage.
      head: from the last stage to the classifier.
      batch_norm: constants of every batch norm.
      padding: of convolutions with stride 2. `same`, as TensorFlow: on even sizes one pixel less
        above and left than below and right. `symmetric`, as networks trained in PyTorch have it:
        kernel_size // 2 on every side. Sizes, MACs and parameters are equal.

    Raises:
      ValueError: there is no block, a stage is empty, or the padding is unknown.
    """

    name: str
    stem: Stem
    stages: tuple[tuple[Block, ...], ...]
    head: Head
    batch_norm: BatchNorm = BatchNorm()
    padding: str = "same"

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise ValueError(
                f"architecture {self.name!r}: unknown padding {self.padding!r}; one of "
                f"{', '.join(PADDINGS)}."
            )
        if not self.stages or not all(self.stages):
            raise ValueError(f"architecture {self.name!r} needs at least one block in every stage.")

    def blocks(self) -> Iterator[Block]:
        """All blocks in order."""
        for stage in self.stages:
            yield from stage

    def to_block_strings(self) -> list[list[str]]:
        """One list of block strings a stage."""
        return [[block.to_string() for block in stage] for stage in self.stages]

    @classmethod
    def from_block_strings(
        cls,
        stages: Sequence[Sequence[str]],
        *,
        name: str = "network",
        stem: Stem | None = None,
        head: Head | None = None,
        batch_norm: BatchNorm | None = None,
        padding: str = "same",
        default_activation: str = "relu",
        default_squeeze_excite: SqueezeExcite | None = None,
    ) -> Architecture:
        """Reads one list of block strings a stage; repeats (`_r3_`) are unrolled.

        The defaults stand where a block string names no activation, or gives a ratio of
        squeeze-and-excitation without flags.

        Raises:
          ValueError: a block string cannot be read.
        """
        defaults = (default_activation, default_squeeze_excite)
        blocks = tuple(
            tuple(block for text in stage for block in blocks_from_string(text, *defaults))
            for stage in stages
        )
        return cls(name, stem or Stem(), blocks, head or Head(), batch_norm or BatchNorm(), padding)

    def to_json(self) -> str:
        """The architecture as JSON text; `from_json` reads it back exactly."""
        value = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "stem": dataclasses.asdict(self.stem),
            "stages": self.to_block_strings(),
            "head": self.head.to_json_object(),
            "batch_norm": dataclasses.asdict(self.batch_norm),
        }
        if self.padding != "same":  # came later; older files are without
            value["padding"] = self.padding
        return json.dumps(value, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "architecture") -> Architecture:
        """Reads JSON text written by `to_json`; `where` names its origin in errors.

        Raises:
          ValueError: damaged JSON, another format or version, missing or unknown fields.
        """
        value = load_object(text, where, FORMAT, VERSION)
        fields = {"format", "version", *(field.name for field in dataclasses.fields(cls))}
        if not fields - {"padding"} <= set(value) <= fields:
            raise ValueError(
                f"{where} should have the fields {', '.join(sorted(fields))}, received "
                f"{', '.join(sorted(value))}."
            )
        try:
            return cls.from_block_strings(
                value["stages"],
                name=str(value["name"]),
                stem=Stem(**value["stem"]),
                head=Head(**value["head"]),
                batch_norm=BatchNorm(**value["batch_norm"]),
                padding=value.get("padding", "same"),
            )
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{where} is not a valid architecture: {error}") from None


def load_object(text: str, where: str, expected_format: str, version: int) -> dict[str, Any]:
    """Parses a JSON object and checks its `format` and `version` fields.

    Raises:
      ValueError: naming `where`, what was found, and the remedy.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where} is damaged or truncated: {error.msg} at line {error.lineno}, column "
            f"{error.colno}. Delete it and make it anew."
        ) from None
    found = value.get("format") if isinstance(value, dict) else type(value).__name__
    if found != expected_format:
        raise ValueError(f"{where} should have format {expected_format!r}, received {found!r}.")
    if value.get("version") != version:
        raise ValueError(
            f"{where} has version {value.get('version')!r} of {expected_format}; this program "
            f"reads version {version}. Make the file anew."
        )
    return value
