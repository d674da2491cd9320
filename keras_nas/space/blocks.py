"""Blocks as data, and the block strings that MnasNet's code and PyTorch Image Models use.

`ir_r1_k5_s2_e3_c24_nre_se0.25`: kind, repeats, kernel size, stride, expansion ratio, output
channels, activation, squeeze-and-excitation ratio.
"""

from __future__ import annotations

import dataclasses
import re

ACTIVATION_CODES = {"re": "relu", "r6": "relu6", "hs": "hard_swish", "sw": "swish"}
"""Activation code in block strings -> the name used everywhere else."""

ACTIVATIONS = tuple(ACTIVATION_CODES.values())

BLOCK_KINDS = ("ir", "ds", "cn")
"""Inverted residual (MBConv), depthwise-separable convolution, plain convolution."""

_CODE_OF_ACTIVATION = {name: code for code, name in ACTIVATION_CODES.items()}
_FIELD = re.compile(r"(se|[rksecn])(.+)")


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor`, never below 90% of `value`.

    Source: MobileNet's reference code; every published network of this family rounds this way.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def check_activation(name: str, where: str) -> None:
    """Raises ValueError when `name` is not a known activation."""
    if name not in ACTIVATIONS:
        raise ValueError(f"{where}: unknown activation {name!r}; one of {', '.join(ACTIVATIONS)}.")


def positive_integer(value: object, where: str) -> None:
    """Raises ValueError unless `value` is an integer above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{where} should be a positive integer, received {value!r}.")


def format_number(value: float) -> str:
    """A number as block strings write it: `6`, `0.25`; reads back as the same float."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of a network.

    Attributes:
      kind: `ir` (1x1 expansion, depthwise, optional squeeze-and-excitation, 1x1 projection,
        residual when shapes allow), `ds` (depthwise, 1x1) or `cn` (plain convolution).
      kernel_size: of the depthwise convolution (`cn`: of the convolution).
      stride: 1 or 2.
      channels: output channels.
      expansion_ratio: middle channels / input channels; 1 for `ds` and `cn`.
      se_ratio: squeeze-and-excitation width / middle channels; 0 means none.
      activation: name, see `ACTIVATIONS`.

    Raises:
      ValueError: a field is out of its range.
    """

    kind: str
    kernel_size: int
    stride: int
    channels: int
    expansion_ratio: float = 1.0
    se_ratio: float = 0.0
    activation: str = "relu"

    def __post_init__(self) -> None:
        if self.kind not in BLOCK_KINDS:
            raise ValueError(f"unknown block kind {self.kind!r}; one of {', '.join(BLOCK_KINDS)}.")
        positive_integer(self.kernel_size, f"kernel size of a {self.kind} block")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel size should be odd, received {self.kernel_size}.")
        positive_integer(self.channels, f"channels of a {self.kind} block")
        if self.stride not in (1, 2):
            raise ValueError(f"stride of a block should be 1 or 2, received {self.stride!r}.")
        if not self.expansion_ratio > 0:
            raise ValueError(f"expansion ratio should be above 0, received {self.expansion_ratio}.")
        if not 0 <= self.se_ratio <= 1:
            raise ValueError(
                f"squeeze-and-excitation ratio should be in [0, 1], received {self.se_ratio}."
            )
        if self.kind != "ir" and self.expansion_ratio != 1:
            raise ValueError(
                f"a {self.kind} block has no expansion, received ratio {self.expansion_ratio}."
            )
        if self.kind == "cn" and self.se_ratio:
            raise ValueError("a cn block has no squeeze-and-excitation, received a ratio.")
        check_activation(self.activation, f"{self.kind} block")

    def to_string(self) -> str:
        """The block in block-string notation; `Block.from_string` reads it back exactly."""
        text = (
            f"{self.kind}_r1_k{self.kernel_size}_s{self.stride}"
            f"_e{format_number(self.expansion_ratio)}_c{self.channels}"
            f"_n{_CODE_OF_ACTIVATION[self.activation]}"
        )
        return text + (f"_se{format_number(self.se_ratio)}" if self.se_ratio else "")

    @classmethod
    def from_string(cls, text: str, default_activation: str = "relu") -> Block:
        """Reads one block (repeat 1); see `blocks_from_string` for repeats.

        Raises:
          ValueError: the string is malformed, or repeats the block.
        """
        blocks = blocks_from_string(text, default_activation)
        if len(blocks) != 1:
            raise ValueError(
                f"block string {text!r} repeats its block {len(blocks)} times, "
                "where one block is expected."
            )
        return blocks[0]

    def middle_channels(self, input_channels: int) -> int:
        """Channels of the depthwise convolution for `input_channels` input channels."""
        if self.kind != "ir":
            return input_channels
        return make_divisible(input_channels * self.expansion_ratio)

    def se_channels(self, input_channels: int) -> int:
        """Width of the squeeze-and-excitation bottleneck; 0 where there is none (as in HC's
        published networks: make_divisible(middle channels * ratio, 8))."""
        if not self.se_ratio:
            return 0
        return make_divisible(self.middle_channels(input_channels) * self.se_ratio)

    def has_residual(self, input_channels: int) -> bool:
        """Whether the input is added to the output."""
        return self.kind != "cn" and self.stride == 1 and input_channels == self.channels


def blocks_from_string(text: str, default_activation: str = "relu") -> list[Block]:
    """Reads a block string, with repeats: after the first block, the stride is 1.

    Raises:
      ValueError: naming the string and the part that cannot be read.
    """
    kind, *parts = text.split("_")
    fields: dict[str, str] = {}
    for part in parts:
        match = _FIELD.fullmatch(part)
        if not match or match[1] in fields:
            raise ValueError(
                f"block string {text!r}: cannot read {part!r}; expected fields like "
                "k3 s1 e6 c24 nre se0.25, each once."
            )
        fields[match[1]] = match[2]
    missing = [key for key in ("k", "s", "c") if key not in fields]
    if missing:
        raise ValueError(f"block string {text!r} lacks {', '.join(missing)}.")
    activation = default_activation
    if "n" in fields:
        if fields["n"] not in ACTIVATION_CODES:
            raise ValueError(
                f"block string {text!r}: unknown activation code {fields['n']!r}; one of "
                f"{', '.join(ACTIVATION_CODES)}."
            )
        activation = ACTIVATION_CODES[fields["n"]]
    try:
        repeats = int(fields.get("r", "1"))
        block = Block(
            kind=kind,
            kernel_size=int(fields["k"]),
            stride=int(fields["s"]),
            channels=int(fields["c"]),
            expansion_ratio=float(fields.get("e", "1")),
            se_ratio=float(fields.get("se", "0")),
            activation=activation,
        )
        positive_integer(repeats, "repeats")
    except ValueError as error:
        raise ValueError(f"block string {text!r}: {error}") from None
    return [block] + [dataclasses.replace(block, stride=1)] * (repeats - 1)
