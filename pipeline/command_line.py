"""What the command lines of training and export share."""

import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence

from absl import app, flags, logging


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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow reads it when it is imported
    # absl's --help shows the main module's text and flags; a console script is a main module of its own.
    sys.modules["__main__"].__doc__ = doc
    if os.path.expanduser("~") == "~":  # no home directory: Keras would write its settings into a folder named ~
        os.environ.setdefault("KERAS_HOME", os.path.join(tempfile.gettempdir(), ".keras"))
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text, nor letters that a terminal knows
        sys.stdout.reconfigure(errors="backslashreplace")
    own = flags.FlagValues()
    define_flags(own)
    for name in own:
        flags.FLAGS[name] = own[name]
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], own[name])

    def quiet_main(argv: Sequence[str]) -> int:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.ERROR)  # tensorflow-datasets and checkpoints tell much that helps nobody
        return main(flags.FLAGS, argv)

    app.run(quiet_main)
