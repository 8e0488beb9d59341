"""Networks too large to be made, of which only the shapes are looked at."""

import contextlib

import keras


@contextlib.contextmanager
def shapes_alone():
    """Weights of networks that are built in it take no memory.

    Keras would create them, gigabytes, beside those of the next network.
    """
    with keras.StatelessScope(initialize_variables=False):
        yield
    keras.utils.clear_session(free_memory=False)
