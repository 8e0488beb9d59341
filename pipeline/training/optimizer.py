"""Adam for networks of which each replica holds a copy.

Keras's own optimisers reduce gradients variable by variable, and their loss scaling looks for overflow
on the first replica only. Here the step reduces all gradients of an update at once (see
`pipeline/training/step.py`), and each replica then moves its own copy by the same reduced gradients: copies
that start equal stay equal.
"""

from collections.abc import Sequence

import tensorflow as tf

_FIRST_SCALE = 2.0**15
_UPDATES_PER_GROWTH = 2000


class Adam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980), in the order of computation of its section 2's end.

    With loss scaling, the loss is multiplied by `scale` before differentiation, so that small float16
    gradients don't vanish. An update whose gradients are not all finite is left out and halves the
    scale; 2,000 good updates in a row double it (Micikevicius et al. 2017, arXiv 1710.03740, section
    3.2).

    Attributes:
      variables: the weights, float32.
      state: variables by name: moments, number of updates, loss scale.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        *,
        beta_1: float,
        beta_2: float,
        epsilon: float = 1e-7,
        loss_scaling: bool = False,
    ) -> None:
        """Creates the state; call it in the strategy's scope.

        Args:
          variables: the weights to move.
          beta_1: decay of the first moment.
          beta_2: decay of the second moment.
          epsilon: added to the root of the second moment, before that is corrected for its start at 0.
          loss_scaling: whether to scale the loss.
        """
        self.variables = list(variables)
        self._beta_1, self._beta_2, self._epsilon = beta_1, beta_2, epsilon
        self._momentums = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.variables]
        self._velocities = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.variables]
        self._updates = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.state = {"updates": self._updates}
        for index, (momentum, velocity) in enumerate(zip(self._momentums, self._velocities, strict=True)):
            self.state |= {f"{index:03}.momentum": momentum, f"{index:03}.velocity": velocity}
        self._scale: tf.Variable | None = None
        if loss_scaling:
            self._scale = tf.Variable(_FIRST_SCALE, trainable=False)
            self._good_updates = tf.Variable(0, dtype=tf.int64, trainable=False)
            self.state |= {"loss_scale": self._scale, "good_updates": self._good_updates}

    def scale_loss(self, loss: tf.Tensor) -> tf.Tensor:
        """Returns the loss times the scale, if there is one."""
        return loss if self._scale is None else loss * tf.convert_to_tensor(self._scale)

    def apply(
        self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor | float, beta_2: tf.Tensor | None = None
    ) -> None:
        """Moves this replica's copy of the weights; call it in replica context.

        Args:
          gradients: one for each variable: of the scaled loss, summed over all replicas.
          learning_rate: the paper's alpha.
          beta_2: decay of the second moment in this update, if it isn't constant.
        """
        decay = self._beta_2 if beta_2 is None else beta_2
        if self._scale is None:
            self._move(gradients, learning_rate, decay)
            return
        factor = 1.0 / tf.convert_to_tensor(self._scale)
        good = tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]))
        tf.cond(good, lambda: self._move([gradient * factor for gradient in gradients], learning_rate, decay), tf.no_op)
        self._rescale(good)

    def _move(
        self, gradients: Sequence[tf.Tensor], learning_rate: tf.Tensor | float, beta_2: tf.Tensor | float
    ) -> tf.Operation:
        # The variables' aggregation is NONE, so that in replica context each assignment is local.
        count = tf.cast(self._updates.assign_add(1), tf.float32)
        power_1, power_2 = tf.pow(self._beta_1, count), tf.pow(beta_2, count)
        slots = zip(self.variables, self._momentums, self._velocities, gradients, strict=True)
        moves = [
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=momentum.handle,
                v=velocity.handle,
                beta1_power=power_1,
                beta2_power=power_2,
                lr=learning_rate,
                beta1=self._beta_1,
                beta2=beta_2,
                epsilon=self._epsilon,
                grad=gradient,
            )
            for variable, momentum, velocity, gradient in slots
        ]
        return tf.group(*moves)

    def _rescale(self, good: tf.Tensor) -> None:
        assert self._scale is not None
        scale, run = tf.convert_to_tensor(self._scale), tf.convert_to_tensor(self._good_updates)
        run = tf.where(good, run + 1, 0)
        grow = run >= _UPDATES_PER_GROWTH
        scale = tf.where(good, tf.where(grow, scale * 2, scale), tf.maximum(scale / 2, 1.0))
        self._scale.assign(scale)
        self._good_updates.assign(tf.where(grow, tf.zeros_like(run), run))
