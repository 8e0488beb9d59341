"""`networks.json`: what a run's networks are built from, without the code that made them.

    {"format": 1, "keras": "3.15.1", "networks": {"generator": {...}, ...}, "needs_code": {}, "sha256": "..."}

Where Keras can't build a network from its configuration, `needs_code` says why, and the run's `--model` builds it.
Runs of before have no such file.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.networks import NETWORKS_FILE, stored

_FORMAT = 1


class StoredNetworks:
    """The architecture of a run whose code isn't there any more."""

    def __init__(self, run_dir: Path) -> None:
        """Takes the run directory."""
        self._run_dir = run_dir

    def build_network(self, name: str) -> keras.Model:
        """Builds a network as the run had it; raises MirageError."""
        model = build_stored(self._run_dir, name)
        if model is None:
            raise MirageError(
                f"{self._run_dir / NETWORKS_FILE} has no {name} that can be built without its code; make the run's "
                "--model importable."
            )
        return model


def write_networks(
    run_dir: Path, models: Mapping[str, keras.Model], say: Callable[[str], None] = lambda line: None
) -> None:
    """Writes `networks.json`.

    Args:
      run_dir: the run directory.
      models: the networks by name.
      say: told which can't be built without their code.

    Raises:
      OSError: if it can't be written.
    """
    built: dict[str, Any] = {}
    needs_code: dict[str, str] = {}
    for name, model in models.items():
        try:
            built[name] = stored.configuration(model)
        except stored.NeedsCodeError as error:
            needs_code[name] = str(error)
            say(f"note: the {name} can't be built again without its code ({error}), which export and evaluation need.")
    content = {"format": _FORMAT, "keras": keras.__version__, "networks": built, "needs_code": needs_code}
    document = {**content, "sha256": _digest(content)}
    write_file(run_dir / NETWORKS_FILE, (json.dumps(document, indent=1) + "\n").encode(), sync=True)


def stored_names(run_dir: Path) -> tuple[str, ...]:
    """Names the networks that a run has noted, with those that need their code; raises MirageError if it is damaged."""
    document = _read(run_dir)
    return (*document["networks"], *document["needs_code"]) if document else ()


def build_stored(run_dir: Path, name: str) -> keras.Model | None:
    """Builds a network from `networks.json`.

    Args:
      run_dir: the run directory.
      name: the network's.

    Returns:
      The untrained network; None if the run says nothing of it, or that it needs its code.

    Raises:
      MirageError: if the file is damaged, or something can't be imported.
    """
    document = _read(run_dir)
    config = document["networks"].get(name) if document else None
    if config is None:
        return None
    try:
        return stored.build(config, name)
    except MirageError as error:
        raise MirageError(f"{run_dir / NETWORKS_FILE}: {error}") from None


def _read(run_dir: Path) -> dict[str, Any] | None:
    path = run_dir / NETWORKS_FILE
    remedy = "restore it from a copy, or remove it to have the networks built by the run's --model."
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or not {"sha256", "format"} <= {*document}:
            raise ValueError("it has no format and checksum")
        digest, version = document.pop("sha256"), document["format"]
        if version != _FORMAT:
            raise MirageError(f"{path} has format {version!r:.20}; this Mirage knows {_FORMAT}; use a newer one.")
        if digest != _digest(document):
            raise ValueError("its checksum differs")
        if not all(isinstance(document[part], dict) for part in ("networks", "needs_code")):
            raise ValueError("it names no networks")
        return document
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MirageError(f"{path} can't be read ({error.strerror}); mend its permissions.") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else error
        raise MirageError(f"{path} is damaged ({what}); {remedy}") from None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
