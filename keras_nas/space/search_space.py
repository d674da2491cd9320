"""A search space as data: supernet, costs, sampling and report are functions of it."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from keras_nas.space.architecture import Architecture, BatchNorm, Head, Stem, load_object
from keras_nas.space.blocks import Block, make_divisible, positive_integer
from keras_nas.space.elastic_stage import Configuration, ElasticStage
from keras_nas.space.pieces import Piece, Shape, piece_after

FORMAT = "keras_nas.search_space"
VERSION = 1


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """Elastic stages between a fixed beginning and a fixed end.

    Blocks are numbered b = 0..B-1 over all elastic stages (a stage has `max_depth` of them).
    Arrays over the space are alpha [B, C] with C configurations a block, and beta [S, D] with D the
    largest number of depths of a stage; column d of beta stands for depth min_depth + d.

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
    def stage_of_block(self) -> tuple[int, ...]:
        """Stage of every block, length B."""
        return tuple(s for s, stage in enumerate(self.stages) for _ in range(stage.max_depth))

    @property
    def first_blocks(self) -> tuple[int, ...]:
        """Number of every stage's first block, length S."""
        return tuple(
            itertools.accumulate((stage.max_depth for stage in self.stages[:-1]), initial=0)
        )

    @property
    def depths(self) -> tuple[tuple[int, ...], ...]:
        """Depths [S, D]: what column d of beta stands for; 0 pads stages with fewer choices."""
        width = max(stage.max_depth - stage.min_depth + 1 for stage in self.stages)
        rows = (tuple(range(stage.min_depth, stage.max_depth + 1)) for stage in self.stages)
        return tuple(row + (0,) * (width - len(row)) for row in rows)

    @property
    def input_shape(self) -> Shape:
        """(resolution, resolution, 3)."""
        return (self.resolution, self.resolution, 3)

    def size(self) -> int:
        """How many architectures the space holds."""
        choices = len(self.configurations)
        per_stage = (range(stage.min_depth, stage.max_depth + 1) for stage in self.stages)
        return math.prod(sum(choices**depth for depth in depths) for depths in per_stage)

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
        elastic = []
        for s, (stage, first) in enumerate(zip(self.stages, self.first_blocks, strict=True)):
            if not stage.min_depth <= depths[s] <= stage.max_depth:
                raise ValueError(
                    f"depth of stage {s} should be {stage.min_depth} to {stage.max_depth}, "
                    f"received {depths[s]}."
                )
            chosen = configurations[first : first + depths[s]]
            if not all(0 <= c < len(self.configurations) for c in chosen):
                raise ValueError(
                    f"configurations of stage {s} should be 0 to {len(self.configurations) - 1}, "
                    f"received {list(chosen)}."
                )
            elastic.append(tuple(self.block(s, i, c) for i, c in enumerate(chosen)))
        stages = (*self.first_stages, *elastic, *self.final_stages)
        return Architecture(name, self.stem, stages, self.head, self.batch_norm)

    def encode(self, architecture: Architecture) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The inverse of `architecture`: depths [S] and configurations [B] (0 beyond the depth).

        Raises:
          ValueError: the architecture is not in this space; names the first difference.
        """
        where = f"architecture {architecture.name!r} is not in space {self.name!r}"
        first, last = len(self.first_stages), len(self.first_stages) + len(self.stages)
        for field in ("stem", "head", "batch_norm"):
            if getattr(architecture, field) != getattr(self, field):
                raise ValueError(
                    f"{where}: {field} is {getattr(architecture, field)}, "
                    f"expected {getattr(self, field)}."
                )
        expected_stages = last + len(self.final_stages)
        if len(architecture.stages) != expected_stages:
            raise ValueError(
                f"{where}: it has {len(architecture.stages)} stages, expected {expected_stages}."
            )
        fixed = architecture.stages[:first] + architecture.stages[last:]
        if fixed != self.first_stages + self.final_stages:
            raise ValueError(f"{where}: its fixed stages differ.")
        depths, configurations = [], []
        for s, (data, blocks) in enumerate(
            zip(self.stages, architecture.stages[first:last], strict=True)
        ):
            if not data.min_depth <= len(blocks) <= data.max_depth:
                raise ValueError(f"{where}: stage {s} has {len(blocks)} blocks.")
            choices = range(len(self.configurations))
            for index, block in enumerate(blocks):
                options = {self.block(s, index, c): c for c in choices}
                if block not in options:
                    raise ValueError(f"{where}: stage {s} cannot hold {block.to_string()}.")
                configurations.append(options[block])
            configurations.extend([0] * (data.max_depth - len(blocks)))
            depths.append(len(blocks))
        return tuple(depths), tuple(configurations)

    def heaviest(self) -> Architecture:
        """Largest depth, expansion ratio, kernel size and squeeze-and-excitation everywhere."""
        last = len(self.configurations) - 1
        depths = [stage.max_depth for stage in self.stages]
        return self.architecture(depths, [last] * len(self.stage_of_block), "heaviest")

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
        shape = self.fixed_pieces(1)[len(self.first_stages_blocks())].output_shape
        rows = []
        for s, stage in enumerate(self.stages):
            for index in range(stage.max_depth):
                choices = range(len(self.configurations))
                row = [piece_after(shape, self.block(s, index, c)) for c in choices]
                rows.append(row)
                shape = row[0].output_shape
        return rows

    def first_stages_blocks(self) -> tuple[Block, ...]:
        """The fixed blocks in front of the elastic stages."""
        return tuple(itertools.chain.from_iterable(self.first_stages))

    def fixed_pieces(self, classes: int) -> list[Piece]:
        """The pieces that are not searched, in order: stem, first and final stages, head."""
        from_start = [piece_after(self.input_shape, self.stem)]
        for block in self.first_stages_blocks():
            from_start.append(piece_after(from_start[-1].output_shape, block))
        shape = from_start[-1].output_shape
        for stage in self.stages:
            shape = piece_after(shape, Block("cn", 1, stage.stride, stage.channels)).output_shape
        to_end = []
        for block in itertools.chain.from_iterable(self.final_stages):
            to_end.append(piece_after(shape, block))
            shape = to_end[-1].output_shape
        return [*from_start, *to_end, Piece(self.head, shape, (1, 1, classes))]

    def scaled(self, width_multiplier: float) -> SearchSpace:
        """The space with all channels multiplied and rounded to multiples of 8; the head's
        features only grow (as in MobileNetV2 and V3).

        Raises:
          ValueError: the multiplier is not above 0.
        """
        if not width_multiplier > 0:
            raise ValueError(f"width multiplier should be above 0, received {width_multiplier}.")
        if width_multiplier == 1:
            return self

        def scale(part):
            channels = make_divisible(part.channels * width_multiplier)
            return dataclasses.replace(part, channels=channels)

        features = self.head.features
        if width_multiplier > 1 and features:
            features = make_divisible(features * width_multiplier)
        return dataclasses.replace(
            self,
            name=f"{self.name}_width{width_multiplier:g}",
            stem=scale(self.stem),
            first_stages=tuple(tuple(map(scale, stage)) for stage in self.first_stages),
            stages=tuple(map(scale, self.stages)),
            final_stages=tuple(tuple(map(scale, stage)) for stage in self.final_stages),
            head=dataclasses.replace(self.head, features=features),
        )

    def to_json(self) -> str:
        """The space as JSON text; `from_json` reads it back exactly."""
        value = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        for field in ("first_stages", "final_stages"):
            stages = getattr(self, field)
            value[field] = [[block.to_string() for block in stage] for stage in stages]
        value["head"] = self.head.to_json_object()
        return json.dumps(value, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "search space") -> SearchSpace:
        """Reads JSON text written by `to_json`, or by hand; `where` names its origin in errors.

        Raises:
          ValueError: damaged JSON, another format, missing, unknown or bad fields.
        """
        value = load_object(text, where, FORMAT, VERSION)
        del value["format"], value["version"]
        readers: dict[str, Callable[[Any], Any]] = {
            "stages": lambda rows: tuple(ElasticStage(**row) for row in rows),
            "stem": lambda row: Stem(**row),
            "head": lambda row: Head(**row),
            "batch_norm": lambda row: BatchNorm(**row),
            "first_stages": _read_stages,
            "final_stages": _read_stages,
            "kernel_sizes": tuple,
            "expansion_ratios": tuple,
            "se_ratios": tuple,
        }
        try:
            return cls(**{key: readers.get(key, lambda v: v)(v) for key, v in value.items()})
        except (TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{where} is not a valid search space: {error}") from None

    def fingerprint(self) -> str:
        """Changes when anything in the space changes; written into every artefact made for it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def _read_stages(rows: Sequence[Sequence[str]]) -> tuple[tuple[Block, ...], ...]:
    return tuple(tuple(Block.from_string(text) for text in row) for row in rows)
