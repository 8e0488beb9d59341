"""Makes pictures with an exported generator, without TensorFlow.

A sheet of 25:

  python -m serving.sample --bundle=bundles/digits --n=25 --out=sheet.png

Sevens only, from another seed:

  python -m serving.sample --bundle=bundles/digits --n=25 --label=7 --seed=100 --out=sevens.png
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from serving import command_line
from serving.contract import png
from serving.contract.manifest import BundleError
from serving.generator import Generator


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    flags.DEFINE_string(
        "bundle", "bundles/default", "folder that `python -m export` wrote, or a single .onnx file.", flag_values=values
    )
    flags.DEFINE_integer("n", 25, "number of images.", lower_bound=1, upper_bound=10000, flag_values=values)
    flags.DEFINE_string(
        "label", None, "class of all images, as a number or a name; by default the classes in turn.", flag_values=values
    )
    flags.DEFINE_integer("seed", 0, "seed of the first image; image i has the seed --seed + i.", flag_values=values)
    flags.DEFINE_float(
        "truncation",
        1.0,
        "factor of the latents; less than 1 makes pictures more usual and more alike.",
        flag_values=values,
    )
    flags.DEFINE_string("out", "sample.png", "PNG file to write.", flag_values=values)
    flags.DEFINE_integer(
        "columns",
        0,
        "images per row; 0 makes a square, or a column per class if classes take turns.",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "threads", 0, "CPU threads; 0 takes all that this process may use.", lower_bound=0, flag_values=values
    )


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line with parsed flags; returns its exit status."""
    try:
        if len(argv) > 1:
            raise ValueError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        out = Path(values.out)
        if out.suffix != ".png" or not out.parent.is_dir():
            raise ValueError(f"--out={out} must be a .png file in a folder that exists.")
        generator = Generator.load(values.bundle, threads=values.threads or None)
        label = values.label
        started = time.perf_counter()
        images = generator.sample(values.n, seed=values.seed, labels=label, truncation=values.truncation)
        milliseconds = (time.perf_counter() - started) * 1e3
        in_turn = generator.info.conditional and label is None
        columns = values.columns or (len(generator.class_names) if in_turn else math.ceil(math.sqrt(values.n)))
        png.write(out, png.grid(images, columns))
    except (BundleError, ValueError) as error:
        command_line.say(f"error: {error}")
        return 1
    except OSError as error:
        command_line.say(f"error: --out={out} can't be written ({error.strerror}).")
        return 1
    except MemoryError:
        command_line.say(f"error: a sheet of --n={values.n} images is larger than memory; ask for fewer.")
        return 1
    height, width, _ = generator.image_shape
    command_line.tell(
        f"{out}: {values.n} images of {height}x{width}, seeds {values.seed} to {values.seed + values.n - 1}, "
        f"{milliseconds / values.n:.2f} ms each"
    )
    return 0


def run() -> None:
    """Entry point of `python -m serving.sample` and of `mirage-sample`."""
    with command_line.told_to_stop():
        command_line.run(__doc__, define_flags, main)


if __name__ == "__main__":
    run()
