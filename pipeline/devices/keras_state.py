"""What Keras, NumPy and Python keep for a whole process, as a training needs it and as it was before."""

import contextlib
import random
from collections.abc import Iterator

import keras
import numpy as np
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR
from keras.src.utils.rng_utils import GLOBAL_RANDOM_SEED
from tensorflow.python.eager import context

_OF_KERAS = (GLOBAL_RANDOM_SEED, GLOBAL_SEED_GENERATOR)


@contextlib.contextmanager
def own_keras_state() -> Iterator[None]:
    """While it is entered, Keras has its own defaults; in the end all is as it was: types, seeds, random numbers.

    A notebook may have chosen mixed precision, channels first, or a seed for something of its own.
    """
    policy, floatx, layout = keras.config.dtype_policy(), keras.config.floatx(), keras.config.image_data_format()
    numbers = random.getstate(), np.random.get_state()
    eager = context.context()
    seeds = eager._seed, getattr(eager, "_rng", None)  # which is there once a seed was set
    attributes = {name: global_state.get_global_attribute(name) for name in _OF_KERAS}
    try:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
        keras.config.set_image_data_format("channels_last")
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)
        keras.config.set_image_data_format(layout)
        random.setstate(numbers[0])
        np.random.set_state(numbers[1])
        eager._seed, eager._rng = seeds
        for name, value in attributes.items():
            global_state.set_global_attribute(name, value)
