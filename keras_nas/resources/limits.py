"""Hard limits on resources, checked against what a space can reach before anything is trained."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence

from keras_nas.resources.expected_cost import CostModel

LATENCY = "latency_ms"
"""Name of the resource; on another than the experiment's first device, see `latency_on`."""
_ON = f"{LATENCY}@"


def latency_on(device: str) -> str:
    """Name of the latency on a device of an experiment, `latency_ms@phone`; "" is its first."""
    return f"{_ON}{device}" if device else LATENCY


def device_of(resource: str) -> str:
    """The device that a latency is on; the inverse of `latency_on`."""
    return resource.removeprefix(LATENCY).removeprefix("@")


def is_latency(resource: str) -> bool:
    """Whether a resource is the latency on a device."""
    return resource == LATENCY or resource.startswith(_ON)


@dataclasses.dataclass(frozen=True)
class Limit:
    """A limit on one resource, and what the space can reach of it.

    Attributes:
      name: of the resource with its unit, e.g. `latency_ms`.
      limit: what a network may cost at most; infinite where only the range is asked for.
      smallest, typical, largest: of the lightest architecture, mean under uniform sampling, and of
        the heaviest architecture.
    """

    name: str
    limit: float
    smallest: float
    typical: float
    largest: float


def check_limits(models: Sequence[CostModel], limits: Mapping[str, float]) -> list[Limit]:
    """Checks every limit by itself against its resource's range.

    Args:
      models: costs of a space, one a limited resource.
      limits: resource name -> limit.

    Returns:
      One `Limit` a model, in order.

    Raises:
      ValueError: a limit is below the smallest cost; the message shows the range of all resources.

    Warns:
      UserWarning: a limit is above the largest cost and so does not bind.
    """
    result = []
    for model in models:
        alpha = model.allowed / model.allowed.sum(axis=1, keepdims=True)
        beta = model.allowed_depths / model.allowed_depths.sum(axis=1, keepdims=True)
        typical = model.expected(alpha, beta)
        smallest, largest = model.smallest(), model.largest()
        result.append(Limit(model.name, float(limits[model.name]), smallest, typical, largest))
    check_ranges(result)
    return result


def check_ranges(limits: Sequence[Limit]) -> None:
    """Checks limits whose ranges are known; raises and warns as `check_limits`."""
    for row in limits:
        if not row.limit >= row.smallest:  # also where it is not a number
            raise ValueError(
                f"no network of the space keeps the limit {row.name} <= {row.limit:.6g}: the "
                f"smallest is {row.smallest:.6g}, the largest {row.largest:.6g}. Raise the limit, "
                f"or choose a smaller resolution, width multiplier or space.\n{range_table(limits)}"
            )
        if row.largest < row.limit < math.inf:
            warnings.warn(
                f"the limit {row.name} <= {row.limit:.6g} does not bind: the largest network of "
                f"the space has {row.largest:.6g}.\n{range_table(limits)}",
                stacklevel=3,
            )


def range_table(limits: Sequence[Limit]) -> str:
    """Smallest, typical and largest of every resource next to its limit, as text."""
    lines = [f"{'resource':<18}{'smallest':>12}{'typical':>12}{'largest':>12}{'limit':>12}"]
    for row in limits:
        values = (row.smallest, row.typical, row.largest, row.limit)
        shown = ["none" if math.isinf(value) else f"{value:.4g}" for value in values]
        lines.append(f"{row.name:<18}" + "".join(f"{text:>12}" for text in shown))
    return "\n".join(lines)
