"""Where and how the phases of a method run."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from keras_nas.training.mixup import mixup_group
from tpu.engine import run_phase
from tpu.phase import Metrics, Phase
from tpu.record import NOBODY, Watch
from tpu.storage import AnyPath
from tpu.strategy import strategy_for


@dataclasses.dataclass(frozen=True)
class Runtime:
    """What a stage needs besides its settings.

    Attributes:
      checkpoints: folder; every phase has its own below it.
      strategy: devices.
      steps_per_loop: training steps inside one compiled call.
      save_every_seconds: between checkpoints.
      keep_checkpoints: how many of the newest stay, next to the best one.
      watch: who hears of a phase.
    """

    checkpoints: AnyPath
    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=strategy_for)
    steps_per_loop: int = 10
    save_every_seconds: float = 60.0
    keep_checkpoints: int = 2
    watch: Watch = NOBODY

    @property
    def on_tpu(self) -> bool:
        """Whether the devices are cores of a TPU."""
        return isinstance(self.strategy, tf.distribute.TPUStrategy)

    @property
    def iterate_dtype(self) -> tf.DType:
        """Of probabilities that a step moves: float64, but on a TPU, which has none, float32."""
        return tf.float32 if self.on_tpu else tf.float64

    def check_batch_size(self, setting: str, images: int, *, mixup: float = 0.0) -> None:
        """Raises ValueError, naming the `setting`, unless all devices can share a batch evenly."""
        replicas = self.strategy.num_replicas_in_sync
        unit = replicas * (mixup_group(images) if mixup else 1)
        if replicas > 1 and images % unit:
            pairs = " in whole groups of images that are mixed" if unit > replicas else ""
            raise ValueError(
                f"{setting} is {images}, which {replicas} devices cannot share evenly{pairs}; "
                f"choose a multiple of {unit}, or fewer devices with config.num_devices."
            )

    def run(self, phase: Phase) -> list[Metrics]:
        """Runs a phase to its end, continuing from its newest checkpoint; returns its history."""
        return run_phase(
            phase,
            self.strategy,
            self.checkpoints / phase.name,
            save_every_seconds=self.save_every_seconds,
            keep_checkpoints=self.keep_checkpoints,
            watch=self.watch,
        )


def stage_seed(seed: int, name: str) -> tf.Tensor:
    """A [2] seed that differs between stages: the stage's name is folded into `seed`."""
    return tf.constant([seed, sum(byte << (8 * (i % 3)) for i, byte in enumerate(name.encode()))])
