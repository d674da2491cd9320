"""The contract between a program and the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import tensorflow as tf

Metrics = dict[str, float]
AnyVariable: TypeAlias = "tf.Variable | keras.Variable"

# The history writes these itself.
RESERVED_METRICS = frozenset({"step", "seconds"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of training: what one step does, how often, and what must survive a crash.

    The same phase gives the same numbers on any number of replicas that share its global batch, up
    to rounding, if the step keeps to four rules (see `tpu.replicas`):

    - noise of the whole batch is a stateless function of a seed and the step index alone;
    - noise of single images is drawn through `replicas.own_rows`, so that it belongs to an image's
      index in the global batch;
    - images that meet inside a step (pairs, strata) are neighbours, in groups that stay whole;
    - what is averaged over images other than in the loss (batch-norm statistics, gradients that no
      optimizer receives) goes through `replicas.mean_over_replicas`.

    The variables are created under `strategy.scope()`, an optimizer built, before the phase runs.
    A run that is killed and continued equals an uninterrupted one bit for bit if the step is a
    deterministic function of its variables, its inputs and its index: randomness is stateless and
    keyed by the index, and `variables` is complete.

    Attributes:
        name: What the phase is called in messages.
        step: Runs in the compiled loop on every replica, as `step(inputs, step_index)`. `inputs`
            is an element of the data set (on several replicas a slice of it), `step_index` an
            int64 scalar that counts the steps of this phase from 0. Returns scalar metrics,
            always the same names, among them "loss"; one that is NaN or infinite ends the run, so
            it should return the norm of its gradient as well. It is traced without AutoGraph:
            conditions on tensors are `tf.where` or `tf.cond`. A loss that is differentiated is
            divided by the number of replicas by the step itself; a metric is the mean over the
            replica's examples, and the engine takes the mean over replicas.
        variables: Everything the phase changes or depends on: weights, batch-norm statistics,
            optimizer variables, averages, and the state of the host update. All are finite.
        steps: Length of the phase.
        dataset: `dataset(start_step)` gives the batches from `start_step` on, of which the engine
            takes `steps - start_step`: on several hosts, this host's share of each. Every replica
            gets an equal share, in order.
        steps_per_loop: Steps inside one compiled call. Between calls come the host update, the
            progress report, the save, and the answer to a signal.
        host_update: Called on the host after every compiled loop, the last one included, as
            `host_update(step, metrics)` with the number of finished steps and the means over
            that loop. It may assign `variables`. A returned dict joins the loop's row in the
            history.
        jit_compile: Compiles the step with XLA where it otherwise is not: a TPU always does, and on
            a CPU it makes these networks about ten times slower.
        best_metric: The checkpoint whose loop ended with the lowest value of it is kept as the
            best one.
        batch_size_setting: Where a person sets the batch size, for the message when memory ends.

    Raises:
        ValueError: A number is below 1 or the name is empty.
    """

    name: str
    step: Callable[[Any, tf.Tensor], dict[str, tf.Tensor]]
    variables: Sequence[AnyVariable]
    steps: int
    dataset: Callable[[int], tf.data.Dataset]
    steps_per_loop: int = 10
    host_update: Callable[[int, Metrics], Metrics | None] | None = None
    jit_compile: bool = False
    best_metric: str = "loss"
    batch_size_setting: str = "the batch size of its data set"

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("A phase needs a name, received an empty one.")
        for field in ("steps", "steps_per_loop"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"Phase '{self.name}': {field} must be at least 1, "
                    f"received {getattr(self, field)}."
                )
