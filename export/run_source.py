"""A run as what is exported: its generator, its scores, its data to judge by."""

import dataclasses
import functools
import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import onnx

from export.conversion import convert, convert_parts
from export.signatures import keras_generator, keras_styles
from export.source import Gate, Reference, Source, code_revision, producer, version
from export.styles import silence, style_shape
from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec, without_path
from pipeline.evaluation.scoring import load_known, make_judge, placed
from pipeline.runs.checkpoint import load_sampler
from pipeline.runs.run_file import read_init
from pipeline.runs.run_log import EVALUATIONS_FILE, read_records
from serving.contract.manifest import PREMULTIPLIED, ModelInfo

# What becomes of the noise that a generator adds: the planes that are kept among its weights stay, or it is left out.
NOISES = KEPT, NO_NOISE = "kept", "none"
_PRIVATE = ("data_dir", "dataset_args", "inception_weights", "init_from", "labels", "manual_dir", "run_dir")
_PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy")


@dataclasses.dataclass(frozen=True)
class RunSource(Source):
    """A trained generator.

    Attributes:
      run_dir: the run directory.
      config: the run's configuration.
      data: the training data's description.
      model: the generator.
      step: step of the checkpoint.
      dataset: where the training data are now, as for `--dataset`, or the data themselves; empty where they were.
      noise: what became of the noise that the generator adds, one of `NOISES`.
    """

    run_dir: Path
    config: Config
    data: DataSpec
    model: keras.Model
    step: int
    dataset: Any = ""
    noise: str = KEPT

    @classmethod
    def load(cls, run_dir: Path, checkpoint: str, noise: str = KEPT) -> "RunSource":
        """Loads a run's "newest" or "best" checkpoint.

        Raises:
          MirageError: if there is none that can be read, or no noise to be taken out.
        """
        source = cls(run_dir, *load_sampler(run_dir, checkpoint), noise=noise)
        if noise != KEPT and not silence(source.model):
            raise MirageError(f"--noise={noise} is for generators that add noise, as stylegan2's; leave it out.")
        return source

    def __reduce__(self) -> tuple[Any, ...]:
        # Keras finds no layers but its own again, so their classes go along.
        layers = {type(layer) for layer in self.model._flatten_layers()}
        kinds = {keras.saving.get_registered_name(each): each for each in layers if not _is_keras(each)}
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return _unpickled, (kinds, pickle.dumps(settings.pop("model")), settings)

    @property
    def info(self) -> ModelInfo:
        """What a program needs to know of the generator."""
        config, data, shape = self.config, self.data, self.data.image_shape
        names, attributes = (data.class_names, data.attributes) if config.conditional else ((), ())
        alpha = PREMULTIPLIED if shape[2] == 4 else None
        return ModelInfo(
            config.latent_dim,
            shape,
            config.conditional,
            names,
            alpha=alpha,
            attributes=attributes,
            styles=style_shape(self.model),
        )

    @property
    def name(self) -> str:
        """The data set's name without the path that a folder has on the training machine."""
        return without_path(self.data.name)

    @functools.cached_property
    def public_config(self) -> dict[str, Any]:
        """The configuration without paths of the training machine."""
        settings = {name: value for name, value in self.config.to_dict().items() if name not in _PRIVATE}
        return {**settings, "dataset": self.name}

    @functools.cached_property
    def scores(self) -> dict[str, Any]:
        """What `--eval_every` measured at this step, with the noise; empty if nothing."""
        if self.noise != KEPT:
            return {}
        found = [record for record in read_records(self.run_dir / EVALUATIONS_FILE) if record["step"] == self.step]
        return {"num_samples": self.config.eval_samples, **found[-1]} if found else {}

    def facts(self) -> dict[str, str]:
        """What an ONNX file's metadata say of its origin."""
        settings = json.dumps(self.public_config, sort_keys=True).encode()
        return {
            "producer": producer(),
            "dataset": f"{self.name} {self.data.version}".strip(),
            "step": str(self.step),
            "config_sha256": hashlib.sha256(settings).hexdigest(),
            "code_revision": code_revision() or "unknown",
            "licence": "that of the training data; see the model card",
            **({} if self.noise == KEPT else {"noise": self.noise}),
        }

    def provenance(self) -> dict[str, Any]:
        """What the manifest says of the generator's origin."""
        return {
            "config": self.public_config,
            "data": {**self.data.to_dict(), "name": self.name},
            "step": self.step,
            **({} if self.noise == KEPT else {"noise": self.noise}),
            **({"init_from": init} if (init := read_init(self.run_dir)) else {}),
            "code_revision": code_revision(),
            "packages": {name: version(name) for name in _PACKAGES},
        }

    def reference(self) -> Reference:
        """See `Source`."""
        truncated = keras_styles(self.model, self.info) if self.info.styles else None
        return Reference(keras_generator(self.model, self.info), truncated=truncated)

    def graph(self) -> onnx.ModelProto:
        """See `Source`."""
        return convert(self.model, self.info)

    def parts(self) -> Mapping[str, onnx.ModelProto]:
        """See `Source`."""
        return convert_parts(self.model, self.info) if self.info.styles else {}

    def card(self) -> Mapping[str, str]:
        """See `Source`."""
        config, data = self.config, self.data
        weights = f"weights averaged with a half life of {config.ema_images:,} images"
        return {
            "network": f"{config.model}, {self.model.count_params():,} parameters",
            "objective": config.objective,
            "data": f"{self.name} {data.version}, {data.num_examples:,} training images",
            **_first_weights(self.run_dir),
            "training": f"{self.step:,} steps of {config.batch_size} images; "
            f"{weights if config.ema_images else 'last weights'}",
            **({} if self.noise == KEPT else {"noise": "left out, of that which the generator was trained with"}),
        }

    def judged_by(self, dataset: Any) -> "RunSource":
        """See `Source`."""
        return dataclasses.replace(self, dataset=dataset)

    def int8_gate(self, num_samples: int) -> Gate:
        """Judges by the distance to the training data, which are loaded for it.

        Raises:
          MirageError: if the data can't be had.
        """
        from export.int8_gates import by_distance

        config = placed(self.config, self.dataset)
        dataset = load_known(config, self.data, self.dataset)
        judge = make_judge(
            config, dataset, num_samples, config.extractor, config.inception_weights, download=config.download
        )
        return by_distance(judge, self.info)


def _first_weights(run_dir: Path) -> dict[str, str]:
    """The model card's row about a training that began with others' weights."""
    init = read_init(run_dir)
    if init is None:
        return {}
    step = f", step {init['step']:,}" if isinstance(init.get("step"), int) else ""
    return {"first weights": f"from {init.get('name')}{step} (SHA-256 {str(init.get('sha256'))[:16]}…)"}


def _is_keras(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "keras"


def _unpickled(kinds: dict[str, type], model: bytes, settings: dict[str, Any]) -> RunSource:
    with keras.saving.custom_object_scope(kinds):
        return RunSource(model=pickle.loads(model), **settings)
