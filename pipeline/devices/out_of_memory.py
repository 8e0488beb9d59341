"""One sentence for running out of memory, whoever tells it: TensorFlow, XLA, NVIDIA's libraries, Python or NumPy."""

import contextlib
import re
from collections.abc import Iterator

import tensorflow as tf

from pipeline.base.errors import MirageError

TRAINING = (
    "lower --batch_size and raise --accumulate as many times, or set --precision=mixed_bfloat16, in a new --run_dir; "
    "or lower --device_data_mb, so that the data set is streamed; --dry_run estimates what is needed; the last "
    "checkpoint is kept"
)
EVALUATION = (
    "lower --num_samples, end what else uses the device, or compute on the CPU with CUDA_VISIBLE_DEVICES=-1 in the "
    "environment; the run is as it was"
)

# TensorFlow says ResourceExhausted, too, where a disk is full or a message is too long, and other things where a
# library, a constant or a tensor that was to be copied to a GPU got no memory.
_SIGNS = re.compile(
    r"\bOOM\b|[Oo]ut of memory|OUT_OF_MEMORY|[Ff]ailed to allocate|[Cc]ould not allocate|[Uu]nable to allocate"
    r"|bad_alloc|STATUS_ALLOC_FAILED|create cu(blas|dnn) handle|No BLAS (for|support in) stream"
    r"|Dst tensor is not initialized|Cannot parse tensor from proto"
)
# What cuDNN and CUDA said on a GPU whose memory others had taken, and may say of a driver that is out of order.
_LIKELY_SIGNS = re.compile(r"No algorithm worked|device\(s\) is/are busy or unavailable")


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory has run out, of a device or of the machine."""
    if isinstance(error, tf.errors.OpError):
        return bool(_cause(error))
    return isinstance(error, MemoryError)


@contextlib.contextmanager
def out_of_memory(doing: str, remedy: str = TRAINING) -> Iterator[None]:
    """Makes one sentence of the errors that are raised where memory runs out.

    Args:
      doing: what is done meanwhile, such as "drawing the preview".
      remedy: what to change.

    Raises:
      MirageError: instead of them.
    """
    try:
        yield
    except (tf.errors.OpError, MemoryError) as error:
        if not ran_out(error):
            raise
        cause = _cause(error)
        sure = not cause or _line_of(error, _SIGNS)
        raise MirageError(
            f"out of memory{'' if sure else ', as it seems,'} while {doing}{f' ({cause})' if cause else ''}: {remedy}."
        ) from None


def _cause(error: tf.errors.OpError | MemoryError) -> str:
    """The line of an error that tells it, or nothing."""
    line = _line_of(error, _SIGNS) or _line_of(error, _LIKELY_SIGNS)
    line = re.sub(r"\{\{.*?\}\}|\[Op:.*|/job:\w+/replica:\d+/task:\d+", "", line)
    return line.strip(" .;:\t")[:200]


def _line_of(error: tf.errors.OpError | MemoryError, signs: re.Pattern[str]) -> str:
    text = error.message if isinstance(error, tf.errors.OpError) else str(error)
    # TensorFlow adds where in the program the operation comes from.
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("File ")]
    return next((line for line in lines if signs.search(line)), "")
