"""The network of a Single-Path NAS search: one path that holds every architecture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.superkernel import BlockGates, Formulation
from keras_nas.layers.superkernel_mbconv import SuperMBConv
from keras_nas.models.network import block_name, build_network, build_pieces
from keras_nas.space import Architecture, SearchSpace
from keras_nas.space.blocks import make_divisible
from keras_nas.space.single_path_gates import (
    SKIP,
    Gates,
    architecture_of_configurations,
    configurations_of_gates,
    gate_shapes,
    skippable,
)


class Decision(NamedTuple):
    """What every block decided, and what on.

    Attributes:
      gates: for each block its gates.
      norms, thresholds: for each block the same of the groups of weights; norm - threshold is the
        margin.
    """

    gates: tuple[BlockGates, ...]
    norms: tuple[BlockGates, ...]
    thresholds: tuple[BlockGates, ...]


def stacked(rows: Sequence[BlockGates]) -> BlockGates:
    """The gates of all blocks as tensors [B, K - 1], [B, E] and [B, S - 1]."""
    return BlockGates(*(tf.stack(parts) for parts in zip(*rows, strict=True)))


def unstacked(gates: BlockGates) -> tuple[BlockGates, ...]:
    """The inverse of `stacked`."""
    return tuple(
        BlockGates(*parts) for parts in zip(*(tf.unstack(part) for part in gates), strict=True)
    )


class SinglePathSupernet(keras.Model):
    """Superkernels between the space's fixed beginning and end.

    Args:
      space: the search space.
      classes: number of classes.
      formulation: of the decisions.
    """

    def __init__(
        self,
        space: SearchSpace,
        classes: int,
        formulation: Formulation | None = None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)  # gates stay in float32
        self.space = space
        self.classes = classes
        self.formulation = formulation or Formulation()
        self.beginning, self.end = fixed_parts(space, classes)
        self.superkernels = [
            _superkernel(space, b, bool(may_skip), self.formulation)
            for b, may_skip in enumerate(skippable(space))
        ]
        self.build((None, *space.input_shape))

    def build(self, input_shape):
        """Creates all weights; the constructor calls it."""
        for layer, shape in zip(self.superkernels, self.space.block_input_shapes, strict=True):
            if not layer.built:
                layer.build((None, *shape))
        self.built = True

    def decide(self, keep: BlockGates | None = None, training: bool = False) -> Decision:
        """Decides in every block, see `SuperMBConv.decide`.

        Args:
          keep: [B, ...] for every gate of the space 0 where its group is dropped whatever its norm.
          training: whether a soft formulation mixes.
        """
        rows = unstacked(keep) if keep is not None else (None,) * len(self.superkernels)
        decided = [
            layer.decide(row, training) for layer, row in zip(self.superkernels, rows, strict=True)
        ]
        return Decision(*(tuple(parts) for parts in zip(*decided, strict=True)))

    def call(self, images, gates=None, training=False):
        """Runs the architecture that gates choose.

        Args:
          images: [N, height, width, 3].
          gates: of every block, as `Decision` has them; by default what the weights decide now.
          training: whether batch norm uses the batch's statistics.

        Returns:
          Logits [N, classes].
        """
        if gates is None:
            gates = self.decide(training=training).gates
        x = self.beginning(images, training=training)
        for layer, own in zip(self.superkernels, gates, strict=True):
            x = layer(x, own, training=training)
        return self.end(x, training=training)

    def configurations(self) -> np.ndarray:
        """What the weights decide now: configuration of every block or `SKIP`, int64 [B]."""
        return configurations_of_gates(self.space, self.numpy_gates(self.decide().gates))

    def choose(self, configurations: Sequence[int] | np.ndarray) -> None:
        """Moves the thresholds so that the weights decide for configurations [B] or `SKIP`, every
        gate by a margin of 1."""
        for layer, c in zip(self.superkernels, configurations, strict=True):
            layer.choose(*self._choice(int(c)))

    def margins(self) -> Gates:
        """Norm - threshold of every gate, in the formulation's units."""
        decision = self.decide()
        norms, thresholds = stacked(decision.norms), stacked(decision.thresholds)
        return Gates(*(a.numpy() - b.numpy() for a, b in zip(norms, thresholds, strict=True)))

    def numpy_gates(self, gates: Sequence[BlockGates]) -> Gates:
        """Gates of every block as NumPy arrays of the space."""
        found = stacked(gates)
        return Gates(**{field: getattr(found, field).numpy() for field in gate_shapes(self.space)})

    def selection(self, configurations: Sequence[int] | np.ndarray) -> tuple[BlockGates, ...]:
        """Gates that choose configurations [B], where `SKIP` skips a block; for `call`."""
        return tuple(
            layer.gates_of(*self._choice(int(c)))
            for layer, c in zip(self.superkernels, configurations, strict=True)
        )

    def extract(
        self,
        configurations: Sequence[int] | np.ndarray | None = None,
        name: str = "network",
        *,
        fused_batch_norm: bool = False,
    ) -> tuple[Architecture, keras.Model]:
        """The stand-alone network of the decisions, with this supernet's weights.

        Batch norm statistics are the supernet's; `reestimate_batch_norm` makes them the network's.

        Args:
          configurations: [B] or `SKIP`; by default what the weights decide now.
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
            prefix = block_name(len(space.first_stages) + s, index[s])
            for part, weights in self.superkernels[b].extract(*self._choice(int(c))).items():
                network.get_layer(f"{prefix}_{part}").set_weights(weights)
            index[s] += 1
        return architecture, network

    def _choice(self, configuration: int) -> tuple[int, int, int]:
        """Numbers of expansion (-1: skip), kernel size and squeeze-and-excitation."""
        if configuration == SKIP:
            return SKIP, 0, 0
        sizes, ratios = len(self.space.kernel_sizes), len(self.space.se_ratios)
        expansion, rest = divmod(configuration, sizes * ratios)
        return expansion, *divmod(rest, ratios)


def fixed_parts(space: SearchSpace, classes: int) -> tuple[keras.Model, keras.Model]:
    """What comes before and after the searched stages; layers are named as in the networks."""
    fixed = space.fixed_pieces(classes)

    def names(first: int, stages) -> list[str]:
        return [
            block_name(s, b) for s, stage in enumerate(stages, first) for b in range(len(stage))
        ]

    before = ["stem", *names(0, space.first_stages)]
    after = [*names(len(space.first_stages) + len(space.stages), space.final_stages), "head"]
    cut = len(before)
    return (
        build_pieces(
            fixed[:cut], before, space.batch_norm, fused_batch_norm=True, name="beginning"
        ),
        build_pieces(fixed[cut:], after, space.batch_norm, fused_batch_norm=True, name="end"),
    )


def _superkernel(
    space: SearchSpace, b: int, may_skip: bool, formulation: Formulation
) -> SuperMBConv:
    stage = space.stage_of_block[b]
    channels = space.block_input_shapes[b][2]
    block = space.block(stage, b - space.first_blocks[stage], len(space.configurations) - 1)
    middles = [make_divisible(channels * ratio) for ratio in space.expansion_ratios]
    return SuperMBConv(
        middle_channels=middles,
        kernel_sizes=space.kernel_sizes,
        se_channels=[
            [make_divisible(middle * ratio) if ratio else 0 for ratio in space.se_ratios]
            for middle in middles
        ],
        channels=block.channels,
        stride=block.stride,
        residual=block.has_residual(channels),
        skippable=may_skip,
        activation_name=block.activation,
        momentum=space.batch_norm.momentum,
        epsilon=space.batch_norm.epsilon,
        formulation=formulation,
        name=f"superkernel_{b}",
    )
