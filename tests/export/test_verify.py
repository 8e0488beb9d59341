"""`python -m export.verify`: what passes, and what does not."""

import io
import json
import os
import random
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from export.bundle import export_bundle
from export.verify import main, verify
from serving.contract.manifest import BundleError, read_manifest, sha256
from tests.export.tiny_runs import make_run
from tests.no_network import SILENCING, UNDER_THE_FILTER
from tests.processes import ROOT


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("verify")
    make_run(root / "run", "dcgan")
    export_bundle(root / "run", root / "bundle", ["onnx"])
    export_bundle(root / "run", root / "saved_model", ["saved_model"])
    return root


@pytest.fixture
def bundle(exported, tmp_path):
    return shutil.copytree(exported / "bundle", tmp_path / "bundle")


def test_a_good_bundle_passes(bundle, capsys):
    assert main(["verify", str(bundle)]) == 0
    printed = capsys.readouterr().out
    assert "pictures of sampler.onnx" in printed
    assert "per picture, batch 64" in printed
    assert printed.endswith("All is well.\n")


def test_a_bundle_without_onnx_has_its_checksums_verified(exported):
    assert [what for what, _ in verify(exported / "saved_model")] == ["manifest", "checksums", "other files"]


def change_golden(bundle, **changes):
    """Writes other golden vectors, with their checksum."""
    with np.load(bundle / "golden.npz") as golden:
        arrays = {name: changes.get(name, lambda x: x)(golden[name]) for name in golden.files}
    data = io.BytesIO()
    np.savez(data, **arrays)
    replace_golden(bundle, data.getvalue())


def replace_golden(bundle, data):
    path = bundle / "golden.npz"
    path.write_bytes(data)
    list_again(bundle, "golden.npz", sha256(path))
    assert read_manifest(bundle).files["golden.npz"] == sha256(path)


def list_again(bundle, name, digest):
    """Lists a file, under whatever name, with that checksum."""
    manifest = bundle / "manifest.json"
    document = json.loads(manifest.read_text())
    document["files"][name] = {"sha256": digest}
    manifest.write_text(json.dumps(document))


def refused(bundle, capsys):
    """Asserts that a bundle does not pass, for a reason of one sentence; returns it."""
    assert main(["verify", str(bundle)]) == 1
    captured = capsys.readouterr()
    assert "All is well" not in captured.out
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 1000
    return captured.err


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pixels": lambda x: 255 - x}, "pictures differ"),
        ({"pixels": lambda x: np.roll(x, 1, axis=0)}, "pictures differ"),
        ({"z": lambda x: x + np.float32(1e-6)}, "latents"),
    ],
)
def test_other_golden_vectors_do_not_pass(bundle, changes, named):
    change_golden(bundle)
    assert dict(verify(bundle))["latents of golden seeds"] == "identical"
    change_golden(bundle, **changes)
    with pytest.raises(BundleError, match=named):
        list(verify(bundle))


@pytest.mark.parametrize("name", ["README.md", "sampler.onnx", "golden.npz"])
def test_a_changed_file_does_not_pass(bundle, capsys, name):
    with (bundle / name).open("ab") as file:
        file.write(b" ")
    assert main(["verify", str(bundle)]) == 1
    assert name in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["nowhere"], ["one", "two"]])
def test_mistakes_are_one_sentence(capsys, arguments):
    assert main(["verify", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_tensorflow_is_not_needed(bundle):
    code = (
        "import sys; from export.verify import main; status = main(['verify', sys.argv[1]]); "
        "assert not {'tensorflow', 'keras', 'onnx', 'tf2onnx'} & set(sys.modules); sys.exit(status)"
    )
    subprocess.run([sys.executable, "-c", code, str(bundle)], check=True, capture_output=True)


@pytest.mark.parametrize("redirected", ["| head -1", ">/dev/full", ">&- 2>&-"])
def test_the_status_is_right_whoever_takes_the_output(bundle, redirected):
    line = f'"$0" -m export.verify "$1" {redirected}; exit ${{PIPESTATUS[0]}}'
    command = ["bash", "-c", line, sys.executable]
    for path, status in ((bundle, 0), (bundle / "nowhere", 1)):
        result = subprocess.run([*command, str(path)], cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == status
        assert "Traceback" not in result.stderr


def test_no_host_is_asked(bundle, tmp_path):
    kept = {name: value for name, value in os.environ.items() if name not in SILENCING}
    environment = {**kept, "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    (tmp_path / "home").mkdir()
    command = [*UNDER_THE_FILTER, sys.executable, "-m", "export.verify", str(bundle)]
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("name", ["/dev/zero", "../../x", "saved_model/../../x", "C:/x", "a\\b", "a\0b", "\ud800", ""])
def test_names_that_lead_out_of_the_bundle(bundle, capsys, name):
    list_again(bundle, name, "0" * 64)
    assert "manifest.json is damaged: files lists" in refused(bundle, capsys)


def add_pipe(path):
    os.mkfifo(path)


def add_folder(path):
    path.mkdir()


def add_device(path):
    path.symlink_to("/dev/zero")


def add_link_out(path):
    (path.parent.parent / "outside").write_bytes(b"")
    path.symlink_to("../outside")


@pytest.mark.parametrize(
    ("add", "named"),
    [
        (add_pipe, "a named pipe"),
        (add_folder, "a folder"),
        (add_device, "leads out of the bundle"),
        (add_link_out, "leads out of the bundle"),
    ],
)
def test_what_is_listed_must_be_a_file_of_the_bundle(bundle, capsys, add, named):
    add(bundle / "listed")
    list_again(bundle, "listed", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")  # of nothing
    assert named in refused(bundle, capsys)


def test_a_link_within_the_bundle_passes(bundle, capsys):
    # As Kubernetes mounts volumes.
    (bundle / "..data").mkdir()
    (bundle / "README.md").rename(bundle / "..data" / "README.md")
    (bundle / "README.md").symlink_to("..data/README.md")
    list_again(bundle, "..data/README.md", sha256(bundle / "README.md"))
    assert main(["verify", str(bundle)]) == 0


@pytest.mark.parametrize(
    "name", [".DS_Store", "notes/today.txt", "generator.onnx~", "deep/er/and/deeper/file", "b\nad"]
)
def test_files_that_are_not_listed_do_not_pass(bundle, capsys, name):
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_text("x")
    error = refused(bundle, capsys)
    assert repr(name.partition("/")[0])[:8] in error
    assert "which its manifest doesn't list" in error


def test_of_many_files_that_are_not_listed_some_are_named(exported, tmp_path, capsys):
    bundle = shutil.copytree(exported / "saved_model", tmp_path / "bundle")
    assert main(["verify", str(bundle)]) == 0  # with the empty folder that TensorFlow leaves
    capsys.readouterr()
    assert (bundle / "saved_model" / "assets").is_dir()
    (bundle / "saved_model" / "variables" / "more").write_text("x")
    assert "'saved_model/variables/more', which" in refused(bundle, capsys)
    for number in range(1000):
        (bundle / "saved_model" / "assets" / str(number)).write_text("x")
        (bundle / str(number)).write_text("x")
    error = refused(bundle, capsys)
    assert error.count("'") - error.count("n't") == 2 * 5
    assert "and more" in error


def zipped(**members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return data.getvalue()


def saved(array, **options):
    data = io.BytesIO()
    np.save(data, array, **options)
    return data.getvalue()


def members(bundle):
    with zipfile.ZipFile(bundle / "golden.npz") as archive:
        return {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\5\6" + bytes(18), b"PK\3\4" + bytes(100)])
def test_golden_vectors_that_are_no_zip_file(bundle, capsys, data):
    replace_golden(bundle, data)
    assert "golden.npz" in refused(bundle, capsys)


@pytest.mark.parametrize(
    "changes",
    [
        {"z": None},
        {"z": b""},
        {"z": b"\x93NUMPY\1\0\xff\xff"},
        {"z": saved(np.zeros(16, object), allow_pickle=True)},
        {"z": saved(np.zeros((16, 5)))},
        {"z": saved(np.zeros((16, 4), np.float32))},
        {"z": saved(np.zeros((15, 5), np.float32))},
        {"z": saved(np.zeros((16, 5), np.float32))[:-1]},
        {"z": saved(np.zeros((16, 5), np.float32)) + b"x"},
        {"z": saved(np.zeros((16, 5), ">f4"))},
        {"z": saved(np.full((16, 5), np.nan, np.float32))},
        {"label": saved(np.full(16, 2))},
        {"label": saved(np.full(16, -1))},
        {"seed": saved(np.array(3))},
        {"other": saved(np.zeros(16))},
        {"image": bytes(2**23)},
        {"pixels": saved(np.zeros((0, 16, 16, 3), np.uint8))},
    ],
)
def test_golden_vectors_that_are_others(bundle, capsys, changes):
    contents = {name: content for name, content in (members(bundle) | changes).items() if content is not None}
    replace_golden(bundle, zipped(**contents))
    refused(bundle, capsys)


def test_golden_vectors_of_no_pictures(bundle, capsys):
    change_golden(bundle, **dict.fromkeys(members(bundle), lambda array: array[:0]))
    assert "expected 1 to 256" in refused(bundle, capsys)


def test_a_header_that_claims_much_reserves_nothing(bundle, capsys):
    contents = members(bundle)
    contents["z"] = contents["z"].replace(b"(16, 5), }        ", b"(2000000000, 5), }")
    replace_golden(bundle, zipped(**contents))
    assert "golden.npz" in refused(bundle, capsys)


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_damaged_golden_vectors_never_end_in_a_traceback(bundle, capsys, count, repeats):
    dice = random.Random(count)
    original = (bundle / "golden.npz").read_bytes()
    plain = zipped(**members(bundle))
    for _ in range(repeats(count)):
        data = bytearray(dice.choice((original, plain)))
        for _ in range(dice.choice((1, 1, 4, 50))):
            place = dice.randrange(len(data))
            data[place : place + dice.choice((0, 1, 1, 100))] = dice.randbytes(dice.choice((0, 1, 1, 100)))
        replace_golden(bundle, bytes(data))
        if main(["verify", str(bundle)]):
            error = capsys.readouterr().err
            assert error.startswith("error: ")
            assert error.count("\n") == 1
