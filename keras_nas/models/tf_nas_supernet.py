"""The network of a TF-NAS search: all operations of all blocks, to be sampled or mixed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.tf_nas_depth import DepthSpace
from keras_nas.layers.tf_nas_mixed import MixedOperation
from keras_nas.layers.tf_nas_updates import Update
from keras_nas.models.network import block_name, build_network, build_pieces
from keras_nas.space import Architecture, TFNASSpace
from keras_nas.space.squeeze_excite import OWN

Chosen: TypeAlias = Sequence[int] | Sequence[bool] | np.ndarray


class TFNASSupernet(keras.Model):
    """Blocks of candidate operations between the space's fixed beginning and end.

    Batch norm has neither scale nor offset nor running statistics (TF section 4.1).

    Args:
      space: the search space.
      classes: number of classes.
      depth_space: `sink`, `skip_in` or `skip_out`, see `layers.tf_nas_depth`.
      share_weights: see `MixedOperation`.

    Attributes:
      depth: the depth choices.
      allowed: bool [B, A] which candidates a block has: the space's operations, and with `skip_in`
        "skip" as the last one.
    """

    def __init__(
        self,
        space: TFNASSpace,
        classes: int,
        *,
        depth_space: str = "sink",
        share_weights: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.space = space
        self.classes = classes
        may_skip = np.array(
            [b.has_residual and b.index >= space.stages[b.stage].min_depth for b in space.blocks]
        )
        self.depth = DepthSpace(depth_space, np.array(space.depths), space.first_blocks, may_skip)
        self.allowed = np.ones((len(may_skip), len(space.operations)), bool)
        if depth_space == "skip_in":
            self.allowed = np.concatenate([self.allowed, may_skip[:, None]], axis=1)
        self.beginning, self.end = _fixed_parts(space, classes)
        self.mixed = _mixed_operations(space, share_weights)
        self.set_widths(space.initial_widths())
        self.built = True

    def widths(self) -> np.ndarray:
        """Current widths of all operations, int64 [B, O]."""
        return np.stack([mixed.widths() for mixed in self.mixed])

    def set_widths(self, widths: np.ndarray) -> None:
        """Changes widths between steps, see `MixedOperation.set_widths`.

        Raises:
          ValueError: a width outside the space's bounds.
        """
        for mixed, row in zip(self.mixed, self.space.check_widths(widths), strict=True):
            mixed.set_widths(row)

    def sampled_weights(self, operations: tf.Tensor) -> list[Any]:
        """The weights of one path that a weight step differentiates, a structure a block.

        Args:
          operations: int32 [B] candidate of every block.
        """
        choices = tf.unstack(self._rows(operations))
        return [mixed.sampled_weights(o) for mixed, o in zip(self.mixed, choices, strict=True)]

    def call_path(
        self, images: tf.Tensor, operations: tf.Tensor, weights: list[Any], depths: tf.Tensor
    ) -> tf.Tensor:
        """One operation in every block; blocks are not sampled for depth, all run.

        Args:
          images: [N, height, width, 3].
          operations: int32 [B].
          weights: `sampled_weights` of the operations.
          depths: probabilities of depths.

        Returns:
          Logits [N, classes].
        """
        choices, runs = tf.unstack(self._rows(operations)), tf.unstack(self._runs(operations))

        def run(b: int, x: tf.Tensor) -> tf.Tensor:
            y = self.mixed[b].call_sampled(x, weights[b], choices[b])
            if self._has_skip(b):
                y *= tf.cast(runs[b], y.dtype)
            return x + y if self.mixed[b].residual else y

        return self._run(images, run, depths)

    def call_mixture(self, images: tf.Tensor, mix: tf.Tensor, depths: tf.Tensor) -> tf.Tensor:
        """All operations of every block, mixed; no gradient reaches the blocks' weights.

        Args:
          images: [N, height, width, 3].
          mix: [B, A] weights of the candidates, rows summing to 1.
          depths: probabilities of depths.

        Returns:
          Logits [N, classes].
        """
        count = len(self.space.operations)

        def run(b: int, x: tf.Tensor) -> tf.Tensor:
            y = self.mixed[b].call_mixture(x, mix[b, :count])
            # All candidates with a residual, and "skip", add the input: with weight 1 in all.
            return x + y if self.mixed[b].residual else y

        return self._run(images, run, depths)

    def _run(
        self, images: tf.Tensor, run: Callable[[int, tf.Tensor], tf.Tensor], depths: tf.Tensor
    ) -> tf.Tensor:
        x = self.beginning(images, training=True)
        for s, stage in enumerate(self.space.stages):
            outputs = []
            for index in range(stage.max_depth):
                b = self.space.first_blocks[s] + index
                x = self.depth.after_block(b, x, run(b, x), depths)
                outputs.append(x)
            x = self.depth.after_stage(s, outputs, depths)
        return self.end(x, training=True)

    def updates(
        self, paths: Sequence[tf.Tensor], gradients: Sequence[Sequence[Any]]
    ) -> list[Update]:
        """What a weight step has to move in the blocks.

        Args:
          paths: int32 [B] operations of every path.
          gradients: with respect to every path's `sampled_weights`.
        """
        rows = [tf.unstack(self._rows(path)) for path in paths]
        runs = [tf.unstack(self._runs(path)) for path in paths]
        found = []
        for b, mixed in enumerate(self.mixed):
            own = ([path[b] for path in part] for part in (rows, gradients, runs))
            found += mixed.updates(*own)
        return found

    def fixed_variables(self) -> list[keras.Variable]:
        """Trainable variables that are not searched."""
        return [*self.beginning.trainable_variables, *self.end.trainable_variables]

    def _has_skip(self, block: int) -> bool:
        return self.depth.kind == "skip_in" and bool(self.depth.may_skip[block])

    def _rows(self, operations: tf.Tensor) -> tf.Tensor:
        """[B] operations; "skip" stands for any, which then is not used."""
        return tf.minimum(operations, len(self.space.operations) - 1)

    def _runs(self, operations: tf.Tensor) -> tf.Tensor:
        """[B] 1, and 0 where "skip" was chosen."""
        return tf.cast(operations < len(self.space.operations), tf.float32)

    def architecture(self, operations: Chosen, kept: Chosen, name: str = "network") -> Architecture:
        """One network of the space at the current widths.

        Args:
          operations: [B] operation of every block.
          kept: [B] whether the network has the block.
          name: of the network.
        """
        chosen = [int(operation) for operation in operations]
        blocks = np.flatnonzero(kept).tolist()
        return self.space.architecture_of_blocks(chosen, blocks, self.widths(), name)

    def extract(self, operations: Chosen, kept: Chosen) -> keras.Model:
        """The stand-alone network of `architecture`, with this supernet's weights.

        Its batch norm has scale 1, offset 0 and fresh running statistics; in training mode its
        output is the supernet's.
        """
        space = self.space
        architecture = self.architecture(operations, kept)
        network = build_network(architecture, space.input_shape, self.classes)
        for layer in (*self.beginning.layers, *self.end.layers):
            if layer.weights:
                network.get_layer(layer.name).set_weights(layer.get_weights())
        index = [0] * len(space.stages)
        for b in np.flatnonzero(kept).tolist():
            s = space.stage_of_block[b]
            prefix = block_name(len(space.first_stages) + s, index[s])
            for part, weights in self.mixed[b].extract(int(operations[b])).items():
                network.get_layer(f"{prefix}_{part}").set_weights(weights)
            index[s] += 1
        return network


def _fixed_parts(space: TFNASSpace, classes: int) -> tuple[keras.Model, keras.Model]:
    """What comes before and after the searched stages; layers are named as in the networks."""
    fixed = space.fixed_pieces(classes)

    def names(first: int, stages) -> list[str]:
        sizes = enumerate(map(len, stages), start=first)
        return [block_name(s, b) for s, size in sizes for b in range(size)]

    before = ["stem", *names(0, space.first_stages)]
    after = [*names(len(space.first_stages) + len(space.stages), space.final_stages), "head"]
    cut = len(before)
    return (
        build_pieces(
            fixed[:cut], before, space.batch_norm, batch_statistics=True, name="beginning"
        ),
        build_pieces(fixed[cut:], after, space.batch_norm, batch_statistics=True, name="end"),
    )


def _mixed_operations(space: TFNASSpace, share_weights: bool) -> list[MixedOperation]:
    largest, se_widths = space.largest_widths(), space.se_widths()
    inside, gate = space.squeeze_excite.activation, space.squeeze_excite.gate
    layers = []
    for b, block in enumerate(space.blocks):
        layer = MixedOperation(
            kernel_sizes=[operation.kernel_size for operation in space.operations],
            middle_channels=largest[b],
            se_channels=se_widths[b],
            channels=block.output_channels,
            stride=block.stride,
            residual=block.has_residual,
            activation_name=block.activation,
            se_activation=(block.activation if inside == OWN else inside, gate),
            epsilon=space.batch_norm.epsilon,
            share_weights=share_weights,
            name=f"mixed_{b}",
        )
        layer.build((None, *space.block_input_shapes[b]))
        layers.append(layer)
    return layers
