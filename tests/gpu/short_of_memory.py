"""Trains, and goes on where memory is short: `python -m tests.gpu.short_of_memory`, with `python -m pipeline`'s flags.

The first half of the steps is trained with memory enough. Then almost none is left of a part of a GPU, because it is
filled; on a CPU, which can't be filled without harm, a step asks for too much. What becomes of the second half is
printed. Then there is enough again, and the status is that of the rest.
"""

import contextlib
import sys

from absl import flags

import pipeline.__main__ as command
from pipeline.base.quiet_tensorflow import quiet_tensorflow

_LIMIT_MB = 8192  # of the part of the GPU
_SPARE_MB = 128  # of it; weights and small things must still find room


def train(arguments: list[str], **more: int) -> int:
    values = flags.FlagValues()
    command.define_flags(values)
    values(["pipeline", *arguments, *(f"--{name}={value}" for name, value in more.items())])
    return command.main(values, ["pipeline"])


@contextlib.contextmanager
def filled(gpu: str):
    """Takes all of a GPU's memory but once or twice what is spared."""
    import tensorflow as tf

    taken = []
    with tf.device(gpu), contextlib.suppress(tf.errors.ResourceExhaustedError):
        while True:
            taken.append(tf.zeros([_SPARE_MB, 2**18]))
    taken.pop()
    yield
    taken.clear()


@contextlib.contextmanager
def greedy():
    """Lets the next steps ask for more memory than a process can address."""
    import tensorflow as tf

    from pipeline.training import trainer

    call = trainer.TrainStep.__call__
    trainer.TrainStep.__call__ = lambda *_: tf.zeros([2**46])
    yield
    trainer.TrainStep.__call__ = call


def main() -> int:
    quiet_tensorflow()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_logical_device_configuration(gpus[0], [tf.config.LogicalDeviceConfiguration(_LIMIT_MB)])
    arguments = sys.argv[1:]
    steps = int(arguments[[each.startswith("--steps=") for each in arguments].index(True)].partition("=")[2])
    if status := train(arguments, steps=steps // 2):
        return status
    with filled("GPU:0") if gpus else greedy():
        status = train(arguments)
    print(f"status when memory was short: {status}", flush=True)
    return train(arguments)


if __name__ == "__main__":
    sys.exit(main())
