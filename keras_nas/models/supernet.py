"""The one-shot network of a search space: every architecture in one set of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_nas.layers.elastic_mbconv import ElasticMBConv
from keras_nas.layers.elastic_strata import group_cells, stratified_block
from keras_nas.layers.permutation import permuted
from keras_nas.layers.sampling import deal, fold_in
from keras_nas.models.network import block_name, build_network, build_pieces
from keras_nas.space import Architecture, SearchSpace
from keras_nas.space.blocks import make_divisible
from tpu.replicas import replica_count


class Supernet(keras.Model):
    """Elastic blocks between the space's fixed beginning and end.

    Args:
      space: the search space.
      classes: number of classes.
    """

    def __init__(self, space: SearchSpace, classes: int, **kwargs):
        super().__init__(**kwargs)
        self.space = space
        self.classes = classes
        fixed = space.fixed_pieces(classes)
        first = [
            block_name(s, b)
            for s, stage in enumerate(space.first_stages)
            for b in range(len(stage))
        ]
        before = len(space.first_stages) + len(space.stages)
        final = [
            block_name(before + s, b)
            for s, stage in enumerate(space.final_stages)
            for b in range(len(stage))
        ]
        cut = 1 + len(first)
        self.beginning = build_pieces(
            fixed[:cut], ["stem", *first], space.batch_norm, fused_batch_norm=True, name="beginning"
        )
        self.elastic_blocks = [
            _elastic_block(space, b, row[0].input_shape)
            for b, row in enumerate(space.block_pieces())
        ]
        self.end = build_pieces(
            fixed[cut:], [*final, "head"], space.batch_norm, fused_batch_norm=True, name="end"
        )
        self.build((None, *space.input_shape))

    def build(self, input_shape):
        """Creates all weights; the constructor calls it."""
        for block, row in zip(self.elastic_blocks, self.space.block_pieces(), strict=True):
            if not block.built:
                block.build((None, *row[0].input_shape))
        self.built = True

    def call(self, images, alpha=None, beta=None, seed=None, training=False):
        """Runs paths through the space: given ones, or uniformly drawn and stratified ones.

        With `alpha` and `beta`, all configurations and depths run and are mixed with these weights;
        one-hot rows choose one path an image. With `seed` instead, every image runs through one
        uniformly drawn path and is computed for it alone (see `elastic_strata`); in every stage an
        equal share of the batch leaves at each depth.

        Args:
          images: [N, height, width, 3]; with `seed`, N is static.
          alpha: [N, B, C] weights of every block's configurations.
          beta: [N, S, D] weights of every stage's depths; padded entries are ignored.
          seed: [2] integers.
          training: whether batch norm uses the batch's statistics.

        Returns:
          Logits [N, classes], in the order of `images`.

        Raises:
          ValueError: stratified, and N does not divide by numbers of depths and kernel sizes; or
            neither `seed` nor both of `alpha` and `beta` are given, or all.
        """
        if (seed is None) == (alpha is None) or (alpha is None) != (beta is None):
            raise ValueError("a one-shot network runs with either alpha and beta, or seed.")
        if seed is not None:
            return self._call_stratified(images, seed, training)
        x = self.beginning(images, training=training)
        for s, stage in enumerate(self.space.stages):
            first = self.space.first_blocks[s]
            mixed = 0.0
            for index in range(stage.max_depth):
                b = first + index
                x = self.elastic_blocks[b](x, alpha[:, b], training=training)
                depth_entry = index + 1 - stage.min_depth
                if depth_entry >= 0:
                    share = tf.cast(beta[:, s, depth_entry], x.dtype)
                    mixed += share[:, None, None, None] * x  # [N, H, W, C]
            x = mixed
        return self.end(x, training=training)

    def _call_stratified(self, images, seed, training):
        count = images.shape[0]
        group = check_batch_size(self.space, count and count * replica_count(), replica_count())
        x = self.beginning(images, training=training)
        places = tf.range(count)
        members = np.arange(count, dtype=np.int32).reshape(-1, group)  # [G, group]
        for s in range(len(self.space.stages)):
            x, places, members = self._stratified_stage(
                s, x, places, members, fold_in(seed, s), training
            )
        logits = self.end(x, training=training)
        return permuted(logits, tf.argsort(places))

    def _stratified_stage(self, s: int, x, places, members, seed, training):
        """One stage; `members` [G, M] are the places in `x` of each group's images."""
        stage, first = self.space.stages[s], self.space.first_blocks[s]
        groups, group = members.shape
        left: list[tf.Tensor] = []
        left_places, left_members = [], []
        for index in range(stage.max_depth):
            block = self.elastic_blocks[first + index]
            # A fresh permutation: neither depth nor configuration depends on earlier choices.
            leaving = group // _depth_choices(stage) if index >= stage.min_depth else 0
            cells = group_cells(block, members.shape[1] - leaving)
            order, members = deal(members, leaving, cells, fold_in(seed, 2 * index))
            x, places = permuted(x, order), tf.gather(places, order)
            if leaving:
                cut = groups * leaving
                left_members.append(
                    np.arange(cut, dtype=np.int32).reshape(groups, -1) + cut * len(left)
                )
                left.append(x[:cut])
                left_places.append(places[:cut])
                x, places = x[cut:], places[cut:]
            x = stratified_block(block, x, fold_in(seed, 2 * index + 1), training, groups)
        members = np.concatenate([*left_members, members + sum(m.size for m in left_members)], 1)
        return tf.concat([*left, x], 0), tf.concat([*left_places, places], 0), members

    def extract(self, architecture: Architecture, *, fused_batch_norm: bool = False) -> keras.Model:
        """The stand-alone network of an architecture, with this supernet's weights.

        Batch norm statistics are the supernet's; `reestimate_batch_norm` makes them the network's.

        Raises:
          ValueError: the architecture is not in the space.
        """
        depths, configurations = self.space.encode(architecture)
        network = build_network(
            architecture, self.space.input_shape, self.classes, fused_batch_norm=fused_batch_norm
        )
        for layer in (*self.beginning.layers, *self.end.layers):
            if layer.weights:
                network.get_layer(layer.name).set_weights(layer.get_weights())
        for b, name in self._block_names(depths):
            e, k, s = self._choice(configurations[b])
            for part, weights in self.elastic_blocks[b].extract(e, k, s).items():
                network.get_layer(f"{name}_{part}").set_weights(weights)
        return network

    def initialize(self, heaviest: keras.Model) -> None:
        """Starts from the heaviest network's weights (HC section 3.2: w-bar).

        Args:
          heaviest: `build_network(space.heaviest(), ...)`, trained.
        """
        for layer in (*self.beginning.layers, *self.end.layers):
            if layer.weights:
                layer.set_weights(heaviest.get_layer(layer.name).get_weights())
        for b, name in self._block_names([stage.max_depth for stage in self.space.stages]):
            block = self.elastic_blocks[b]
            parts = block.extract(*self._choice(len(self.space.configurations) - 1))
            weights = {part: heaviest.get_layer(f"{name}_{part}").get_weights() for part in parts}
            block.initialize(weights)

    def _block_names(self, depths) -> Iterator[tuple[int, str]]:
        """Number and layer name prefix of every elastic block that `depths` reach."""
        for s, depth in enumerate(depths):
            for index in range(depth):
                name = block_name(len(self.space.first_stages) + s, index)
                yield self.space.first_blocks[s] + index, name

    def _choice(self, configuration: int) -> tuple[int, int, int]:
        """Indices of expansion, kernel size and squeeze-and-excitation of a configuration."""
        space = self.space
        expansion, rest = divmod(configuration, len(space.kernel_sizes) * len(space.se_ratios))
        return expansion, *divmod(rest, len(space.se_ratios))


def strata_group(space: SearchSpace, images: int) -> int:
    """How many neighbouring images of a global batch are dealt among strata together.

    The least number that divides evenly by kernel sizes and depths of every stage, and by
    expansions too if the batch does; a function of space and batch alone, so that any number of
    replicas that keeps groups whole deals the same groups.
    """
    units = [len(space.kernel_sizes) * _depth_choices(stage) for stage in space.stages]
    group = math.lcm(*units)
    with_expansions = math.lcm(*(unit * len(space.expansion_ratios) for unit in units))
    return with_expansions if images % with_expansions == 0 else group


def check_batch_size(space: SearchSpace, images: int | None, replicas: int = 1) -> int:
    """The `strata_group` of a global batch of `images`.

    Raises:
      ValueError: stratified sampling cannot deal the batch, or the share of a replica, evenly.
    """
    group = strata_group(space, images or 0)
    if not images or images % (group * replicas):
        unit = strata_group(space, 1) * replicas
        shared = f", on each of {replicas} replicas" if replicas > 1 else ""
        raise ValueError(
            f"stratified sampling in space {space.name!r} needs a batch size that divides by "
            f"{unit} (kernel sizes times depths{shared}), received {images}. Change the batch "
            "size, or sample independently."
        )
    return group


def _depth_choices(stage) -> int:
    return stage.max_depth - stage.min_depth + 1


def _elastic_block(space: SearchSpace, b: int, input_shape) -> ElasticMBConv:
    stage = space.stage_of_block[b]
    index = b - space.first_blocks[stage]
    block = space.block(stage, index, len(space.configurations) - 1)
    middles = [make_divisible(input_shape[2] * ratio) for ratio in space.expansion_ratios]
    return ElasticMBConv(
        middle_channels=middles,
        kernel_sizes=space.kernel_sizes,
        se_channels=[
            [make_divisible(middle * ratio) if ratio else 0 for ratio in space.se_ratios]
            for middle in middles
        ],
        channels=block.channels,
        stride=block.stride,
        residual=block.has_residual(input_shape[2]),
        activation_name=block.activation,
        momentum=space.batch_norm.momentum,
        epsilon=space.batch_norm.epsilon,
        name=f"elastic_{b}",
    )
