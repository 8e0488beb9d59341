"""What the command lines of the edge share."""

import io
import sys
from collections.abc import Callable, Sequence

from absl import app, flags


def run(
    doc: str | None,
    define_flags: Callable[[flags.FlagValues], None],
    main: Callable[[flags.FlagValues, Sequence[str]], int],
) -> None:
    """Runs a command and exits with its status.

    Args:
      doc: text of `--help` above the flags.
      define_flags: adds the command's flags to those of absl.
      main: takes the parsed flags and what they leave over; returns the exit status.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # of which paths may need more than its encoding has
        sys.stdout.reconfigure(errors="backslashreplace")
    # absl's --help shows the main module's text and flags; a console script is a main module of its own.
    sys.modules["__main__"].__doc__ = doc
    own = flags.FlagValues()
    define_flags(own)
    for name in own:
        flags.FLAGS[name] = own[name]
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], own[name])
    app.run(lambda argv: main(flags.FLAGS, argv))


def say(message: str) -> None:
    """Writes a line to standard error, in one piece, which other processes' lines can't divide."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
