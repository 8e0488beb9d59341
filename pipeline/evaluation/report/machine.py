"""`machine.json`: on what a run was trained, noted when it started, so that a report made elsewhere is still true."""

import contextlib
import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.base.hardware import cpu_quota, memory, memory_limit, processor
from pipeline.cluster.find import find_cluster

MACHINE_FILE = "machine.json"


def read_machine() -> dict[str, Any]:
    """Returns the facts of this machine and of what is installed; what isn't known is missing."""
    import keras
    import numpy as np
    import tensorflow as tf

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    room = [each for each in (memory().get("MemTotal"), memory_limit()) if each]
    gpus = tf.config.get_visible_devices("GPU")
    names = [tf.config.experimental.get_device_details(gpu).get("device_name", "unknown GPU") for gpu in gpus]
    found: dict[str, Any] = {
        "gpus": names,
        "replicas_on": f"{len(tf.config.list_logical_devices('GPU' if gpus else 'CPU'))} {'GPU' if gpus else 'CPU'}",
        "cpu": processor()[0],
        "cores": min(allowed, cpu_quota() or allowed),
        "memory": min(room, default=None),
        "system": f"{platform.system()} {platform.machine()}",
        "Mirage": _installed("mirage-gan"),
        "TensorFlow": tf.__version__,
        "Keras": keras.__version__,
        "NumPy": np.__version__,
        "Python": platform.python_version(),
    }
    with contextlib.suppress(MirageError):
        cluster = find_cluster(os.environ)
        if cluster is not None:
            found["workers"] = len(cluster.workers)
    return {name: value for name, value in found.items() if value not in (None, "", [])}


def note_machine(run_dir: Path, step: int) -> None:
    """Adds this machine to those that a run was trained on, unless it is the last of them.

    Args:
      run_dir: the run directory.
      step: from which it trains.

    Raises:
      OSError: if it can't be written.
    """
    now, noted = read_machine(), read_machines(run_dir)
    known = [each for each in noted if each["from_step"] <= step]  # what came later is done again
    if not known or {**now, "from_step": 0, "since": ""} != {**known[-1], "from_step": 0, "since": ""}:
        since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        known.append({"from_step": step, "since": since, **now})
    if known != noted:
        write_file(run_dir / MACHINE_FILE, (json.dumps(known, indent=2) + "\n").encode())


def read_machines(run_dir: Path) -> list[dict[str, Any]]:
    """Reads what `note_machine` wrote, each with the step from which it trained; nothing where that isn't known."""
    try:
        document = json.loads((run_dir / MACHINE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    entries = document if isinstance(document, list) else []
    return [each for each in entries if isinstance(each, dict) and type(each.get("from_step")) is int]


def _installed(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
