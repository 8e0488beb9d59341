"""Judges one run of the ladder in a process of its own: writes its scores, and a sheet of 8 x 8 samples.

Its arguments are the run directory, both files, and as JSON the options of `pipeline.run.Run.evaluate`.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.base.errors import MISTAKE, MirageError
from pipeline.base.files import write_file
from pipeline.run import Run

SIDE = 8


def sheet_labels(classes: int, conditional: bool) -> list[int] | None:
    """Returns the labels of a sheet's pictures, class after class in equal shares; None without labels."""
    count = SIDE * SIDE
    return [index * classes // count for index in range(count)] if conditional else None


def main(argv: Sequence[str]) -> int:
    """Judges; returns the exit status."""
    run_dir, scores_path, sheet_path, options = argv[1:]
    try:
        run = Run.open(run_dir)
        scores = run.evaluate(**json.loads(options))
        labels = sheet_labels(len(run.data.class_names), run.config.conditional)
        images = run.sample(SIDE * SIDE, labels=labels)
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    from pipeline.runs.preview import grid, write_png

    write_png(Path(sheet_path), grid(np.asarray(images), SIDE))
    write_file(Path(scores_path), (json.dumps(scores) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
