"""Where a bundle appears: users' files survive whatever was exported over them, and whoever was killed."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from export import source
from export.placing import placed, target_of
from pipeline.base.errors import MirageError
from serving.contract.manifest import ModelInfo

INFO = ModelInfo(3, (4, 4, 1), False, ())


def write(folder, names, content="new"):
    """Writes files and the manifest that lists them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    document = {
        "format": "mirage-bundle",
        "format_version": 1,
        "model": INFO.to_dict(),
        "files": {name: {"sha256": ""} for name in names},
    }
    (folder / "manifest.json").write_text(json.dumps(document))


def contents(folder):
    """Contents of files by name, and that of links as where they lead to."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    write(folder, ["generator.onnx", "saved_model/a", "saved_model/deep/b"], "old")
    return folder


def replace(out, names=("generator.onnx", "web/page")):
    with placed(out) as folder:
        write(folder, names)


def fail(out, error):
    with placed(out) as folder:
        write(folder, ["generator.onnx"])
        raise error


def test_only_what_the_manifest_lists_is_removed(bundle):
    for name in (".git/HEAD", "precious.txt", "saved_model/mine"):
        (bundle / name).parent.mkdir(exist_ok=True)
        (bundle / name).write_text("mine")
    inode = bundle.stat().st_ino
    replace(bundle)
    assert contents(bundle) == {
        "generator.onnx": "new",
        "web/page": "new",
        ".git/HEAD": "mine",
        "precious.txt": "mine",
        "saved_model/mine": "mine",
    }
    assert not (bundle / "saved_model/deep").exists()
    assert bundle.stat().st_ino == inode  # a mount point, or where somebody's shell is, remains
    assert sorted(json.loads((bundle / "manifest.json").read_text())["files"]) == ["generator.onnx", "web/page"]


def test_a_file_that_the_old_bundle_does_not_list_is_not_overwritten(bundle):
    (bundle / "web").mkdir()
    (bundle / "web/page").write_text("mine")
    before = contents(bundle)
    with pytest.raises(MirageError, match="holds web/page, which its bundle doesn't list"):
        replace(bundle)
    assert contents(bundle) == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), MirageError("parity.")])
def test_an_exception_leaves_everything_as_it_was(bundle, tmp_path, error):
    before = contents(bundle)
    for out in (bundle, tmp_path / "far" / "away"):
        with pytest.raises(MirageError if isinstance(error, OSError) else type(error)):
            fail(out, error)
    assert contents(tmp_path) == {f"bundle/{name}": content for name, content in before.items()}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_failed_move_is_taken_back(bundle, monkeypatch):
    before, manifest = contents(bundle), (bundle / "manifest.json").read_text()
    real, calls = Path.replace, []

    def failing(self, destination):
        calls.append(self)
        if len(calls) == 6:  # at the manifest, after all other files have moved
            raise OSError(5, "Input/output error")
        return real(self, destination)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(MirageError, match="can't be written"):
        replace(bundle)
    assert len(calls) > 6
    assert contents(bundle) == before
    assert (bundle / "manifest.json").read_text() == manifest


@pytest.mark.parametrize("moves", [2, 4, 5])
def test_an_export_that_is_killed_as_it_moves_files_is_repaired_by_the_next(bundle, moves):
    program = (
        "import os, pathlib, sys; from tests.export.test_placing import replace\n"
        "real, calls = pathlib.Path.replace, []\n"
        "def killed(self, destination):\n"
        "    calls.append(self)\n"
        "    return real(self, destination) if len(calls) <= int(sys.argv[2]) else os._exit(9)\n"
        "pathlib.Path.replace = killed\n"
        "replace(pathlib.Path(sys.argv[1]))\n"
    )
    (bundle / "precious.txt").write_text("mine")
    assert subprocess.run([sys.executable, "-c", program, str(bundle), str(moves)], check=False).returncode == 9
    assert contents(bundle) != {"generator.onnx": "new", "web/page": "new", "precious.txt": "mine"}
    replace(bundle)
    assert contents(bundle) == {"generator.onnx": "new", "web/page": "new", "precious.txt": "mine"}
    assert sorted(path.name for path in bundle.iterdir()) == ["generator.onnx", "manifest.json", "precious.txt", "web"]


def test_a_symbolic_link_is_followed(bundle, tmp_path):
    (tmp_path / "link").symlink_to(bundle)
    (tmp_path / "dangling").symlink_to(tmp_path / "other" / "place")
    replace(tmp_path / "link")
    replace(tmp_path / "dangling")
    assert (tmp_path / "link").is_symlink()
    assert contents(bundle) == contents(tmp_path / "other" / "place") == {"generator.onnx": "new", "web/page": "new"}


@pytest.mark.parametrize("out", [".", "./", "../here", "empty/"])
def test_the_working_directory_and_empty_folders(tmp_path, monkeypatch, out):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    if out == "empty/":
        (here / "empty").mkdir()
    for _ in range(2):
        replace(Path(out))
        assert contents(Path(out)) == {"generator.onnx": "new", "web/page": "new"}
    assert sorted(path.name for path in Path(out).iterdir()) == ["generator.onnx", "manifest.json", "web"]


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "elsewhere/file", ".git", "a/../../outside"])
def test_a_manifest_that_lists_what_is_no_file_of_its_folder(bundle, tmp_path, name):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("mine")
    (bundle / "elsewhere").symlink_to(tmp_path / "folder")
    (bundle / ".git").mkdir()
    document = json.loads((bundle / "manifest.json").read_text())
    document["files"][name] = {"sha256": ""}
    (bundle / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(MirageError, match=r"which is no file in it|can't be used, so nothing is replaced"):
        target_of(bundle)
    assert (tmp_path / "outside").read_text() == (tmp_path / "folder" / "file").read_text() == "mine"


def test_nothing_is_written_through_a_link_inside_the_folder(bundle, tmp_path):
    (tmp_path / "folder").mkdir()
    (bundle / "web").symlink_to(tmp_path / "folder")
    with pytest.raises(MirageError, match="web/page"):
        replace(bundle)
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize(
    ("out", "named"),
    [
        ("/", "--out=/ is a folder with other files"),
        ("full", "--out=full is a folder with other files"),
        ("file", "--out=file is a file"),
        ("file/deeper", "--out=file/deeper can't be"),
        ("x" * 300, "File name too long"),
        ("loop", "--out=loop can't be used"),
        ("damaged", "--out=damaged holds a manifest that can't be used"),
        ("/proc/x", "--out=/proc/x can't be written"),
    ],
)
def test_other_places_are_refused_in_one_sentence(tmp_path, monkeypatch, out, named):
    monkeypatch.chdir(tmp_path)
    for name in ("full", "damaged"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").write_text("mine")
    (tmp_path / "damaged" / "manifest.json").write_text("{")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MirageError) as caught, placed(Path(out)):
        raise AssertionError("not refused")
    assert named in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert sorted(tmp_path.rglob("*")) == before


def half_built(folder, alive):
    """What a process leaves that is killed as it builds."""
    program = (
        "import sys, os, pathlib; from export.placing import placed\n"
        "with placed(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'part').write_text('x'); print('built', flush=True); sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "built\n"
    if not alive:
        process.kill()
        process.wait()
    return process


@pytest.mark.parametrize("existing", [True, False])
def test_what_killed_exports_left_is_removed(bundle, tmp_path, existing):
    out = bundle if existing else tmp_path / "fresh"
    with half_built(out, alive=False):
        place = bundle if existing else tmp_path
        assert len([path for path in place.iterdir() if path.name.startswith(".")]) == 1
        similar = place / ".mirage-export-mine"
        similar.mkdir()
        (similar / "precious").write_text("mine")
        replace(out)
        assert [path.name for path in place.iterdir() if path.name.startswith(".")] == [similar.name]
        assert (similar / "precious").read_text() == "mine"


@pytest.mark.parametrize("existing", [True, False])
def test_a_second_export_at_the_same_time_is_refused(bundle, tmp_path, existing):
    out = bundle if existing else tmp_path / "fresh"
    with half_built(out, alive=True) as process:
        with pytest.raises(MirageError, match="another export to --out="):
            replace(out)
        process.communicate("")
    assert (out / "part").read_text() == "x"


def test_exports_to_names_that_begin_alike_do_not_meet(tmp_path):
    names = ["digits", "digits-2", "digits-[ab]", "数" * 85]
    with contextlib.ExitStack() as stack:
        for name in names:
            write(stack.enter_context(placed(tmp_path / name)), ["generator.onnx"], name)
    assert contents(tmp_path) == {f"{name}/generator.onnx": name for name in names}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_what_appears_at_its_place_during_an_export_stays(tmp_path):
    out = tmp_path / "out"

    def interfered():
        with placed(out) as folder:
            write(folder, ["generator.onnx"])
            out.mkdir()
            (out / "precious").write_text("mine")

    with pytest.raises(MirageError, match="is a folder with other files"):
        interfered()
    assert contents(tmp_path) == {"out/precious": "mine"}


def test_empty_folders_of_an_older_bundle_go_with_its_files(bundle):
    for name in ("saved_model/assets", "mine"):
        (bundle / name).mkdir()
    replace(bundle)
    assert sorted(path.name for path in bundle.iterdir()) == ["generator.onnx", "manifest.json", "mine", "web"]


def test_a_revision_is_that_of_this_checkout_or_none(tmp_path, monkeypatch):
    """Not that of a repository in which Mirage is installed."""

    def git(*arguments):
        settings = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        done = subprocess.run(["git", *settings, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "--message=theirs")
    for root in (tmp_path, tmp_path / "site-packages"):
        (root / "export").mkdir(parents=True)
        monkeypatch.setattr(source, "__file__", str(root / "export" / "source.py"))
        assert source.code_revision() is None
        (root / "setup.cfg").write_text("[metadata]\nname = theirs\n")
        assert source.code_revision() is None
    (tmp_path / "setup.cfg").write_text("[metadata]\nname = mirage-gan\n")
    monkeypatch.setattr(source, "__file__", str(tmp_path / "export" / "source.py"))
    monkeypatch.setenv("GIT_DIR", os.devnull)
    assert (
        source.code_revision()
        == subprocess.run(
            ["git", f"--git-dir={tmp_path / '.git'}", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()
    )


def test_locks_are_files_of_their_folder_alone(tmp_path):
    """An export removes the lock with the folder; nothing of it stays beside a bundle."""
    with placed(tmp_path / "out") as folder:
        write(folder, ["generator.onnx"])
        (lock,) = tmp_path.rglob("*.lock")
        assert lock.parent == folder.parent
        with pytest.raises(Exception, match="could not be acquired"):
            FileLock(lock, timeout=0).acquire()
    assert list(tmp_path.rglob("*.lock")) == []
