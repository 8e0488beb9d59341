"""Makes pages of the site of the documents in the repository's root, and of what they link to."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

_ROOT = Path(__file__).parent.parent
_PAGES = {
    "README.md": "index.md",
    "BUILD.md": "manual.md",
    "CHANGELOG.md": "changelog.md",
    "RESULTS.md": "results.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
}
_HEAD = "---\nhide: [navigation]\n---\n\n"
_LINK = re.compile(r"(?<=\]\()([^)#:]+)(?=(?:#[^)]*)?\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the documents, with links that lead to each other's pages, and the files that they link to.

    Args:
      files: those in `docs/`.
      config: of the site.

    Returns:
      All files of the site.
    """
    linked: set[str] = set()

    def place(path: str) -> str:
        if path.startswith("docs/"):
            return path.removeprefix("docs/")
        if path not in _PAGES:
            linked.add(path)
        return _PAGES.get(path, f"files/{path}")

    for path, page in _PAGES.items():
        folder = posixpath.dirname(path)
        text = (_ROOT / path).read_text(encoding="utf-8")
        text = _LINK.sub(lambda match, at=folder: place(posixpath.normpath(posixpath.join(at, match[1]))), text)
        files.append(File.generated(config, page, content=_HEAD + text))
    for path in sorted(linked):
        files.append(File.generated(config, place(path), abs_src_path=str(_ROOT / path)))
    return files
