"""The network of a multi-path search: all configurations of a block side by side, and mixed.

The space and what is fixed are those of the single path (`single_path_supernet`); here each
configuration is an operation with weights of its own, as in the searches that Single-Path NAS
(arXiv 1904.02877) sets itself against.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.superkernel import nested
from keras_nas.models.network import block_name, build_network, build_pieces
from keras_nas.models.single_path_supernet import fixed_parts
from keras_nas.space import Architecture, SearchSpace
from keras_nas.space.single_path_gates import (
    SKIP,
    Gates,
    architecture_of_configurations,
    configurations_of_gates,
    gate_shapes,
    margins_of_scores,
    skippable,
)

RELAXATIONS = ("softmax", "sigmoid")


class MultiPathSupernet(keras.Model):
    """Every configuration of every block as an operation, between the space's beginning and end.

    A block's output is the sum of the operations' outputs, and of its input where it may be
    skipped, each times its share.

    Args:
      space: the search space.
      classes: number of classes.
      relaxation: of a block's choice. `softmax`: one over all its configurations, and skipping.
        `sigmoid`: level by level, the gates of a single path, each open with the probability
        sigmoid(logit); a configuration's share is the product of those that lead to it.

    Raises:
      ValueError: an unknown relaxation.
    """

    def __init__(self, space: SearchSpace, classes: int, relaxation: str = "softmax", **kwargs):
        super().__init__(autocast=False, **kwargs)  # shares stay in float32
        if relaxation not in RELAXATIONS:
            raise ValueError(
                f"relaxation of a multi-path search should be one of {', '.join(RELAXATIONS)}, "
                f"received {relaxation!r}."
            )
        self.space = space
        self.classes = classes
        self.relaxation = relaxation
        self.beginning, self.end = fixed_parts(space, classes)
        count = len(space.configurations)
        self.operations = [
            _operation(space, b, c) for b in range(len(space.stage_of_block)) for c in range(count)
        ]
        self.build((None, *space.input_shape))

    def build(self, input_shape):
        """Creates the logits, all 0: [B, C + 1] with a softmax, else one a gate, [B, G]."""
        gates = sum(count for _, count in gate_shapes(self.space).values())
        width = len(self.space.configurations) + 1 if self.relaxation == "softmax" else gates
        self.logits = self.add_weight(
            name="logits",
            shape=(len(self.space.stage_of_block), width),
            initializer="zeros",
            dtype="float32",
        )
        self.built = True

    def shares(self) -> tf.Tensor:
        """Share of every configuration, and last of skipping, [B, C + 1]; each row sums to 1."""
        logits, may_skip = tf.convert_to_tensor(self.logits.value), skippable(self.space)
        if self.relaxation == "softmax":
            never = np.zeros(logits.shape, np.float32)
            never[~may_skip, -1] = -1e9
            return tf.nn.softmax(logits + never)
        widths = [count for _, count in gate_shapes(self.space).values()]
        kernel, expansion, se = tf.split(tf.sigmoid(logits), widths, axis=1)
        must_run = tf.constant(~may_skip[:, None])
        expansion = tf.concat([tf.where(must_run, 1.0, expansion[:, :1]), expansion[:, 1:]], 1)
        levels = _levels(expansion)  # [B, E + 1], the first skips
        runs = (
            levels[:, 1:, None, None]
            * _levels(kernel)[:, None, :, None]
            * _levels(se)[:, None, None, :]
        )  # [B, E, K, S]
        return tf.concat([tf.reshape(runs, (len(may_skip), -1)), levels[:, :1]], 1)

    def call(self, images, shares=None, training=False):
        """Runs all operations.

        Args:
          images: [N, height, width, 3].
          shares: [B, C + 1]; by default one-hot, what the logits decide now.
          training: whether batch norm uses the batch's statistics.

        Returns:
          Logits [N, classes].
        """
        if shares is None:
            shares = self.selection(self.configurations())
        x = self.beginning(images, training=training)
        count = len(self.space.configurations)
        for b, may_skip in enumerate(skippable(self.space)):
            operations = self.operations[b * count : (b + 1) * count]
            outputs = [operation(x, training=training) for operation in operations]
            if may_skip:
                outputs.append(x)
            parts = zip(tf.unstack(shares[b]), outputs, strict=False)
            x = tf.add_n([tf.cast(share, y.dtype) * y for share, y in parts])
        return self.end(x, training=training)

    def selection(self, configurations: Sequence[int] | np.ndarray) -> tf.Tensor:
        """One-hot shares of configurations [B], where `SKIP` skips a block; for `call`."""
        width = len(self.space.configurations) + 1
        return tf.constant(np.eye(width, dtype=np.float32)[np.asarray(configurations)])

    def configurations(self) -> np.ndarray:
        """What the logits decide now: configuration of every block or `SKIP`, int64 [B].

        With a softmax the largest share; with sigmoids gate by gate.
        """
        margins = self.margins()
        gates = {
            field: (getattr(margins, field) >= 0).astype(np.float64)
            for field in gate_shapes(self.space)
        }
        gates["expansion"][~skippable(self.space), 0] = 1
        return configurations_of_gates(self.space, Gates(**gates))

    def margins(self) -> Gates:
        """Of every gate, whose sign decides it: its logit, or with a softmax the max-marginals."""
        logits = self.logits.numpy()
        if self.relaxation == "softmax":
            return margins_of_scores(self.space, logits)
        ends = np.cumsum([count for _, count in gate_shapes(self.space).values()])[:-1]
        return Gates(*np.split(logits, ends, axis=1))

    def extract(
        self,
        configurations: Sequence[int] | np.ndarray | None = None,
        name: str = "network",
        *,
        fused_batch_norm: bool = False,
    ) -> tuple[Architecture, keras.Model]:
        """The stand-alone network of the decisions, with its operations' weights.

        Batch norm statistics are the supernet's; `reestimate_batch_norm` makes them the network's.

        Args:
          configurations: [B] or `SKIP`; by default what the logits decide now.
          name: of the architecture.
          fused_batch_norm: see `build_network`.

        Raises:
          ValueError: a block is skipped that cannot be.
        """
        space = self.space
        if configurations is None:
            configurations = self.configurations()
        architecture = architecture_of_configurations(space, configurations, name)
        network = build_network(
            architecture, space.input_shape, self.classes, fused_batch_norm=fused_batch_norm
        )
        for layer in (*self.beginning.layers, *self.end.layers):
            if layer.weights:
                network.get_layer(layer.name).set_weights(layer.get_weights())
        index = [0] * len(space.stages)
        for b, c in enumerate(configurations):
            if c == SKIP:
                continue
            s = space.stage_of_block[b]
            own, prefix = (
                block_name(len(space.first_stages) + s, i)
                for i in (b - space.first_blocks[s], index[s])
            )
            for layer in self.operations[b * len(space.configurations) + int(c)].layers:
                if layer.weights:
                    target = network.get_layer(prefix + layer.name.removeprefix(own))
                    target.set_weights(layer.get_weights())
            index[s] += 1
        return architecture, network


def _levels(gates: tf.Tensor) -> tf.Tensor:
    """Probability [B, n + 1] of each number of leading open gates, from those of gates [B, n]."""
    ones = tf.ones(gates.shape[0], gates.dtype)
    reached = nested(tf.unstack(gates, axis=1), ones)  # n + 1 of [B]
    stops = [1.0 - gate for gate in tf.unstack(gates, axis=1)]
    return tf.stack([r * s for r, s in zip(reached, [*stops, ones], strict=True)], 1)


def _operation(space: SearchSpace, b: int, configuration: int) -> keras.Model:
    """One configuration of a block; its layers are named as in a network that skips nothing."""
    stage = space.stage_of_block[b]
    index = b - space.first_blocks[stage]
    piece = space.block_pieces()[b][configuration]
    return build_pieces(
        [piece],
        [block_name(len(space.first_stages) + stage, index)],
        space.batch_norm,
        fused_batch_norm=True,
        name=f"block{b}_configuration{configuration}",
    )
