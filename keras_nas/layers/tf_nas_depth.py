"""How deep a stage of TF-NAS is: sink-connecting, and the two ways it is compared with.

TF, arXiv 2008.05314, section 3.3 and Figure 4a. In the sink-connecting space a stage's output is
sum_l softmax(beta)_l * out_l over its depths, so that a depth is chosen as a whole and no two
choices are one network. `skip_in` makes "skip" one more candidate of every block that can be left
out; `skip_out` gives such a block its own choice between running and skipping, beside that of its
operation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

DEPTH_SPACES = ("sink", "skip_in", "skip_out")

_NEVER = -1e9


@dataclasses.dataclass(frozen=True, eq=False)
class DepthSpace:
    """The depth choices of a search space and their weights.

    Attributes:
      kind: one of `DEPTH_SPACES`.
      depths: [S, D] what a column of beta stands for; 0 is padding.
      first_blocks: [S] number of every stage's first block.
      may_skip: bool [B], whether a block can be left out: its input and output have the same
        shape, and its stage keeps its smallest depth without it.
    """

    kind: str
    depths: np.ndarray
    first_blocks: Sequence[int]
    may_skip: np.ndarray

    def __post_init__(self) -> None:
        if self.kind not in DEPTH_SPACES:
            raise ValueError(
                f"the depth space should be one of {', '.join(DEPTH_SPACES)}, received "
                f"{self.kind!r}."
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Of beta: [S, D] in the sink-connecting space, else [B, 2] for skipping and running."""
        return self.depths.shape if self.kind == "sink" else (len(self.may_skip), 2)

    @property
    def allowed(self) -> np.ndarray:
        """Which entries of beta there are, bool."""
        if self.kind == "sink":
            return self.depths > 0
        skips = self.may_skip if self.kind == "skip_out" else np.zeros_like(self.may_skip)
        return np.stack([skips, np.ones_like(skips)], 1)

    def probabilities(self, beta: tf.Tensor) -> tf.Tensor:
        """softmax of the logits `beta` over the entries there are, of the shape of `beta`."""
        return tf.nn.softmax(tf.where(tf.constant(self.allowed), beta, tf.fill(self.shape, _NEVER)))

    def runs(self, probabilities: tf.Tensor) -> tf.Tensor:
        """With which weight each block runs, [B]: what its latency counts with."""
        if self.kind != "sink":
            return probabilities[:, 1]
        blocks = np.arange(len(self.may_skip))
        first = np.array(self.first_blocks)
        stage = np.searchsorted(first, blocks, side="right") - 1  # [B]
        own = stage[:, None, None] == np.arange(len(first))[:, None]  # [B, S, 1]
        reached = (blocks - first[stage])[:, None, None] < self.depths  # [B, S, D]
        reach = tf.constant(own & reached, probabilities.dtype)
        return tf.einsum("bsd,sd->b", reach, probabilities)

    def after_block(self, block: int, x, y, probabilities: tf.Tensor):
        """What block `block` hands on, from its input and its output."""
        if self.kind != "skip_out" or not self.may_skip[block]:
            return y
        skips, runs = tf.unstack(tf.cast(probabilities[block], y.dtype))
        return skips * x + runs * y

    def after_stage(self, stage: int, outputs: Sequence[tf.Tensor], probabilities: tf.Tensor):
        """What a stage hands on, from the outputs of its blocks."""
        if self.kind != "sink":
            return outputs[-1]
        entries = [(d, depth) for d, depth in enumerate(self.depths[stage]) if depth]
        shares = tf.cast(probabilities[stage], outputs[0].dtype)
        return tf.add_n([shares[d] * outputs[depth - 1] for d, depth in entries])

    def kept_blocks(self, beta: np.ndarray, skipped: np.ndarray) -> np.ndarray:
        """Which blocks the most probable network has, bool [B].

        Args:
          beta: logits.
          skipped: bool [B], where "skip" is the most probable candidate of a block.
        """
        if self.kind == "sink":
            best = np.where(self.allowed, beta, -np.inf).argmax(axis=1)
            depth = self.depths[np.arange(len(best)), best]  # [S]
            blocks = np.arange(len(self.may_skip))
            first = np.array(self.first_blocks)
            stage = np.searchsorted(first, blocks, side="right") - 1  # [B]
            return blocks - first[stage] < depth[stage]
        if self.kind == "skip_out":
            return ~(self.may_skip & (beta[:, 0] > beta[:, 1]))
        return ~skipped
