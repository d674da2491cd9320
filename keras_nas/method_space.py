"""What a method searches: the kind of its space, and the limits that it keeps there."""

from __future__ import annotations

from typing import TypeVar

from keras_nas.config import Config, LimitsConfig
from keras_nas.experiment import NAMED, latency_limit, limited_resources, load_space, memory_limit
from keras_nas.resources import LatencyTable, WidthLatency
from keras_nas.resources.limits import Limit
from keras_nas.space import SearchSpace, StagedSpace, TFNASSpace

Kind = TypeVar("Kind", bound=StagedSpace)

SPACE_KINDS: dict[str, type[StagedSpace]] = {"hardcore_nas": SearchSpace, "tf_nas": TFNASSpace}
"""Method -> kind of space that it searches."""


def method_space(config: Config) -> StagedSpace:
    """The space of an experiment, of the kind that its method searches.

    Raises:
      ValueError, FileNotFoundError: it is of another kind, or see `load_space`.
    """
    return space_of(SPACE_KINDS[config.method], load_space(config.space), config.method)


def space_of(kind: type[Kind], space: StagedSpace, method: str) -> Kind:
    """The space, if it is of the kind that a method searches.

    Raises:
      ValueError: it is of another kind.
    """
    if not isinstance(space, kind):
        names = [name for name, other in NAMED.items() if isinstance(other, kind)]
        raise ValueError(
            f"config.method={method!r} searches spaces like {', '.join(names)}, received "
            f"{space.name!r}; change config.space.name or config.method."
        )
    return space


def checked_limits(space: StagedSpace, table: LatencyTable, limits: LimitsConfig) -> list[Limit]:
    """The limits, latency first, each checked against what the space can reach.

    Raises:
      ValueError: no network of the space keeps them.
    """
    if isinstance(space, TFNASSpace):
        return [width_limit(space, table, limits)[1]]
    space = space_of(SearchSpace, space, "hardcore_nas")
    memory = memory_limit(space, table, limits)
    checked = limited_resources(space, table, limits)[1]
    return [*checked, memory.limit] if memory else checked


def width_limit(
    space: TFNASSpace, table: LatencyTable, limits: LimitsConfig
) -> tuple[WidthLatency, Limit]:
    """Latency by width, and the limit on it, checked against the space.

    Raises:
      ValueError: the table was made for another space, or the limit is below what this one can
        reach.
    """
    latency = WidthLatency.from_table(table, space, table.classes)
    return latency, latency.check_target(latency_limit(limits, *latency.range_ms()))
