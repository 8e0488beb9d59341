"""A quantised ONNX generator, shipped only if it is as good and faster: `--formats=...,int8`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.formats.base import Format, Work
from serving.contract.manifest import INT8_FILE


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
        """Both sides' scores and times, and what came of them."""
        rows = []
        for name in ("float32", "int8"):
            scores, times = section["scores"][name], section["milliseconds"][name]
            accuracy = f"{scores['label_accuracy']:.4f}" if "label_accuracy" in scores else ""
            milliseconds = " | ".join(f"{each:.3f}" for each in times.values())
            rows.append(f"| {name} | {scores['frechet_distance']:.3f} | {accuracy} | {milliseconds} |")
        verdict = (
            f'`{INT8_FILE}` is a quarter of the size: `Generator.load(..., precision="int8")`.'
            if section["verdict"] == "shipped"
            else f"There is no int8 file: {section['verdict'].removeprefix('not shipped: ')}."
        )
        batches = " | ".join(f"ms for a batch of {size}, one thread" for size in section["milliseconds"]["int8"])
        head = f"| | Fréchet distance | label accuracy | {batches} |\n| --- | --- | --- | --- | --- |"
        return "\n".join(["\n## int8\n", verdict, "", head, *rows, ""])
