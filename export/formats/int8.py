"""A quantised ONNX generator, shipped only if it is as good and faster: `--formats=...,int8`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from export.formats.base import Format, Work
from serving.contract.manifest import INT8_FILE

# Figures by which int8 was judged: what the card calls them, and how it writes them.
_SHOWN = {
    "frechet_distance": ("Fréchet distance", ".3f"),
    "label_accuracy": ("label accuracy", ".4f"),
    "attribute_accuracy": ("attribute accuracy", ".4f"),
    "attribute_correlation": ("attribute correlation", ".4f"),
    "psnr": ("dB from float32", ".1f"),
    "within_2": ("values within 2 levels", ".2%"),
    "within_8": ("within 8", ".2%"),
    "within_32": ("within 32", ".2%"),
    "feature_distance": ("FD-EfficientNet-Lite0 from float32", ".3f"),
    "feature_floor": ("the same of float32 with other seeds", ".3f"),
    "feature_noise": ("of float32 with a level of noise", ".3f"),
}
_BOUNDS = {"least": "at least", "most": "at most"}


class Int8(Format):
    """`generator.int8.onnx`, which has gates of its own instead of parity; what it measures are the bundle's scores."""

    name = "int8"
    help = (
        "a quantised ONNX generator, shipped only if it is as good and faster, which takes the training data and a "
        "minute or two to find out"
    )
    needs = ("onnx",)
    title = "int8"

    def write(self, folder: Path, work: Work) -> Mapping[str, Any]:
        """See `export.quantize.write_int8`."""
        from export.quantize import write_int8

        section = write_int8(folder, work.source, work.kept["onnx"], work.num_samples)
        work.sections["scores"] = section["scores"]["float32"]
        return section

    def chapter(self, section: Mapping[str, Any]) -> str:
        """Both sides' scores and times, what was asked of them, and what came of it."""
        sides = section["scores"]
        shown = [name for name in _SHOWN if any(name in scores for scores in sides.values())]
        rows = []
        for name, scores in sides.items():
            figures = [f"{scores[each]:{_SHOWN[each][1]}}" if each in scores else "" for each in shown]
            milliseconds = [f"{each:.3f}" for each in section["milliseconds"][name].values()]
            rows.append(f"| {' | '.join([name, *figures, *milliseconds])} |")
        asked = [", ".join(_bounds(section["thresholds"].get(each, {}), _SHOWN[each][1])) for each in shown]
        rows.append(f"| {' | '.join(['asked of int8', *asked, *['less than float32'] * len(milliseconds)])} |")
        word, _, rest = section["verdict"].partition("; ")
        verdict = (
            f'`{INT8_FILE}` is a quarter of the size: `Generator.load(..., precision="int8")`.'
            + (f" It was {rest}." if rest else "")
            if word == "shipped"
            else f"There is no int8 file: {section['verdict'].removeprefix('not shipped: ')}."
        )
        names = [_SHOWN[each][0] for each in shown]
        names += [f"ms for a batch of {size}, one thread" for size in section["milliseconds"]["int8"]]
        head = f"| {' | '.join(['', *names])} |\n|{' --- |' * (len(names) + 1)}"
        return "\n".join(["\n## int8\n", verdict, "", head, *rows, ""])


def _bounds(of_figure: Mapping[str, float], form: str) -> Iterator[str]:
    return (f"{_BOUNDS[kind]} {value:{form}}" for kind, value in of_figure.items())
