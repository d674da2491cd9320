"""A search space with free widths as data (TF-NAS, arXiv 2008.05314, sections 3.1 and 3.4)."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from keras_nas.space.architecture import Architecture, BatchNorm, Head, Stem, load_object
from keras_nas.space.blocks import Block, positive_integer
from keras_nas.space.elastic_stage import ElasticStage
from keras_nas.space.pieces import Piece, piece_after
from keras_nas.space.squeeze_excite import EFFICIENT_NET, SqueezeExcite
from keras_nas.space.staged_space import read_fields, write_space
from keras_nas.space.tf_nas_block import TFNASBlock, TFNASOperation
from keras_nas.space.tf_nas_widths import FreeWidthSpace, Widths

FORMAT = "keras_nas.tf_nas_space"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class TFNASSpace(FreeWidthSpace):
    """Elastic stages of blocks that each take one of O operations, in a free width.

    Arrays over the space are alpha [B, O], widths [B, O], and beta [S, D], see `StagedSpace`. The
    width of an operation is kept also while another one is chosen.

    Attributes:
      name, stages, stem, first_stages, final_stages, head, batch_norm, resolution: see
        `StagedSpace`.
      operations: the O candidates of every block.
      squeeze_excite: what squeeze-and-excitation is like; operations say how wide it is.
      knot_spacing: latency is measured at every operation's smallest width, every so many channels
        above it, and at its largest; in between it is interpolated. All that a block computes is
        linear in its width, so that few knots do.
      width_divisor: of all widths. The paper's is 1; but a runtime that computes channels in groups
        takes as long for a part of a group as for all of it, and then the group's size is better.

    Raises:
      ValueError: no stage or operation, an operation twice, bounds that hold no width, or knots
        that are no widths.
    """

    name: str
    stages: tuple[ElasticStage, ...]
    operations: tuple[TFNASOperation, ...]
    stem: Stem = Stem()
    first_stages: tuple[tuple[Block, ...], ...] = ()
    final_stages: tuple[tuple[Block, ...], ...] = ()
    head: Head = Head()
    squeeze_excite: SqueezeExcite = EFFICIENT_NET
    batch_norm: BatchNorm = BatchNorm()
    resolution: int = 224
    knot_spacing: int = 256
    width_divisor: int = 1

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"search space {self.name!r} needs at least one elastic stage.")
        if not self.operations or len(set(self.operations)) != len(self.operations):
            names = [operation.name for operation in self.operations]
            raise ValueError(
                f"search space {self.name!r} needs at least one operation, each once, received "
                f"{names}."
            )
        if self.squeeze_excite.reference != "input":
            raise ValueError(
                f"search space {self.name!r}: squeeze-and-excitation should be relative to the "
                "block's input, since widths change during the search; received reference "
                f"{self.squeeze_excite.reference!r}."
            )
        positive_integer(self.resolution, "resolution")
        positive_integer(self.knot_spacing, "knot spacing of latency")
        positive_integer(self.width_divisor, "divisor of widths")
        if self.knot_spacing % self.width_divisor:
            raise ValueError(
                f"search space {self.name!r}: knot spacing {self.knot_spacing} should be a "
                f"multiple of width divisor {self.width_divisor}."
            )
        low, high = self._bounds
        for b, o in np.argwhere(low > high):
            raise ValueError(
                f"search space {self.name!r}: operation {self.operations[o].name} of block {b} has "
                f"no width between its bounds that {self.width_divisor} divides; its input has "
                f"{self.blocks[b].input_channels} channels. Widen the expansion ratios."
            )

    @property
    def blocks(self) -> tuple[TFNASBlock, ...]:
        """The B searchable blocks."""
        shapes = self.block_input_shapes
        return tuple(
            TFNASBlock(
                stage=s,
                index=b - self.first_blocks[s],
                input_resolution=shapes[b][0],
                input_channels=shapes[b][2],
                output_channels=self.stages[s].channels,
                stride=self.stages[s].stride if b == self.first_blocks[s] else 1,
                activation=self.stages[s].activation,
            )
            for b, s in enumerate(self.stage_of_block)
        )

    def chosen_blocks(
        self, operations: Sequence[int], depths: Sequence[int] | None
    ) -> tuple[int, ...]:
        """Numbers of the blocks that a network of depths [S] (None: all blocks) has.

        Raises:
          ValueError: `operations` [B] or `depths` are not choices of the space.
        """
        blocks, last = len(self.stage_of_block), len(self.operations) - 1
        if len(operations) != blocks or not all(0 <= o <= last for o in operations):
            raise ValueError(
                f"space {self.name!r} needs an operation 0 to {last} for each of its {blocks} "
                f"blocks, received {list(operations)}."
            )
        return self.blocks_of_depths(self.largest_depths if depths is None else depths)

    def knots(self, block: int, operation: int) -> tuple[int, ...]:
        """Widths at which latency is measured, ascending."""
        low, high = (int(w[block, operation]) for w in self._bounds)
        return (*range(low, high, self.knot_spacing), high)

    @property
    def kernel_sizes(self) -> tuple[int, ...]:
        """That are searched, ascending."""
        return tuple(sorted({operation.kernel_size for operation in self.operations}))

    @property
    def choice_names(self) -> tuple[str, ...]:
        """Names of the O operations."""
        return tuple(operation.name for operation in self.operations)

    def size(self) -> int:
        """How many choices of operations and depths the space holds, widths not counted."""
        return self.networks_of(len(self.operations))

    def block(self, block: int, operation: int, width: int) -> Block:
        """Searchable block number `block` with one of the O operations in a width."""
        stage = self.stages[self.stage_of_block[block]]
        choice = self.operations[operation]
        return Block(
            kind="ir",
            kernel_size=choice.kernel_size,
            stride=stage.stride if block in self.first_blocks else 1,
            channels=stage.channels,
            se_ratio=choice.se,
            activation=stage.activation,
            squeeze_excite=self.squeeze_excite if choice.se else SqueezeExcite(),
            fixed_middle_channels=int(width),
        )

    def architecture(
        self,
        operations: Sequence[int],
        depths: Sequence[int] | None,
        widths: ArrayLike,
        name: str = "network",
    ) -> Architecture:
        """The architecture with operation `operations[b]` in block b, `depths[s]` blocks in stage s
        (None: all of them), and the chosen operations' widths out of `widths` [B, O].

        Raises:
          ValueError: wrong lengths, or a value outside the space.
        """
        blocks = self.chosen_blocks(operations, depths)
        return self.architecture_of_blocks(operations, blocks, widths, name)

    def architecture_of_blocks(
        self,
        operations: Sequence[int],
        blocks: Iterable[int],
        widths: ArrayLike,
        name: str = "network",
    ) -> Architecture:
        """The architecture with some blocks, given by number, ascending; see `architecture`."""
        array = self.check_widths(widths)
        elastic: list[list[Block]] = [[] for _ in self.stages]
        for b in blocks:
            block = self.block(b, operations[b], int(array[b, operations[b]]))
            elastic[self.stage_of_block[b]].append(block)
        return self.with_elastic(list(map(tuple, elastic)), name)

    def encode(self, architecture: Architecture) -> tuple[tuple[int, ...], tuple[int, ...], Widths]:
        """The inverse of `architecture`: operations [B] (0 beyond the depth), depths [S], and
        widths [B, O], which are initial where they do not count.

        Where two operations hold a block (at the bound between two expansion ratios), it is the
        first. Padding does not count.

        Raises:
          ValueError: the architecture is not in this space; names the first difference.
        """
        stages = self.elastic_blocks(architecture)
        operations = [0] * len(self.stage_of_block)
        widths = self.initial_widths()
        low, high = self._bounds
        for s, (first, blocks) in enumerate(zip(self.first_blocks, stages, strict=True)):
            for b, block in enumerate(blocks, start=first):
                width = block.fixed_middle_channels
                found = [
                    o
                    for o in range(len(self.operations))
                    if low[b, o] <= width <= high[b, o]
                    and not width % self.width_divisor
                    and self.block(b, o, width) == block
                ]
                if not found:
                    raise ValueError(
                        f"architecture {architecture.name!r} is not in space {self.name!r}: stage "
                        f"{s} cannot hold {block.to_string()}."
                    )
                operations[b] = found[0]
                widths[b, found[0]] = width
        return tuple(operations), tuple(map(len, stages)), widths

    def choices_of(self, architecture: Architecture) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Depths [S] and operations [B], see `encode`."""
        operations, depths, _ = self.encode(architecture)
        return depths, operations

    def heaviest(self) -> Architecture:
        """Largest depth, width, kernel size and squeeze-and-excitation everywhere."""
        order = [(o.expansion_high, o.kernel_size, o.se) for o in self.operations]
        operations = [order.index(max(order))] * len(self.stage_of_block)
        return self.architecture(operations, None, self.largest_widths(), "heaviest")

    def lightest(self) -> Architecture:
        """Smallest depth, width, kernel size and squeeze-and-excitation everywhere."""
        order = [(o.expansion_low, o.kernel_size, o.se) for o in self.operations]
        operations = [order.index(min(order))] * len(self.stage_of_block)
        depths = [stage.min_depth for stage in self.stages]
        return self.architecture(operations, depths, self.smallest_widths(), "lightest")

    def random(self, seed: int) -> Architecture:
        """Depths, operations and widths drawn uniformly and independently; repeats by `seed`."""
        generator = random.Random(seed)
        depths = [generator.randint(stage.min_depth, stage.max_depth) for stage in self.stages]
        operations = [generator.randrange(len(self.operations)) for _ in self.stage_of_block]
        widths = self.initial_widths()
        for b, o in enumerate(operations):
            low, high = (int(bound[b, o]) for bound in self._bounds)
            widths[b, o] = generator.randrange(low, high + 1, self.width_divisor)
        return self.architecture(operations, depths, widths, f"random_{seed}")

    def block_pieces(self) -> list[list[Piece]]:
        """Pieces [B][*]: every block with every operation at every knot, on its input shape."""
        return [
            [piece_after(shape, self.block(b, o, width)) for o, width in self._measured_choices(b)]
            for b, shape in enumerate(self.block_input_shapes)
        ]

    def network_of_pieces(self, choices: Sequence[int], name: str) -> Architecture:
        """The architecture of full depth made of these numbers of `block_pieces`."""
        chosen = [self._measured_choices(b)[choice] for b, choice in enumerate(choices)]
        widths = self.initial_widths()
        for b, (o, width) in enumerate(chosen):
            widths[b, o] = width
        return self.architecture([o for o, _ in chosen], None, widths, name)

    def _measured_choices(self, block: int) -> list[tuple[int, int]]:
        """Operation and width of a block's pieces."""
        return [(o, w) for o in range(len(self.operations)) for w in self.knots(block, o)]

    def to_json(self) -> str:
        """The space as JSON text; `from_json` reads it back exactly."""
        return write_space(self, dataclasses.asdict(self), FORMAT, VERSION)

    @classmethod
    def from_json(cls, text: str, where: str = "search space") -> TFNASSpace:
        """Reads JSON text written by `to_json`, or by hand; `where` names its origin in errors.

        Raises:
          ValueError: damaged JSON, another format, missing, unknown or bad fields.
        """
        value = load_object(text, where, FORMAT, VERSION)
        own = {
            "operations": lambda rows: tuple(TFNASOperation(**row) for row in rows),
            "squeeze_excite": lambda row: SqueezeExcite(**row),
        }
        try:
            return cls(**read_fields(value, own))
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{where} is not a valid search space: {error}") from None
