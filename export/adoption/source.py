"""A generator that somebody else has trained, as what is exported."""

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from export.adoption.adapted import AdaptedNetwork, adapted_graph
from export.adoption.meaning import Asked, Meaning
from export.adoption.understanding import raw, understand
from export.int8_gates import by_pixels
from export.source import COLOURS, Gate, Reference, Source, code_revision, producer, version
from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.foreign.network import Foreign
from serving.contract.manifest import ModelInfo

# A quarter of a level: networks that others have trained may be steep, and pixels must agree anyway.
_TOLERANCE = 1e-3
_PACKAGES = ("tensorflow", "keras", "tf-keras", "tf2onnx", "onnx", "onnxruntime", "numpy")


class AdoptedSource(Source):
    """A generator that somebody else has trained.

    Attributes:
      network: what was opened.
      meaning: what its inputs and outputs mean.
      how: how each part of that is known.
      plain: it as an ONNX graph, before anything was rewritten.
    """

    def __init__(self, network: Foreign, name: str, sha256: str, asked: Asked, licence: str = "") -> None:
        """Finds out what the inputs and outputs of a network mean.

        Args:
          network: the generator.
          name: what its pictures are called: the file's name without its folder.
          sha256: the file's, in hexadecimal; empty for one in memory.
          asked: what the user says of it.
          licence: under which it may be used; empty if that isn't known.

        Raises:
          MirageError: see `understand`.
        """
        self.network, self._name, self._sha256, self._licence = network, name, sha256, licence
        self.plain = network.graph()
        self.meaning: Meaning
        self.meaning, self.how = understand(network, self.plain, asked)
        self.model: Any = AdaptedNetwork(network, self.meaning) if network.tensors else None

    @property
    def info(self) -> ModelInfo:
        """See `Source`."""
        return self.meaning.info

    @property
    def name(self) -> str:
        """See `Source`."""
        return self._name

    @property
    def scores(self) -> Mapping[str, Any]:
        """None are known."""
        return {}

    def reference(self) -> Reference:
        """See `Source`."""

        def generate(z: NDArray, label: NDArray) -> NDArray:
            return self.meaning.image(raw(self.network, self.meaning, z, label))

        return Reference(generate, self.network.framework, _TOLERANCE)

    def graph(self) -> onnx.ModelProto:
        """See `Source`."""
        return adapted_graph(self.plain, self.meaning)

    def facts(self) -> dict[str, str]:
        """See `Source`."""
        return {
            "producer": producer(),
            "dataset": self._name,
            "adopted_from": self._name,
            "adopted_sha256": self._sha256 or "unknown",
            "code_revision": code_revision() or "unknown",
            "licence": self._licence or "unknown; see the model card",
        }

    def provenance(self) -> dict[str, Any]:
        """See `Source`."""
        return {
            "adopted_from": {"file": self._name, "kind": self.network.kind, "sha256": self._sha256},
            "license": self._licence,
            "understood": self.how,
            "code_revision": code_revision(),
            "packages": {name: version(name) for name in _PACKAGES},
        }

    def card(self) -> Mapping[str, str]:
        """See `Source`."""
        return {
            "adopted from": f"`{self._name}`, {self.network.kind}",
            "SHA-256 of that": self._sha256 or "unknown: it was in memory",
            "licence": self._licence or "not known: ask whoever trained it",
        }

    def judged_by(self, dataset: Any) -> Source:
        """See `Source`."""
        raise MirageError("--dataset is for runs; what is adopted is judged by its own pictures.")

    def int8_gate(self, num_samples: int) -> Gate:
        """Judges by how close pictures are to those of float32."""
        return by_pixels(self.info, num_samples)


def table(source: AdoptedSource) -> str:
    """Says what was understood, a line for each part."""
    meaning = source.meaning
    height, width, channels = meaning.image_shape
    rows = {
        "opened as": (source.network.kind, f"computed by {source.network.framework}"),
        "latent": (str(meaning.latent), source.how["latent"]),
    }
    if meaning.label is not None:
        rows["label"] = ("" if meaning.joined else str(meaning.label.port), source.how["label"])
        names = ", ".join(each.name for each in meaning.attributes)
        classes = (str(meaning.label.classes), source.how.get("classes", "by --class_names"))
        rows |= {"attributes": (names, "by --attributes")} if names else {"classes": classes}
    rows |= {name: ("", text) for name, text in source.how.items() if name.startswith("input ")}
    if "output" in source.how:
        rows["output"] = ("", source.how["output"])
    rows["picture"] = (
        f"{meaning.output.name} {meaning.layout}, {height} x {width}, {COLOURS[channels]}",
        "by its shape" if "layout" in source.how else "by --layout",
    )
    if meaning.alpha is not None:
        rows["alpha"] = (f"{meaning.alpha} colours", source.how["alpha"])
    rows["values"] = ("", source.how["range"])
    if "batch" in source.how:
        rows["batch"] = ("", source.how["batch"])
    return "\n".join(printable(f"  {name:12} {'; '.join(filter(None, texts))}") for name, texts in rows.items())
