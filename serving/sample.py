"""Makes pictures with an exported generator, without TensorFlow.

A sheet of 25:

  python -m serving.sample --bundle=bundles/digits --n=25 --out=sheet.png

Sevens only, from another seed:

  python -m serving.sample --bundle=bundles/digits --n=25 --label=7 --seed=100 --out=sevens.png

Of a generator whose labels are attributes, smiling faces of 30, and faces that grow older from the left to the right:

  python -m serving.sample --bundle=bundles/faces --n=25 --attributes=smiling=1,age=30 --out=smiles.png
  python -m serving.sample --bundle=bundles/faces --n=40 --columns=8 --attributes=age=16..80 --out=ages.png
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags
from numpy.typing import NDArray

from serving import command_line
from serving.arguments import INT64, whole
from serving.attributes import between_ends, parse
from serving.contract import png
from serving.contract.latents import latents
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
    flags.DEFINE_string(
        "attributes",
        None,
        "attributes of all images, as name=number joined by commas, such as smiling=1,age=30; those left out are "
        "typical. With age=16..80 each row has one seed, and goes from the first number to the last.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "seed", 0, "seed of the first image; image i has the seed --seed + i, or row i of a walk.", flag_values=values
    )
    flags.DEFINE_float(
        "truncation",
        1.0,
        "factor of the latents or, where there are styles, of their distance from the mean style; less than 1 makes "
        "pictures more usual and more alike.",
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
        in_turn = generator.class_names and values.label is None
        columns = values.columns or (len(generator.class_names) if in_turn else math.ceil(math.sqrt(values.n)))
        started = time.perf_counter()
        images, seeds = _images(generator, values, columns)
        milliseconds = (time.perf_counter() - started) * 1e3
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
        f"{out}: {values.n} images of {height}x{width}, seeds {values.seed} to {values.seed + seeds - 1}, "
        f"{milliseconds / values.n:.2f} ms each"
    )
    return 0


def _images(generator: Generator, values: flags.FlagValues, columns: int) -> tuple[NDArray[np.uint8], int]:
    """The images that the flags ask for, and how many seeds they are of."""
    n, seed, truncation = values.n, values.seed, values.truncation
    ends = None if values.attributes is None else parse(values.attributes)
    if ends is None or all(first == last for first, last in ends.values()):
        given = None if ends is None else {name: first for name, (first, _) in ends.items()}
        return generator.sample(n, seed=seed, labels=values.label, attributes=given, truncation=truncation), n
    places, rows = np.arange(n), math.ceil(n / columns)
    seeds = whole("seed", seed, INT64[0], INT64[1] - rows) + places // columns
    z = latents(seeds, generator.latent_dim, generator.info.latent_distribution)
    on_the_way = between_ends(ends, places % columns / max(1, columns - 1))
    return generator.decode(z, labels=values.label, attributes=on_the_way, truncation=truncation), rows


def run() -> None:
    """Entry point of `python -m serving.sample` and of `mirage-sample`."""
    with command_line.told_to_stop():
        command_line.run(__doc__, define_flags, main)


if __name__ == "__main__":
    run()
