"""What must be said of a data set, once in each process."""

import functools
import sys


@functools.cache
def say_once(line: str) -> None:
    """Prints a line on standard error, unless it has been printed before: data is opened several times."""
    print(line, file=sys.stderr, flush=True)
