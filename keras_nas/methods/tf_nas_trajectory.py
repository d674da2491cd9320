"""Where a TF-NAS search stands: the most probable network, its scaling, a record of epochs."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from keras_nas.methods.tf_nas_architecture import ArchitectureState
from keras_nas.methods.width_scaling import scale_blocks
from keras_nas.models.tf_nas_supernet import TFNASSupernet
from keras_nas.resources.width_latency import WidthLatency


@dataclasses.dataclass(frozen=True, eq=False)
class EpochRecord:
    """The search after one epoch that moved the architecture.

    Attributes:
      epoch: number, from 0, those before included.
      alpha: [B, A] probabilities of candidates.
      beta: probabilities of depths (`sink`: [S, D], else [B, 2] of skipping and running).
      operations: [B] most probable operation of every block.
      kept: bool [B], whether the most probable network has the block.
      before_ms: its latency before elasticity-scaling.
      latency_ms: its latency afterwards.
      widths: [B, O] of all operations afterwards.
    """

    epoch: int
    alpha: np.ndarray
    beta: np.ndarray
    operations: np.ndarray
    kept: np.ndarray
    before_ms: float
    latency_ms: float
    widths: np.ndarray


def most_probable(
    supernet: TFNASSupernet, alpha: np.ndarray, beta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Operation [B] of every block, and whether the network has the block, bool [B].

    Args:
      supernet: of the search.
      alpha: [B, A] logits or probabilities.
      beta: logits or probabilities of depths.
    """
    scores = np.where(supernet.allowed, alpha, -np.inf)
    count = len(supernet.space.operations)
    skipped = scores.argmax(axis=1) == count
    return scores[:, :count].argmax(axis=1), supernet.depth.kept_blocks(beta, skipped)


def network_ms(
    latency: WidthLatency, operations: np.ndarray, kept: np.ndarray, widths: np.ndarray
) -> float:
    """Latency of the network with `operations` [B] in the blocks `kept` [B], widths [B, O]."""
    return latency.blocks_ms(operations.tolist(), np.flatnonzero(kept).tolist(), widths)


def scaled_widths(
    latency: WidthLatency,
    operations: np.ndarray,
    kept: np.ndarray,
    widths: np.ndarray,
    target_ms: float,
) -> np.ndarray:
    """Widths [B, O] with those of one network scaled to a target, see `scale_blocks`."""
    blocks = np.flatnonzero(kept).tolist()
    return scale_blocks(latency, operations.tolist(), blocks, widths, target_ms)[0]


class Trajectory:
    """The state after each epoch, in variables, so that it is in every checkpoint.

    Args:
      supernet, state, latency: of the search.
      epochs: how many will be recorded.
      first_epoch: number of the first one.
    """

    def __init__(
        self,
        supernet: TFNASSupernet,
        state: ArchitectureState,
        latency: WidthLatency,
        epochs: int,
        first_epoch: int,
    ):
        def variable(like, dtype, name):
            return keras.Variable(
                np.zeros((epochs, *like), dtype), dtype=dtype, trainable=False, name=name
            )

        self._supernet, self._latency = supernet, latency
        self._state = state
        self._first_epoch = first_epoch
        self._alpha = variable(state.alpha.shape, "float32", "epoch_alpha")
        self._beta = variable(state.beta.shape, "float32", "epoch_beta")
        widths = supernet.widths()
        self._initial_widths = widths
        self._widths = variable(widths.shape, "int32", "epoch_widths")
        self.variables = [self._alpha, self._beta, self._widths]

    def record(self, index: int) -> None:
        """Notes the state as that after epoch `index`, counted from the first recorded one."""
        for variable, value in (
            (self._alpha, self._state.alpha.numpy()),
            (self._beta, self._state.beta.numpy()),
            (self._widths, self._supernet.widths()),
        ):
            values = variable.numpy().copy()
            values[index] = value
            variable.assign(values)

    def epochs(self) -> list[EpochRecord]:
        """What was recorded."""
        records = []
        before = self._initial_widths
        arrays = (variable.numpy() for variable in self.variables)
        for index, (alpha, beta, widths) in enumerate(zip(*arrays, strict=True)):
            operations, kept = most_probable(self._supernet, alpha, beta)
            records.append(
                EpochRecord(
                    epoch=self._first_epoch + index,
                    alpha=_probabilities(alpha, self._supernet.allowed),
                    beta=_probabilities(beta, self._supernet.depth.allowed),
                    operations=operations,
                    kept=kept,
                    before_ms=network_ms(self._latency, operations, kept, before),
                    latency_ms=network_ms(self._latency, operations, kept, widths),
                    widths=widths.astype(np.int64),
                )
            )
            before = widths
        return records


def entropies(supernet: TFNASSupernet, state: ArchitectureState) -> dict[str, float]:
    """Mean entropy in nats of the rows of alpha and beta that have a choice."""
    found = {}
    for name, logits, allowed in (
        ("alpha_entropy", state.alpha.numpy(), supernet.allowed),
        ("beta_entropy", state.beta.numpy(), supernet.depth.allowed),
    ):
        p = _probabilities(logits, allowed)[allowed.sum(axis=1) > 1]
        logs = np.log(p, out=np.zeros_like(p), where=p > 0)
        found[name] = -float(np.sum(p * logs)) / max(len(p), 1)
    return found


def _probabilities(logs: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Rows of log-probabilities as probabilities in float64 that sum to 1."""
    values = np.where(allowed, np.exp(logs.astype(np.float64)), 0.0)
    return values / values.sum(axis=1, keepdims=True)
