"""Measures the quality of a trained generator.

  python -m pipeline.evaluate --run_dir=runs/digits
  python -m pipeline.evaluate --run_dir=runs/digits --bundle=bundles/digits

Prints a table and one JSON line. With --bundle the exported ONNX file itself makes the images; the run
then only tells what data it learned from, which must be what the bundle's own run learned from.

A Fréchet distance says nothing alone: compare it with its floor, the distance of real training images
from the same reference, and only with distances of the same extractor, reference and number of samples.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pipeline.base import command_line
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.evaluation.options import ScoringOptions


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    flags.DEFINE_string("run_dir", "runs/default", "folder of the training run.", flag_values=values)
    flags.DEFINE_string(
        "bundle", "", "score this bundle's ONNX generator instead of the checkpoint.", flag_values=values
    )
    command_line.define_parameters(values, ScoringOptions)
    flags.DEFINE_string(
        "write_reference",
        "",
        "file to write the reference's statistics to, for --reference.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "out", "", "folder to write scores.json, samples.png and neighbours.png to.", flag_values=values
    )


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit status."""
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        options = command_line.given_parameters(values, ScoringOptions)
        from pipeline.devices.out_of_memory import EVALUATION, out_of_memory
        from pipeline.evaluation.evaluate import Files, score
        from pipeline.evaluation.table import table
        from pipeline.metrics import distance_title

        files = Files(values.write_reference, values.out)
        with out_of_memory("evaluating", EVALUATION):
            scores, _ = score(options, Path(values.run_dir), values.bundle, files=files)
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    print(table(scores, distance_title(scores["extractor"]) if "extractor" in scores else ""))
    print(json.dumps(scores))
    return 0


def run() -> None:
    """Entry point of `python -m pipeline.evaluate` and of `mirage-evaluate`."""
    command_line.run(__doc__, define_flags, main, prints_result=True)


if __name__ == "__main__":
    run()
