"""Blocks as data."""

from __future__ import annotations

import dataclasses

from keras_nas.space.block_strings import read_block, write_block
from keras_nas.space.squeeze_excite import OWN, SqueezeExcite
from keras_nas.space.values import ACTIVATIONS, check_activation, make_divisible, positive_integer

__all__ = [
    "ACTIVATIONS",
    "BLOCK_KINDS",
    "Block",
    "blocks_from_string",
    "check_activation",
    "make_divisible",
    "positive_integer",
]

_PARTS = {
    "ir": {"expansion", "depthwise", "squeeze-and-excitation", "expansion groups", "residual"},
    "er": {"expansion", "squeeze-and-excitation", "residual"},
    "ds": {"depthwise", "squeeze-and-excitation", "residual"},
    "dsa": {"depthwise", "squeeze-and-excitation"},
    "cn": set(),
}
"""What blocks of a kind can have."""

BLOCK_KINDS = tuple(_PARTS)
"""Inverted residual (MBConv), edge residual (fused MBConv), depthwise-separable convolution without
and with an activation at its end, plain convolution."""


@dataclasses.dataclass(frozen=True)
class Block:
    """One block of a network.

    Attributes:
      kind: `ir` (1x1 expansion, depthwise, optional squeeze-and-excitation, 1x1 projection,
        residual when shapes allow), `er` (the expansion is a full convolution, and there is no
        depthwise one), `ds` (depthwise, 1x1, residual when shapes allow), `dsa` (depthwise, 1x1
        with activation, no residual) or `cn` (plain convolution).
      kernel_size: of the depthwise convolution (`er`, `cn`: of the full convolution). Several: the
        channels are dealt to them evenly, in order (MixNet, arXiv 1907.09595, section 3.1).
      stride: 1 or 2.
      channels: output channels.
      expansion_ratio: middle channels / input channels; 1 for kinds without expansion.
      se_ratio: squeeze-and-excitation width / middle channels (or input channels, as
        `squeeze_excite` says); 0 means none.
      activation: name, see `ACTIVATIONS`.
      squeeze_excite: rounding, gate and activation of squeeze-and-excitation.
      fixed_middle_channels: middle channels in place of an expansion ratio; 0: the ratio decides.
      expand_groups, project_groups: groups of the 1x1 convolutions.
      skip: whether there is a residual where shapes allow one.

    Raises:
      ValueError: a field is out of its range, or the kind has no such part.
    """

    kind: str
    kernel_size: int | tuple[int, ...]
    stride: int
    channels: int
    expansion_ratio: float = 1.0
    se_ratio: float = 0.0
    activation: str = "relu"
    squeeze_excite: SqueezeExcite = SqueezeExcite()
    fixed_middle_channels: int = 0
    expand_groups: int = 1
    project_groups: int = 1
    skip: bool = True

    def __post_init__(self) -> None:
        if self.kind not in _PARTS:
            raise ValueError(f"unknown block kind {self.kind!r}; one of {', '.join(BLOCK_KINDS)}.")
        self._check_kernel()
        positive_integer(self.channels, f"channels of a {self.kind} block")
        if self.stride not in (1, 2):
            raise ValueError(f"stride of a block should be 1 or 2, received {self.stride!r}.")
        self._check_width()
        self._check_squeeze_excite()
        positive_integer(self.expand_groups, "groups of the expansion")
        positive_integer(self.project_groups, "groups of the projection")
        check_activation(self.activation, f"{self.kind} block")
        for part, received in (
            ("expansion", self.expansion_ratio != 1 and f"ratio {self.expansion_ratio}"),
            ("expansion", self.fixed_middle_channels and f"{self.fixed_middle_channels} channels"),
            ("squeeze-and-excitation", self.se_ratio and f"ratio {self.se_ratio}"),
            ("depthwise", isinstance(self.kernel_size, tuple) and "several kernel sizes"),
            ("expansion groups", self.expand_groups != 1 and str(self.expand_groups)),
            ("depthwise", self.project_groups != 1 and f"{self.project_groups} projection groups"),
            ("residual", not self.skip and "noskip"),
        ):
            if received and part not in _PARTS[self.kind]:
                raise ValueError(f"a {self.kind} block has no {part}, received {received}.")

    def _check_kernel(self) -> None:
        if isinstance(self.kernel_size, tuple) and len(self.kernel_size) < 2:
            raise ValueError(f"mixed kernel sizes should be several, received {self.kernel_size}.")
        for size in self.kernel_sizes:
            positive_integer(size, f"kernel size of a {self.kind} block")
            if size % 2 == 0:
                raise ValueError(f"kernel size should be odd, received {size}.")

    def _check_width(self) -> None:
        if not self.expansion_ratio > 0:
            raise ValueError(f"expansion ratio should be above 0, received {self.expansion_ratio}.")
        if not isinstance(self.fixed_middle_channels, int) or self.fixed_middle_channels < 0:
            raise ValueError(
                f"fixed middle channels should be an integer >= 0, received "
                f"{self.fixed_middle_channels!r}."
            )
        if self.fixed_middle_channels and self.expansion_ratio != 1:
            raise ValueError(
                f"a block has an expansion ratio or fixed middle channels, received both: "
                f"{self.expansion_ratio} and {self.fixed_middle_channels}."
            )

    def _check_squeeze_excite(self) -> None:
        if self.squeeze_excite.reference == "middle" and not 0 <= self.se_ratio <= 1:
            raise ValueError(
                f"squeeze-and-excitation ratio should be in [0, 1], received {self.se_ratio}."
            )
        if not 0 <= self.se_ratio < float("inf"):
            raise ValueError(
                f"squeeze-and-excitation ratio should be a number >= 0, received {self.se_ratio}."
            )
        if not self.se_ratio and self.squeeze_excite != SqueezeExcite():
            raise ValueError(
                f"a block without squeeze-and-excitation cannot vary it, received "
                f"{self.squeeze_excite}."
            )

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """All kernel sizes; one, but for mixed kernels."""
        return self.kernel_size if isinstance(self.kernel_size, tuple) else (self.kernel_size,)

    @property
    def has_expansion(self) -> bool:
        """Whether the block begins with an expansion."""
        return "expansion" in _PARTS[self.kind]

    @property
    def has_depthwise(self) -> bool:
        """Whether the block has a depthwise convolution."""
        return "depthwise" in _PARTS[self.kind]

    @property
    def se_activation(self) -> str:
        """Name of the activation inside squeeze-and-excitation."""
        inside = self.squeeze_excite.activation
        return self.activation if inside == OWN else inside

    def to_string(self) -> str:
        """The block in block-string notation; `Block.from_string` reads it back exactly."""
        names = [field.name for field in dataclasses.fields(self)]
        return write_block({name: getattr(self, name) for name in names})

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
        """Channels of the depthwise convolution for `input_channels` input channels.

        Raises:
          ValueError: they cannot be dealt evenly to mixed kernels or groups.
        """
        middle = input_channels
        if self.has_expansion:
            middle = self.fixed_middle_channels or make_divisible(
                input_channels * self.expansion_ratio
            )
        for parts, channels in (
            (len(self.kernel_sizes), (middle,)),
            (self.expand_groups, (input_channels, middle)),
            (self.project_groups, (middle, self.channels)),
        ):
            if any(count % parts for count in channels):
                raise ValueError(
                    f"block {self.to_string()} cannot deal {channels} channels to {parts} equal "
                    "parts; choose other channels."
                )
        return middle

    def se_channels(self, input_channels: int) -> int:
        """Width of the squeeze-and-excitation bottleneck; 0 where there is none."""
        if not self.se_ratio:
            return 0
        middle = self.middle_channels(input_channels)
        return self.squeeze_excite.width(self.se_ratio, input_channels, middle)

    def has_residual(self, input_channels: int) -> bool:
        """Whether the input is added to the output."""
        allowed = self.skip and "residual" in _PARTS[self.kind]
        return allowed and self.stride == 1 and input_channels == self.channels


def blocks_from_string(
    text: str,
    default_activation: str = "relu",
    default_squeeze_excite: SqueezeExcite | None = None,
) -> list[Block]:
    """Reads a block string, with repeats: after the first block, the stride is 1.

    Args:
      text: see `keras_nas.space.block_strings`.
      default_activation: where the string names none.
      default_squeeze_excite: where the string has a squeeze-and-excitation ratio without flags.

    Raises:
      ValueError: naming the string and the part that cannot be read.
    """
    squeeze_excite = default_squeeze_excite or SqueezeExcite()
    fields, repeats = read_block(text, default_activation, squeeze_excite)
    try:
        block = Block(**fields)
    except ValueError as error:
        raise ValueError(f"block string {text!r}: {error}") from None
    return [block] + [dataclasses.replace(block, stride=1)] * (repeats - 1)
