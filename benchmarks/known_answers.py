"""Says how an extractor's distance answers where the answer is known: pictures that are made worse, step by step.

  python -m benchmarks.known_answers --dataset=cifar10 --split=test
  python -m benchmarks.known_answers --dataset=folder:cats --image_size=64 --publish

One half of the pictures is the reference; the other half, damaged ever more, must be ever farther from it.
"""

import collections
import io
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from absl import app, flags
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from benchmarks.results import place
from pipeline.base import command_line
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.base.names import printable
from pipeline.data.dataset import load
from pipeline.data.options import DataOptions
from pipeline.metrics import TITLES
from pipeline.metrics.extractor import Extractor, Labelled, make_extractor
from pipeline.metrics.frechet import Transport
from pipeline.metrics.metric import Images, Samples

_RESULTS = Path(__file__).parent / "RESULTS.md"
_BEGIN = "<!-- known answers of {}: written by benchmarks/known_answers.py -->"
_END = "<!-- end of known answers of {} -->"
Pictures = NDArray[np.uint8]


def blurred(images: Pictures, radius: float) -> Pictures:
    """Gaussian blur of a radius in pixels."""
    return _each(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))


def noisy(images: Pictures, deviation: float) -> Pictures:
    """Gaussian noise of a standard deviation in levels."""
    noise = np.random.default_rng(1).normal(0, deviation, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def compressed(images: Pictures, quality: float) -> Pictures:
    """JPEG of a quality, decoded again."""

    def once(image: Image.Image) -> Image.Image:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=int(quality))
        return Image.open(file)

    return _each(images, once)


def dropped(images: Pictures, share: float) -> Pictures:
    """The brightest share of the pictures replaced by others of the rest: modes that a generator has lost."""
    order = np.argsort(images.reshape(len(images), -1).mean(axis=1), kind="stable")
    rest = order[: max(1, round(len(order) * (1 - share)))]
    return images[np.sort(np.resize(rest, len(order)))]


def _each(images: Pictures, change: Callable[[Image.Image], Image.Image]) -> Pictures:
    grey = images.shape[3] == 1
    made = [np.asarray(change(Image.fromarray(each[..., 0] if grey else each))) for each in images]
    return np.stack(made).reshape(images.shape)


DAMAGES: dict[str, tuple[Callable[[Pictures, float], Pictures], str, Sequence[float]]] = {
    "blur": (blurred, "radius of {} px", (0.5, 1, 2, 4)),
    "noise": (noisy, "deviation of {} levels", (5, 10, 20, 40)),
    "JPEG": (compressed, "quality {}", (90, 60, 30, 10)),
    "lost modes": (dropped, "the brightest {:.0%}", (0.1, 0.25, 0.5, 0.75)),
}


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    command_line.define_parameters(values, DataOptions)
    help_text = "what describes pictures: efficientnet, an ONNX file, or an import path."
    flags.DEFINE_string("extractor", "efficientnet", help_text, flag_values=values)
    flags.DEFINE_integer("most", 10_000, "pictures to look at, both halves.", lower_bound=20, flag_values=values)
    flags.DEFINE_bool("publish", False, "write the table into benchmarks/RESULTS.md.", flag_values=values)


def answers(pictures: Pictures, extractor: Extractor) -> dict[str, list[tuple[str, float, float]]]:
    """Measures.

    Args:
      pictures: uint8 [N, H, W, C], in any order.
      extractor: describes them.

    Returns:
      By damage, (degree, distance, standard error) from none to the worst.
    """
    middle = len(pictures) // 2
    reference, others = _described(pictures[:middle], extractor), pictures[middle:]

    def distance(images: Pictures) -> tuple[float, float]:
        one = _described(images, extractor)
        found = Transport(one.moments, reference.moments)
        return found.distance, found.error(one.features, reference.features)

    found: dict[str, list[tuple[str, float, float]]] = collections.defaultdict(list)
    none = distance(others)
    for name, (damage, told, degrees) in DAMAGES.items():
        found[name].append(("none", *none))
        for degree in degrees:
            found[name].append((told.format(degree), *distance(damage(others, degree))))
            print(name, *found[name][-1], file=sys.stderr, flush=True)
    return found


def _described(images: Pictures, extractor: Extractor) -> Samples:
    return Samples(Images("pictures", images, np.zeros(len(images), np.int32)), extractor)


def table(found: dict[str, list[tuple[str, float, float]]]) -> str:
    """Writes what `answers` found as Markdown, with intervals of 95 %."""
    columns = len(next(iter(found.values())))
    lines = ["| damage |" + " |" * columns, "|" + " --- |" * (columns + 1)]
    for name, row in found.items():
        cells = [f"{degree}: **{value:.4g}** ± {1.96 * error:.2g}" for degree, value, error in row]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def grows(found: dict[str, list[tuple[str, float, float]]]) -> list[str]:
    """Names of the damages with which the distance does not grow at each step."""
    values = {name: [value for _, value, _ in row] for name, row in found.items()}
    return [name for name, row in values.items() if row != sorted(row)]


def _extractor(name: str, data_dir: str) -> Extractor:
    def refuse() -> Labelled:
        raise MirageError(f"--extractor={name} has learnt the very pictures; choose efficientnet, or an ONNX file.")

    if name != "efficientnet" and not {*".:"} & {*name}:
        raise MirageError(f"--extractor={name} is not for this; choose efficientnet, an ONNX file, or an import path.")
    return make_extractor(name, labelled=refuse, data_dir=data_dir)


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns the exit status: 1 if a distance does not grow."""
    values = flags.FLAGS
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        dataset = load(command_line.given_parameters(values, DataOptions))
        spec, images = dataset.spec, (dataset.pixels, dataset.labels)
        if spec.image_shape[2] == 4:
            raise MirageError("pictures with alpha have no JPEG; leave --transparency=keep out.")
        extractor = _extractor(values.extractor, values.data_dir)
        mixed = np.random.default_rng(0).permutation(len(dataset.labels))[: values.most]
        found = answers(np.stack([images[0][each] for each in np.sort(mixed)]), extractor)
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    height, width, _ = spec.image_shape
    name = printable(spec.name).rpartition("/")[2]
    head = f"{name}, {width}x{height} pixels, {len(mixed) // 2:,} pictures against as many others, by "
    text = f"{head}{TITLES.get(values.extractor, values.extractor)}:\n\n{table(found)}\n"
    print(text)
    if values.publish:
        place(text, _RESULTS, _BEGIN.format(name), _END.format(name))
    wrong = grows(found)
    if wrong:
        print(f"The distance does not grow with {' and '.join(wrong)}.")
    return int(bool(wrong))


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    app.run(main)
