"""Options of XLA, which it reads once, from the environment. Needs only the standard library."""

import os


def add_xla_flags(*options: str, variable: str = "XLA_FLAGS") -> None:
    """Adds options for TensorFlow's XLA; call it before anything is compiled.

    Args:
      options: such as "--xla_gpu_deterministic_ops=true". One that the user has set himself stays as it is. XLA ends
        the process if it doesn't know one.
      variable: "XLA_FLAGS" for XLA's own, "TF_XLA_FLAGS" for those of TensorFlow's use of it.
    """
    present = os.environ.get(variable, "").split()
    names = {option.partition("=")[0] for option in present}
    added = [option for option in options if option.partition("=")[0] not in names]
    os.environ[variable] = " ".join([*present, *added])
