"""A network that was measured on its way to the limits, and what its measurement says.

Two measurements of one network may differ by more than the spread of either. So one that keeps the
limit is measured once more, and the mean counts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from keras_nas.resources.limits import LATENCY, Limit

Measured = TypeVar("Measured", bound="MeasuredNetwork")
Network = TypeVar("Network", contravariant=True)


class Measure(Protocol[Network]):
    """A network's latency on a device."""

    def __call__(self, network: Network, attempt: int, /) -> tuple[float, float]:
        """Latency and spread, ms, of a measurement of its own for each attempt."""


UNUSED = 0.03
"""Share of the latency limit that, left unused, is worth another round."""


@dataclasses.dataclass(frozen=True)
class OnDevice:
    """A network on one device, on its way to the limit there.

    Attributes:
      limit_ms: what measured plus spread has to keep.
      target_ms: limit on the predicted latency, by the table as it was made, that it was made
        under.
      predicted_ms: by the latency table.
      measured_ms, spread_ms: on the device; spread is one standard deviation.
    """

    limit_ms: float
    target_ms: float
    predicted_ms: float
    measured_ms: float
    spread_ms: float

    @property
    def upper_ms(self) -> float:
        """Measured plus spread, which has to keep the limit."""
        return self.measured_ms + self.spread_ms

    @property
    def keeps_limit(self) -> bool:
        """Whether measured plus spread is within the limit."""
        return self.upper_ms <= self.limit_ms

    @property
    def next_target_ms(self) -> float:
        """Limit on the prediction, by the table as it was made, of the next network.

        The table's scale is refitted on this one, the nearest to it.
        """
        return self.limit_ms * self.predicted_ms / self.upper_ms

    @property
    def table_scale(self) -> float:
        """Factor of the table as it was refitted for this network."""
        return self.limit_ms / self.target_ms

    @property
    def refitted_ms(self) -> float:
        """Predicted latency by the refitted table, which keeps the limit exactly."""
        return self.limit_ms * (self.predicted_ms / self.target_ms)

    def to_json_object(self) -> dict[str, Any]:
        """For `projection.json`."""
        derived = {"keeps_limit": self.keeps_limit, "table_scale": self.table_scale}
        return dataclasses.asdict(self) | derived


@dataclasses.dataclass(frozen=True)
class MeasuredNetwork(OnDevice):
    """One network on its way to the limits: on the first device, and on all others.

    Attributes:
      credit: what is to be large among networks that keep the limits.
      others: resource -> the network on that device.
    """

    credit: float
    others: Mapping[str, OnDevice] = dataclasses.field(default_factory=dict, kw_only=True)

    @property
    def devices(self) -> tuple[OnDevice, ...]:
        """The network on every device, the first one's first."""
        return (self, *self.others.values())

    @property
    def keeps_limits(self) -> bool:
        """Whether it keeps the limit of every device."""
        return all(device.keeps_limit for device in self.devices)

    @property
    def uses_limits(self) -> bool:
        """Whether it keeps all limits, and leaves at most `UNUSED` of one."""
        used = max(device.upper_ms / device.limit_ms for device in self.devices)
        return self.keeps_limits and used >= 1 - UNUSED

    def to_json_object(self) -> dict[str, Any]:
        """For `projection.json`."""
        value = super().to_json_object()
        others = {name: device.to_json_object() for name, device in self.others.items()}
        del value["others"]
        return value | ({"others": others} if others else {})


def measured_twice(
    measure: Measure[Network], network: Network, limit_ms: float
) -> tuple[float, float]:
    """Latency and spread, ms; of a network that keeps the limit the mean of two measurements, with
    the larger spread."""
    first = measure(network, 0)
    if sum(first) > limit_ms:
        return first
    (one, spread), (other, other_spread) = first, measure(network, 1)
    return (one + other) / 2, max(spread, other_spread)


def best_round(rounds: Sequence[Measured]) -> Measured:
    """The network of largest credit that keeps the limits on the devices.

    Raises:
      ValueError: none does.
    """
    kept = [row for row in rounds if row.keeps_limits]
    if kept:
        return max(kept, key=lambda row: row.credit)
    names = (LATENCY, *rounds[0].others)
    asked = " and ".join(
        f"{name} <= {device.limit_ms:.6g}"
        for name, device in zip(names, rounds[0].devices, strict=True)
    )
    raise ValueError(
        f"none of the {len(rounds)} networks that were projected and measured keeps the limit "
        f"{asked} on the device; measured ms plus spread: {'; '.join(map(_measured, rounds))}. "
        "Raise the limit or config.projection.rounds, or keep the device free of other work."
    )


def limits_of_tables(limits: Sequence[Limit], best: MeasuredNetwork | None) -> list[Limit]:
    """The limits on predictions, by the tables as they were made, that the result was found under.

    Args:
      limits: as asked for, the latencies first.
      best: the result; None where nothing was measured, and tables are as they were made.
    """
    targets = [device.target_ms for device in best.devices] if best else []
    latencies = [
        dataclasses.replace(limit, limit=target_ms)
        for limit, target_ms in zip(limits, targets, strict=False)
    ]
    return [*latencies, *limits[len(latencies) :]]


def refitted_costs(
    costs: Sequence[float], limits: Sequence[Limit], of_tables: Sequence[Limit]
) -> list[float]:
    """Costs by the tables as they were refitted: each keeps its limit where it kept its table's.

    Args:
      costs: by the tables as they were made.
      limits: as asked for.
      of_tables: see `limits_of_tables`.
    """
    return [
        cost if limit == own else limit.limit * (cost / own.limit)
        for cost, limit, own in zip(costs, limits, of_tables, strict=True)
    ]


def _measured(row: MeasuredNetwork) -> str:
    return ", ".join(
        f"{device.measured_ms:.4g} + {device.spread_ms:.2g} (predicted {device.predicted_ms:.4g})"
        for device in row.devices
    )
