"""What is searched in one block of TF-NAS' space (arXiv 2008.05314, Table 1)."""

from __future__ import annotations

import dataclasses
import math

from keras_nas.space.values import positive_integer


@dataclasses.dataclass(frozen=True)
class TFNASOperation:
    """One candidate of a block.

    Attributes:
      kernel_size: of the depthwise convolution.
      expansion_low, expansion_high: bounds of width / input channels; a search starts in the
        middle.
      se: squeeze-and-excitation width / input channels; 0 means none.

    Raises:
      ValueError: a field is out of its range.
    """

    kernel_size: int
    expansion_low: float
    expansion_high: float
    se: float = 0.0

    def __post_init__(self) -> None:
        positive_integer(self.kernel_size, "kernel size of an operation")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel size should be odd, received {self.kernel_size}.")
        if not 0 < self.expansion_low <= self.expansion_high < math.inf:
            raise ValueError(
                "an operation's expansion ratios should be 0 < expansion_low <= expansion_high, "
                f"received {self.expansion_low} and {self.expansion_high}."
            )
        if not 0 <= self.se < math.inf:
            raise ValueError(
                f"squeeze-and-excitation of an operation should be a number >= 0, received "
                f"{self.se}."
            )

    @property
    def expansion_ratio(self) -> float:
        """The initial one, in the middle of the bounds."""
        return (self.expansion_low + self.expansion_high) / 2

    @property
    def name(self) -> str:
        """As the authors write it: `k5_e6_se`."""
        text = f"k{self.kernel_size}_e{self.expansion_ratio:g}"
        return f"{text}_se" if self.se else text


@dataclasses.dataclass(frozen=True)
class TFNASBlock:
    """One searchable block, whatever its operation.

    Attributes:
      stage: number of its stage.
      index: number within the stage, from 0.
      input_resolution: height and width of its input.
      input_channels, output_channels, stride, activation: of the block.
    """

    stage: int
    index: int
    input_resolution: int
    input_channels: int
    output_channels: int
    stride: int
    activation: str

    @property
    def has_residual(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.input_channels == self.output_channels
