"""Compares runs: a table of scores, their samples side by side, and how they learned.

  python -m pipeline.compare runs/gan runs/vae runs/autoencoder --out=comparisons/three

Writes report.html, one page that shows all of it and which differences are within noise; table.md, scores.json,
samples.png (for autoencoders also images and what becomes of them), and, for runs with --eval_every, curves.png: the
Fréchet distance over images and over time.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pipeline.base import command_line
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.evaluation.options import ScoringOptions


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`: those of `pipeline.evaluate` that are of use, and `--out`."""
    command_line.define_parameters(values, ScoringOptions)
    flags.DEFINE_string("out", "comparisons/default", "folder to write; files there are replaced.", flag_values=values)


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit status."""
    try:
        if len(argv) < 2:
            raise MirageError(
                "no run was given; name run directories, such as: python -m pipeline.compare runs/a runs/b."
            )
        options = command_line.given_parameters(values, ScoringOptions)
        from pipeline.devices.out_of_memory import EVALUATION, out_of_memory
        from pipeline.evaluation.comparison import compare

        out = Path(values.out)
        with out_of_memory("evaluating", EVALUATION):
            print(compare([Path(each) for each in argv[1:]], out, options))
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    print(f"Done: {out}/report.html, table.md, samples.png, scores.json, and curves.png of runs evaluated on the way")
    return 0


def run() -> None:
    """Entry point of `python -m pipeline.compare` and of `mirage-compare`."""
    command_line.run(__doc__, define_flags, main)


if __name__ == "__main__":
    run()
