"""A static page that runs the generator in any browser: `--formats=...,web`."""

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from importlib import resources
from pathlib import Path

from export.formats.base import Format, Work
from export.source import Source
from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.base.folders import local_folder
from serving.contract.manifest import GENERATOR_FILE, SAMPLER_FILE
from serving.contract.onnx_file import SEAL_KEY

FOLDER = "web"
ORT_WEB_VERSION = "1.30.0"
# What the page needs of npm's onnxruntime-web, and its SHA-256.
_ORT_FILES = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_PAGE_FILES = ("index.html", "latents.js", "page.css", "page.js")
_SHARED_FILE = "attributes.js"  # with the server's page
_CACHE = Path(f"~/.cache/mirage/onnxruntime-web-{ORT_WEB_VERSION}")


class Web(Format):
    """The folder `web`, for any file server."""

    name = "web"
    help = "a page that runs the ONNX files in any browser"
    needs = ("onnx",)
    title = "page for browsers"

    def write(self, folder: Path, work: Work) -> None:
        """See `write_web`."""
        write_web(folder, work.source)


def write_web(folder: Path, source: Source) -> None:
    """Writes the page into a bundle that holds the ONNX files.

    onnxruntime-web is fetched once with npm, checked, and kept in ~/.cache/mirage.

    Args:
      folder: the bundle.
      source: what is exported.

    Raises:
      MirageError: if onnxruntime-web can't be had.
    """
    page = folder / FOLDER
    (page / "ort").mkdir(parents=True)
    for name in _PAGE_FILES:
        (page / name).write_bytes((resources.files("export") / "web" / name).read_bytes())
    shared = resources.files("serving") / "server" / "web" / _SHARED_FILE
    (page / _SHARED_FILE).write_bytes(shared.read_bytes())
    for name in (GENERATOR_FILE, SAMPLER_FILE):
        _write_model(folder / name, page / name)
    description = {"model": {**source.info.to_dict(), "name": source.name}}
    (page / "model.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    for name, path in _onnxruntime_web().items():
        shutil.copyfile(path, page / "ort" / name)


def _write_model(source: Path, target: Path) -> None:
    """Copies a model; `truncation` becomes an input as any other, as browsers feed none that may be left out."""
    import onnx

    from export.onnx_export import write_onnx

    model = onnx.load(source)
    optional = [tensor for tensor in model.graph.initializer if tensor.name == "truncation"]
    for tensor in optional:
        model.graph.initializer.remove(tensor)
    if not optional:
        shutil.copyfile(source, target)
        return
    sealed = [entry for entry in model.metadata_props if entry.key == SEAL_KEY]
    for entry in sealed:
        model.metadata_props.remove(entry)
    write_onnx(model, target)


def _onnxruntime_web() -> dict[str, Path]:
    """Paths of onnxruntime-web's files, by name."""
    cache = local_folder(f"the cache {_CACHE.parent} of --formats=web", str(_CACHE))
    paths = {name: cache / name for name in _ORT_FILES}
    if not all(_is(path, _ORT_FILES[name]) for name, path in paths.items()):
        _fetch(cache)
    return paths


def _fetch(cache: Path) -> None:
    """Fetches the package with npm, which knows the user's registry and proxies, into the cache."""
    package = f"onnxruntime-web@{ORT_WEB_VERSION}"
    print(f"  fetching {package} with npm, once", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise MirageError(
                f"--formats with web needs npm, to fetch {package}; install it (Node.js), or leave web out."
            ) from None
        except subprocess.CalledProcessError as error:
            raise MirageError(f"npm can't fetch {package} ({error.stderr.strip()[-200:]}).") from None
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            for name, digest in _ORT_FILES.items():
                member = tar.extractfile(f"package/dist/{name}")
                content = member.read() if member else b""
                if hashlib.sha256(content).hexdigest() != digest:
                    raise MirageError(f"{name} of {package} does not have the checksum that was expected of it.")
                try:
                    cache.mkdir(parents=True, exist_ok=True)
                    write_file(cache / name, content)
                except OSError as error:
                    raise MirageError(
                        f"{package} can't be kept in {cache} ({error.strerror}); make room there, or leave web out."
                    ) from None


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
