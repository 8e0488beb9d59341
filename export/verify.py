"""Checks a bundle on this machine: checksums, files, golden vectors, speed. Needs no TensorFlow.

  python -m export.verify bundles/digits

Ends with 0 if all is well and with 1 if anything is not.
"""

import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from export.closeness import closeness
from export.conditions import as_told, decoded
from export.golden import read_golden
from export.timing import in_turn, timed
from pipeline.base import command_line
from serving.contract.latents import latents
from serving.contract.manifest import (
    GENERATOR_FILE,
    GOLDEN_FILE,
    INT8_FILE,
    MANIFEST_FILE,
    SAMPLER_FILE,
    BundleError,
    Manifest,
    read_manifest,
    shown,
    verify_file,
)
from serving.generator import Generator, open_session
from serving.runtime import ort

_BATCH_SIZES = (1, 16, 64)
_ROUNDS = 15
_TRUNCATION = 0.5
_NAMED = 5  # files that a message names


def verify(bundle: Path) -> Iterator[tuple[str, str]]:
    """Checks a bundle.

    Args:
      bundle: its folder.

    Yields:
      (what was checked, what came out), for each check that passes.

    Raises:
      BundleError: at the first one that does not.
    """
    manifest = read_manifest(bundle)
    yield "manifest", f"{_plain(manifest.producer)}, {len(manifest.files)} files"
    _check_links(bundle, manifest)
    for name in manifest.files:
        verify_file(bundle, manifest, name)
    yield "checksums", "all as in the manifest"
    _check_for_others(bundle, manifest)
    yield "other files", "none"
    if GENERATOR_FILE in manifest.files:
        yield from _pictures(bundle, manifest)


def _check_links(bundle: Path, manifest: Manifest) -> None:
    """Refuses links to files elsewhere: they would be missing from a copy of the bundle."""
    root = os.path.join(os.path.realpath(bundle), "")
    for name in (MANIFEST_FILE, *manifest.files):
        if not os.path.realpath(bundle / name).startswith(root):
            raise BundleError(f"{bundle / name} is a link that leads out of the bundle; put the file itself there.")


def _check_for_others(bundle: Path, manifest: Manifest) -> None:
    """Refuses what the manifest does not list; looks only into folders of which it lists something."""
    folders = {str(parent) for name in manifest.files for parent in PurePosixPath(name).parents} | {"."}
    others = []
    for folder in sorted(folders):
        try:
            with os.scandir(bundle / folder) as entries:
                for entry in entries:
                    name = str(PurePosixPath(folder, entry.name))
                    if name in folders or name in manifest.files or name == MANIFEST_FILE or _is_empty(entry):
                        continue
                    others.append(shown(name))
                    if len(others) > _NAMED:
                        raise BundleError(f"{bundle} holds {_listed(others)}; remove them, or export the bundle again.")
        except OSError as error:
            raise BundleError(f"{bundle / folder} can't be read ({error.strerror}); export the bundle again.") from None
    if others:
        raise BundleError(f"{bundle} holds {_listed(others)}; remove them, or export the bundle again.")


def _is_empty(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder without content, such as TensorFlow's `assets`."""
    if not entry.is_dir(follow_symlinks=False):
        return False
    with os.scandir(entry) as entries:
        return next(entries, None) is None


def _listed(others: list[str]) -> str:
    more = " and more" if len(others) > _NAMED else ""
    return f"{', '.join(sorted(others[:_NAMED]))}{more}, which its manifest doesn't list"


def _pictures(bundle: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Checks what the generators make against the golden vectors, and times them."""
    generator = Generator.load(bundle)
    yield GENERATOR_FILE, _signature(generator)
    golden = read_golden(verify_file(bundle, manifest, GOLDEN_FILE), generator.info)
    if not np.array_equal(
        latents(golden["seed"], generator.latent_dim, generator.info.latent_distribution), golden["z"]
    ):
        raise BundleError("the latents of the golden seeds are others on this machine; report this with its CPU.")
    yield "latents of golden seeds", "identical"
    kind = generator.info.condition
    condition = _condition(golden[kind or "label"], generator)
    yield "pictures of golden latents", _compare(decoded(generator, golden["z"], condition), golden["pixels"])
    sampler = open_session(verify_file(bundle, manifest, SAMPLER_FILE), 1)
    feeds = {"seed": golden["seed"], **({kind: condition} if kind else {})}
    try:
        (pixels,) = sampler.run(["pixels"], feeds)
    except Exception as error:  # onnxruntime's exceptions share no better base class
        line = shown(str(error).strip())
        raise BundleError(f"{SAMPLER_FILE} can't be run ({line}); export the bundle again.") from None
    yield f"pictures of {SAMPLER_FILE}", _compare(pixels, golden["pixels"])
    if generator.info.styles:
        yield from _styles(generator, golden, condition)
    yield from _times(bundle, manifest, generator)


def _styles(generator: Generator, golden: Mapping[str, NDArray], condition: NDArray) -> Iterator[tuple[str, str]]:
    """Checks mapping and synthesis against the golden vectors, and truncated against the generator."""
    told = as_told(generator, condition)
    w = generator.map(golden["z"], **told)
    yield "pictures of both parts", _compare(generator.synthesise(w), golden["pixels"])
    w = generator.map(golden["z"], **told, truncation=_TRUNCATION)
    expected = generator.decode(golden["z"], **told, truncation=_TRUNCATION)
    yield f"the same, truncation {_TRUNCATION}", _compare(generator.synthesise(w), expected)


def _condition(given: NDArray, generator: Generator) -> NDArray:
    if not generator.info.condition:
        return given
    try:
        return generator.check_condition(given, len(given))
    except ValueError as error:
        raise BundleError(f"{GOLDEN_FILE} can't be used: {error}") from None


def _plain(text: str) -> str:
    """What others wrote, without characters that move a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text[:80])


def _signature(generator: Generator) -> str:
    height, width, channels = generator.image_shape
    kinds = {"label": f"{len(generator.class_names)} classes", "attributes": f"{len(generator.attributes)} attributes"}
    told = kinds.get(generator.info.condition, "no classes")
    return f"latent of {generator.latent_dim}, {told}, {height}x{width}x{channels} pixels"


def _compare(actual: np.ndarray, expected: np.ndarray) -> str:
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise BundleError(f"pictures are {actual.dtype} {shown(actual.shape)}, not {expected.dtype} {expected.shape}.")
    apart = closeness(actual, expected)
    if not apart.same:
        raise BundleError(f"pictures differ from the trained network's {apart}.")
    return "identical" if apart.share == 0 else f"one level apart in {apart.share:.4%} of pixels"


def _times(bundle: Path, manifest: Manifest, generator: Generator) -> Iterator[tuple[str, str]]:
    """Milliseconds per picture, of the float32 and, if there is one, the int8 file, on all CPUs."""
    sides = {"float32": generator}
    if INT8_FILE in manifest.files:
        sides["int8"] = Generator.load(bundle, precision="int8")
    for batch_size in _BATCH_SIZES:
        calls = {name: timed(functools.partial(each.sample, batch_size)) for name, each in sides.items()}
        medians = in_turn(calls, _ROUNDS)
        text = ", ".join(f"{name} {seconds / batch_size * 1e3:.3f} ms" for name, seconds in medians.items())
        yield f"per picture, batch {batch_size}", text


def main(argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit status."""
    if len(argv) != 2:
        print("error: expected one bundle, as in `python -m export.verify bundles/digits`.", file=sys.stderr)
        return 1
    print(f"{argv[1]} on onnxruntime {ort.__version__}")
    try:
        for what, outcome in verify(Path(argv[1])):
            print(f"  {what:32}{outcome}", flush=True)
    except (BundleError, ValueError) as error:  # the second of images whose network gives no numbers
        print(f"error: {error}", file=sys.stderr)
        return 1
    except MemoryError:
        print(f"error: the pictures of {argv[1]} are larger than memory.", file=sys.stderr)
        return 1
    print("All is well.")
    return 0


def run() -> None:
    """Entry point of `python -m export.verify` and of `mirage-verify`."""
    command_line.run(__doc__, lambda values: None, lambda values, argv: main(argv))


if __name__ == "__main__":
    run()
