"""What all search spaces share: elastic stages between a fixed beginning and a fixed end."""

from __future__ import annotations

import abc
import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from keras_nas.space.architecture import Architecture, BatchNorm, Head, Stem
from keras_nas.space.blocks import Block, make_divisible
from keras_nas.space.elastic_stage import ElasticStage
from keras_nas.space.pieces import Piece, Shape, piece_after

Space = TypeVar("Space", bound="StagedSpace")


class StagedSpace(abc.ABC):
    """A space whose stages have a searched depth and searched blocks.

    Blocks are numbered b = 0..B-1 over all elastic stages (a stage has `max_depth` of them). beta
    [S, D] has D the largest number of depths of a stage; its column d stands for depth
    min_depth + d. Subclasses are frozen dataclasses with these fields and their own.

    Attributes:
      name: for files and reports.
      stages: what is searched.
      stem, first_stages: fixed beginning. final_stages, head: fixed end.
      batch_norm: constants of every batch norm.
      resolution: height and width of the input.
    """

    name: str
    stages: tuple[ElasticStage, ...]
    stem: Stem
    first_stages: tuple[tuple[Block, ...], ...]
    final_stages: tuple[tuple[Block, ...], ...]
    head: Head
    batch_norm: BatchNorm
    resolution: int

    @abc.abstractmethod
    def block_pieces(self) -> list[list[Piece]]:
        """Pieces [B][*] that a block can be, on the input shape it has; what is measured."""

    @property
    @abc.abstractmethod
    def kernel_sizes(self) -> tuple[int, ...]:
        """That are searched, ascending."""

    @property
    @abc.abstractmethod
    def choice_names(self) -> tuple[str, ...]:
        """Names of the choices that every block has, in the order of alpha's columns."""

    @abc.abstractmethod
    def choices_of(self, architecture: Architecture) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Depths [S] and the choice [B] of every block (0 beyond the depth).

        Raises:
          ValueError: the architecture is not in this space.
        """

    @abc.abstractmethod
    def network_of_pieces(self, choices: Sequence[int], name: str) -> Architecture:
        """The architecture of full depth whose block b is piece `choices[b]` of
        `block_pieces()[b]`."""

    @abc.abstractmethod
    def lightest(self) -> Architecture:
        """The smallest of every choice everywhere."""

    @abc.abstractmethod
    def heaviest(self) -> Architecture:
        """The largest of every choice everywhere."""

    @abc.abstractmethod
    def random(self, seed: int) -> Architecture:
        """An architecture made of `block_pieces`, uniform in each choice; repeats by `seed`."""

    @abc.abstractmethod
    def size(self) -> int:
        """How many architectures the space holds."""

    @abc.abstractmethod
    def to_json(self) -> str:
        """The space as JSON text."""

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

    @functools.cached_property
    def block_input_shapes(self) -> tuple[Shape, ...]:
        """Height, width, channels of every block's input, length B."""
        shape = self.fixed_pieces(1)[len(self.first_stages_blocks())].output_shape
        shapes = []
        for stage in self.stages:
            for index in range(stage.max_depth):
                shapes.append(shape)
                stride = stage.stride if index == 0 else 1
                shape = piece_after(shape, Block("cn", 1, stride, stage.channels)).output_shape
        return tuple(shapes)

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

    def networks_of(self, choices: int) -> int:
        """How many networks there are with so many choices for each block."""
        per_stage = (range(stage.min_depth, stage.max_depth + 1) for stage in self.stages)
        return math.prod(sum(choices**depth for depth in depths) for depths in per_stage)

    @property
    def largest_depths(self) -> tuple[int, ...]:
        """Depths [S] of a network with all blocks."""
        return tuple(stage.max_depth for stage in self.stages)

    def check_depths(self, depths: Sequence[int]) -> None:
        """Raises ValueError where `depths` [S] are not those of a network of the space."""
        if len(depths) != len(self.stages):
            raise ValueError(
                f"space {self.name!r} has {len(self.stages)} stages, received {len(depths)} depths."
            )
        for s, (stage, depth) in enumerate(zip(self.stages, depths, strict=True)):
            if not stage.min_depth <= depth <= stage.max_depth:
                raise ValueError(
                    f"depth of stage {s} should be {stage.min_depth} to {stage.max_depth}, "
                    f"received {depth}."
                )

    def blocks_of_depths(self, depths: Sequence[int]) -> tuple[int, ...]:
        """Numbers of the blocks that a network of depths [S] has; raises as `check_depths`."""
        self.check_depths(depths)
        starts = zip(self.first_blocks, depths, strict=True)
        return tuple(b for first, depth in starts for b in range(first, first + depth))

    def with_elastic(self, elastic: Sequence[tuple[Block, ...]], name: str) -> Architecture:
        """The architecture with these blocks in the elastic stages."""
        stages = (*self.first_stages, *elastic, *self.final_stages)
        return Architecture(name, self.stem, stages, self.head, self.batch_norm)

    def elastic_blocks(self, architecture: Architecture) -> tuple[tuple[Block, ...], ...]:
        """The inverse of `with_elastic`: the blocks of the elastic stages.

        Raises:
          ValueError: what is fixed differs from the space's, or a stage has a depth that it cannot
            have; names the first difference.
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
        elastic = architecture.stages[first:last]
        for s, (stage, blocks) in enumerate(zip(self.stages, elastic, strict=True)):
            if not stage.min_depth <= len(blocks) <= stage.max_depth:
                raise ValueError(f"{where}: stage {s} has {len(blocks)} blocks.")
        return elastic

    def scaled(self: Space, width_multiplier: float) -> Space:
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
        changes: dict[str, Any] = {
            "name": f"{self.name}_width{width_multiplier:g}",
            "stem": scale(self.stem),
            "first_stages": tuple(tuple(map(scale, stage)) for stage in self.first_stages),
            "stages": tuple(map(scale, self.stages)),
            "final_stages": tuple(tuple(map(scale, stage)) for stage in self.final_stages),
            "head": dataclasses.replace(self.head, features=features),
        }
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def fingerprint(self) -> str:
        """Changes when anything in the space changes; written into every artefact made for it."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def write_space(space: StagedSpace, fields: Mapping[str, Any], form: str, version: int) -> str:
    """A space's fields (`dataclasses.asdict`) as JSON text of a format and version."""
    value = {"format": form, "version": version, **fields}
    for field in ("first_stages", "final_stages"):
        stages = getattr(space, field)
        value[field] = [[block.to_string() for block in stage] for stage in stages]
    value["head"] = space.head.to_json_object()
    return json.dumps(value, indent=1) + "\n"


def read_fields(
    value: Mapping[str, Any], own: Mapping[str, Callable[[Any], Any]]
) -> dict[str, Any]:
    """A space's fields from what its JSON holds; `own` reads those that not all spaces have.

    Raises:
      TypeError, AttributeError, ValueError: a field is not what its reader expects.
    """
    readers: dict[str, Callable[[Any], Any]] = {
        "stages": lambda rows: tuple(ElasticStage(**row) for row in rows),
        "stem": lambda row: Stem(**row),
        "head": lambda row: Head(**row),
        "batch_norm": lambda row: BatchNorm(**row),
        "first_stages": _read_stages,
        "final_stages": _read_stages,
        **own,
    }
    fields = {key: field for key, field in value.items() if key not in ("format", "version")}
    return {key: readers.get(key, lambda v: v)(field) for key, field in fields.items()}


def _read_stages(rows: Sequence[Sequence[str]]) -> tuple[tuple[Block, ...], ...]:
    return tuple(tuple(Block.from_string(text) for text in row) for row in rows)
