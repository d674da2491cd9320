"""The candidate operations of one block of TF-NAS (arXiv 2008.05314, section 3.1 and Table 1).

The weights of all operations are rows of a few stacked variables, as wide as the widest operation
and with the largest kernel. A sampled operation is a row: it is gathered, run, and alone updated,
so that the others cost nothing and the compiled program is one whatever was sampled. Channels
beyond an operation's width are left out by `mask`, which the host changes between epochs.

In the paper the operations share nothing, and every one has a row. With `share_weights` all have
the same expansion and projection, and those of a kernel size the same depthwise convolution and
squeeze-and-excitation; then their mixture has a closed form (`tf_nas_shared`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.tf_nas_candidates import operation_weights, run_mixture, run_sampled
from keras_nas.layers.tf_nas_operation import Gate, OperationForm, OperationWeights
from keras_nas.layers.tf_nas_shared import run_shared_mixture
from keras_nas.layers.tf_nas_updates import Update, merge_equal_rows


@dataclasses.dataclass(frozen=True)
class BlockForm:
    """The O candidate operations of a block as data.

    Attributes:
      operation: what they have in common.
      kernel_sizes: [O].
      middle_channels: [O] largest widths.
      se_channels: [O] squeeze-and-excitation widths, 0 for none.
      share_weights: see the top of this file.

    Raises:
      ValueError: lists of different or no length.
    """

    operation: OperationForm
    kernel_sizes: tuple[int, ...]
    middle_channels: tuple[int, ...]
    se_channels: tuple[int, ...]
    share_weights: bool

    def __post_init__(self) -> None:
        lists = (self.kernel_sizes, self.middle_channels, self.se_channels)
        if len({len(values) for values in lists}) != 1 or not self.kernel_sizes:
            raise ValueError(
                "kernel_sizes, middle_channels and se_channels should have one entry an operation, "
                f"received {', '.join(map(str, map(list, lists)))}."
            )

    @functools.cached_property
    def size_numbers(self) -> tuple[int, ...]:
        """[O] number of every operation's kernel size."""
        return tuple(self.operation.kernel_sizes.index(size) for size in self.kernel_sizes)

    @functools.cached_property
    def rows(self) -> tuple[tuple[int, ...], ...]:
        """[4][O] row of every operation in the stacks of expansions, depthwise convolutions,
        projections, and squeeze-and-excitation (0 where an operation has none)."""
        if self.share_weights:
            zeros = (0,) * len(self.kernel_sizes)
            return zeros, self.size_numbers, zeros, self.size_numbers
        own = tuple(range(len(self.kernel_sizes)))
        gates = np.maximum(np.cumsum(np.array(self.se_channels) > 0) - 1, 0)
        return own, own, own, tuple(gates.tolist())

    @functools.cached_property
    def alike(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the operations, those together that have equal shapes: of the kernel, of the
        middle, and of squeeze-and-excitation where they have it."""
        groups: list[list[int]] = []
        for o, units in enumerate(self.se_channels):
            for group in groups:
                widths = {units, *(self.se_channels[other] for other in group)} - {0}
                shapes = {(self.kernel_sizes[i], self.extent(i)) for i in (o, group[0])}
                if len(shapes) == 1 and len(widths) <= 1:
                    group.append(o)
                    break
            else:
                groups.append([o])
        return tuple(map(tuple, groups))

    @property
    def widest(self) -> int:
        """Channels M of the widest operation."""
        return max(self.middle_channels)

    @property
    def bottleneck(self) -> int:
        """Largest squeeze-and-excitation width R; 0 where no operation has one."""
        return max(self.se_channels)

    def extent(self, operation: int) -> int:
        """Among how many of the first channels an operation has its own: with shared weights all,
        since then a channel belongs to any operation."""
        return self.widest if self.share_weights else self.middle_channels[operation]


class MixedOperation(keras.layers.Layer):
    """O candidate operations, of which one is sampled or all are mixed.

    Args:
      kernel_sizes: [O].
      middle_channels: [O] largest widths.
      se_channels: [O] squeeze-and-excitation widths, 0 for none.
      channels: output channels.
      stride: of the depthwise convolution.
      residual: whether the input is added to the output.
      activation_name: after expansion and depthwise convolution.
      se_activation: inside squeeze-and-excitation, and of its gate (Keras' names).
      epsilon: of batch norm.
      share_weights: see above.

    Raises:
      ValueError: lists of different or no length.
    """

    def __init__(
        self,
        *,
        kernel_sizes: Sequence[int],
        middle_channels: Sequence[int],
        se_channels: Sequence[int],
        channels: int,
        stride: int,
        residual: bool,
        activation_name: str,
        se_activation: tuple[str, str],
        epsilon: float,
        share_weights: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        sizes = tuple(sorted({int(size) for size in kernel_sizes}))
        self.form = BlockForm(
            OperationForm(stride, activation_name, se_activation, epsilon, sizes),
            tuple(map(int, kernel_sizes)),
            tuple(map(int, middle_channels)),
            tuple(map(int, se_channels)),
            share_weights,
        )
        self.channels = channels
        self.residual = residual

    def build(self, input_shape):
        """Creates stacked weights and the mask."""
        form, inputs = self.form, input_shape[-1]
        widest, units = form.widest, form.bottleneck
        largest = form.operation.kernel_sizes[-1]
        counts = [max(rows) + 1 for rows in form.rows]
        self.expand = self._stack("expand", (counts[0], inputs, widest), inputs)
        self.depthwise = self._stack(
            "depthwise", (counts[1], largest, largest, widest, 1), largest**2
        )
        self.project = self._stack("project", (counts[2], widest, self.channels), widest)
        self.gate: Any = ()
        if units:
            self.gate = Gate(
                self._stack("se_reduce", (counts[3], widest, units), widest),
                self._stack("se_reduce_bias", (counts[3], units), None),
                self._stack("se_expand", (counts[3], units, widest), units),
                self._stack("se_expand_bias", (counts[3], widest), None),
            )
        self.mask = self.add_weight(
            name="mask",
            shape=(len(form.kernel_sizes), widest),
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )
        self.set_widths(form.middle_channels)

    def _stack(self, name: str, shape: tuple[int, ...], fan_in: int | None):
        """A variable that is drawn uniformly from -1/sqrt(fan_in) .. 1/sqrt(fan_in), or 0."""
        initializer = "zeros"
        if fan_in is not None:
            initializer = keras.initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5)
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, aggregation="only_first_replica"
        )

    def stacks(self) -> OperationWeights:
        """The stacked weights as they are now."""
        variables = OperationWeights(self.expand, self.depthwise, self.project, self.gate)
        return tf.nest.map_structure(lambda stack: tf.convert_to_tensor(stack.value), variables)

    def widths(self) -> np.ndarray:
        """Current width of every operation, int64 [O]."""
        return keras.ops.convert_to_numpy(self.mask.value).sum(axis=1).astype(np.int64)

    def set_widths(self, widths: Sequence[int] | np.ndarray) -> None:
        """Changes widths, between steps: the channels with the largest L1 norm of their depthwise
        kernel stay (TF section 3.4), ties in order. Their weights do not change; those of channels
        left out stay aside until the operation grows again. Where a width stays, so do its
        channels.

        Args:
          widths: [O].

        Raises:
          ValueError: a width below 1 or above the largest.
        """
        wanted, largest = np.asarray(widths), np.array(self.form.middle_channels)
        if wanted.shape != largest.shape or np.any((wanted < 1) | (wanted > largest)):
            raise ValueError(
                f"{self.name}: widths should be 1 to {largest.tolist()}, received "
                f"{wanted.tolist()}."
            )
        mask = keras.ops.convert_to_numpy(self.mask.value).copy()  # [O, M]
        stacks = self.stacks()
        for o in np.flatnonzero(mask.sum(axis=1) != wanted).tolist():
            kernel = operation_weights(stacks, self.form, o).depthwise
            norms = np.abs(kernel.numpy()).sum(axis=(0, 1, 3))  # [channels it can have]
            mask[o] = 0.0
            mask[o, np.argsort(-norms, kind="stable")[: wanted[o]]] = 1.0
        self.mask.assign(mask)

    def sampled_weights(self, choice: tf.Tensor) -> OperationWeights:
        """The rows of operation `choice`, an int32 scalar; what a weight step differentiates."""
        variables = OperationWeights(self.expand, self.depthwise, self.project, self.gate)
        return tf.nest.map_structure(
            lambda stack, row: tf.gather(stack.value, row), variables, self._chosen_rows(choice)
        )

    def _chosen_rows(self, choice: tf.Tensor) -> OperationWeights:
        """For each stack int32 scalar, the row of operation `choice`."""
        rows = tf.unstack(tf.gather(tf.constant(self.form.rows, tf.int32), choice, axis=1))
        gate = Gate(*rows[3:] * 4) if self.gate else ()
        return OperationWeights(rows[0], rows[1], rows[2], gate)

    def call_sampled(self, x: tf.Tensor, weights: OperationWeights, choice: tf.Tensor) -> tf.Tensor:
        """Operation `choice` alone, without residual.

        Args:
          x: [B, H, W, C_in].
          weights: `sampled_weights` of the choice.
          choice: int32 scalar.

        Returns:
          [B, H/stride, W/stride, channels].
        """
        weights = tf.nest.map_structure(lambda weight: tf.cast(weight, x.dtype), weights)
        mask = tf.cast(tf.gather(self.mask.value, choice), x.dtype)  # [M]
        units = tf.gather(tf.constant(self.form.se_channels), choice)
        size = tf.gather(tf.constant(self.form.size_numbers), choice)
        return run_sampled(x, weights, mask, units, size, self.form.operation)

    def call_mixture(self, x: tf.Tensor, mix: tf.Tensor) -> tf.Tensor:
        """All operations, weighted by `mix` [O], without residual; no gradient to weights.

        Returns:
          [B, H/stride, W/stride, channels].
        """
        run = run_shared_mixture if self.form.share_weights else run_mixture
        given = (mix, self.stacks(), tf.convert_to_tensor(self.mask.value))
        mix, stacks, mask = tf.nest.map_structure(lambda tensor: tf.cast(tensor, x.dtype), given)
        return run(x, mix, stacks, mask, self.form)

    def updates(
        self,
        choices: Sequence[tf.Tensor],
        gradients: Sequence[OperationWeights],
        runs: Sequence[tf.Tensor],
    ) -> list[Update]:
        """What a weight step has to move.

        Args:
          choices: operation of each sampled path, int32 scalars.
          gradients: with respect to its `sampled_weights`.
          runs: of each path, scalar 1 where the block runs, 0 where it is skipped.
        """
        paths = []
        stacks = OperationWeights(self.expand, self.depthwise, self.project, self.gate)
        for choice, gradient, run in zip(choices, gradients, runs, strict=True):
            mask = run * tf.gather(self.mask.value, choice)  # [M]
            used = OperationWeights(mask, mask[:, None], mask[:, None], ())
            if self.gate:
                units = tf.gather(tf.constant(self.form.se_channels), choice)
                own = run * tf.cast(tf.range(self.form.bottleneck) < units, mask.dtype)  # [R]
                gated = tf.cast(units > 0, mask.dtype) * mask  # [M]
                gates = Gate(gated[:, None] * own, own, own[:, None] * gated, gated)
                used = used._replace(gate=gates)
            parts = (stacks, self._chosen_rows(choice), gradient, used)
            paths.append([Update(*p) for p in zip(*map(tf.nest.flatten, parts), strict=True)])
        if self.form.share_weights:
            return merge_equal_rows(paths)
        return [update for path in paths for update in path]

    def extract(self, operation: int) -> dict[str, list[np.ndarray]]:
        """Weights of one operation at its current width, by the layer of a plain MBConv.

        Returns:
          Layer name (as in `mbconv`, without prefix) -> its weights in Keras' order; none for batch
          norm, which has learnt nothing.
        """
        kept = np.flatnonzero(keras.ops.convert_to_numpy(self.mask.value)[operation])
        weights = operation_weights(self.stacks(), self.form, operation)
        weights = tf.nest.map_structure(keras.ops.convert_to_numpy, weights)
        parts = {
            "expand": [weights.expand[None, None][..., kept]],
            "depthwise": [weights.depthwise[:, :, kept]],
            "project": [weights.project[None, None][:, :, kept]],
        }
        if weights.gate:
            gate = weights.gate
            parts["se_reduce"] = [gate.reduce_kernel[kept], gate.reduce_bias]
            parts["se_expand"] = [gate.expand_kernel[:, kept], gate.expand_bias[kept]]
        return parts
