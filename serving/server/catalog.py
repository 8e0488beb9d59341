"""The models that are served: bundles, and from each of them two models of the protocol.

    generator   z (and label or attributes; where there are styles, truncation) -> image, float32
    sampler     seed (and label or attributes, truncation) -> pixels, uint8

Both run the same session: the sampler's latents are computed here, by the law that `sampler.onnx` has inside. The
first bundle's models are called `generator` and `sampler`; those of a bundle with a name are (also) called
`NAME-generator` and `NAME-sampler`.
"""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from serving.contract.manifest import MANIFEST_FILE, BundleError
from serving.generator import Generator
from serving.server.protocol import TensorSpec
from serving.session import first_line

MAX_TRUNCATION = 10
_T = TypeVar("_T")
_Place = tuple[str, str, Path]  # name, version, where it is
_TRUNCATION = TensorSpec("truncation", "FP32", (), optional=True)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclasses.dataclass(frozen=True, eq=False)
class Bundle:
    """A loaded bundle.

    Attributes:
      name: what it is called.
      version: its version, a number; "1" outside repositories.
      generator: its generator.
      digest: the start of its generator file's seal, which tells pictures of one file from those of another.
    """

    name: str
    version: str
    generator: Generator
    digest: str


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A model of the protocol.

    Attributes:
      bundle: what makes its images.
      inputs: what it takes.
      outputs: what it makes.
    """

    bundle: Bundle
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @functools.cached_property
    def numbers(self) -> int:
        """How many numbers the inputs for one image have."""
        return sum(abs(size) for spec in self.inputs for size in (spec.shape[-1:] or (1,)))


class Catalog:
    """All that is served at one time; a reload makes another."""

    def __init__(self, bundles: Sequence[Bundle], left_out: Sequence[str] = ()) -> None:
        """Takes the bundles; the first is the default, of a name the one with the highest version is.

        Args:
          bundles: what is served.
          left_out: sentences about what is not.
        """
        self.left_out = tuple(left_out)
        self._bundles: dict[str, dict[str, Bundle]] = {}
        for bundle in bundles:
            self._bundles.setdefault(bundle.name, {})[bundle.version] = bundle
        self._bundles = {
            name: {version: versions[version] for version in sorted(versions, key=int)}
            for name, versions in self._bundles.items()
        }
        self.default = next(iter(self._bundles), "")
        self._models: dict[str, dict[str, Model]] = {}
        for name, versions in self._bundles.items():
            for kind, make in (("generator", _generator_model), ("sampler", _sampler_model)):
                models = {version: make(bundle) for version, bundle in versions.items()}
                self._models[f"{name}-{kind}"] = models
                if name == self.default:
                    self._models = {kind: models, **self._models}

    @property
    def models(self) -> Mapping[str, Mapping[str, Model]]:
        """Models by name and version, versions ascending."""
        return self._models

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bundles, the default first."""
        return tuple(self._bundles)

    def bundle(self, name: str | None = None) -> Bundle | None:
        """Returns the newest version of a bundle, by default of the first; None if there is none."""
        versions = self._bundles.get(self.default if name is None else name)
        return newest(versions) if versions else None

    def model(self, name: str, version: str | None) -> Model | None:
        """Returns a model, by default its newest version; None if there is none."""
        versions = self._models.get(name)
        if not versions:
            return None
        return versions.get(version) if version else newest(versions)


def newest(versions: Mapping[str, _T]) -> _T:
    """Returns the last of versions that ascend."""
    return list(versions.values())[-1]


def load(bundles: Sequence[str], repository: Path | None, precision: str) -> Catalog:
    """Loads and warms up all bundles.

    Args:
      bundles: each `PATH` or `NAME=PATH`; without a name the folder's counts.
      repository: folder of folders of versions, or None; what can't be used there is left out.
      precision: "float32" or "int8".

    Returns:
      The catalog, which says what was left out.

    Raises:
      BundleError: if one of `bundles` can't be used, two have the same name and version, or there is none.
    """
    if not bundles and repository is None:
        raise BundleError("there is nothing to serve; pass --bundle= or --repository=.")
    places = [_place(text) for text in bundles]
    loaded = [_load(place, precision) for place in _unlike(places)]
    left_out: list[str] = []
    if repository is not None:
        found, left_out = _repository(repository)
        for place in _unlike([*places, *found])[len(places) :]:
            try:
                loaded.append(_load(place, precision))
            except BundleError as error:
                left_out.append(str(error))
        if not loaded:
            raise BundleError(f"--repository={repository} has no bundles{_why_none(repository, left_out)}")
    return Catalog(loaded, left_out)


def _why_none(repository: Path, left_out: Sequence[str]) -> str:
    if not left_out:
        return f"; expected {repository}/NAME/1 and so on."
    more = f" (and {len(left_out) - 1} more like it)" if len(left_out) > 1 else ""
    return f" that can be served{more}: {left_out[0]}"


def _unlike(places: list[_Place]) -> list[_Place]:
    seen: set[tuple[str, str]] = set()
    for name, version, path in places:
        if (name, version) in seen:
            raise BundleError(f"two bundles are called {name}; pass --bundle=NAME={path} with another name.")
        seen.add((name, version))
    return places


def _load(place: _Place, precision: str) -> Bundle:
    """Loads a bundle.

    Raises:
      BundleError: whatever is wrong with it; a damaged or half copied one can fail in any way.
    """
    name, version, path = place
    try:
        # Each inference thread runs a batch of its own: more throughput than several threads on one.
        generator = Generator.load(path, threads=1, precision=precision)
        for count in (generator.chunk, 1):  # the first runs allocate memory
            generator.sample(count)
        return Bundle(name, version, generator, generator.seal[:16])
    except BundleError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise BundleError(f"{path} can't be loaded ({reason}); export it again.") from error


def _place(text: str) -> _Place:
    """Splits NAME=PATH; a path may contain an equals sign itself, but then its name must be given."""
    name, equals, path = text.partition("=")
    if not equals:
        path = text
        resolved = Path(text).resolve()
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", resolved.stem if resolved.suffix == ".onnx" else resolved.name)
    if not _NAME.fullmatch(name):
        raise BundleError(f"--bundle={text} gives the name {name!r}; expected letters, digits, '_', '.' and '-'.")
    return name, "1", Path(path)


def _repository(folder: Path) -> tuple[list[_Place], list[str]]:
    """Looks for bundles; returns them, and sentences about what looks like one and is none."""
    if not folder.is_dir():
        raise BundleError(f"--repository={folder} is no folder; expected one with a folder for each model.")
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise BundleError(f"--repository={folder} can't be read ({error.strerror}).") from None
    places, left_out = [], []
    for path in paths:
        where = str(path) if str(path).isprintable() else repr(str(path))
        try:
            inside = sorted(path.iterdir()) if path.is_dir() else []
            versions = [each for each in inside if _is_version(each.name) and each.is_dir()]
        except OSError as error:
            left_out.append(f"{where} can't be read ({error.strerror}).")
            continue
        if versions and not _NAME.fullmatch(path.name):
            left_out.append(f"{where} has a name that can't be served; expected letters, digits, '_', '.' and '-'.")
        elif not versions and MANIFEST_FILE in (each.name for each in inside):
            left_out.append(f"{where} is a bundle without a version; move it into a folder 1 there.")
        else:
            places += [(path.name, version.name, version) for version in versions]
    return places, left_out


def _is_version(name: str) -> bool:
    return name.isdigit() and name.isascii()


def _condition(generator: Generator) -> tuple[TensorSpec, ...]:
    if generator.attributes:
        return (TensorSpec("attributes", "FP32", (-1, len(generator.attributes))),)
    return (TensorSpec("label", "INT64", (-1,)),) if generator.class_names else ()


def _generator_model(bundle: Bundle) -> Model:
    generator = bundle.generator
    inputs = (
        TensorSpec("z", "FP32", (-1, generator.latent_dim)),
        *_condition(generator),
        *((_TRUNCATION,) if generator.info.styles else ()),
    )
    return Model(bundle, inputs, (TensorSpec("image", "FP32", (-1, *generator.image_shape)),))


def _sampler_model(bundle: Bundle) -> Model:
    generator = bundle.generator
    inputs = (
        TensorSpec("seed", "INT64", (-1,)),
        *_condition(generator),
        _TRUNCATION,
    )
    return Model(bundle, inputs, (TensorSpec("pixels", "UINT8", (-1, *generator.image_shape)),))
