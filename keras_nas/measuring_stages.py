"""The stages that measure on the device: the latency table, the projection, the final network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keras_nas import files
from keras_nas.context import Context, Outputs
from keras_nas.devices import Effort, Measurement, measure_network
from keras_nas.devices.profile import build_latency_table, model_for_table, reference_model
from keras_nas.experiment import limited_resources, staged_costs
from keras_nas.export import CONVERTERS
from keras_nas.measured_projection import Projector, best_round, close_loop
from keras_nas.methods import hardcore_nas
from keras_nas.methods.classification import accuracy
from keras_nas.methods.runtime import Runtime
from keras_nas.progress import Bar
from keras_nas.resources import LatencyTable
from keras_nas.search_record import (
    check_projection,
    chosen_architecture,
    project_all,
    projection_record,
    read_probabilities,
)
from keras_nas.solvers.projection import Choice


def profile(context: Context) -> Outputs:
    """`latency_table.json`: measured now, or a given one that fits."""
    config, space = context.config.device, context.space
    classes = context.examples.source.classes
    if config.latency_table:
        where = config.latency_table
        table = LatencyTable.from_json(files.read_text(where, "latency table"), where)
        check_table(context, table)
    else:
        bar = Bar("profile", "runs")
        try:
            table = build_latency_table(
                space,
                classes,
                context.device,
                context.checkpoints,
                precision=config.precision,
                networks=config.calibration_networks,
                effort=Effort(config.target_error, max_processes=config.max_processes),
                on_progress=bar.update,
            )
        finally:
            bar.close()
    return {"latency_table.json": table.to_json()}


def check_table(context: Context, table: LatencyTable) -> None:
    """Raises ValueError unless `table` was made for this experiment and its device."""
    device = context.device
    table.check(
        device=device.describe(),
        precision=context.config.device.precision,
        threads=device.threads,
        space=context.space,
        input_shape=context.space.input_shape,
        classes=context.examples.source.classes,
        batch=device.batch,
    )


def project(context: Context) -> Outputs:
    """The architecture that the search found, measured to keep the latency limit.

    Raises:
      ValueError: the projection (`lp` or `argmax`) broke a limit, or no network that was measured
        keeps it.
    """
    config, space, method = context.config, context.space, context.config.projection.method
    models, limits = limited_resources(space, context.table, config.limits)
    costs = staged_costs(space, models)
    searched = files.read_json(context.folder / "search.json", "search record")
    alpha, beta = read_probabilities(searched, space)
    candidates = project_all(alpha, beta, costs, limits)
    choice, rounds = candidates[method], []
    if config.projection.rounds:
        limit_ms = limits[0].limit
        projector = Projector(alpha, beta, costs, limits, method)
        with _measuring(context) as measure_ms:
            rounds = close_loop(projector, measure_ms, limit_ms, config.projection.rounds)
        choice = best_round(rounds, limit_ms).choice()
    check_projection(method, {method: choice}, costs, limits)
    architecture, _ = chosen_architecture(space, choice, f"{config.name}_found")
    network = hardcore_nas.extract_network(
        context.supernet(), architecture, context.examples, config.batch_norm_images
    )
    runtime = Runtime(context.checkpoints, context.strategy)
    reached = accuracy(network, context.examples, runtime, config.evaluation_batch_size)
    record = projection_record(method, costs, limits, candidates, rounds, choice, reached)
    return {"projection.json": record, "architecture.json": architecture.to_json()}


@contextmanager
def _measuring(context: Context) -> Iterator[Callable[[Choice], tuple[float, float]]]:
    """Measures networks of the space; each measurement is kept, so that a resumed run repeats."""
    table, space, folder = context.table, context.space, context.checkpoints / "measured"
    device = context.device
    check_table(context, table)
    reference = reference_model(table, device.format)
    bar = Bar("project", "runs")

    def measure_ms(choice: Choice) -> tuple[float, float]:
        architecture, _ = chosen_architecture(space, choice, "projected")
        path = folder / f"{hashlib.sha256(architecture.to_json().encode()).hexdigest()[:16]}.json"
        if not path.exists():
            measurement = measure_network(
                device,
                model_for_table(table, architecture, device.format),
                reference,
                table.reference_ms,
                on_progress=bar.update,
            )
            files.write_text(path, measurement.to_json())
        measurement = Measurement.from_json(files.read_text(path, "measurement"), str(path))
        return measurement.latency_ms, measurement.spread_ms

    try:
        yield measure_ms
    finally:
        bar.close()


def measure(context: Context) -> Outputs:
    """The final network's latency on the device, in the table's unit."""
    device, table = context.device, context.table
    check_table(context, table)
    bar = Bar("measure", "runs")
    try:
        measurement = measure_network(
            device,
            _finished(context, table),
            reference_model(table, device.format),
            table.reference_ms,
            on_progress=bar.update,
        )
    finally:
        bar.close()
    return {"measurement.json": measurement.to_json()}


def _finished(context: Context, table: LatencyTable) -> bytes:
    """The exported file that is shipped; where that is not what the device runs, the network."""
    device = context.device
    if device.format == "tflite":
        suffix = "" if table.precision == "float32" else f"_{table.precision}"
        name = f"network{suffix}.tflite"
        return (context.folder / name).read_bytes()
    network = context.final_network()
    return CONVERTERS[device.format](network, table.precision, table.batch)
