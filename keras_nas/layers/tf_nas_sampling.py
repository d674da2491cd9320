"""Which operations a step of TF-NAS uses: two sampled ones, or a soft mixture of all.

The noise is a function of the seed alone, one draw for the whole batch on all replicas.
"""

from __future__ import annotations

import tensorflow as tf

from keras_nas.layers.sampling import fold_in

SECOND_SAMPLERS = ("random", "gumbel", "minimum", "maximum", "none")
"""How the second operation is chosen among those that are not the first."""

_NEVER = -1e9


def gumbel_noise(shape: tuple[int, ...], seed: tf.Tensor) -> tf.Tensor:
    """Independent standard Gumbel numbers, float32."""
    # minval keeps log(0) away.
    return -tf.math.log(-tf.math.log(tf.random.stateless_uniform(shape, seed, minval=1e-20)))


def sample_operations(
    logits: tf.Tensor, allowed: tf.Tensor, second: str, seed: tf.Tensor
) -> tf.Tensor:
    """Bi-sampling (TF section 3.2): one or two different operations for every block.

    The first is drawn from softmax(logits), by Gumbel-max. The second is drawn among the others:
    uniformly (`random`), from their softmax (`gumbel`), or the one with the smallest (`minimum`) or
    largest (`maximum`) logit.

    Args:
      logits: [B, O].
      allowed: bool [B, O], at least two in each row, or one if `second` is "none".
      second: one of `SECOND_SAMPLERS`.
      seed: [2].

    Returns:
      int32 [P, B], P = 1 if `second` is "none", else 2.

    Raises:
      ValueError: an unknown sampler.
    """
    if second not in SECOND_SAMPLERS:
        raise ValueError(
            f"the second sampler should be one of {', '.join(SECOND_SAMPLERS)}, received "
            f"{second!r}."
        )
    shape = tuple(logits.shape)

    def choose(scores, among):
        scores = tf.where(among, scores, tf.fill(shape, _NEVER))
        return tf.argmax(scores, axis=1, output_type=tf.int32)  # [B]

    first = choose(logits + gumbel_noise(shape, fold_in(seed, 0)), allowed)
    if second == "none":
        return first[None]
    noise = gumbel_noise(shape, fold_in(seed, 1))
    scores = {
        "random": noise,
        "gumbel": logits + noise,
        "minimum": -logits,
        "maximum": logits,
    }[second]
    others = allowed & ~tf.one_hot(first, shape[1], on_value=True, off_value=False)
    return tf.stack([first, choose(scores, others)])


def gumbel_softmax(
    logits: tf.Tensor, allowed: tf.Tensor, temperature: tf.Tensor | float, seed: tf.Tensor
) -> tf.Tensor:
    """Weights of a soft mixture (TF eq. 4): softmax((logits + Gumbel noise) / temperature).

    Args:
      logits: [B, O].
      allowed: bool [B, O]; other entries get weight 0.
      temperature: above 0.
      seed: [2].

    Returns:
      [B, O], rows summing to 1.
    """
    scores = (logits + gumbel_noise(tuple(logits.shape), seed)) / temperature
    return tf.nn.softmax(tf.where(allowed, scores, tf.fill(tuple(logits.shape), _NEVER)))
