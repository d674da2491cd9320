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
from keras_nas.layers.tf_nas_candidates import traced_once
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
from tpu.replicas import in_turn


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
    return TFNASSearch(space, latency, target_ms, settings, examples, runtime).run(runtime)


class TFNASSearch:
    """A search that can be run again from another seed, without tracing its steps again.

    Args, Raises: as of `search_tf_nas`.
    """

    def __init__(
        self,
        space: TFNASSpace,
        latency: WidthLatency,
        target_ms: float,
        settings: TFNASConfig,
        examples: Examples,
        runtime: Runtime,
    ):
        limit = latency.check_target(target_ms)
        if settings.objective == "log" and limit.smallest <= 1.0:
            raise ValueError(
                f"objective 'log' raises the logarithm of milliseconds to a power, but networks of "
                f"the space take as little as {limit.smallest:.6g} ms, and it should be above 1 "
                "ms; choose another objective."
            )
        batches = examples.steps(1, settings.batch_size)
        self._schedule = Schedule.of(settings, batches, runtime.steps_per_loop)
        self._latency, self._target_ms, self._examples = latency, target_ms, examples
        self._scales = settings.elasticity_scaling
        self._objective = LatencyObjective(
            settings.objective, target_ms, settings.latency_weight, settings.latency_exponent
        )
        with runtime.strategy.scope():
            self._create_variables(space)
        self._weight_step = traced_once(self._train_weights)
        self._architecture_step = traced_once(self._train_architecture)

    def _create_variables(self, space: TFNASSpace) -> None:
        settings, examples = self._schedule.settings, self._examples
        keras.utils.set_random_seed(examples.seed)
        self._seed = keras.Variable(
            examples.seed, dtype="int32", trainable=False, aggregation="only_first_replica"
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
            self._latency,
            settings.epochs - settings.warmup_epochs,
            settings.warmup_epochs,
        )
        self._set_latency()

    def run(self, runtime: Runtime) -> TFNASResult:
        """Runs it to its end, continuing from its newest checkpoint."""
        phases = [self._phase()]
        if self._schedule.settings.warmup_epochs:
            phases.insert(0, self._warmup_phase())
        return self._result([row for phase in phases for row in runtime.run(phase)])

    def restart(self, examples: Examples, runtime: Runtime, *, elasticity_scaling: bool) -> None:
        """Goes back to the beginning.

        Args:
          examples: of the same number and shape, with another seed.
          runtime: where.
          elasticity_scaling: as in the settings.
        """
        space, settings = self._supernet.space, self._schedule.settings
        fresh = TFNASSearch(space, self._latency, self._target_ms, settings, examples, runtime)
        for own, new in zip(self._variables(), fresh._variables(), strict=True):
            own.assign(new.numpy())
        self._examples, self._scales = examples, elasticity_scaling

    def _set_latency(self) -> None:
        widths = self._supernet.widths()
        self._state.set_latency(self._latency.operation_ms(widths), self._latency.fixed_ms)

    def _variables(self) -> list[keras.Variable]:
        parts = (self._supernet, self._optimizer, self._state, self._trajectory)
        return [self._seed, *(variable for part in parts for variable in part.variables)]

    def _step_seed(self, phase: str, step_index: tf.Tensor) -> tf.Tensor:
        """[2] of a step of a phase."""
        seed = tf.stack([tf.convert_to_tensor(self._seed.value), stage_seed(0, phase)[1]])
        return fold_in(seed, step_index)

    def _train_weights(self, inputs, epoch, seed, second: str) -> dict[str, tf.Tensor]:
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

    def _train_architecture(self, inputs, epoch, seed) -> dict[str, tf.Tensor]:
        return architecture_step(
            self._supernet,
            self._state,
            inputs,
            objective=self._objective,
            temperature=self._schedule.temperature(epoch),
            seed=seed,
        )

    def _warmup_phase(self) -> Phase:
        """The epochs in which only weights are trained, on one path a step."""
        schedule, settings = self._schedule, self._schedule.settings
        name = "tf_nas_warmup"

        def step(inputs, step_index):
            epoch = step_index // (schedule.warmup_loop * schedule.warmup_loops)
            seed = self._step_seed(name, step_index)
            metrics = self._weight_step(inputs, epoch, seed, "none")
            return metrics | {"epoch": tf.cast(epoch, tf.float32)}

        return Phase(
            name=name,
            step=step,
            variables=self._variables(),
            steps=schedule.warmup_steps,
            dataset=lambda start: self._examples.training(
                settings.batch_size, start, int(stage_seed(0, name)[1])
            ),
            steps_per_loop=schedule.warmup_loop,
        )

    def _phase(self) -> Phase:
        """The epochs in which weights, architecture and widths change."""
        schedule, settings = self._schedule, self._schedule.settings

        def step(inputs, step_index):
            *fitted, held_out = inputs
            epoch = settings.warmup_epochs + step_index // schedule.epoch_steps
            seed = self._step_seed("tf_nas", step_index)
            batches = tf.nest.map_structure(lambda *parts: tf.stack(parts), *fitted)

            def train(row):
                number, batch = row
                return self._weight_step(
                    batch, epoch, fold_in(seed, 1 + number), settings.second_sampler
                )

            metrics = dict.fromkeys(("loss", "accuracy", "gradient_norm"), tf.TensorSpec(()))
            rows = in_turn(train, (tf.range(WEIGHT_STEPS), batches), metrics)
            means = {name: tf.reduce_mean(row) for name, row in rows.items()}
            found = self._architecture_step(held_out, epoch, fold_in(seed, 0))
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
            if self._scales:
                widths = scaled_widths(self._latency, operations, kept, widths, self._target_ms)
                self._supernet.set_widths(widths)
                self._set_latency()
            self._trajectory.record(index - 1)
        derived_ms = network_ms(self._latency, operations, kept, widths)
        return {"derived_ms": derived_ms, **entropies(self._supernet, self._state)}

    def _most_probable(self) -> tuple[np.ndarray, np.ndarray]:
        return most_probable(self._supernet, self._state.alpha.numpy(), self._state.beta.numpy())

    def _result(self, history: list[Metrics]) -> TFNASResult:
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
