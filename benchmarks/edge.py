"""Times a bundle in onnxruntime against the same bundle's SavedModel in TensorFlow.

  python -m benchmarks.edge --bundle=bundles/demo

Both make the same images from the same latents, in turn, with the same number of threads; medians are
compared, because single figures of a busy machine mean little.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags

from serving.generator import Generator, to_pixels
from serving.latents import latents
from serving.manifest import BundleError

_BATCH_SIZES = (1, 4, 16, 64)


def define_flags(values: flags.FlagValues) -> None:
    """Adds the benchmark's flags to `values`."""
    flags.DEFINE_string("bundle", "bundles/demo", "folder of a bundle with both formats.", flag_values=values)
    flags.DEFINE_integer("rounds", 30, "measurements of each side.", lower_bound=3, flag_values=values)
    flags.DEFINE_bool("json", False, "print one JSON line instead of a table.", flag_values=values)


def _median_ms(sides: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    times: list[list[float]] = [[] for _ in sides]
    for round_number in range(rounds + 3):
        for side, collected in zip(sides, times, strict=True):
            start = time.perf_counter()
            side()
            if round_number >= 3:  # the first ones warm up
                collected.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(collected) for collected in times]


def _compare(bundle: str, rounds: int) -> list[dict[str, float]]:
    generator = Generator.load(bundle)
    import tensorflow as tf

    loaded = tf.saved_model.load(f"{bundle}/saved_model")
    signature = loaded.signatures["serving_default"]
    rows = []
    for batch_size in _BATCH_SIZES:
        z = latents(np.arange(batch_size), generator.latent_dim)
        labels = np.arange(batch_size) % len(generator.class_names) if generator.info.conditional else None
        feeds = {"z": tf.constant(z), **({} if labels is None else {"label": tf.constant(labels)})}
        onnx_ms, tensorflow_ms = _median_ms(
            [
                lambda z=z, labels=labels: generator.decode(z, labels),
                lambda feeds=feeds: to_pixels(signature(**feeds)["image"].numpy()),
            ],
            rounds,
        )
        rows.append(
            {
                "batch_size": batch_size,
                "generator_ms": round(onnx_ms, 3),
                "tensorflow_ms": round(tensorflow_ms, 3),
                "ratio": round(tensorflow_ms / onnx_ms, 2),
            }
        )
    return rows


def main(argv: Sequence[str]) -> int:
    """Runs the benchmark."""
    del argv
    try:
        rows = _compare(flags.FLAGS.bundle, flags.FLAGS.rounds)
    except (BundleError, OSError) as error:
        print(f"error: {error}; run make demo first, or pass --bundle=.", file=sys.stderr)
        return 1
    if flags.FLAGS.json:
        print(json.dumps(rows))
        return 0
    print("batch   Generator    TensorFlow   times faster")
    for row in rows:
        print("{batch_size:5} {generator_ms:9.2f} ms {tensorflow_ms:10.2f} ms {ratio:10.2f}".format(**row))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    define_flags(flags.FLAGS)
    app.run(main)
