"""A search space as data: supernet, costs, sampling and report are functions of it."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Sequence

from keras_nas.space.architecture import Architecture, BatchNorm, Head, Stem, load_object
from keras_nas.space.blocks import Block, positive_integer
from keras_nas.space.elastic_stage import Configuration, ElasticStage
from keras_nas.space.pieces import Piece, piece_after
from keras_nas.space.staged_space import StagedSpace, read_fields, write_space

FORMAT = "keras_nas.search_space"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class SearchSpace(StagedSpace):
    """Elastic stages between a fixed beginning and a fixed end.

    Arrays over the space are alpha [B, C] with C configurations a block, and beta [S, D], see
    `StagedSpace`.

    Attributes:
      name: for files and reports.
      stages: what is searched.
      kernel_sizes, expansion_ratios, se_ratios: their product, in the order expansion, kernel,
        squeeze-and-excitation, is the list of configurations of every block.
      stem, first_stages: fixed beginning. final_stages, head: fixed end.
      batch_norm: constants of every batch norm.
      resolution: height and width of the input.

    Raises:
      ValueError: an empty or repeated list of choices.
    """

    name: str
    stages: tuple[ElasticStage, ...]
    kernel_sizes: tuple[int, ...] = (3, 5)
    expansion_ratios: tuple[float, ...] = (3, 4, 6)
    se_ratios: tuple[float, ...] = (0, 0.25)
    stem: Stem = Stem()
    first_stages: tuple[tuple[Block, ...], ...] = ()
    final_stages: tuple[tuple[Block, ...], ...] = ()
    head: Head = Head()
    batch_norm: BatchNorm = BatchNorm()
    resolution: int = 224

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError(f"search space {self.name!r} needs at least one elastic stage.")
        for field in ("kernel_sizes", "expansion_ratios", "se_ratios"):
            values = getattr(self, field)
            if not values or list(values) != sorted(set(values)):
                raise ValueError(
                    f"search space {self.name!r}: {field} should be ascending, without repeats and "
                    f"not empty, received {values!r}."
                )
        positive_integer(self.resolution, "resolution")
        for configuration in range(len(self.configurations)):
            self.block(0, 0, configuration)  # a Block checks its own ranges

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """The C configurations of a block."""
        product = itertools.product(self.expansion_ratios, self.kernel_sizes, self.se_ratios)
        return tuple(Configuration(*choice) for choice in product)

    @property
    def choice_names(self) -> tuple[str, ...]:
        """Names of the C configurations, as `e3 k5 se`."""
        return tuple(choice.name for choice in self.configurations)

    def size(self) -> int:
        """How many architectures the space holds."""
        return self.networks_of(len(self.configurations))

    def block(self, stage: int, index: int, configuration: int) -> Block:
        """The `index`-th block of `stage` (from 0) in one of the C configurations."""
        choice = self.configurations[configuration]
        data = self.stages[stage]
        return Block(
            kind="ir",
            kernel_size=choice.kernel_size,
            stride=data.stride if index == 0 else 1,
            channels=data.channels,
            expansion_ratio=choice.expansion_ratio,
            se_ratio=choice.se_ratio,
            activation=data.activation,
        )

    def architecture(
        self, depths: Sequence[int], configurations: Sequence[int], name: str = "network"
    ) -> Architecture:
        """The architecture with `depths[s]` blocks in stage s and configuration
        `configurations[b]` in block b; entries of blocks beyond the depth do not count.

        Raises:
          ValueError: wrong lengths, or a value outside the space.
        """
        if len(depths) != len(self.stages) or len(configurations) != len(self.stage_of_block):
            raise ValueError(
                f"space {self.name!r} has {len(self.stages)} stages and {len(self.stage_of_block)} "
                f"blocks, received {len(depths)} depths and {len(configurations)} configurations."
            )
        self.check_depths(depths)
        elastic = []
        for s, first in enumerate(self.first_blocks):
            chosen = configurations[first : first + depths[s]]
            if not all(0 <= c < len(self.configurations) for c in chosen):
                raise ValueError(
                    f"configurations of stage {s} should be 0 to {len(self.configurations) - 1}, "
                    f"received {list(chosen)}."
                )
            elastic.append(tuple(self.block(s, i, c) for i, c in enumerate(chosen)))
        return self.with_elastic(elastic, name)

    def network_of_pieces(self, choices: Sequence[int], name: str) -> Architecture:
        """The architecture of full depth in configurations `choices` [B]."""
        return self.architecture(self.largest_depths, choices, name)

    def encode(self, architecture: Architecture) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The inverse of `architecture`: depths [S] and configurations [B] (0 beyond the depth).

        Raises:
          ValueError: the architecture is not in this space; names the first difference.
        """
        depths, configurations = [], []
        choices = range(len(self.configurations))
        for s, blocks in enumerate(self.elastic_blocks(architecture)):
            for index, block in enumerate(blocks):
                options = {self.block(s, index, c): c for c in choices}
                if block not in options:
                    raise ValueError(
                        f"architecture {architecture.name!r} is not in space {self.name!r}: stage "
                        f"{s} cannot hold {block.to_string()}."
                    )
                configurations.append(options[block])
            configurations.extend([0] * (self.stages[s].max_depth - len(blocks)))
            depths.append(len(blocks))
        return tuple(depths), tuple(configurations)

    def choices_of(self, architecture: Architecture) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """See `encode`."""
        return self.encode(architecture)

    def heaviest(self) -> Architecture:
        """Largest depth, expansion ratio, kernel size and squeeze-and-excitation everywhere."""
        last = len(self.configurations) - 1
        return self.architecture(self.largest_depths, [last] * len(self.stage_of_block), "heaviest")

    def lightest(self) -> Architecture:
        """Smallest depth, expansion ratio, kernel size and squeeze-and-excitation everywhere."""
        depths = [stage.min_depth for stage in self.stages]
        return self.architecture(depths, [0] * len(self.stage_of_block), "lightest")

    def random(self, seed: int) -> Architecture:
        """Depths and configurations drawn uniformly and independently; repeats by `seed`."""
        generator = random.Random(seed)
        depths = [generator.randint(stage.min_depth, stage.max_depth) for stage in self.stages]
        choices = len(self.configurations)
        configurations = [generator.randrange(choices) for _ in self.stage_of_block]
        return self.architecture(depths, configurations, f"random_{seed}")

    def block_pieces(self) -> list[list[Piece]]:
        """Pieces [B][C]: every block in every configuration, on the input shape it has."""
        rows = []
        for b, (s, shape) in enumerate(
            zip(self.stage_of_block, self.block_input_shapes, strict=True)
        ):
            index = b - self.first_blocks[s]
            choices = range(len(self.configurations))
            rows.append([piece_after(shape, self.block(s, index, c)) for c in choices])
        return rows

    def to_json(self) -> str:
        """The space as JSON text; `from_json` reads it back exactly."""
        return write_space(self, dataclasses.asdict(self), FORMAT, VERSION)

    @classmethod
    def from_json(cls, text: str, where: str = "search space") -> SearchSpace:
        """Reads JSON text written by `to_json`, or by hand; `where` names its origin in errors.

        Raises:
          ValueError: damaged JSON, another format, missing, unknown or bad fields.
        """
        value = load_object(text, where, FORMAT, VERSION)
        own = dict.fromkeys(("kernel_sizes", "expansion_ratios", "se_ratios"), tuple)
        try:
            return cls(**read_fields(value, own))
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{where} is not a valid search space: {error}") from None
