"""The stages that measure on the device: the latency table, the projection, the final network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from keras_nas import files
from keras_nas.context import Context, Outputs
from keras_nas.devices import Effort, Measurement, measure_network
from keras_nas.devices.profile import build_latency_table, model_for_table, reference_model
from keras_nas.export import CONVERTERS
from keras_nas.progress import Bar
from keras_nas.resources import LatencyTable
from keras_nas.space import Architecture
from keras_nas.stage_list import TFLITE_FILES
from tpu.hosts import from_chief, is_chief


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
                context.scratch,
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


@contextmanager
def measuring(context: Context) -> Iterator[Callable[[Architecture], tuple[float, float]]]:
    """Measures networks with fresh weights: architecture -> latency and spread, ms.

    Each measurement is kept, so that a resumed run repeats.
    """
    table, folder, device = context.table, context.checkpoints / "measured", context.device
    check_table(context, table)
    reference = reference_model(table, device.format)
    bar = Bar("project", "runs")

    def measure_ms(architecture: Architecture) -> tuple[float, float]:
        path = folder / f"{hashlib.sha256(architecture.to_json().encode()).hexdigest()[:16]}.json"
        if is_chief(context.strategy) and not path.exists():
            measurement = measure_network(
                device,
                model_for_table(table, architecture, device.format),
                reference,
                table.reference_ms,
                on_progress=bar.update,
            )
            files.write_text(path, measurement.to_json())
        from_chief(context.strategy, 0)  # until it is written
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
        return context.path(TFLITE_FILES[table.precision]).read_bytes()
    network = context.final_network()
    return CONVERTERS[device.format](network, table.precision, table.batch)
