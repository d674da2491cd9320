"""Mixup (Zhang et al., arXiv 1710.09412) inside the compiled training step."""

import functools

import numpy as np
import numpy.typing as npt
import scipy  # imports its parts when they are used
import tensorflow as tf

from tpu.replicas import own_rows, replica_count

_KNOTS = 2049


def mixup(
    images: tf.Tensor, labels: tf.Tensor, *, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each image and its label with those of a neighbour in the batch.

    x_i <- w_i x_i + (1 - w_i) x_j, w_i ~ Beta(alpha, alpha) for each image, where j is the next one
    in i's group of `mixup_group` neighbours, in a circle. Batches are in random order, so j is a
    random image. Groups stay inside a replica: the same images are mixed in the same way whatever
    the number of replicas is.

    Args:
      images: float `[B, H, W, C]`, the share of a replica.
      labels: float `[B, classes]`, probabilities.
      alpha: of the Beta distribution; HC uses 0.2; 0 leaves everything as it is.
      seed: integer `[2]`, the same on all replicas; the same seed gives the same weights.

    Returns:
      (images, labels) of the same shapes and dtypes.

    Raises:
      ValueError: `alpha` is negative, or the replica's share is not of whole groups.
    """
    if alpha < 0:
        raise ValueError(f"alpha must not be negative. Received: {alpha}")
    if alpha == 0:
        return images, labels
    count = images.shape[0]
    group = mixup_group(count * replica_count())
    if count % group:
        raise ValueError(
            f"mixup pairs images in groups of {group}, which {count} images a replica cut apart; "
            f"choose a batch size that divides by {group} times the number of replicas, or set "
            "mixup to 0."
        )
    weight = own_rows(lambda rows: sample_beta([rows], alpha, seed), count)  # [B]
    image_weight = tf.cast(weight, images.dtype)[:, None, None, None]  # [B, 1, 1, 1]
    label_weight = tf.cast(weight, labels.dtype)[:, None]  # [B, 1]
    place = np.arange(count)
    partner = place - place % group + (place + 1) % group  # [B]
    mixed_images = image_weight * images + (1 - image_weight) * tf.gather(images, partner)
    return mixed_images, label_weight * labels + (1 - label_weight) * tf.gather(labels, partner)


def mixup_group(batch_size: int) -> int:
    """Least prime factor of a global batch size (2 for even ones): neighbours that are mixed."""
    return next((n for n in range(2, batch_size + 1) if batch_size % n == 0), 1)


def sample_beta(shape: tf.Tensor, alpha: float, seed: tf.Tensor) -> tf.Tensor:
    """Samples Beta(alpha, alpha), statelessly and on any device.

    `stateless_gamma`, the usual way, does not compile for a TPU. So the inverse of the
    distribution function is tabulated once in SciPy and interpolated at uniform numbers; the
    quantiles are exact to 1e-4 (alpha 0.1 to 1).

    Args:
      shape: of the result.
      alpha: positive.
      seed: integer `[2]`.

    Returns:
      float32 in [0, 1].
    """
    quantiles = tf.constant(_beta_quantiles(alpha))  # [_KNOTS]
    place = tf.random.stateless_uniform(shape, seed) * (_KNOTS - 1)
    left = tf.minimum(tf.cast(place, tf.int32), _KNOTS - 2)
    fraction = place - tf.cast(left, tf.float32)
    low, high = tf.gather(quantiles, left), tf.gather(quantiles, left + 1)
    return low + fraction * (high - low)


@functools.cache
def _beta_quantiles(alpha: float) -> npt.NDArray[np.float32]:
    probabilities = np.linspace(0.0, 1.0, _KNOTS)
    return scipy.special.betaincinv(alpha, alpha, probabilities).astype(np.float32)
