"""The mixture of operations that share weights, in closed form (as `elastic_mbconv`).

Width mask, weight in the mixture and squeeze-and-excitation act per image and channel, so that one
expansion, one depthwise convolution a kernel size and one projection give the whole mixture:

    z_k = act(normalize(depthwise_k(act(normalize(expand(x))))))
    g_k[image, channel] = sum over o with kernel k of mix_o * mask_o[channel] * (gate_o or 1)
    y = normalize(project(sum_k z_k * g_k))

With one-hot `mix` it is that operation; otherwise it is a definition of its own, since batch norm
sees the mixture.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_nas.layers.tf_nas_candidates import traced_once
from keras_nas.layers.tf_nas_normalization import normalize
from keras_nas.layers.tf_nas_operation import Gate, OperationWeights, centre, pointwise


@traced_once
def run_shared_mixture(
    x: tf.Tensor, mix: tf.Tensor, stacks: OperationWeights, mask: tf.Tensor, form: Any
) -> tf.Tensor:
    """The closed form.

    Args:
      x: [B, H, W, C_in].
      mix: [O].
      stacks: [1, C_in, M], [S, K, K, M, 1], [1, M, C], and squeeze-and-excitation [S, ...], for S
        kernel sizes.
      mask: [O, M] channels of every operation.
      form: `BlockForm`.

    Returns:
      [B, H/stride, W/stride, C].
    """
    common = form.operation
    y = common.act(normalize(pointwise(x, stacks.expand[0]), common.epsilon))
    mixed = 0.0
    for number, size in enumerate(common.kernel_sizes):
        kernel = centre(stacks.depthwise[number], size)
        z = common.act(normalize(common.depthwise(y, kernel), common.epsilon))
        gate = Gate(*(stack[number] for stack in stacks.gate)) if stacks.gate else ()
        own = [o for o, s in enumerate(form.size_numbers) if s == number]
        shares = mix[:, None] * mask  # [O, M]
        factor = _factor(tf.reduce_mean(z, (1, 2)), shares, mask, gate, form, own)
        mixed += z * factor[:, None, None, :]  # [B, H', W', M]
    return normalize(pointwise(mixed, stacks.project[0]), common.epsilon)


def _factor(pooled, shares, mask, gate: Any, form, own: list[int]) -> tf.Tensor:
    """g_k of the closed form, [B, M], or [1, M] where no operation looks at the image.

    Args:
      pooled: [B, M] means of z_k.
      shares: [O, M] of the mixture, 0 where an operation does not have the channel.
      mask: [O, M].
      gate: weights of squeeze-and-excitation.
      form: of the block.
      own: operations with this kernel size.
    """
    plain = [o for o in own if not form.se_channels[o]]
    gated = [o for o in own if form.se_channels[o]]
    factor = tf.reduce_sum(tf.gather(shares, plain), 0, keepdims=True) if plain else 0.0  # [1, M]
    if gated:
        inside, outside = map(keras.activations.get, form.operation.se_activation)
        received = pooled * tf.gather(mask, gated)[:, None]  # [G, B, M]
        hidden = inside(tf.tensordot(received, gate.reduce_kernel, 1) + gate.reduce_bias)
        units = tf.constant([form.se_channels[o] for o in gated])  # [G]
        has_unit = tf.cast(tf.range(form.bottleneck) < units[:, None], hidden.dtype)  # [G, R]
        excite = tf.tensordot(hidden * has_unit[:, None], gate.expand_kernel, 1) + gate.expand_bias
        factor += tf.reduce_sum(tf.gather(shares, gated)[:, None] * outside(excite), 0)
    return factor
