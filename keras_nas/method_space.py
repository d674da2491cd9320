"""What a method searches: the kind of its space, and the limits that it keeps there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from keras_nas import files
from keras_nas.config import Config, LimitsConfig
from keras_nas.experiment import (
    NAMED,
    OtherLatency,
    latency_limit,
    limited_resources,
    load_space,
    memory_limit,
)
from keras_nas.resources import LatencyTable, RuntimeModel, WidthLatency, pixel1_runtime
from keras_nas.resources.limits import Limit
from keras_nas.space import SearchSpace, StagedSpace, TFNASSpace
from keras_nas.space.single_path_gates import check_nesting
from keras_nas.stage_list import TABLE, of_device
from tpu.storage import AnyPath

Kind = TypeVar("Kind", bound=StagedSpace)

SPACE_KINDS: dict[str, type[StagedSpace]] = {
    "hardcore_nas": SearchSpace,
    "tf_nas": TFNASSpace,
    "single_path": SearchSpace,
}
"""Method -> kind of space that it searches."""


def method_space(config: Config) -> StagedSpace:
    """The space of an experiment, of the kind that its method searches.

    Raises:
      ValueError, FileNotFoundError: it is of another kind, or see `load_space`; for Single-Path NAS
        also where its choices do not nest, or `config.single_path.runtime_table` does not fit it.
    """
    space = space_of(SPACE_KINDS[config.method], load_space(config.space), config.method)
    if config.method == "single_path":
        published_runtime(config, space_of(SearchSpace, space, config.method))
    return space


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


def read_table(find: Callable[[str], AnyPath], device: str = "") -> LatencyTable:
    """The latency table of a device of the experiment; `find` says where a file is.

    Raises:
      ValueError, FileNotFoundError: it is damaged or missing.
    """
    path = find(of_device(TABLE, device))
    return LatencyTable.from_json(files.read_text(path, "latency table"), str(path))


def other_latencies(config: Config, find: Callable[[str], AnyPath]) -> list[OtherLatency]:
    """Latency on the other devices of an experiment.

    Raises:
      ValueError, FileNotFoundError: see `read_table`.
    """
    return [
        OtherLatency(device, read_table(find, device), limit)
        for device, limit in config.other_devices.items()
    ]


def checked_limits(
    space: StagedSpace,
    table: LatencyTable,
    limits: LimitsConfig,
    others: Sequence[OtherLatency] = (),
) -> list[Limit]:
    """The limits, latency first, each checked against what the space can reach.

    Raises:
      ValueError: no network of the space keeps them.
    """
    if isinstance(space, TFNASSpace):
        return [width_limit(space, table, limits)[1]]
    space = space_of(SearchSpace, space, "hardcore_nas")
    memory = memory_limit(space, table, limits)
    checked = limited_resources(space, table, limits, others)[1]
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


def runtime_model(config: Config, space: SearchSpace, table: LatencyTable) -> RuntimeModel:
    """What Single-Path NAS trades for accuracy: runtime by a published table, or by the device's.

    Raises:
      ValueError, FileNotFoundError: see `published_runtime` and `RuntimeModel.from_table`.
    """
    published = published_runtime(config, space)
    form = config.single_path.runtime_form
    return published or RuntimeModel.from_table(table, space, table.classes, form)


def published_runtime(config: Config, space: SearchSpace) -> RuntimeModel | None:
    """The runtime model of `config.single_path.runtime_table`; None where it names no file.

    Raises:
      ValueError: the space's choices do not nest, or the file is damaged or of another space.
      FileNotFoundError: there is no such file.
    """
    check_nesting(space)
    path = config.single_path.runtime_table
    if not path:
        return None
    where = f"config.single_path.runtime_table {path}"
    entries = files.parse_json_object(files.read_text(path, "runtime table"), where)
    return pixel1_runtime(entries, space, config.single_path.runtime_form, where)
