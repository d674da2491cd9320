"""Stochastic gradient descent as in the papers."""

from collections.abc import Iterable

import keras
import tensorflow as tf

# Offsets, scales and logits stay undecayed even where a layer keeps several in one matrix.
_UNDECAYED_NAMES = ("bias", "beta", "gamma", "logits")


@keras.saving.register_keras_serializable(package="keras_nas")
class L2SGD(keras.optimizers.SGD):
    """SGD whose weight decay is part of the gradient, as in PyTorch and so in HC's recipe.

    g = gradient + l2 * w;  v = momentum * v - learning_rate * g;  w += v (or the Nesterov step).
    `weight_decay` of `keras.optimizers.SGD` is decoupled: it subtracts learning_rate * decay * w
    beside the momentum. The decay here runs through the momentum, which makes it
    1 / (1 - momentum) times as strong: the paper's 1e-4 at momentum 0.9 is 1e-3 in Keras' terms.

    A variable's step is one fused operation where Keras traces 14: a network has hundreds of
    variables, and tracing is a good part of the time to the first step.

    Args:
      l2: coefficient; variables named in `exclude_from_weight_decay` are exempt.
      **kwargs: of `keras.optimizers.SGD`; `weight_decay` is refused.

    Raises:
      ValueError: negative `l2`, or a decoupled `weight_decay` as well.
    """

    def __init__(self, l2: float = 0.0, **kwargs):
        if l2 < 0:
            raise ValueError(f"l2 must not be negative. Received: {l2}")
        if kwargs.get("weight_decay") is not None:
            raise ValueError(
                "L2SGD has its decay in l2; leave weight_decay out. Received: "
                f"{kwargs['weight_decay']}"
            )
        super().__init__(**kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        if self.l2 and self._use_weight_decay(variable):
            gradient = (
                tf.cast(gradient, variable.dtype) + tf.cast(self.l2, variable.dtype) * variable
            )
        if not self.momentum or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


def sgd(
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
    variables: Iterable[keras.Variable],
    *,
    momentum: float = 0.9,
    l2: float = 0.0,
) -> L2SGD:
    """SGD with Nesterov momentum and L2 decay of kernels only (HC section 4: 0.9 and 1e-4).

    Args:
      learning_rate: number or schedule.
      variables: the trainable variables; the optimizer is built for them, so that a checkpoint
        can be restored into it at once.
      momentum: of the velocity.
      l2: decay, see `L2SGD`; not for batch norm and biases.

    Returns:
      The built optimizer.
    """
    variables = list(variables)
    optimizer = L2SGD(learning_rate=learning_rate, momentum=momentum, nesterov=True, l2=l2)
    optimizer.exclude_from_weight_decay(
        var_list=[variable for variable in variables if not is_decayed(variable)]
    )
    optimizer.build(variables)
    return optimizer


def is_decayed(variable: keras.Variable) -> bool:
    """Whether weight decay applies: kernels yes; batch norm, biases, logits and vectors no."""
    return len(variable.shape) > 1 and not variable.name.endswith(_UNDECAYED_NAMES)
