import numpy as np
import tensorflow as tf

from pipeline.jit import measure_jit


class Trainee:
    def __init__(self):
        self.weight = tf.Variable(1.0)

    def state(self):
        return {"weight": self.weight}


def test_all_workers_of_a_cluster_race_over_the_chiefs_number_of_steps():
    trainee = Trainee()
    calls = []

    def build(jit):
        def step(count, stop):
            calls.append((jit, int(count)))
            trainee.weight.assign_add(1.0)
            return (tf.zeros([1]),)

        return step

    proposed = []
    measure_jit(trainee, build, lambda count: proposed.append(count) or 7)
    assert len(proposed) == 1
    assert calls[:3] == [(False, 2), (True, 2), (False, 2)]
    assert calls[3:] == [(False, 7), (True, 7)] * 5
    np.testing.assert_array_equal(trainee.weight, 1.0)
