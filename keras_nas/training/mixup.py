"""Mixup (Zhang et al., arXiv 1710.09412) inside the compiled training step."""

import functools

import numpy as np
import numpy.typing as npt
import scipy.stats
import tensorflow as tf

_KNOTS = 2049


def mixup(
    images: tf.Tensor, labels: tf.Tensor, *, alpha: float, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each image and its label with those of the next image in the batch.

    x_i <- w_i x_i + (1 - w_i) x_(i+1), w_i ~ Beta(alpha, alpha) for each image. Batches are in
    random order, so the next image is a random one.

    Args:
      images: float `[B, H, W, C]`.
      labels: float `[B, classes]`, probabilities.
      alpha: of the Beta distribution; HC uses 0.2; 0 leaves everything as it is.
      seed: integer `[2]`; the same seed gives the same weights. On several replicas, fold the
        replica's number into it.

    Returns:
      (images, labels) of the same shapes and dtypes.

    Raises:
      ValueError: `alpha` is negative.
    """
    if alpha < 0:
        raise ValueError(f"alpha must not be negative. Received: {alpha}")
    if alpha == 0:
        return images, labels
    weight = sample_beta(tf.shape(images)[:1], alpha, seed)  # [B]
    image_weight = tf.cast(weight, images.dtype)[:, None, None, None]  # [B, 1, 1, 1]
    label_weight = tf.cast(weight, labels.dtype)[:, None]  # [B, 1]
    next_images, next_labels = tf.roll(images, -1, 0), tf.roll(labels, -1, 0)
    mixed_images = image_weight * images + (1 - image_weight) * next_images
    return mixed_images, label_weight * labels + (1 - label_weight) * next_labels


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
    return scipy.stats.beta.ppf(probabilities, alpha, alpha).astype(np.float32)
