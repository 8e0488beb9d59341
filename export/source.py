"""What is exported: a run's generator and what is known of it."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import pickle
import subprocess
from pathlib import Path, PurePath
from typing import Any

import keras

from pipeline.config import Config
from pipeline.data.spec import DataSpec, is_folder
from pipeline.runs.checkpoint import load_sampler
from pipeline.runs.run_log import EVALUATIONS_FILE, read_records
from serving.contract.manifest import ModelInfo

_PRIVATE = ("data_dir", "dataset_args", "inception_weights", "manual_dir", "run_dir")
_PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy")


@dataclasses.dataclass(frozen=True)
class Source:
    """A trained generator.

    Attributes:
      run_dir: the run directory.
      config: the run's configuration.
      data: the training data's description.
      model: the generator.
      step: step of the checkpoint.
      dataset: where the training data are now, as for `--dataset`, or the data themselves; empty where they were.
    """

    run_dir: Path
    config: Config
    data: DataSpec
    model: keras.Model
    step: int
    dataset: Any = ""

    @classmethod
    def load(cls, run_dir: Path, checkpoint: str, dataset: Any = "") -> "Source":
        """Loads a run's "newest" or "best" checkpoint.

        Raises:
          MirageError: if there is none that can be read.
        """
        return cls(run_dir, *load_sampler(run_dir, checkpoint), dataset)

    def __reduce__(self) -> tuple[Any, ...]:
        # Keras finds no layers but its own again, so their classes go along.
        layers = {type(layer) for layer in self.model._flatten_layers()}
        kinds = {keras.saving.get_registered_name(each): each for each in layers if not _is_keras(each)}
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _unpickled, (kinds, pickle.dumps(settings.pop("model")), settings)

    @property
    def info(self) -> ModelInfo:
        """What a program needs to know of the generator."""
        names = self.data.class_names if self.config.conditional else ()
        return ModelInfo(self.config.latent_dim, self.data.image_shape, self.config.conditional, names)

    @property
    def data_name(self) -> str:
        """The data set's name without the path that a folder has on the training machine."""
        if not is_folder(self.data.name):
            return self.data.name
        prefix, separator, path = self.data.name.partition("folder:")
        return prefix + separator + PurePath(path).name

    @functools.cached_property
    def public_config(self) -> dict[str, Any]:
        """The configuration without paths of the training machine."""
        settings = {name: value for name, value in self.config.to_dict().items() if name not in _PRIVATE}
        return {**settings, "dataset": self.data_name}

    @functools.cached_property
    def scores(self) -> dict[str, float]:
        """What `--eval_every` measured at this step; empty if nothing."""
        found = [record for record in read_records(self.run_dir / EVALUATIONS_FILE) if record["step"] == self.step]
        return {"num_samples": self.config.eval_samples, **found[-1]} if found else {}

    def facts(self) -> dict[str, str]:
        """What an ONNX file's metadata say of its origin."""
        settings = json.dumps(self.public_config, sort_keys=True).encode()
        return {
            "producer": producer(),
            "dataset": f"{self.data_name} {self.data.version}".strip(),
            "step": str(self.step),
            "config_sha256": hashlib.sha256(settings).hexdigest(),
            "code_revision": code_revision() or "unknown",
            "licence": "that of the training data; see the model card",
        }

    def provenance(self) -> dict[str, Any]:
        """What the manifest says of the generator's origin."""
        return {
            "config": self.public_config,
            "data": {**self.data.to_dict(), "name": self.data_name},
            "step": self.step,
            "code_revision": code_revision(),
            "packages": {name: version(name) for name in _PACKAGES},
        }


def _is_keras(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "keras"


def _unpickled(kinds: dict[str, type], model: bytes, settings: dict[str, Any]) -> Source:
    with keras.saving.custom_object_scope(kinds):
        return Source(model=pickle.loads(model), **settings)


def producer() -> str:
    """Name and version of this program."""
    return f"mirage-gan {version('mirage-gan') or '0.1.0'}"


def version(package: str) -> str | None:
    """Version of an installed package."""
    # TensorFlow comes under several distribution names.
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def code_revision() -> str | None:
    """The commit of the checkout of Mirage that this code runs from, if it does."""
    root = Path(__file__).parent.parent
    try:
        # Without these, an installation inside somebody else's repository would claim that one's commit.
        if not (root / ".git").exists() or "name = mirage-gan" not in (root / "setup.cfg").read_text(encoding="utf-8"):
            return None
        command = ["git", f"--git-dir={root / '.git'}", "rev-parse", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
