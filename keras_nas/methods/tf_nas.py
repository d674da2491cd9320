"""TF-NAS (arXiv 2008.05314): weights, architecture and widths in one search.

Two phases of the engine. In the first epochs only weights are trained, on one sampled path a step.
Then every step of the engine trains weights on two batches of fitted images, and after them the
architecture on one batch of held-out images. After every such epoch the widths of the most probable
network are scaled to the latency target; the compiled program stays the same.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from keras_nas.config.tf_nas import TFNASConfig
from keras_nas.data.examples import Examples
from keras_nas.layers.sampling import fold_in
from keras_nas.methods.runtime import Runtime, stage_seed
from keras_nas.methods.tf_nas_architecture import (
    ArchitectureState,
    LatencyObjective,
    architecture_step,
)
from keras_nas.methods.tf_nas_schedule import WEIGHT_STEPS, Schedule
from keras_nas.methods.tf_nas_trajectory import (
    EpochRecord,
    Trajectory,
    entropies,
    most_probable,
    network_ms,
    scaled_widths,
)
from keras_nas.methods.tf_nas_weights import PathSGD, weight_step
from keras_nas.models.tf_nas_supernet import TFNASSupernet
from keras_nas.resources.width_latency import WidthLatency
from keras_nas.space import Architecture, TFNASSpace
from tpu.phase import Metrics, Phase


@dataclasses.dataclass(frozen=True, eq=False)
class TFNASResult:
    """A finished search.

    Attributes:
      supernet: with the weights and widths of its end.
      operations: [B] most probable operation of every block.
      kept: bool [B], whether the found network has the block.
      architecture: the found network; `supernet.extract(operations, kept)` has its weights.
      latency_ms: of it, by the table; above the target where it exceeds that at all widths, of
        which the last epoch's elasticity-scaling has warned, and where widths were not scaled.
      epochs: a record of every epoch that moved the architecture.
      history: rows of both phases, a row a compiled loop: "step" (of its phase), "epoch", "loss"
        (mean over paths), "accuracy" (of the first path), "gradient_norm", and in the second phase
        "architecture_loss", "architecture_accuracy", "expected_ms" (of the mixture),
        "alpha_entropy", "beta_entropy" and "derived_ms" (of the most probable network).
    """

    supernet: TFNASSupernet
    operations: np.ndarray
    kept: np.ndarray
    architecture: Architecture
    latency_ms: float
    epochs: list[EpochRecord]
    history: list[Metrics]


def search_tf_nas(
    space: TFNASSpace,
    latency: WidthLatency,
    target_ms: float,
    settings: TFNASConfig,
    examples: Examples,
    runtime: Runtime,
) -> TFNASResult:
    """Searches operations, depths and widths under a latency target.

    Args:
      space: the search space.
      latency: of its operations by width.
      target_ms: T.
      settings: of the search.
      examples: fitted images train weights, held-out ones the architecture.
      runtime: where.

    Returns:
      The found network and the way to it.

    Raises:
      ValueError: bad settings, or no network of the space keeps the target.
    """
    limit = latency.check_target(target_ms)
    if settings.objective == "log" and limit.smallest <= 1.0:
        raise ValueError(
            f"objective 'log' raises the logarithm of milliseconds to a power, but networks of the "
            f"space take as little as {limit.smallest:.6g} ms, and it should be above 1 ms; choose "
            "another objective."
        )
    batches = examples.steps(1, settings.batch_size)
    schedule = Schedule.of(settings, batches, runtime.steps_per_loop)
    with runtime.strategy.scope():
        search = _Search(space, latency, target_ms, schedule, examples)
    phases = [search.phase()]
    if settings.warmup_epochs:
        phases.insert(0, search.warmup_phase())
    history = [row for phase in phases for row in runtime.run(phase)]
    return search.result(history)


class _Search:
    """The variables of a search, and its phases."""

    def __init__(
        self,
        space: TFNASSpace,
        latency: WidthLatency,
        target_ms: float,
        schedule: Schedule,
        examples: Examples,
    ):
        settings = schedule.settings
        keras.utils.set_random_seed(examples.seed)
        self._latency, self._target_ms = latency, target_ms
        self._schedule, self._examples = schedule, examples
        self._objective = LatencyObjective(
            settings.objective, target_ms, settings.latency_weight, settings.latency_exponent
        )
        self._supernet = TFNASSupernet(
            space,
            examples.source.classes,
            depth_space=settings.depth_space,
            share_weights=settings.share_weights,
        )
        self._optimizer = PathSGD(
            self._supernet.trainable_variables,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            clip=settings.clip,
        )
        self._state = ArchitectureState(
            self._supernet,
            learning_rate=settings.architecture_learning_rate,
            weight_decay=settings.architecture_weight_decay,
            clip=settings.clip,
        )
        self._trajectory = Trajectory(
            self._supernet,
            self._state,
            latency,
            settings.epochs - settings.warmup_epochs,
            settings.warmup_epochs,
        )
        self._set_latency()

    def _set_latency(self) -> None:
        widths = self._supernet.widths()
        self._state.set_latency(self._latency.operation_ms(widths), self._latency.fixed_ms)

    def _variables(self) -> list[keras.Variable]:
        parts = (self._supernet, self._optimizer, self._state, self._trajectory)
        return [variable for part in parts for variable in part.variables]

    def _weight_step(self, inputs, epoch, seed, second: str) -> dict[str, tf.Tensor]:
        state = self._state
        return weight_step(
            self._supernet,
            self._optimizer,
            tf.convert_to_tensor(state.alpha.value),
            self._supernet.depth.probabilities(tf.convert_to_tensor(state.beta.value)),
            inputs,
            second=second,
            learning_rate=self._schedule.learning_rate(epoch),
            seed=seed,
        )

    def warmup_phase(self) -> Phase:
        """The epochs in which only weights are trained, on one path a step."""
        schedule, settings = self._schedule, self._schedule.settings
        seed = stage_seed(self._examples.seed, "tf_nas_warmup")

        def step(inputs, step_index):
            epoch = step_index // (schedule.warmup_loop * schedule.warmup_loops)
            metrics = self._weight_step(inputs, epoch, fold_in(seed, step_index), "none")
            return metrics | {"epoch": tf.cast(epoch, tf.float32)}

        return Phase(
            name="tf_nas_warmup",
            step=step,
            variables=self._variables(),
            steps=schedule.warmup_steps,
            dataset=lambda start: self._examples.training(
                settings.batch_size, start, int(stage_seed(0, "tf_nas_warmup")[1])
            ),
            steps_per_loop=schedule.warmup_loop,
        )

    def phase(self) -> Phase:
        """The epochs in which weights, architecture and widths change."""
        schedule, settings = self._schedule, self._schedule.settings
        seed = stage_seed(self._examples.seed, "tf_nas")

        def step(inputs, step_index):
            *fitted, held_out = inputs
            epoch = settings.warmup_epochs + step_index // schedule.epoch_steps
            step_seed = fold_in(seed, step_index)
            rows = [
                self._weight_step(batch, epoch, fold_in(step_seed, 1 + i), settings.second_sampler)
                for i, batch in enumerate(fitted)
            ]
            means = {name: tf.add_n([row[name] for row in rows]) / len(rows) for name in rows[0]}
            found = architecture_step(
                self._supernet,
                self._state,
                held_out,
                objective=self._objective,
                temperature=schedule.temperature(epoch),
                seed=fold_in(step_seed, 0),
            )
            return means | found | {"epoch": tf.cast(epoch, tf.float32)}

        return Phase(
            name="tf_nas",
            step=step,
            variables=self._variables(),
            steps=schedule.steps,
            dataset=self._dataset,
            steps_per_loop=schedule.loop,
            host_update=self._after_loop,
        )

    def _dataset(self, start: int) -> tf.data.Dataset:
        """`WEIGHT_STEPS` batches of fitted images and one of held-out ones, from step `start`."""
        size, seed = self._schedule.settings.batch_size, int(stage_seed(0, "tf_nas")[1])
        fitted = self._examples.training(size, WEIGHT_STEPS * start, seed)
        together = fitted.batch(WEIGHT_STEPS, drop_remainder=True).map(
            lambda images, labels: tuple((images[i], labels[i]) for i in range(WEIGHT_STEPS))
        )
        held_out = self._examples.training(size, start, seed, held_out=True)
        return tf.data.Dataset.zip(together, held_out).map(lambda batches, last: (*batches, last))

    def _after_loop(self, step: int, _: Metrics) -> Metrics:
        """Scales widths where an epoch has ended."""
        index, rest = divmod(step, self._schedule.epoch_steps)
        operations, kept = self._most_probable()
        widths = self._supernet.widths()
        if not rest:
            if self._schedule.settings.elasticity_scaling:
                widths = scaled_widths(self._latency, operations, kept, widths, self._target_ms)
                self._supernet.set_widths(widths)
                self._set_latency()
            self._trajectory.record(index - 1)
        derived_ms = network_ms(self._latency, operations, kept, widths)
        return {"derived_ms": derived_ms, **entropies(self._supernet, self._state)}

    def _most_probable(self) -> tuple[np.ndarray, np.ndarray]:
        return most_probable(self._supernet, self._state.alpha.numpy(), self._state.beta.numpy())

    def result(self, history: list[Metrics]) -> TFNASResult:
        """What was found; to be called when the phases have ended."""
        operations, kept = self._most_probable()
        latency_ms = network_ms(self._latency, operations, kept, self._supernet.widths())
        return TFNASResult(
            self._supernet,
            operations,
            kept,
            self._supernet.architecture(operations, kept, "tf_nas"),
            latency_ms,
            self._trajectory.epochs(),
            history,
        )
