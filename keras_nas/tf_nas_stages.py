"""What the stages of TF-NAS do, up to the found architecture."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

from keras_nas import files
from keras_nas.context import Context, Outputs
from keras_nas.measured_network import best_round
from keras_nas.measured_scaling import Network, close_scaling_loop, scaled
from keras_nas.measuring_stages import measuring
from keras_nas.method_space import width_limit
from keras_nas.methods.tf_nas import search_tf_nas
from keras_nas.methods.tf_nas_projection import most_probable_within
from keras_nas.resources import WidthLatency
from keras_nas.space import TFNASSpace
from keras_nas.tf_nas_record import read_found, scaling_record, search_record


def search(context: Context) -> Outputs:
    """The search's trajectory, and the network that it found."""
    config, space = context.config, context.space_of(TFNASSpace)
    latency, limit = width_limit(space, context.table, config.limits)
    with context.runtime("search") as runtime:
        result = search_tf_nas(
            space, latency, limit.limit, config.tf_nas, context.examples, runtime
        )
    return {"search.json": search_record(config, space, limit, result)}


def project(context: Context) -> Outputs:
    """The found network, scaled until it is measured to keep the latency limit.

    Raises:
      ValueError: no network can be scaled to the limit, or none that was measured keeps it.

    Warns:
      UserWarning: the search's network cannot be scaled to it, and another one takes its place.
    """
    config, space = context.config, context.space_of(TFNASSpace)
    latency, limit = width_limit(space, context.table, config.limits)
    searched = files.read_json(context.path("search.json"), "search record")
    found = space.encode(read_found(searched, space))
    network_for = _most_probable(latency, searched, config.tf_nas.depth_space)
    chosen = network_for(limit.limit)
    if chosen[:2] != found[:2]:
        warnings.warn(
            f"at its smallest widths the network that the search found is above {limit.limit:.6g} "
            f"ms; of those that are not the most probable one takes its place, of depths "
            f"{chosen[1]} instead of {found[1]}. A longer search, or a larger weight of latency, "
            "finds one by itself.",
            stacklevel=2,
        )
    network, predicted_ms = scaled(latency, chosen, limit.limit)
    architecture, rounds, table_scale = space.architecture(*network), [], 1.0
    if config.projection.rounds:
        with measuring(context) as measure_ms:
            rounds = close_scaling_loop(
                latency, network_for, measure_ms, limit.limit, config.projection.rounds
            )
        best = best_round(rounds)
        architecture, predicted_ms = best.architecture, best.refitted_ms
        table_scale = best.table_scale
    architecture = dataclasses.replace(architecture, name=f"{config.name}_found")
    found_ms = latency.network_ms(*found)
    record = scaling_record(limit, found_ms, predicted_ms, rounds, table_scale)
    return {"projection.json": record, "architecture.json": architecture.to_json()}


def _most_probable(
    latency: WidthLatency, searched: dict[str, Any], depth_space: str
) -> Callable[[float], Network]:
    """A latency target, ms -> the search's most probable network that widths can bring to it."""
    space, end = latency.space, searched["end"]
    widths = searched["epochs"][-1]["widths"]

    def network_for(target_ms: float) -> Network:
        choice = most_probable_within(latency, end["alpha"], end["beta"], target_ms, depth_space)
        return space.encode(space.architecture_of_blocks(*choice, widths))

    return network_for


STAGES: dict[str, Callable[[Context], Outputs]] = {"search": search, "project": project}
"""Stage name -> what it does."""
