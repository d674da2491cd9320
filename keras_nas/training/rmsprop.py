"""RMSProp as in the papers of MnasNet's family, with its learning rate."""

from collections.abc import Iterable

import keras
import tensorflow as tf

from keras_nas.training.optimizers import is_decayed


@keras.saving.register_keras_serializable(package="keras_nas")
class StaircaseDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that is multiplied by `factor` every `decay_steps`, after a linear rise.

    Keras' RMSProp starts its average of squares at 0, where TensorFlow 1 starts at 1, so that its
    first steps are 3 to 30 times as long: the rise makes up for it.

    Args:
      initial_learning_rate: before the first decay.
      factor: in (0, 1].
      decay_steps: at least 1.
      warmup_steps: length of the rise; the first step has 1 / warmup_steps of the rate.

    Raises:
      ValueError: a value is out of range.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        factor: float,
        decay_steps: int,
        warmup_steps: int = 0,
    ):
        if initial_learning_rate <= 0 or not 0 < factor <= 1 or decay_steps < 1 or warmup_steps < 0:
            raise ValueError(
                "the learning rate should be above 0, its factor in (0, 1], decay_steps at least 1 "
                f"and warmup_steps at least 0. Received: {initial_learning_rate}, {factor}, "
                f"{decay_steps}, {warmup_steps}"
            )
        self.initial_learning_rate = initial_learning_rate
        self.factor = factor
        self.decay_steps = decay_steps
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        step = tf.cast(step, tf.float32)
        decayed = self.initial_learning_rate * self.factor ** tf.floor(step / self.decay_steps)
        if not self.warmup_steps:
            return decayed
        return decayed * tf.minimum((step + 1.0) / self.warmup_steps, 1.0)

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "factor": self.factor,
            "decay_steps": self.decay_steps,
            "warmup_steps": self.warmup_steps,
        }


@keras.saving.register_keras_serializable(package="keras_nas")
class L2RMSprop(keras.optimizers.RMSprop):
    """RMSProp with L2 as part of the gradient, and a variable's step as one fused operation.

    g = gradient + l2 * w;  s = rho * s + (1 - rho) * g^2;
    m = momentum * m + learning_rate * g / sqrt(s + epsilon);  w -= m

    Args:
      l2: coefficient; variables named in `exclude_from_weight_decay` are exempt.
      momentum: above 0.
      **kwargs: of `keras.optimizers.RMSprop`; `centered` and `weight_decay` are refused.

    Raises:
      ValueError: negative `l2`, no momentum, or an argument that is refused.
    """

    def __init__(self, l2: float = 0.0, momentum: float = 0.9, **kwargs):
        if l2 < 0 or momentum <= 0:
            raise ValueError(
                f"l2 must not be negative and momentum above 0. Received: {l2}, {momentum}"
            )
        if kwargs.get("centered") or kwargs.get("weight_decay") is not None:
            raise ValueError(
                "L2RMSprop is not centered and has its decay in l2; leave centered and "
                "weight_decay out."
            )
        super().__init__(momentum=momentum, **kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        gradient = tf.cast(gradient, variable.dtype)
        if self.l2 and self._use_weight_decay(variable):
            gradient += tf.cast(self.l2, variable.dtype) * variable
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyRMSProp(
            var=variable.handle,
            ms=self._velocities[index].value.handle,
            mom=self._momentums[index].value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            rho=tf.cast(self.rho, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=gradient,
        )

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


def rmsprop(
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    variables: Iterable[keras.Variable],
    *,
    rho: float = 0.9,
    momentum: float = 0.9,
    epsilon: float = 1e-3,
    l2: float = 0.0,
) -> L2RMSprop:
    """RMSProp with L2 decay of kernels only.

    Args:
      learning_rate: number or schedule.
      variables: the trainable variables, which the optimizer is built for.
      rho, momentum, epsilon, l2: see `L2RMSprop`.

    Returns:
      The built optimizer.
    """
    variables = list(variables)
    optimizer = L2RMSprop(
        learning_rate=learning_rate, rho=rho, momentum=momentum, epsilon=epsilon, l2=l2
    )
    optimizer.exclude_from_weight_decay(
        var_list=[variable for variable in variables if not is_decayed(variable)]
    )
    optimizer.build(variables)
    return optimizer
