"""Bundles to score: which run and which data they are of."""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters
from pipeline.data.spec import DataSpec, is_place
from pipeline.evaluation.sampling import Sampler
from serving.contract import manifest
from serving.generator import Generator


def sample_bundle(bundle: Path, config: Parameters, data: DataSpec) -> Sampler:
    """Loads a bundle's ONNX generator.

    Args:
      bundle: its folder, or a single .onnx file, which doesn't say which run it is of.
      config: the run's on whose data it is scored; where the bundle is of another, a line says so.
      data: that run's data.

    Returns:
      The generator.

    Raises:
      MirageError: if the bundle can't be used, or was trained on other data.
    """
    try:
        generator = Generator.load(bundle)
        document = manifest.read_manifest(bundle).document if bundle.suffix != ".onnx" else {}
    except manifest.BundleError as error:
        raise MirageError(f"--bundle={bundle}: {error}") from None
    info, provenance = generator.info, Provenance.of(document.get("provenance"))
    shape, names = info.image_shape, info.class_names
    described = dataclasses.replace(
        data,
        image_shape=shape,
        class_names=names or data.class_names,
        attributes=info.attributes or data.attributes,
    )
    difference = data.difference_from(described) or (provenance.data and provenance.other_data(data))
    if difference:
        raise MirageError(
            f"--bundle={bundle} was trained on other data than the run: the run has {difference}; pass the --run_dir "
            "that it was exported from."
        )
    changes = provenance.other_flags(config)
    if changes or not provenance.config:
        what = f"is of another run, which had {', '.join(changes[:3])}" if changes else "doesn't say which run it is of"
        print(f"note: --bundle={bundle} {what}; it is scored on this run's data.", file=sys.stderr, flush=True)

    def make(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        if not info.attributes:
            return generator.decode(z, [names[label] for label in labels] if names else None)
        low, high = (np.array([getattr(each, end) for each in info.attributes]) for end in ("low", "high"))
        given: dict[str, Any] = {"attributes": np.clip(labels, low, high)}  # those of test images may lie beyond
        return generator.decode(z, **given)

    return Sampler(
        make,
        provenance.step,
        info.latent_dim,
        info.conditional,
        info.latent_distribution == manifest.UNIFORM,
    )


@dataclasses.dataclass(frozen=True)
class Provenance:
    """What a bundle says of its origin, as far as it can be understood.

    Attributes:
      config: the training's flags, without those that are paths.
      data: what it was trained on, under a name without path; or None.
      step: step of the checkpoint, or None.
    """

    config: Mapping[str, Any]
    data: DataSpec | None
    step: int | None

    @classmethod
    def of(cls, section: Any) -> "Provenance":
        """Reads the manifest's section of that name."""
        section = section if isinstance(section, Mapping) else {}
        config, step = section.get("config"), section.get("step")
        try:
            data = DataSpec.from_dict(section["data"])
        except (KeyError, TypeError, ValueError):
            data = None
        return cls(config if isinstance(config, Mapping) else {}, data, step if type(step) is int else None)

    def other_data(self, data: DataSpec) -> str:
        """Says in what a run's data are others than these; empty if they are the same as far as that is known."""
        assert self.data is not None
        name = data.name if is_place(data.name) and is_place(self.data.name) else self.data.name
        return data.difference_from(dataclasses.replace(self.data, name=name))

    def other_flags(self, config: Parameters) -> list[str]:
        """Lists the training's flags that are others than a run's, such as "--seed=3 instead of 1"."""
        return [
            f"--{field.name}={self.config[field.name]} instead of {getattr(config, field.name)}"
            for field in dataclasses.fields(config)
            if not field.metadata["may_change"]
            and field.name != "dataset"  # here without its path; its content is compared
            and self.config.get(field.name, getattr(config, field.name)) != getattr(config, field.name)
        ]
