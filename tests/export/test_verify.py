"""`python -m export.verify`: what passes, and what does not."""

import io
import shutil
import subprocess
import sys

import numpy as np
import pytest

from export.bundle import export_bundle
from export.verify import main, verify
from serving.manifest import BundleError, read_manifest, sha256
from tests.export.tiny_runs import make_run


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
    path = bundle / "golden.npz"
    with np.load(path) as golden:
        arrays = {name: changes.get(name, lambda x: x)(golden[name]) for name in golden.files}
    data = io.BytesIO()
    np.savez(data, **arrays)
    old = sha256(path)
    path.write_bytes(data.getvalue())
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace(old, sha256(path)))
    assert read_manifest(bundle).files["golden.npz"] == sha256(path)


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
