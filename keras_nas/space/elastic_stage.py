"""What is searched in one stage, and in one block."""

from __future__ import annotations

import dataclasses

from keras_nas.space.blocks import check_activation, positive_integer


@dataclasses.dataclass(frozen=True)
class ElasticStage:
    """A stage whose depth and blocks are searched.

    Attributes:
      channels: output channels of each of its blocks.
      stride: of its first block; the others have stride 1.
      activation: inside its blocks.
      min_depth, max_depth: number of blocks; between these the search decides.
    """

    channels: int
    stride: int
    activation: str = "relu"
    min_depth: int = 2
    max_depth: int = 4

    def __post_init__(self) -> None:
        positive_integer(self.channels, "stage channels")
        if self.stride not in (1, 2):
            raise ValueError(f"stage stride should be 1 or 2, received {self.stride!r}.")
        positive_integer(self.min_depth, "smallest depth of a stage")
        positive_integer(self.max_depth, "largest depth of a stage")
        if self.max_depth < self.min_depth:
            raise ValueError(
                f"a stage's largest depth {self.max_depth} is below its smallest {self.min_depth}."
            )
        check_activation(self.activation, "stage")


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What is searched in one block."""

    expansion_ratio: float
    kernel_size: int
    se_ratio: float

    @property
    def name(self) -> str:
        """`e3 k5 se`."""
        text = f"e{self.expansion_ratio:g} k{self.kernel_size}"
        return f"{text} se" if self.se_ratio else text
