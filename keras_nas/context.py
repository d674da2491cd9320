"""What the stages of one run share: space, images, devices, and the work directory's files."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from keras_nas import files
from keras_nas.config import Config
from keras_nas.data.examples import Examples, load_examples
from keras_nas.devices import Device, device_from_name
from keras_nas.experiment import OtherLatency
from keras_nas.journal import Journal
from keras_nas.method_space import Kind, method_space, other_latencies, read_table, space_of
from keras_nas.methods import hardcore_nas
from keras_nas.methods.runtime import Runtime
from keras_nas.models import Supernet
from keras_nas.models.saved_network import load_network
from keras_nas.models.weights import weights_from_bytes
from keras_nas.progress import Bar, follow_phase
from keras_nas.resources import LatencyTable
from keras_nas.space import Architecture, SearchSpace, StagedSpace
from keras_nas.stage_list import Stage, is_shared
from keras_nas.training.precision import dtype_policy
from tpu.hosts import host_count, host_index
from tpu.record import Progress, Watch
from tpu.storage import AnyPath
from tpu.strategy import strategy_for

Outputs = dict[str, Any]
"""File name -> bytes, text or JSON object, which the pipeline writes."""


@dataclasses.dataclass
class Context:
    """What a stage works with; expensive parts are made when first asked for.

    Attributes:
      config: the experiment, as the stage that runs sees it.
      folder: work directory.
      checkpoints: folder of the stage that runs, with these settings and inputs.
      journal: of the run; None keeps none.
      profile_steps: first and last step of every training to write a trace of.
      limit: the one of several latency limits that the stage works for.
      device_name: of the one of several devices that the stage measures on; "" is the first.
    """

    config: Config
    folder: AnyPath
    checkpoints: AnyPath = Path()
    journal: Journal | None = None
    profile_steps: tuple[int, int] | None = None
    limit: str = ""
    device_name: str = ""

    def begin(self, stage: Stage, config: Config, checkpoints: AnyPath) -> None:
        """Turns to a stage of the experiment `config`, which keeps its checkpoints there."""
        self.config, self.limit, self.checkpoints = stage.config(config), stage.limit, checkpoints
        self.device_name = stage.device

    def path(self, name: str) -> AnyPath:
        """Where a file that the stage reads is."""
        return self.folder / (name if is_shared(name) else self.place(name))

    def place(self, name: str) -> str:
        """`name` below the folder of the stage's limit, where it has one."""
        return f"{self.limit}/{name}" if self.limit else name

    @functools.cached_property
    def space(self) -> StagedSpace:
        """The search space."""
        return method_space(self.config)

    def space_of(self, kind: type[Kind]) -> Kind:
        """The search space, as the kind that the method searches."""
        return space_of(kind, self.space, self.config.method)

    @functools.cached_property
    def examples(self) -> Examples:
        """The images; of batches, the share of this host."""
        config = self.config
        examples = load_examples(config.data, config.space.resolution, config.seed)
        devices = self._devices()
        return examples.for_host((host_index(devices), host_count(devices)))

    @functools.cached_property
    def devices(self) -> dict[str, Device]:
        """Where latency is measured, by the names of `Config.devices`."""
        devices = self.config.devices()
        return {name: device_from_name(one.name, one) for name, one in devices.items()}

    @property
    def table(self) -> LatencyTable:
        """The latency table of the first device."""
        return read_table(self.path)

    @property
    def others(self) -> list[OtherLatency]:
        """Latency on all other devices."""
        return other_latencies(self.config, self.path)

    @property
    def architecture(self) -> Architecture:
        """The found architecture."""
        path = self.path("architecture.json")
        return Architecture.from_json(files.read_text(path, "architecture"), str(path))

    @functools.cached_property
    def strategy(self) -> tf.distribute.Strategy:
        """Devices to train on; also sets what makes a run repeat bit for bit."""
        tf.config.experimental.enable_op_determinism()
        keras.config.set_dtype_policy(dtype_policy(self.config.precision))
        return self._devices()

    def __post_init__(self) -> None:
        # Before any stage uses TensorFlow: then devices can no longer be set up.
        self._devices()

    def _devices(self) -> tf.distribute.Strategy:
        config = self.config
        return strategy_for(config.accelerator, tpu=config.tpu, num_devices=config.num_devices)

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
                self.config.keep_checkpoints,
                self._watch(name, bar),
            )
        finally:
            bar.close()

    @property
    def scratch(self) -> Path:
        """Local folder of the stage that runs, for what other processes read. Where checkpoints are
        on cloud storage it is in the folder for temporary files, and lost with the machine."""
        if isinstance(self.checkpoints, Path):
            return self.checkpoints
        return Path(tempfile.gettempdir(), f"keras_nas-{self.checkpoints.name}")

    def _watch(self, name: str, bar: Bar) -> Watch:
        show, journal = follow_phase(bar), self.journal

        def on_progress(progress: Progress) -> None:
            show(progress)
            if journal is not None:
                fields = dataclasses.asdict(progress)
                metrics = fields.pop("metrics")
                del fields["seconds_left"]
                journal.event("loop", **fields, **metrics)

        return Watch(
            on_progress=on_progress,
            on_event=journal.event if journal else None,
            summary_directory=self.folder / "tensorboard" / self.place(name) if journal else None,
            profile_steps=self.profile_steps,
        )

    def heaviest(self) -> keras.Model:
        """w-bar."""
        space, classes = self.space_of(SearchSpace), self.examples.source.classes
        with self.strategy.scope():
            network = hardcore_nas.heaviest_network(space, classes)
        self.read_weights(network, "heaviest.npz")
        return network

    def final_network(self) -> keras.Model:
        """The found network, trained.

        Raises:
          ValueError: its file is damaged.
        """
        with files.local_copy(self.path("network.keras")) as path:
            return load_network(path)

    def supernet(self) -> Supernet:
        """w*."""
        space, classes = self.space_of(SearchSpace), self.examples.source.classes
        with self.strategy.scope():
            supernet = Supernet(space, classes)
        self.read_weights(supernet, "supernet.npz")
        return supernet

    def read_weights(self, model: keras.Model, name: str) -> None:
        """Sets all weights of a model from a file of the work directory."""
        path = self.path(name)
        weights_from_bytes(model, path.read_bytes(), str(path))
