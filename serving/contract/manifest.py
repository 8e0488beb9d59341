"""The contract of a bundle: what its `manifest.json` and its ONNX file's metadata say.

Only the standard library is needed here, so that exporters, servers and edge programs share it.
"""

import dataclasses
import json
import math
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.contract.attributes import Attribute, attributes_of
from serving.contract.files import read_file, sha256_of_file

MANIFEST_FILE = "manifest.json"
GENERATOR_FILE = "generator.onnx"
SAMPLER_FILE = "sampler.onnx"
INT8_FILE = "generator.int8.onnx"
# Of generators with styles: the two parts that make up the generator.
PART_FILES = MAPPING_FILE, SYNTHESIS_FILE = "mapping.onnx", "synthesis.onnx"
GOLDEN_FILE = "golden.npz"
FORMAT = "mirage-bundle"
FORMAT_VERSION = 1
# Key of the ONNX file's metadata_props under which `ModelInfo` stands as JSON.
METADATA_KEY = "mirage.model"
# Key under which the largest batch stands that is worth running at once.
CHUNK_KEY = "mirage.chunk"

NORMAL, UNIFORM = "standard_normal", "uniform"
# What the colours of a network of four channels are: multiplied by its alpha, or not.
PREMULTIPLIED, STRAIGHT = "premultiplied", "straight"
# What truncation acts upon: the latent, or the style that is made of it.
LATENT, STYLE = "latent", "style"
# By what a latent is drawn from: how a seed makes it, see `serving.contract.latents`.
SEED_LAWS = {NORMAL: "threefry2x32-20+box-muller", UNIFORM: "threefry2x32-20"}
VALUE_RANGE = (-1.0, 1.0)
_MAX_IMAGE_VALUES = 2**28
_MAX_CHUNK = 4096
_MAX_JSON_BYTES = 2**24
_MAX_FILE_BYTES = 2**31  # where the manifest does not say more

# What others wrote may be of any length, and nested to any depth.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def shown(value: object) -> str:
    """Returns a value as Python writes it, in one line of at most 200 characters; its type, where that can't be."""
    try:
        text = _SHORT.repr(value)
    except Exception:  # of an object's own; or an integer of too many digits
        text = ""
    return text[:197] + "..." * (len(text) > 197) if text.isprintable() and text else f"a {type(value).__name__}"


class BundleError(Exception):
    """A bundle, or an ONNX file, that can't be used; its message is one sentence that says why."""


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What a program needs to know of a generator.

    Attributes:
      latent_dim: components of the latent z.
      image_shape: (height, width, channels): 1 channel is grey, 3 are RGB, 4 are RGBA.
      conditional: whether the generator takes labels.
      class_names: one name per label, in label order; empty if unconditional, or if labels are attributes.
      latent_distribution: "standard_normal", or "uniform" from -1 to 1: what each component is drawn from.
      alpha: of 4 channels, what the network's colours are, "premultiplied" or "straight"; None of others. Pixels are
        straight in either case, see `serving.contract.pixels`.
      attributes: of a generator that takes several numbers for each picture in place of a label, these in order.
      styles: of a generator that maps latents to styles and makes pictures of those, (layers, components): a picture
        has a style for each layer. Truncation then is ψ of Karras et al. 2018 (arXiv 1812.04948, appendix B), which
        draws styles w towards their mean: mean + ψ (w - mean). None of others, whose latents are multiplied by it.
    """

    latent_dim: int
    image_shape: tuple[int, int, int]
    conditional: bool
    class_names: tuple[str, ...]
    latent_distribution: str = NORMAL
    alpha: str | None = None
    attributes: tuple[Attribute, ...] = ()
    styles: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Refuses values that no generator has.

        Raises:
          BundleError: naming the value.
        """
        sizes = (self.latent_dim, *self.image_shape)
        if len(self.image_shape) != 3 or any(type(size) is not int or size < 1 for size in sizes):
            raise BundleError(
                f"latent_dim {shown(self.latent_dim)} and image_shape {shown(self.image_shape)} must be positive "
                "integers, image_shape three of them."
            )
        if self.image_shape[2] not in (1, 3, 4):
            raise BundleError(f"image_shape {shown(self.image_shape)} must have 1, 3 or 4 channels.")
        if self.alpha not in ((PREMULTIPLIED, STRAIGHT) if self.image_shape[2] == 4 else (None,)):
            raise BundleError(
                f"alpha is {shown(self.alpha)} and image_shape {shown(self.image_shape)}; expected {PREMULTIPLIED!r} "
                f"or {STRAIGHT!r} with 4 channels, and none with others."
            )
        if max(self.latent_dim, math.prod(self.image_shape)) > _MAX_IMAGE_VALUES:
            raise BundleError(
                f"image_shape {shown(self.image_shape)} or latent_dim {shown(self.latent_dim)} is implausibly large."
            )
        if self.styles is not None and (
            len(self.styles) != 2
            or any(type(size) is not int or size < 1 for size in self.styles)
            or math.prod(self.styles) > _MAX_IMAGE_VALUES
        ):
            raise BundleError(f"styles is {shown(self.styles)}; expected two positive integers, layers and components.")
        _seed_law(self.latent_distribution)
        if type(self.conditional) is not bool or not all(type(name) is str for name in self.class_names):
            raise BundleError("conditional must be true or false, and class_names a list of strings.")
        if self.conditional != bool(self.class_names or self.attributes) or (self.class_names and self.attributes):
            raise BundleError("class_names or attributes must be given if, and only if, the generator is conditional.")

    @property
    def condition(self) -> str:
        """Name of the input by which is said what a picture shall be of: "label", "attributes", or empty."""
        return "attributes" if self.attributes else "label" if self.conditional else ""

    def to_dict(self) -> dict[str, Any]:
        """Returns the facts as JSON types, with the laws that all Mirage generators share."""
        return {
            "latent_dim": self.latent_dim,
            "latent_distribution": self.latent_distribution,
            "seed_law": SEED_LAWS[self.latent_distribution],
            "image_shape": list(self.image_shape),
            "value_range": list(VALUE_RANGE),
            "conditional": self.conditional,
            "class_names": list(self.class_names),
            **({} if self.alpha is None else {"alpha": self.alpha}),
            **({"attributes": [each.to_dict() for each in self.attributes]} if self.attributes else {}),
            **({"styles": list(self.styles), "truncation": STYLE} if self.styles else {}),
        }

    @classmethod
    def from_dict(cls, values: Any) -> "ModelInfo":
        """Inverse of `to_dict`.

        Raises:
          BundleError: if a fact is missing, malformed, or a law is not the one that this version knows.
        """
        if not isinstance(values, Mapping):
            raise BundleError(f"the model's description must be a JSON object, not {type(values).__name__}.")
        distribution: Any = values.get("latent_distribution")
        laws = {"seed_law": _seed_law(distribution), "value_range": list(VALUE_RANGE)}
        for name, expected in laws.items():
            if values.get(name) != expected:
                raise BundleError(
                    f"{name} is {shown(values.get(name))}; this version of Mirage knows only {expected!r}."
                )
        for name in ("image_shape", "class_names"):
            if not isinstance(values.get(name), list):
                raise BundleError(f"{name} is {shown(values.get(name))}; expected a list.")
        for name in ("latent_dim", "conditional"):
            if name not in values:
                raise BundleError(f"{name} is missing from the model's description.")
        try:
            attributes = attributes_of(values.get("attributes", []))
        except ValueError as error:
            raise BundleError(str(error)) from None
        return cls(
            latent_dim=values["latent_dim"],
            image_shape=tuple(values["image_shape"]),
            conditional=values["conditional"],
            class_names=tuple(values["class_names"]),
            latent_distribution=distribution,
            alpha=values.get("alpha"),
            attributes=attributes,
            styles=_styles_of(values),
        )


def _styles_of(values: Mapping[str, Any]) -> tuple[int, int] | None:
    """Layers and components of styles; raises BundleError if they and what truncation acts upon don't fit."""
    styles, truncation = values.get("styles"), values.get("truncation", LATENT)
    if truncation != (LATENT if styles is None else STYLE):
        raise BundleError(
            f"truncation is {shown(truncation)} and styles {shown(styles)}; expected {STYLE!r} with styles, and "
            f"{LATENT!r} or nothing without."
        )
    if styles is not None and not (isinstance(styles, list) and len(styles) == 2):
        raise BundleError(f"styles is {shown(styles)}; expected a list of layers and components.")
    return None if styles is None else (styles[0], styles[1])


def _seed_law(distribution: Any) -> str:
    """How seeds make latents of a distribution; raises BundleError if it isn't known."""
    if not isinstance(distribution, str) or distribution not in SEED_LAWS:
        raise BundleError(
            f"latent_distribution is {shown(distribution)}; this version of Mirage knows only "
            f"{', '.join(map(repr, SEED_LAWS))}."
        )
    return SEED_LAWS[distribution]


def parse_model_info(text: str) -> ModelInfo:
    """Parses the JSON text under `METADATA_KEY`.

    Raises:
      BundleError: if it is not the description of a model.
    """
    return ModelInfo.from_dict(_parse_json(text, "the model's description"))


def parse_chunk(text: str) -> int:
    """Parses the text under `CHUNK_KEY`.

    Raises:
      BundleError: if it is no number of pictures.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(_MAX_CHUNK)) and 1 <= int(text) <= _MAX_CHUNK):
        raise BundleError(f"{CHUNK_KEY} is {text[:20]!r}; expected 1 to {_MAX_CHUNK}.")
    return int(text)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A bundle's `manifest.json`.

    Attributes:
      producer: program and version that wrote the bundle.
      model: the generator's description.
      files: SHA-256, in hexadecimal, of every other file, by path relative to the bundle.
      sizes: their bytes, where the manifest gives them.
      document: the whole file as parsed JSON.
    """

    producer: str
    model: ModelInfo
    files: Mapping[str, str]
    sizes: Mapping[str, int]
    document: Mapping[str, Any]


def read_manifest(bundle: Path) -> Manifest:
    """Reads a bundle's manifest.

    Args:
      bundle: the bundle's folder.

    Returns:
      The manifest; files are not opened, see `verify_file`.

    Raises:
      BundleError: if it is missing, damaged or of another format.
    """
    path = bundle / MANIFEST_FILE
    try:
        text = read_file(path, _MAX_JSON_BYTES).decode()
    except (FileNotFoundError, NotADirectoryError):
        raise BundleError(
            f"{bundle} is no bundle ({MANIFEST_FILE} is missing); pass the --out of `python -m export`."
        ) from None
    except OSError as error:
        raise BundleError(f"{str(path)!r} can't be read ({error.strerror}); export the bundle again.") from None
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} can't be read ({error}); export the bundle again.") from None
    try:
        return parse_manifest(text)
    except BundleError as error:
        raise BundleError(f"{path} is damaged: {error}") from None


def parse_manifest(text: str) -> Manifest:
    """Parses the text of a `manifest.json`.

    Raises:
      BundleError: if it is not a manifest of this format.
    """
    document = _parse_json(text, "the manifest")
    if not isinstance(document, dict):
        raise BundleError(f"expected a JSON object, not {type(document).__name__}.")
    kind = (document.get("format"), document.get("format_version"))
    if kind != (FORMAT, FORMAT_VERSION) or type(kind[1]) is not int:
        raise BundleError(f"format and version are {shown(kind)}; this Mirage reads {(FORMAT, FORMAT_VERSION)}.")
    files = document.get("files")
    if not isinstance(files, dict) or not all(
        isinstance(entry, dict) and isinstance(entry.get("sha256"), str) for entry in files.values()
    ):
        raise BundleError("files must map each path to its sha256.")
    _check_names(files)
    sizes = {path: entry["bytes"] for path, entry in files.items() if "bytes" in entry}
    for path, size in sizes.items():
        if type(size) is not int or size < 0:
            raise BundleError(f"bytes of {shown(path)} is {shown(size)}; expected the file's size.")
    producer = document.get("producer", "")
    return Manifest(
        producer=producer if isinstance(producer, str) else shown(producer),
        model=ModelInfo.from_dict(document.get("model")),
        files={path: entry["sha256"] for path, entry in files.items()},
        sizes=sizes,
        document=document,
    )


def _check_names(files: Mapping[str, Any]) -> None:
    """Refuses paths that might lead out of a bundle, on any system, or to each other's files."""
    seen = {MANIFEST_FILE}
    for path in files:
        parts = path.split("/")
        # Absolute ones begin with an empty part, or on Windows with a drive and its colon.
        if not path.isprintable() or any(part in ("", ".", "..") or {*part} & {*"\\:"} for part in parts):
            raise BundleError(f"files lists {shown(path)}; expected paths of files in the bundle, such as 'a/b.txt'.")
        if path.casefold() in seen:
            raise BundleError(f"files lists {shown(path)} twice, or as names that some systems take for the same.")
        seen.add(path.casefold())


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal.

    Raises:
      OSError: if it can't be read, or is no file.
    """
    return sha256_of_file(path)


def verify_file(bundle: Path, manifest: Manifest, name: str) -> Path:
    """Checks one file of a bundle against its manifest.

    Args:
      bundle: the bundle's folder.
      manifest: its manifest.
      name: the file's path relative to the bundle.

    Returns:
      The file's path.

    Raises:
      BundleError: if the file isn't listed, is missing, or has changed.
    """
    path = bundle / name
    if name not in manifest.files:
        formats = "onnx,int8" if name == INT8_FILE else "onnx"
        raise BundleError(f"{bundle} lists no {name}; export it again with --formats={formats}.")
    size = manifest.sizes.get(name)
    # What Mirage itself reads never has more, whatever the manifest says.
    limit = _MAX_FILE_BYTES if name.endswith((".onnx", ".npz")) else max(_MAX_FILE_BYTES, size or 0)
    try:
        if size is not None and path.is_file() and path.stat().st_size != size:  # a huge one is not read for hours
            raise BundleError(
                f"{path} does not have the size, and so not the checksum, of its manifest; copy or export the bundle "
                "again."
            )
        actual = sha256_of_file(path, limit)
    except OSError as error:
        raise BundleError(f"{path} can't be read ({error.strerror}); export the bundle again.") from None
    if actual != manifest.files[name]:
        raise BundleError(f"{path} does not have the checksum of its manifest; copy or export the bundle again.")
    return path


def _parse_json(text: str, what: str) -> Any:
    if len(text) > _MAX_JSON_BYTES:
        raise BundleError(f"{what} has {len(text):,} characters; expected at most {_MAX_JSON_BYTES:,}.")
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{what} is not JSON ({error}).") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):  # of which readers may choose different ones
        raise ValueError("an object has two values under the same name")
    return values
