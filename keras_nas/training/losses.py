"""Losses of each example; the mean (over replicas too) is the caller's."""

import tensorflow as tf


def smooth_labels(labels: tf.Tensor, classes: int, smoothing: float = 0.0) -> tf.Tensor:
    """One-hot labels with label smoothing (Szegedy et al., arXiv 1512.00567, section 7).

    Args:
      labels: int32 `[B]`.
      classes: number of classes.
      smoothing: share given to the uniform distribution, in [0, 1).

    Returns:
      float32 `[B, classes]`; rows sum to 1.

    Raises:
      ValueError: `smoothing` is out of range.
    """
    if not 0.0 <= smoothing < 1.0:
        raise ValueError(f"smoothing must be in [0, 1). Received: {smoothing}")
    one_hot = tf.one_hot(labels, classes, dtype=tf.float32)  # [B, classes]
    return one_hot * (1.0 - smoothing) + smoothing / classes


def cross_entropy(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example, in float32 whatever the precision of the logits.

    Args:
      targets: float32 `[B, classes]`, probabilities.
      logits: `[B, classes]`.

    Returns:
      float32 `[B]`.
    """
    return tf.nn.softmax_cross_entropy_with_logits(
        labels=tf.cast(targets, tf.float32), logits=tf.cast(logits, tf.float32)
    )


def distillation(
    teacher_logits: tf.Tensor, logits: tf.Tensor, temperature: float = 1.0
) -> tf.Tensor:
    """Distance to a teacher's softened output (Hinton et al., arXiv 1503.02531, section 2).

    temperature^2 * KL(softmax(teacher / temperature) || softmax(student / temperature)): zero
    where the two agree, and its gradient keeps its size as the temperature changes. No gradient
    flows to the teacher.

    Args:
      teacher_logits: `[B, classes]`.
      logits: `[B, classes]`.
      temperature: positive.

    Returns:
      float32 `[B]`.

    Raises:
      ValueError: `temperature` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive. Received: {temperature}")
    softened_teacher = tf.stop_gradient(tf.cast(teacher_logits, tf.float32) / temperature)
    log_teacher = tf.nn.log_softmax(softened_teacher)  # [B, classes]
    log_student = tf.nn.log_softmax(tf.cast(logits, tf.float32) / temperature)
    divergence = tf.reduce_sum(tf.exp(log_teacher) * (log_teacher - log_student), -1)  # [B]
    return temperature**2 * divergence
