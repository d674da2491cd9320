"""Stratified multi-path sampling: the batch is divided, not repeated, among the configurations.

In every block exactly 1/K of the images takes each kernel size and, in large blocks, 1/E each
expansion ratio, assigned by a fresh random permutation. Every image's path keeps its uniform
distribution and all shapes stay static, while each image is computed for its own configuration
only:

- an image of a smaller expansion takes no part in the channels beyond it. Channels are cut into E
  bands; band j holds the channels that expansion j adds, and only the images of expansion >= j;
- each depthwise kernel sees the images that chose it.

The batch is dealt group by group: a group is a fixed number of neighbouring images, small enough to
stay inside one replica, so that the same groups are dealt in the same way whatever the number of
replicas is.

A batch norm sees, in each band, the images that use it. Weights and images are cut with `split`,
whose gradient is one concatenation; slices would each write a gradient of the full size.
"""

from __future__ import annotations

import itertools

import keras
import tensorflow as tf

from keras_nas.layers.batch_norm import apply_statistics, normalize_batch
from keras_nas.layers.elastic_mbconv import ElasticMBConv
from keras_nas.layers.sampling import cell_major, fold_in, uniform_choices
from tpu.replicas import replica_count

BANDED_PIXELS = 20_000
"""Input pixels (images of the global batch * height * width) from which bands of channels pay.

Below, three times as many small operations cost more than the work they save: at 64x64 and batch
24, bands everywhere made a step 1.2 times slower than bands in the first block alone
(benchmarks/one_shot_step.py).
"""


def group_cells(layer: ElasticMBConv, size: int) -> int:
    """How many cells a group of `size` images is dealt to: expansions too where they divide it."""
    kernels, expansions = len(layer.kernel_sizes), len(layer.middle_channels)
    return kernels * expansions if size % (kernels * expansions) == 0 else kernels


def stratified_block(
    layer: ElasticMBConv, x: tf.Tensor, seed: tf.Tensor, training: bool, groups: int = 1
):
    """Runs each image through one uniformly drawn configuration of an elastic block.

    Args:
      layer: a built elastic block with K kernel sizes and E expansions.
      x: [B, H, W, C_in] in the order of `sampling.deal`, to `group_cells`: an image's place decides
        its kernel size and, where that pays and a group divides by E * K, its expansion (otherwise
        expansions are drawn independently, at full width).
      seed: [2].
      training: whether batch norm uses the batch's statistics.
      groups: that the B images were dealt in.

    Returns:
      [B, H/stride, W/stride, channels] in the order of `x`.

    Raises:
      ValueError: B does not divide by the groups, or a group by the number of kernel sizes.
    """
    kernels, expansions = len(layer.kernel_sizes), len(layer.middle_channels)
    images = x.shape[0]
    if images is None or images % (groups * kernels):
        raise ValueError(
            f"stratified sampling deals {images} images in {groups} groups evenly to {kernels} "
            f"kernel sizes; choose a batch size that divides by {groups * kernels} at every depth."
        )
    size = images // groups
    cells = group_cells(layer, size)
    # Of the global batch, so that replicas do as one would.
    pays = images * replica_count() * x.shape[1] * x.shape[2] >= BANDED_PIXELS
    if pays and cells > kernels:
        # Within its kernel size, an image's place counts expansions down from the largest.
        per_cell = images // (kernels * expansions)
        expansion = tf.tile(tf.repeat(tf.range(expansions)[::-1], per_cell), [kernels])  # [B]
        edges = (0, *layer.middle_channels)
        widths = [last - first for first, last in itertools.pairwise(edges)]
    else:
        chosen = uniform_choices(groups, size, expansions, fold_in(seed, 0))
        expansion = cell_major(chosen, cells)  # [B]
        widths = [layer.widest]
    chosen = uniform_choices(groups, size, len(layer.se_channels[0]), fold_in(seed, 1))
    excitation = cell_major(chosen, cells)  # [B]

    bands = _expand(layer, x, widths, training)
    gated = _depthwise(layer, bands, widths, expansion, excitation, training)
    y = _project(layer, gated, widths)
    y = layer.project_batch_norm(y, training=training)
    return x + y if layer.residual else y


def _normalize(batch_norm, parts, widths, training):
    """Batch norm of [band] tensors, each with its share of the channels' weights."""
    gammas = tf.split(batch_norm.gamma.value, widths)
    betas = tf.split(batch_norm.beta.value, widths)
    averages = tf.split(batch_norm.moving_mean.value, widths)
    outputs, means, variances = [], [], []
    if training:
        for x, gamma, beta, near in zip(parts, gammas, betas, averages, strict=True):
            y, mean, variance = normalize_batch(x, gamma, beta, batch_norm.epsilon, near)
            outputs.append(y)
            means.append(mean)
            variances.append(variance)
        batch_norm.move_averages(tf.concat(means, 0), tf.concat(variances, 0))
        return outputs
    variances = tf.split(batch_norm.moving_variance.value, widths)
    for x, gamma, beta, mean, variance in zip(
        parts, gammas, betas, averages, variances, strict=True
    ):
        outputs.append(apply_statistics(x, gamma, beta, mean, variance, batch_norm.epsilon))
    return outputs


def _expand(layer, x, widths, training):
    """[B, H, W, C_in] -> per band [B_band, H, W, its channels], kernel size by kernel size."""
    kernels, strata = len(layer.kernel_sizes), len(widths)
    cells = tf.split(x, kernels * strata)
    bands = []
    for band, weights in enumerate(tf.split(layer.expand_kernel.value, widths, axis=3)):
        # A kernel size's cells are ordered from the largest expansion: a band takes the first.
        members = [
            cells[k * strata + cell] for k in range(kernels) for cell in range(strata - band)
        ]
        inputs = x if band == 0 else tf.concat(members, 0)
        bands.append(tf.nn.conv2d(inputs, weights, 1, "SAME"))
    return [
        layer.act(band) for band in _normalize(layer.expand_batch_norm, bands, widths, training)
    ]


def _depthwise(layer, bands, widths, expansion, excitation, training):
    """Depthwise convolutions and gates: [kernel][band] of [B_band / K, H', W', its channels]."""
    kernels = len(layer.kernel_sizes)
    inputs = [tf.split(band, kernels) for band in bands]
    expansions, excitations = tf.split(expansion, kernels), tf.split(excitation, kernels)
    result = []
    for k, batch_norm in enumerate(layer.depthwise_batch_norms):
        weights = tf.split(layer.depthwise_kernels[k].value, widths, axis=2)
        parts = [layer.depthwise(inputs[band][k], w) for band, w in enumerate(weights)]
        parts = [layer.act(part) for part in _normalize(batch_norm, parts, widths, training)]
        gates = _gates(layer, k, parts, widths, expansions[k], excitations[k])
        result.append([z * g[:, None, None, :] for z, g in zip(parts, gates, strict=True)])
    return result


def _gates(layer, k, parts, widths, expansion, excitation):
    """Squeeze-and-excitation factors [band] of [B_band / K, channels of the band].

    Args:
      parts: [band] z_k.
      widths: [band] channels.
      expansion, excitation: [B / K] each image's choices.
    """
    dtype = parts[0].dtype
    rows = [part.shape[0] for part in parts]
    if len(widths) == 1:  # then the band holds channels that an image may not have
        middle = tf.gather(tf.constant(layer.middle_channels), expansion)  # [B / K]
        mask = tf.cast(tf.range(layer.widest) < middle[:, None], dtype)  # [B / K, M]
    else:
        mask = tf.ones((), dtype)
    if not layer.bottleneck:
        return [mask * tf.ones((n, width), dtype) for n, width in zip(rows, widths, strict=True)]
    se = layer.se_weights[k]
    received = []
    for part, weights in zip(parts, tf.split(se["reduce_kernel"].value, widths), strict=True):
        contribution = tf.matmul(mask * tf.reduce_mean(part, (1, 2)), weights)
        received.append(tf.pad(contribution, ((0, rows[0] - part.shape[0]), (0, 0))))
    reduced = tf.add_n(received) + se["reduce_bias"].value  # [B / K, R]
    units = tf.gather_nd(tf.constant(layer.se_channels), tf.stack([expansion, excitation], 1))
    hidden = tf.nn.relu(reduced) * tf.cast(tf.range(layer.bottleneck) < units[:, None], dtype)
    # Gates of all bands in one product: the few that no image of the row uses cost less than cuts.
    excite = tf.matmul(hidden, se["expand_kernel"].value) + se["expand_bias"].value  # [B / K, M]
    excite = keras.ops.hard_sigmoid(excite)
    gates = mask * tf.where(units[:, None] > 0, excite, tf.ones_like(excite))
    return [gate[:n] for gate, n in zip(tf.split(gates, widths, axis=1), rows, strict=True)]


def _project(layer, gated, widths):
    """[kernel][band] -> [B, H', W', channels]: each band adds its share of the 1x1 convolution."""
    weights = tf.split(layer.project_kernel.value, widths, axis=2)
    outputs = []
    for parts in gated:
        shares = [tf.nn.conv2d(part, w, 1, "SAME") for part, w in zip(parts, weights, strict=True)]
        images = shares[0].shape[0]
        padded = [
            tf.pad(share, ((0, images - share.shape[0]), (0, 0), (0, 0), (0, 0)))
            for share in shares
        ]
        outputs.append(tf.add_n(padded))
    return tf.concat(outputs, 0)  # [B, H', W', channels]
