"""Learning-rate schedules."""

import keras


def cosine(
    peak_learning_rate: float, steps: int, warmup_steps: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear rise from 0 over `warmup_steps`, then half a cosine down to 0 at `steps`.

    Loshchilov and Hutter, arXiv 1608.03983, eq. 5, without restarts.

    Args:
      peak_learning_rate: largest value, reached at step `warmup_steps`.
      steps: length of the training, warm-up included.
      warmup_steps: length of the rise.

    Returns:
      A Keras schedule: step -> learning rate.

    Raises:
      ValueError: a value is out of range.
    """
    if peak_learning_rate <= 0:
        raise ValueError(f"peak_learning_rate must be positive. Received: {peak_learning_rate}")
    if not 0 <= warmup_steps < steps:
        raise ValueError(
            "warmup_steps must be at least 0 and less than steps. Received: "
            f"warmup_steps={warmup_steps}, steps={steps}"
        )
    if warmup_steps == 0:
        return keras.optimizers.schedules.CosineDecay(peak_learning_rate, steps)
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        decay_steps=steps - warmup_steps,
        warmup_target=peak_learning_rate,
        warmup_steps=warmup_steps,
    )
