"""How long the phases of a TF-NAS search are, and what changes from epoch to epoch."""

from __future__ import annotations

import dataclasses
import math

import tensorflow as tf

from keras_nas.config.tf_nas import TFNASConfig

WEIGHT_STEPS = 2
"""Weight steps between architecture steps (TF section 4.1)."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Lengths of the phases, and what changes from epoch to epoch.

    Attributes:
      settings: of the search.
      warmup_loop, loop: steps in a compiled loop of the two phases.
      warmup_loops, loops: of them in an epoch; an epoch is rounded up to whole loops.
    """

    settings: TFNASConfig
    warmup_loop: int
    warmup_loops: int
    loop: int
    loops: int

    @classmethod
    def of(cls, settings: TFNASConfig, batches: int, longest_loop: int) -> Schedule:
        """The schedule for `batches` of fitted images an epoch.

        Raises:
          ValueError: no epoch is left for the architecture.
        """
        if not 0 <= settings.warmup_epochs < settings.epochs:
            raise ValueError(
                "a TF-NAS search needs epochs above warmup_epochs, or the architecture never "
                f"moves; received {settings.epochs} and {settings.warmup_epochs}."
            )
        lengths: list[int] = []
        for steps in (batches, math.ceil(batches / WEIGHT_STEPS)):
            loops = math.ceil(steps / longest_loop)
            lengths += [math.ceil(steps / loops), loops]
        return cls(settings, *lengths)

    @property
    def warmup_steps(self) -> int:
        """Length of the first phase, one weight step each."""
        return self.settings.warmup_epochs * self.warmup_loop * self.warmup_loops

    @property
    def epoch_steps(self) -> int:
        """Length of an epoch of the second phase."""
        return self.loop * self.loops

    @property
    def steps(self) -> int:
        """Length of the second phase, `WEIGHT_STEPS` weight steps and an architecture step each."""
        return (self.settings.epochs - self.settings.warmup_epochs) * self.epoch_steps

    def learning_rate(self, epoch: tf.Tensor) -> tf.Tensor:
        """Of the weights: half a cosine, by epoch."""
        share = tf.cast(epoch, tf.float32) / self.settings.epochs
        return self.settings.learning_rate * 0.5 * (1.0 + tf.cos(math.pi * share))

    def temperature(self, epoch: tf.Tensor) -> tf.Tensor:
        """Of the Gumbel softmax: falls with every epoch that moves the architecture."""
        later = tf.cast(epoch, tf.float32) - self.settings.warmup_epochs
        return self.settings.temperature * self.settings.temperature_decay**later
