"""Trains with several processes on this machine, as a cluster would.

Two workers, each on its own share of the visible GPUs (or on the CPU):

  python -m pipeline.launch --workers=2 -- --dataset=cifar10 --batch_size=256 --run_dir=runs/cifar

What stands behind -- are flags of `python -m pipeline`. Each line that a worker prints begins with its
number. Ctrl-C, SIGTERM and SIGHUP are passed on, and the workers save a checkpoint. When a worker fails, the
others are ended too, and all are started again from the last checkpoint, up to --max_restarts times.
"""

import sys
from collections.abc import Sequence

from absl import flags

from pipeline.base import command_line
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.cluster.launch import Launcher


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    flags.DEFINE_integer("workers", 2, "number of processes.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer(
        "max_restarts",
        3,
        "how often all workers are started again after one has failed.",
        lower_bound=0,
        flag_values=values,
    )


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit status."""
    try:
        return Launcher(values.workers, argv[1:]).run(values.max_restarts)
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE


def run() -> None:
    """Entry point of `python -m pipeline.launch` and of `mirage-launch`."""
    command_line.run(__doc__, define_flags, main)


if __name__ == "__main__":
    run()
