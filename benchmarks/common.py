"""What the accuracy benchmarks share: a size that two CPU cores carry, a time budget, results that
survive a stop.

A benchmark trains w-bar and w* and measures the latency table through the pipeline itself, in
`--output`; benchmarks of the same data set share that folder. Every result is a row in a JSON file,
written when its network is finished.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
from absl import app, flags

from keras_nas import files, pipeline
from keras_nas.config import (
    Config,
    DataConfig,
    DeviceConfig,
    LimitsConfig,
    RecipeConfig,
    SearchConfig,
    SpaceConfig,
)
from keras_nas.context import Context
from keras_nas.devices import Effort, HostDevice, Run, timing
from keras_nas.devices.profile import model_for_table, reference_model
from keras_nas.methods import hardcore_nas
from keras_nas.methods.classification import accuracy
from keras_nas.methods.runtime import Runtime
from keras_nas.models import Supernet
from keras_nas.resources import CostModel, LatencyTable
from keras_nas.space import Architecture, SearchSpace

GREY, COLOUR = ((0.286,) * 3, (0.353,) * 3), ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
DATASETS = {"fashion_mnist": ("fashion_mnist", *GREY), "cifar10": ("cifar10", *COLOUR)}
"""Name in TFDS, mean and standard deviation of pixels."""
RESOLUTION = {"fashion_mnist": 28, "cifar10": 32}
TRAINING_IMAGES = {"fashion_mnist": 60_000, "cifar10": 50_000}

_DATASET = flags.DEFINE_enum("dataset", "fashion_mnist", list(DATASETS), "What to train on.")
_DATA_DIR = flags.DEFINE_string("data_dir", "", "Where TFDS sets are prepared.")
_SOURCE = flags.DEFINE_string("source", None, "In place of the data set's own, e.g. tfds:my_cifar.")
_MINUTES = flags.DEFINE_float("minutes", 45.0, "No network begins after this.", lower_bound=0.0)
_STEPS = flags.DEFINE_float(
    "steps_scale", 1.0, "Multiplies all numbers of training steps.", lower_bound=0.01
)
_OUTPUT = flags.DEFINE_string("output", None, "Folder; default runs/benchmarks/NAME.")

WIDE_BATCH_SIZE, BATCH_SIZE = 96, 48
"""Of w-bar and the search, whose step needs little noise; of everything else."""
TEST_BATCH_SIZE = 500


def scaled_config() -> Config:
    """The paper's experiment at a size that two CPU cores carry, on the flags' data set."""
    name, mean, std = DATASETS[_DATASET.value]
    data = DataConfig(
        source=_SOURCE.value or f"tfds:{name}",
        data_dir=_DATA_DIR.value,
        crop="pad",
        padding={"fashion_mnist": 2, "cifar10": 4}[_DATASET.value],
        flip=True,
        mean=mean,
        std=std,
    )
    images = TRAINING_IMAGES[_DATASET.value]
    fitted = round(images * (1 - data.held_out_fraction))

    def recipe(
        steps: int, count: int, learning_rate: float, warmup: int = 0, batch_size: int = BATCH_SIZE
    ) -> RecipeConfig:
        """So many steps; the first `warmup` of them rise. `count` images are an epoch."""
        epochs_a_step = _STEPS.value * batch_size / count
        return RecipeConfig(
            epochs=steps * epochs_a_step,
            warmup_epochs=warmup * epochs_a_step,
            batch_size=batch_size,
            learning_rate=learning_rate,
            mixup=0.0,
            weight_average=0.98,
        )

    return Config(
        name=f"scaled_{_DATASET.value}",
        space=SpaceConfig(
            resolution=RESOLUTION[_DATASET.value],
            overrides={
                "name": "hardcore_nas_3_stages",
                "stem": {"channels": 16, "kernel_size": 3, "stride": 2, "activation": "relu"},
                "first_stages": [],
                "stages": [
                    {"channels": 16, "stride": 2, "activation": "relu"},
                    {"channels": 24, "stride": 2, "activation": "relu"},
                    {"channels": 40, "stride": 1, "activation": "hard_swish"},
                ],
                "final_stages": [["cn_r1_k1_s1_e1_c160_nhs"]],
                "head": {"features": 160, "activation": "hard_swish"},
            },
        ),
        data=data,
        device=DeviceConfig(calibration_networks=6, target_error=0.02, max_processes=4),
        limits=LimitsConfig(latency_fraction=0.5),
        pretrain=recipe(600, fitted, 0.1, 60, WIDE_BATCH_SIZE),
        supernet=recipe(600, fitted, 0.05),
        search=SearchConfig(epochs=0.8, batch_size=WIDE_BATCH_SIZE),
        # The final network trains on the held-out images too.
        finetune=dataclasses.replace(recipe(150, images, 0.05), distillation=1.0),
        train=recipe(300, images, 0.1, warmup=30),
        evaluation_batch_size=TEST_BATCH_SIZE,
        batch_norm_images=1024,
    )


def prepare() -> Context:
    """Profiles and trains w-bar and w* where that is not done yet, and opens them.

    Raises:
      ValueError, OSError: see `pipeline.run`.
    """
    if not _DATA_DIR.value:
        raise app.UsageError("--data_dir is missing: where TFDS sets are prepared.")
    config = scaled_config()
    folder = output_folder(_DATASET.value)
    log("profile, w-bar and w*, as far as they are not there yet")
    pipeline.run(config, folder, ("profile", "pretrain", "supernet"), log=log)
    return Context(config, folder, folder / "checkpoints")


def describe(context: Context) -> str:
    """What the numbers below it were made with."""
    config, space, examples = context.config, context.space, context.examples
    whole = examples.rejoined()
    steps = [
        f"{name} {data.steps(recipe.epochs, recipe.batch_size)} of {recipe.batch_size}"
        for name, recipe, data in (
            ("w-bar", config.pretrain, examples),
            ("w*", config.supernet, examples),
            ("fine-tuning", config.finetune, whole),
            ("alone", config.train, whole),
        )
    ]
    device = context.table.device
    rows = [
        f"{config.data.source} at {space.resolution}x{space.resolution}, "
        f"{len(examples.fitted)} images to train on, {len(examples.held_out)} held out, "
        f"{examples.source.test.examples} to test",
        f"space {space.name}: stem {space.stem.channels} channels, stride {space.stem.stride}; "
        f"stages {[(s.channels, s.stride) for s in space.stages]} (channels, stride), depth 2 to "
        f"4, {len(space.configurations)} configurations a block, {space.size():.2g} networks",
        f"training steps and images in each: {', '.join(steps)}",
        f"latency: {device.processor}, {device.runtime} {device.runtime_version}, "
        f"{context.table.threads} thread, {context.table.precision}",
    ]
    return "\n".join(rows)


def output_folder(name: str) -> Path:
    """`--output`, or a folder of its own."""
    return Path(_OUTPUT.value or f"runs/benchmarks/{name}")


class Budget:
    """Minutes that a program may take; what it does not reach is named."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.not_reached: list[str] = []

    def allows(self, what: str) -> bool:
        """Whether there is time to begin `what`; else notes that it was not reached."""
        if time.monotonic() - self._began < 60 * _MINUTES.value:
            return True
        self.not_reached.append(what)
        return False

    def summary(self) -> str:
        """What was not reached, in one line."""
        if not self.not_reached:
            return "reached everything"
        return (
            f"not reached within {_MINUTES.value:g} minutes (run again to go on): "
            f"{', '.join(self.not_reached)}"
        )


class Rows:
    """Results by key in a JSON file that is replaced after every new one.

    Args:
      path: read if it is there.
      settings: what the rows depend on.

    Raises:
      ValueError: the file is damaged, or its rows were made with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]):
        self._path = path
        self._settings = dict(settings)
        self._rows: dict[str, Any] = {}
        if path.exists():
            value = files.read_json(path, "results")
            if value.get("settings") != self._settings:
                raise ValueError(
                    f"the results in {path} were made with other settings; choose another --output "
                    "or delete the file."
                )
            self._rows = value["rows"]

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    def __getitem__(self, key: str) -> Any:
        return self._rows[key]

    def items(self) -> dict[str, Any]:
        """All rows by key."""
        return dict(self._rows)

    def __setitem__(self, key: str, row: Any) -> None:
        self._rows[key] = row
        files.write_json(self._path, {"settings": self._settings, "rows": self._rows})


def open_rows(context: Context, name: str, stages: tuple[str, ...] = ()) -> Rows:
    """Rows that depend on w-bar, w*, the latency table and the settings of `stages`."""
    made_from = {
        name: hashlib.sha256((context.folder / name).read_bytes()).hexdigest()
        for name in ("latency_table.json", "heaviest.npz", "supernet.npz")
    }
    settings = {stage: dataclasses.asdict(getattr(context.config, stage)) for stage in stages}
    return Rows(context.folder / f"{name}.json", made_from | settings)


@contextmanager
def temporary_runtime(context: Context, name: str) -> Iterator[Runtime]:
    """Where one network trains: goes on from its checkpoint, and frees all it used at the end."""
    folder = context.checkpoints / name
    yield Runtime(folder, context.strategy, steps_per_loop=25)
    shutil.rmtree(folder, ignore_errors=True)
    keras.utils.clear_session()
    gc.collect()


def trained_accuracy(
    context: Context,
    architecture: Architecture,
    seed: int,
    supernet: Supernet | None = None,
    heaviest: keras.Model | None = None,
) -> float:
    """Test accuracy after fine-tuning from w* with distillation, or from scratch without w*."""
    start = "scratch" if supernet is None else "finetuned"
    config = context.config
    examples = dataclasses.replace(context.examples, seed=seed)
    with temporary_runtime(context, f"{start}_{architecture.name}_{seed}") as runtime:
        network, _ = hardcore_nas.final_network(
            architecture,
            context.space,
            examples,
            config.train if supernet is None else config.finetune,
            runtime,
            batch_norm_images=config.batch_norm_images,
            supernet=supernet,
            heaviest=heaviest,
        )
        return accuracy(network, examples, runtime, TEST_BATCH_SIZE)


def one_shot_accuracy(context: Context, supernet: Supernet, architecture: Architecture) -> float:
    """Test accuracy with w*'s weights, batch norm re-estimated."""
    with temporary_runtime(context, f"one_shot_{architecture.name}") as runtime:
        network = hardcore_nas.extract_network(
            supernet, architecture, context.examples, context.config.batch_norm_images
        )
        return accuracy(network, context.examples, runtime, TEST_BATCH_SIZE)


def predicted_ms(model: CostModel, space: SearchSpace, architecture: Architecture) -> float:
    """Latency of an architecture by the table."""
    depths, configurations = space.encode(architecture)
    entries = [space.depths[s].index(depth) for s, depth in enumerate(depths)]
    return model.exact(entries, configurations)


def measured_ms(
    table: LatencyTable, networks: Mapping[str, Architecture], folder: Path
) -> dict[str, float]:
    """Measured ms of networks by name, in the table's unit; `folder` is for their files."""
    runs = measured_runs(table, networks, folder, Effort(0.01, rounds=12))
    return {name: timing.ratio(runs, name) * table.reference_ms for name in networks}


def measured_runs(
    table: LatencyTable, networks: Mapping[str, Architecture], folder: Path, effort: Effort
) -> list[Run]:
    """Measures networks by name in fresh processes, whose samples are kept in `folder`."""
    reference = folder / "reference.tflite"
    files.write_bytes(reference, reference_model(table))
    paths = {}
    for number, (name, architecture) in enumerate(networks.items()):
        paths[name] = folder / f"{number}.tflite"
        files.write_bytes(paths[name], model_for_table(table, architecture))
    device = HostDevice(table.threads)
    return timing.measure(device, paths, reference, effort, samples_directory=folder)


def log(text: str) -> None:
    """A line with the time of day, at once."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
