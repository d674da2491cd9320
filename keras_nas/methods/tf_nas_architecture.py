"""The architecture step of TF-NAS: a soft mixture of all operations, and Adam on alpha and beta."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.tf_nas_sampling import gumbel_softmax
from keras_nas.models.tf_nas_supernet import TFNASSupernet
from keras_nas.training.losses import cross_entropy, smooth_labels
from keras_nas.training.metrics import correct
from tpu.replicas import mean_over_replicas, replica_count

OBJECTIVES = ("absolute", "hinge", "log", "linear")


@dataclasses.dataclass(frozen=True)
class LatencyObjective:
    """What latency adds to the loss, in the words of `TFNASConfig.objective`.

    Attributes:
      kind: one of `OBJECTIVES`.
      target_ms: T.
      weight, exponent: l and e.

    Raises:
      ValueError: an unknown kind.
    """

    kind: str
    target_ms: float
    weight: float
    exponent: float

    def __post_init__(self) -> None:
        if self.kind not in OBJECTIVES:
            raise ValueError(
                f"the latency objective should be one of {', '.join(OBJECTIVES)}, received "
                f"{self.kind!r}."
            )

    def __call__(self, latency_ms: tf.Tensor) -> tf.Tensor:
        """The term of the loss for an expected latency, a scalar."""
        if self.kind == "absolute":
            return self.weight * tf.abs(latency_ms / self.target_ms - 1.0)
        if self.kind == "hinge":
            return self.weight * tf.maximum(latency_ms / self.target_ms - 1.0, 0.0)
        if self.kind == "log":
            return self.weight * tf.math.log(latency_ms) ** self.exponent
        return self.weight * latency_ms


class ArchitectureState:
    """alpha and beta as log-probabilities, the latency of all operations, and Adam.

    Args:
      supernet: the one that is searched.
      learning_rate, weight_decay: of Adam; the decay is part of the gradient.
      clip: largest norm of the gradient.

    Attributes:
      alpha: float32 [B, A].
      beta: float32 logits of depths, of the shape `supernet.depth.shape`.
      operation_ms: float32 [B, A] latency, 0 for "skip".
      fixed_ms: float32 scalar, latency of what is not searched.
    """

    def __init__(
        self, supernet: TFNASSupernet, *, learning_rate: float, weight_decay: float, clip: float
    ):
        def variable(value, name):
            return keras.Variable(
                np.asarray(value, np.float32), name=name, aggregation="only_first_replica"
            )

        self._allowed = supernet.allowed, supernet.depth.allowed
        self._weight_decay = weight_decay
        self._clip = clip
        self.alpha = variable(_uniform(supernet.allowed), "alpha")
        self.beta = variable(_uniform(supernet.depth.allowed), "beta")
        self.operation_ms = variable(np.zeros(supernet.allowed.shape), "operation_ms")
        self.fixed_ms = variable(0.0, "fixed_ms")
        self._adam = keras.optimizers.Adam(learning_rate, beta_1=0.5, beta_2=0.999, epsilon=1e-8)
        self._adam.build([self.alpha, self.beta])

    @property
    def variables(self) -> list[keras.Variable]:
        """All of them, for the checkpoint."""
        own = [self.alpha, self.beta, self.operation_ms, self.fixed_ms]
        return [*own, *self._adam.variables]

    def set_latency(self, operation_ms: np.ndarray, fixed_ms: float) -> None:
        """Sets the latency [B, O] of operations at their widths, between steps."""
        padded = np.zeros(self.operation_ms.shape, np.float32)
        padded[:, : operation_ms.shape[1]] = operation_ms
        self.operation_ms.assign(padded)
        self.fixed_ms.assign(fixed_ms)

    def expected_latency(self, mix: tf.Tensor, runs: tf.Tensor) -> tf.Tensor:
        """Latency in ms of a mixture [B, A] of operations in blocks that run with weight [B]: with
        sink-connecting a stage mixes the cumulative latencies of its depths (TF eq. 8)."""
        return self.fixed_ms.value + tf.reduce_sum(
            runs * tf.reduce_sum(mix * self.operation_ms.value, 1)
        )

    def apply(self, gradients: tuple[tf.Tensor, tf.Tensor]) -> None:
        """One step of Adam from the replicas' own gradients; afterwards rows of alpha and beta are
        log-probabilities again, as in the authors' code."""
        means = mean_over_replicas(list(gradients))
        clipped, _ = tf.clip_by_global_norm(means, self._clip)
        variables = [self.alpha, self.beta]
        decayed = [
            # Keras adds the replicas' gradients.
            (gradient + self._weight_decay * variable.value) / replica_count()
            for gradient, variable in zip(clipped, variables, strict=True)
        ]
        self._adam.apply(decayed, variables)
        for variable, allowed in zip(variables, self._allowed, strict=True):
            variable.assign(_log_probabilities(variable.value, allowed))


def _uniform(allowed: np.ndarray) -> np.ndarray:
    """Log-probabilities of a uniform choice among the allowed entries of a row, else 0."""
    counts = allowed.sum(axis=1, keepdims=True)
    return np.where(allowed, -np.log(counts), 0.0)


def _log_probabilities(logits: tf.Tensor, allowed: np.ndarray) -> tf.Tensor:
    zeros = tf.zeros_like(logits)
    masked = tf.where(tf.constant(allowed), logits, zeros - 1e9)
    return tf.where(tf.constant(allowed), tf.nn.log_softmax(masked), zeros)


def architecture_step(
    supernet: TFNASSupernet,
    state: ArchitectureState,
    inputs: tuple[tf.Tensor, tf.Tensor],
    *,
    objective: LatencyObjective,
    temperature: tf.Tensor,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Moves alpha and beta (TF section 3.2); weights stand still.

    Args:
      supernet: the network.
      state: alpha, beta and latency.
      inputs: held-out images [N, H, W, 3] and labels [N].
      objective: of latency.
      temperature: of the Gumbel softmax over alpha; there is no noise on beta.
      seed: [2].

    Returns:
      "architecture_loss", "architecture_accuracy", and the mixture's "expected_ms".
    """
    metrics, gradients = architecture_gradients(
        supernet, state, inputs, objective=objective, temperature=temperature, seed=seed
    )
    state.apply(gradients)
    return metrics


def architecture_gradients(
    supernet: TFNASSupernet,
    state: ArchitectureState,
    inputs: tuple[tf.Tensor, tf.Tensor],
    *,
    objective: LatencyObjective,
    temperature: tf.Tensor,
    seed: tf.Tensor,
) -> tuple[dict[str, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """The metrics of `architecture_step`, and the gradients of alpha and beta on this replica."""
    images, labels = inputs
    alpha, beta = tf.identity(state.alpha.value), tf.identity(state.beta.value)
    targets = smooth_labels(labels, supernet.classes)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch((alpha, beta))
        mix = gumbel_softmax(alpha, tf.constant(supernet.allowed), temperature, seed)
        depths = supernet.depth.probabilities(beta)
        outputs = supernet.call_mixture(images, mix, depths)
        latency_ms = state.expected_latency(mix, supernet.depth.runs(depths))
        loss = tf.reduce_mean(cross_entropy(targets, outputs)) + objective(latency_ms)
    zero = tf.UnconnectedGradients.ZERO  # beta of a space without choices of depth
    gradients = tape.gradient(loss, (alpha, beta), unconnected_gradients=zero)
    metrics = {
        "architecture_loss": loss,
        "architecture_accuracy": tf.reduce_mean(correct(labels, outputs)),
        "expected_ms": latency_ms,
    }
    return metrics, gradients
