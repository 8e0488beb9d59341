"""Reads the environment variables that matter. Standard library only."""

import re
from collections.abc import Mapping

from pipeline.diagnosis.checks.cluster import EXCEPTIONS, PROXIES

# By name, not by prefix alone: others that begin so hold keys (NVIDIA_API_KEY, SLURM_JWT, TF_VAR_... of Terraform).
_NAMES = re.compile(
    r"(CUDA|NCCL|TF_CPP|TF_CUDNN|TF_ENABLE|TF_GPU|TF_NUM|TF_USE)_\w+|TF_CONFIG|TF_DETERMINISTIC_OPS|TF_FORCE_GPU_ALLOW_GROWTH"
    r"|TF_MIN_GPU_MULTIPROCESSOR_COUNT|(TF_)?XLA_FLAGS|NVIDIA_(VISIBLE_DEVICES|DRIVER_CAPABILITIES|REQUIRE_CUDA|TF32_OVERRIDE)"
    r"|SLURM_(STEP_NODELIST|STEP_TASKS_PER_NODE|PROCID|JOB_ID)|SLURMD_NODENAME|LD_LIBRARY_PATH|KERAS_BACKEND|KERAS_HOME"
    rf"|OMP_NUM_THREADS|TFDS_DATA_DIR|CONDA_PREFIX|{'|'.join((*PROXIES, *EXCEPTIONS))}"
)


def read_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that matter, without passwords.

    Args:
      environment: such as `os.environ`.
    """
    chosen = {name: value for name, value in sorted(environment.items()) if _NAMES.fullmatch(name)}
    return {name: re.sub(r"(//)[^/@]*@", r"\1...@", value) for name, value in chosen.items()}
