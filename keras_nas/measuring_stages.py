"""The stages that measure on the device: the latency table, the projection, the final network."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from keras_nas import files
from keras_nas.context import Context, Outputs
from keras_nas.devices import Device, Effort, Measurement, measure_network
from keras_nas.devices.profile import build_latency_table, model_for_table, reference_model
from keras_nas.export import CONVERTERS
from keras_nas.method_space import read_table
from keras_nas.progress import Bar
from keras_nas.resources import LatencyTable
from keras_nas.space import Architecture
from keras_nas.stage_list import TABLE, TFLITE_FILES, of_device
from tpu.hosts import from_chief, is_chief


class MeasureArchitecture(Protocol):
    """See `measured_network.Measure`."""

    def __call__(self, architecture: Architecture, attempt: int = 0, /) -> tuple[float, float]:
        """Latency and spread, ms."""


def profile(context: Context) -> Outputs:
    """`latency_table.json` of a device: measured now, or a given one that fits."""
    name, space = context.device_name, context.space
    config = context.config.devices()[name]
    classes = context.examples.source.classes
    if config.latency_table:
        where = config.latency_table
        table = LatencyTable.from_json(files.read_text(where, "latency table"), where)
        check_table(context, table, name)
    else:
        bar = Bar("profile", "runs")
        try:
            table = build_latency_table(
                space,
                classes,
                context.devices[name],
                context.scratch,
                precision=config.precision,
                networks=config.calibration_networks,
                effort=Effort(config.target_error, max_processes=config.max_processes),
                on_progress=bar.update,
            )
        finally:
            bar.close()
    return {of_device(TABLE, name): table.to_json()}


def check_table(context: Context, table: LatencyTable, name: str) -> None:
    """Raises ValueError unless `table` was made for this experiment and its device of that name."""
    device = context.devices[name]
    table.check(
        device=device.describe(),
        precision=context.config.devices()[name].precision,
        threads=device.threads,
        space=context.space,
        input_shape=context.space.input_shape,
        classes=context.examples.source.classes,
        batch=device.batch,
    )


@contextmanager
def measuring(context: Context, name: str = "") -> Iterator[MeasureArchitecture]:
    """Measures networks with fresh weights.

    Each measurement is kept, so that a resumed run repeats.

    Args:
      context: of the stage.
      name: of the device.
    """
    folder, device = context.checkpoints / of_device("measured", name), context.devices[name]
    table = read_table(context.path, name)
    check_table(context, table, name)
    reference = reference_model(table, device.format)
    bar = Bar("project", "runs")

    def measure_ms(architecture: Architecture, attempt: int = 0) -> tuple[float, float]:
        digest = hashlib.sha256(architecture.to_json().encode()).hexdigest()[:16]
        path = folder / f"{digest}_{attempt}.json"
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


@contextmanager
def measuring_everywhere(context: Context) -> Iterator[list[MeasureArchitecture]]:
    """As `measuring`, on every device, the first one first."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(measuring(context, name)) for name in context.devices]


def measure(context: Context) -> Outputs:
    """The final network's latency on a device, in its table's unit."""
    name = context.device_name
    device, table = context.devices[name], read_table(context.path, name)
    check_table(context, table, name)
    bar = Bar("measure", "runs")
    try:
        measurement = measure_network(
            device,
            _finished(context, device, table),
            reference_model(table, device.format),
            table.reference_ms,
            on_progress=bar.update,
        )
    finally:
        bar.close()
    return {of_device("measurement.json", name): measurement.to_json()}


def _finished(context: Context, device: Device, table: LatencyTable) -> bytes:
    """The exported file that is shipped; where that is not what the device runs, the network."""
    if device.format == "tflite":
        return context.path(TFLITE_FILES[table.precision]).read_bytes()
    network = context.final_network()
    return CONVERTERS[device.format](network, table.precision, table.batch)
