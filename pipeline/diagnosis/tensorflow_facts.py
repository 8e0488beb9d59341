"""Learns from processes of their own what TensorFlow says, which libraries it can open, and how fast it trains."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.diagnosis.checks.libraries import names
from pipeline.diagnosis.child import run_child
from pipeline.diagnosis.facts import Libraries, Software, Step, TensorFlow

_IMPORT_S = 180.0
_LIBRARIES_S = 120.0
_STEP_S = 300.0  # building a step takes up to a minute on a busy machine
_MISSING = re.compile(r"Could not load dynamic library '([^']+)'; dlerror: (.*?)(?:; LD_LIBRARY_PATH.*)?$")
_OF_GPUS = re.compile(
    r"Could not find cuda drivers|failed call to cuInit|Cannot dlopen some GPU|Ignoring visible gpu|compiled from PTX"
    r"|compiled with:|kernel driver does not appear|does not match DSO|Possibly insufficient driver"
)


def read_tensorflow(environment: Mapping[str, str]) -> TensorFlow:
    """Imports TensorFlow in a process of its own, which lists its GPUs.

    Args:
      environment: such as `os.environ`.
    """
    loud = {**_alone(environment), "TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "dso_loader=1"}
    outcome = run_child("see_tensorflow", patience_s=_IMPORT_S, environment=loud)
    told: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in outcome.facts.items()
    }
    missing = {match[1]: match[2] for line in outcome.said if (match := _MISSING.search(line))}
    said = dict.fromkeys(line for line in outcome.said if _OF_GPUS.search(line))
    return TensorFlow(missing=missing, said=tuple(said), failure=outcome.failure, **told)


def read_libraries(software: Software, seen: TensorFlow, environment: Mapping[str, str]) -> Libraries:
    """Opens what TensorFlow would, in a process of its own.

    Args:
      software: where TensorFlow is.
      seen: for which CUDA it is built.
      environment: such as `os.environ`.
    """
    if not seen.cuda:
        return Libraries()
    argument = [software.tensorflow_folder, names(seen.cuda)]
    outcome = run_child("see_libraries", argument, patience_s=_LIBRARIES_S, environment=environment)
    told: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in outcome.facts.items()
    }
    return Libraries(failure=outcome.failure, **told)


def try_step(
    devices: Sequence[str], seconds: float, environment: Mapping[str, str], say: Callable[[str], None]
) -> Step:
    """Trains in a process of its own.

    Args:
      devices: where, such as ["gpu:0", "gpu:1"].
      seconds: for how long.
      environment: such as `os.environ`.
      say: is told, as it goes on, what is being done.
    """
    stages = ["importing TensorFlow"]

    def hear(told: dict[str, Any]) -> None:
        if "stage" in told:
            stages.append(told["stage"])
            say(told["stage"])

    argument = {"gpus": [int(name[4:]) for name in devices if name.startswith("gpu:")], "seconds": seconds}
    outcome = run_child(
        "train_steps",
        argument,
        patience_s=_STEP_S + seconds,
        environment={**_alone(environment), "TF_CPP_MIN_LOG_LEVEL": "1"},
        hear=hear,
    )
    told: dict[str, Any] = {"failure": outcome.failure, **outcome.facts, "stage": stages[-1]}
    return Step(tuple(devices), **told)


def _alone(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what would make TensorFlow look for a cluster."""
    return {name: value for name, value in environment.items() if name != "TF_CONFIG"}
