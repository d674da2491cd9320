"""What each stage of the pipeline does: reads its files, calls the method, writes its files."""

from __future__ import annotations

import dataclasses
import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_nas import files
from keras_nas.config import Config, RecipeConfig
from keras_nas.data.examples import Examples, load_examples
from keras_nas.devices import Effort, HostDevice, measure_network
from keras_nas.devices.profile import build_latency_table, reference_model
from keras_nas.experiment import limited_resources, load_space, staged_costs
from keras_nas.export import check_operations, check_outputs, convert
from keras_nas.export.check import TOLERANCE
from keras_nas.methods import frank_wolfe_search, hardcore_nas
from keras_nas.methods.classification import accuracy
from keras_nas.methods.runtime import Runtime
from keras_nas.models import Supernet
from keras_nas.models.weights import weights_from_bytes, weights_to_bytes
from keras_nas.progress import Bar, follow_phase
from keras_nas.report_files import write_report
from keras_nas.resources import LatencyTable
from keras_nas.search_record import chosen_architecture, project_all, search_record
from keras_nas.space import Architecture, SearchSpace
from keras_nas.training.precision import dtype_policy
from tpu.phase import Metrics
from tpu.strategy import strategy_for

CHECKED_IMAGES = 64
"""Real images that an export's outputs are compared on."""


@dataclasses.dataclass
class Context:
    """What a stage works with; expensive parts are made when first asked for.

    Attributes:
      config: the experiment.
      folder: work directory.
      checkpoints: of this stage with these settings and inputs.
    """

    config: Config
    folder: Path
    checkpoints: Path

    @functools.cached_property
    def space(self) -> SearchSpace:
        """The search space."""
        return load_space(self.config.space)

    @functools.cached_property
    def examples(self) -> Examples:
        """The images."""
        return open_examples(self.config)

    @functools.cached_property
    def table(self) -> LatencyTable:
        """The latency table of the work directory, checked to fit the experiment."""
        path = self.folder / "latency_table.json"
        return LatencyTable.from_json(files.read_text(path, "latency table"), str(path))

    @functools.cached_property
    def architecture(self) -> Architecture:
        """The found architecture."""
        path = self.folder / "architecture.json"
        return Architecture.from_json(files.read_text(path, "architecture"), str(path))

    @functools.cached_property
    def strategy(self) -> tf.distribute.Strategy:
        """Devices to train on; also sets what makes a run repeat bit for bit."""
        tf.config.experimental.enable_op_determinism()
        keras.config.set_dtype_policy(dtype_policy(self.config.precision))
        return strategy_for(self.config.accelerator)

    @contextmanager
    def runtime(self, name: str) -> Iterator[Runtime]:
        """Where phases run, with a progress bar."""
        bar = Bar(name, "steps")
        try:
            yield Runtime(
                self.checkpoints,
                self.strategy,
                self.config.steps_per_loop,
                self.config.save_every_seconds,
                follow_phase(bar),
            )
        finally:
            bar.close()

    def write_training(self, stage: str, history: list[Metrics], reached: float) -> None:
        """Writes a training stage's history and test accuracy."""
        seconds = history[-1]["seconds"] if history else 0.0
        value = {"history": history, "accuracy": reached, "seconds": seconds}
        files.write_json(self.folder / f"{stage}.json", value)

    def heaviest(self) -> keras.Model:
        """w-bar."""
        with self.strategy.scope():
            network = hardcore_nas.heaviest_network(self.space, self.examples.source.classes)
        self._read_weights(network, "heaviest.npz")
        return network

    def supernet(self) -> Supernet:
        """w*."""
        with self.strategy.scope():
            supernet = Supernet(self.space, self.examples.source.classes)
        self._read_weights(supernet, "supernet.npz")
        return supernet

    def _read_weights(self, model: keras.Model, name: str) -> None:
        path = self.folder / name
        weights_from_bytes(model, path.read_bytes(), str(path))

    def forget_checkpoints(self) -> None:
        """Frees the disk once the stage's outputs are written."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)


def open_examples(config: Config) -> Examples:
    """The images of an experiment."""
    return load_examples(config.data, config.space.resolution, config.seed)


def profile(context: Context) -> None:
    """Writes `latency_table.json`: measured now, or a given one that fits."""
    config, space = context.config.device, context.space
    classes = context.examples.source.classes
    device = HostDevice(config.threads)
    if config.latency_table:
        where = config.latency_table
        table = LatencyTable.from_json(files.read_text(where, "latency table"), where)
        table.check(
            device=device.describe(),
            precision=config.precision,
            threads=config.threads,
            space=space,
            input_shape=space.input_shape,
            classes=classes,
        )
    else:
        bar = Bar("profile", "runs")
        try:
            table = build_latency_table(
                space,
                classes,
                device,
                context.checkpoints,
                precision=config.precision,
                networks=config.calibration_networks,
                effort=Effort(config.target_error, max_processes=config.max_processes),
                on_progress=bar.update,
            )
        finally:
            bar.close()
    files.write_text(context.folder / "latency_table.json", table.to_json())


def pretrain(context: Context) -> None:
    """Writes w-bar and its accuracy."""
    config = context.config
    with context.runtime("pretrain") as runtime:
        network, history = hardcore_nas.pretrain(
            context.space, context.examples, config.pretrain, runtime
        )
    reached = accuracy(network, context.examples, runtime, config.evaluation_batch_size)
    files.write_bytes(context.folder / "heaviest.npz", weights_to_bytes(network))
    context.write_training("pretrain", history, reached)


def supernet(context: Context) -> None:
    """Writes w* and the accuracy of random paths through it."""
    config = context.config
    with context.runtime("supernet") as runtime:
        model, history = hardcore_nas.train_supernet(
            context.space, context.examples, config.supernet, runtime, context.heaviest()
        )
    reached = accuracy(
        hardcore_nas.random_paths(model, config.seed),
        context.examples,
        runtime,
        config.evaluation_batch_size,
    )
    files.write_bytes(context.folder / "supernet.npz", weights_to_bytes(model))
    context.write_training("supernet", history, reached)


def search(context: Context) -> None:
    """Writes the search's trajectory and the architecture it found."""
    config, space, examples = context.config, context.space, context.examples
    models, limits = limited_resources(space, context.table, config.limits)
    costs = staged_costs(space, models)
    values = np.array([limit.limit for limit in limits])
    model = context.supernet()
    with context.runtime("search") as runtime:
        result = frank_wolfe_search.search(model, costs, values, config.search, examples, runtime)
    choices = project_all(result, costs, limits)
    architecture, _ = chosen_architecture(
        space, choices[config.search.projection], f"{config.name}_found"
    )
    network = hardcore_nas.extract_network(model, architecture, examples, config.batch_norm_images)
    reached = accuracy(network, examples, runtime, config.evaluation_batch_size)
    record = search_record(config, space, costs, limits, result, choices, reached)
    files.write_json(context.folder / "search.json", record)
    files.write_text(context.folder / "architecture.json", architecture.to_json())


def _final(context: Context, stage: str, recipe: RecipeConfig, start: Supernet | None) -> None:
    """Writes the trained network."""
    config = context.config
    with context.runtime(stage) as runtime:
        network, history = hardcore_nas.final_network(
            context.architecture,
            context.space,
            context.examples,
            recipe,
            runtime,
            batch_norm_images=config.batch_norm_images,
            supernet=start,
            heaviest=context.heaviest() if recipe.distillation else None,
        )
    reached = accuracy(network, context.examples, runtime, config.evaluation_batch_size)
    files.write_bytes(context.folder / "network.keras", _keras_bytes(network))
    context.write_training(stage, history, reached)


def finetune(context: Context) -> None:
    """Writes the network fine-tuned from w*."""
    _final(context, "finetune", context.config.finetune, context.supernet())


def train(context: Context) -> None:
    """Writes the network trained from scratch."""
    _final(context, "train", context.config.train, None)


def _keras_bytes(network: keras.Model) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.keras"
        network.save(path)
        return path.read_bytes()


def export(context: Context) -> None:
    """Writes `.tflite` files whose outputs equal the network's on real test images."""
    path = context.folder / "network.keras"
    try:
        network = keras.models.load_model(path, compile=False)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{path} cannot be loaded ({error}); run its stage again.") from error
    images = next(iter(context.examples.evaluation(CHECKED_IMAGES)))[0].numpy()
    result = {}
    for precision, name in (("float32", "network.tflite"), ("float16", "network_float16.tflite")):
        data = convert(network, precision)
        operations = check_operations(data)
        difference = check_outputs(network, data, images, TOLERANCE[precision])
        files.write_bytes(context.folder / name, data)
        result[name] = {
            "bytes": len(data),
            "largest_relative_difference": float(difference),
            "checked_images": len(images),
            "operations": dict(operations),
        }
    files.write_json(context.folder / "export.json", result)


def measure(context: Context) -> None:
    """Writes the exported network's latency on the device, in the table's unit."""
    config, table = context.config.device, context.table
    name = "network.tflite" if config.precision == "float32" else "network_float16.tflite"
    bar = Bar("measure", "runs")
    try:
        measurement = measure_network(
            HostDevice(config.threads),
            (context.folder / name).read_bytes(),
            reference_model(table),
            table.reference_ms,
            on_progress=bar.update,
        )
    finally:
        bar.close()
    files.write_text(context.folder / "measurement.json", measurement.to_json())


def report(context: Context) -> None:
    """Writes `report.html` and `summary.txt`."""
    write_report(context.config, context.folder, context.examples.source.class_names)


RUN: dict[str, Callable[[Context], None]] = {
    stage.__name__: stage
    for stage in (
        profile, pretrain, supernet, search, finetune, train, export, measure, report
    )
}  # fmt: skip
"""Stage name -> what it does."""
