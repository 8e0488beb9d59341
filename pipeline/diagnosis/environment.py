"""Reads the environment variables that matter. Standard library only."""

import re
from collections.abc import Mapping

from pipeline.diagnosis.checks.cluster import EXCEPTIONS, PROXIES

_NAMES = re.compile(
    rf"CUDA_\w+|NVIDIA_\w+|NCCL_\w+|TF_\w+|XLA_FLAGS|LD_LIBRARY_PATH|KERAS_BACKEND|KERAS_HOME|OMP_NUM_THREADS|SLURM_\w+"
    rf"|TFDS_DATA_DIR|CONDA_PREFIX|{'|'.join((*PROXIES, *EXCEPTIONS))}"
)


def read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that matter, without passwords.

    Args:
      environment: such as `os.environ`.
    """
    chosen = {name: value for name, value in sorted(environment.items()) if _NAMES.fullmatch(name)}
    return {name: re.sub(r"(//)[^/@]*@", r"\1...@", value) for name, value in chosen.items()}
