"""Finds out whether this machine is ready to train, and why TensorFlow does not see a GPU.

  python -m pipeline.doctor

Each line is good or bad, or a note on what works but could be better, and says what to do. It looks at Python,
TensorFlow, NVIDIA's driver and GPUs, CUDA's libraries, processor, memory, disk and, where the environment describes
one, the cluster; then it trains for a few seconds on each device. It installs and mends nothing, and reaches no host
but the cluster's workers. Exit status 0 if nothing is bad, else 1.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from pipeline.base import command_line
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.base.files import write_file
from pipeline.diagnosis.examination import examine, summary


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    flags.DEFINE_string("data_dir", "", "folder whose disk is tried, as for python -m pipeline.", flag_values=values)
    flags.DEFINE_float(
        "seconds",
        10.0,
        "how long to train on each device, alone and together; 0 leaves it out.",
        lower_bound=0.0,
        flag_values=values,
    )
    flags.DEFINE_string(
        "json", "", "file for all facts and verdicts; - writes them instead of the lines.", flag_values=values
    )


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit status."""
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]} is no flag; this command takes flags only, see --help.")
        path = None if values.json in ("", "-") else Path(values.json)
        if path is not None and not path.parent.is_dir():
            raise MirageError(
                f"--json={path} can't be written, because there is no folder {path.parent}; make it first."
            )
        report = examine(values.data_dir, values.seconds, shows=values.json != "-")
        text = json.dumps(report, indent=2) + "\n"
        if path is None:
            print(text if values.json else summary(report), flush=True)
        else:
            print(summary(report), flush=True)
            try:
                write_file(path, text.encode())
            except OSError as error:
                raise MirageError(f"--json={path} can't be written ({error.strerror}); choose another file.") from None
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    return MISTAKE if report["verdict"] == "bad" else 0


def run() -> None:
    """Entry point of `python -m pipeline.doctor` and of `mirage-doctor`."""
    command_line.run(__doc__, define_flags, main, prints_result=True)


if __name__ == "__main__":
    run()
