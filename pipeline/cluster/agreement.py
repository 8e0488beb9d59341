"""What all workers of a cluster must have in common. Each applies its own Adam: one that differs would poison all."""

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.base.parameters import Parameters
from pipeline.data.spec import DataSpec

_MOST_NAMED = 5
_LONGEST_VALUE = 100


def program_facts(config: Parameters, devices: str) -> dict[str, str]:
    """What must be the same before TensorFlow connects the workers.

    Args:
      config: the whole configuration.
      devices: what this worker computes on, such as "4 GPUs".

    Returns:
      Flags, versions and devices, by name.
    """
    import keras
    import tensorflow as tf

    flags = {
        f"--{field.name}": str(getattr(config, field.name))
        for field in dataclasses.fields(config)
        if not field.metadata["may_differ"]
    }
    # Whose weights the chief reads may lie elsewhere for others, but what follows from it must be the same.
    flags["--init_from"] = "given" if getattr(config, "init_from", "") else "not given"
    # The folder may lie elsewhere; what is in it is compared when it has been read.
    flags["--dataset"] = re.sub(r"(array|folder|prepared):.*", r"\1:", flags["--dataset"], flags=re.DOTALL)
    return {
        "the number of devices": devices,
        **flags,
        "the version of Mirage": _installed("mirage-gan"),
        "Mirage's code": _code(Path(__file__).parent.parent),
        "the version of Python": ".".join(platform.python_version_tuple()[:2]),
        "the version of TensorFlow": tf.__version__,
        "the version of Keras": keras.__version__,
        "the version of NumPy": np.__version__,
        "the version of Pillow": _installed("pillow"),
    }


def data_facts(spec: DataSpec) -> dict[str, str]:
    """What must be the same of the data.

    Args:
      spec: its description; its name, which may be a path, doesn't count.

    Returns:
      Description and fingerprint, by name.
    """
    facts = {
        f"the data's {name.replace('_', ' ')}": json.dumps(value)
        for name, value in spec.to_dict().items()
        if name not in ("name", "fingerprint")
    }
    return {**facts, "the data's content": spec.fingerprint}


def difference(facts: Mapping[int, Mapping[str, str]]) -> str | None:
    """Says in what workers differ.

    Args:
      facts: those of each worker, by its index.

    Returns:
      A sentence, or None if they are all the same.
    """
    names = dict.fromkeys(name for index in sorted(facts) for name in facts[index])
    differing = []
    for name in names:
        holders: dict[str, list[int]] = {}
        for index in sorted(facts):
            holders.setdefault(facts[index].get(name, "unknown"), []).append(index)
        if len(holders) > 1:
            parts = [f"{_short(value)} on {_workers(indices)}" for value, indices in holders.items()]
            differing.append(f"{name} is {', '.join(parts[:-1])} and {parts[-1]}")
    if not differing:
        return None
    more = [f"and {len(differing) - _MOST_NAMED} more"] if len(differing) > _MOST_NAMED else []
    return (
        f"the workers differ: {'; '.join([*differing[:_MOST_NAMED], *more])}; start all of them with the same flags, "
        "data and versions."
    )


def _workers(indices: Sequence[int]) -> str:
    if len(indices) == 1:
        return f"worker {indices[0]}"
    return f"workers {', '.join(map(str, indices[:-1]))} and {indices[-1]}"


def _short(value: str) -> str:
    if len(value) <= _LONGEST_VALUE:
        return value or "empty"
    digest = hashlib.sha256(value.encode()).hexdigest()[:8]
    return f"{value[:_LONGEST_VALUE]}... (digest {digest})"


def _installed(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _code(package: Path) -> str:
    """A digest of the program itself: two checkouts may call themselves the same version."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
