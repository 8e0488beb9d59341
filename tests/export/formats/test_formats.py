"""A format is one file and one line: nothing else knows formats by name."""

import ast
import importlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from absl import flags

import export.__main__ as command
from export import formats
from export.bundle import export_bundle
from export.formats import FORMATS, Format
from export.formats.onnx_files import OnnxFiles
from export.run_source import RunSource
from export.verify import verify
from pipeline.base.errors import MirageError
from serving.contract.manifest import read_manifest
from tests.export.tiny_runs import make_run
from tests.processes import ENVIRONMENT, ROOT

# Of somebody who runs the network, an MLP, with NumPy alone. Not derived from anything of ours.
THEIRS = """
import numpy as np
from export.formats import Reader

class Arrays:
    name = "arrays"
    help = "the weights, for NumPy"
    needs = ()
    error = 0.0

    def write(self, folder, work):
        np.savez(folder / "arrays.npz", *work.source.model.get_weights())
        return {"layers": 4}

    def readers(self, folder, info):
        with np.load(folder / "arrays.npz") as file:
            weights = list(file.values())

        def generate(z, label):
            x = z.astype(np.float64)
            for i in range(3):
                kernel, bias, gamma, beta, mean, variance = weights[6 * i : 6 * i + 6]
                x = x @ kernel + bias
                x = (np.where(x > 0, x, 0.2 * x) - mean) / np.sqrt(variance + 1e-3) * gamma + beta
            return (np.tanh(x @ weights[18] + weights[19]) + self.error).reshape(-1, *info.image_shape).astype("f4")

        yield Reader("numpy " + np.__version__, generate)

class Wrong(Arrays):
    error = 1e-4

class OfOnnx(Arrays):
    name = "of_onnx"
    needs = ("onnx",)

    def write(self, folder, work):
        assert "onnx" in work.sections["parity"]
        assert (folder / "generator.onnx").exists()
        return super().write(folder, work)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = tmp_path_factory.mktemp("formats") / "run"
    make_run(run, "mlp")
    return run


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A module outside of Mirage."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "their_formats.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module("their_formats")
    del sys.modules["their_formats"]


def test_a_line_and_a_file_are_a_format(run, theirs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(FORMATS, "arrays", "their_formats:Arrays")
    export_bundle(run, tmp_path / "out", ["arrays", "onnx"])
    assert "  arrays: " in (printed := capsys.readouterr().out)
    assert "parity of Keras with onnx and arrays" in printed
    manifest = read_manifest(tmp_path / "out")
    assert "arrays.npz" in manifest.files
    assert manifest.document["arrays"] == {"layers": 4}
    figures = manifest.document["parity"]["arrays"]
    assert figures["readers"][0].startswith("numpy ")
    assert figures["max_difference"] <= 1e-5
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Keras, the ONNX file and the arrays agree" in card
    assert "| arrays | numpy " in card
    assert dict(verify(tmp_path / "out"))["checksums"] == "all as in the manifest"
    assert "arrays (the weights, for NumPy)" in formats.help_text()


@pytest.mark.parametrize("given", ["their_formats:Wrong", "class", "object"])
def test_it_goes_through_the_parity_gate(run, theirs, tmp_path, given):
    chosen = {"class": theirs.Wrong, "object": theirs.Wrong()}.get(given, given)
    with pytest.raises(MirageError, match=r"parity: at batch size 1 arrays in numpy [\d.]+ differs from Keras by"):
        export_bundle(run, tmp_path / "out", ["onnx", chosen])
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]


def test_what_it_needs_is_written_and_compared_before(run, theirs, tmp_path, capsys):
    export_bundle(run, tmp_path / "out", [theirs.OfOnnx, "triton", "onnx"])
    lines = [line.split(":")[0].strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[:5] == [
        "ONNX file",
        "parity of Keras with onnx",
        "Triton model repository",
        "of_onnx",
        "parity of Keras with of_onnx",
    ]
    assert list(read_manifest(tmp_path / "out").document["parity"]) == ["onnx", "of_onnx"]


def test_the_command_line_takes_an_import_path(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "here.py").write_text(THEIRS)
    monkeypatch.chdir(tmp_path)
    values = flags.FlagValues()
    command.define_flags(values)
    assert command.main(values, values(["export", f"--run_dir={run}", "--out=out", "--formats=here:Arrays"])) == 0
    printed = capsys.readouterr().out
    assert "parity of Keras with arrays" in printed
    assert "serving.sample" not in printed  # there is nothing that it could load
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["onnx"] is None
    assert "arrays.npz" in manifest["files"]


def of(**attributes):
    return type("Mine", (), {"name": "mine", "help": "", "needs": (), "write": print, "readers": print, **attributes})


class NeedsOther(Format):
    name, help, needs = "first", "", ("second",)

    def write(self, folder, work):
        pytest.fail("nothing is written")


class Unwritten(Format):
    name = "unwritten"


class Sized(NeedsOther):
    def __init__(self, size):
        self.size = size


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (
            ["tflite"],
            "--formats=tflite is not known; choose from saved_model, onnx, int8, litert, web, triton, or",
        ),
        ([], "--formats= is empty; choose from saved_model"),
        (["saved_model", "triton"], "--formats with triton needs onnx too; add it"),
        (["nowhere.at_all:Mine"], "--formats=nowhere.at_all:Mine"),
        (["export.formats:Missing"], "--formats=export.formats:Missing"),
        (
            [object()],
            "=object is no format: it has no name and no help and no needs and no write and no readers",
        ),
        ([json], "--formats=module is no format: it has no name and no help"),
        (
            [Unwritten],
            "--formats=Unwritten is no format: it has no help and no write; expected an object with",
        ),
        ([of(name=3)], "it has no name; expected"),
        ([of(name="parity")], "has the name 'parity'; expected an identifier that is not taken"),
        ([of(name="my format")], "has the name 'my format'"),
        ([of(needs="onnx")], "has needs = 'onnx'; expected a tuple"),
        ([of(readers=None)], "it has no readers; expected"),
        ([Sized], "--formats=Sized can't be made without arguments"),
        ([NeedsOther], "--formats with first needs second too; add it"),
        (
            [NeedsOther, of(name="second", needs=["first"])],
            "first and second can't be: they need each other",
        ),
        ([of(), of()], "--formats has two that are called mine; leave one of them out"),
        (["onnx", OnnxFiles], "--formats has two that are called onnx"),
    ],
)
def test_what_is_no_format_is_refused_in_a_sentence(tmp_path, given, named):
    with pytest.raises(MirageError) as refused:
        export_bundle(tmp_path / "nowhere", tmp_path / "out", given)
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_line_of_another_name_is_refused(monkeypatch):
    monkeypatch.setitem(FORMATS, "yours", of())
    with pytest.raises(MirageError, match="--formats=yours has the name 'mine'; enter it in"):
        formats.chosen(["yours"])


def test_a_format_that_is_given_twice_is_exported_once():
    assert [each.name for each in formats.chosen(["onnx", "saved_model", "onnx"])] == ["saved_model", "onnx"]
    assert [each.name for each in formats.chosen("onnx,saved_model")] == ["saved_model", "onnx"]


def test_a_generator_in_memory_is_exported_as_a_run_is(run, tmp_path):
    export_bundle(str(run), str(tmp_path / "of_run"), ["onnx"])
    source = RunSource.load(run, "newest")
    export_bundle(source, tmp_path / "of_source", ["onnx"])
    for name in ("generator.onnx", "sampler.onnx", "golden.npz", "samples.png", "README.md"):
        assert (tmp_path / "of_source" / name).read_bytes() == (tmp_path / "of_run" / name).read_bytes()


def test_threads_export_at_once_what_each_exports_alone(run, tmp_path):
    other = tmp_path / "other"
    make_run(other, "mlp", seed=1)
    jobs = [(run, tmp_path / "first"), (other, tmp_path / "second")]
    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(lambda job: export_bundle(*job), jobs))
    for source, out in jobs:
        alone = tmp_path / f"{out.name}-alone"
        export_bundle(source, alone, ["onnx"])
        assert (out / "generator.onnx").read_bytes() == (alone / "generator.onnx").read_bytes()
        assert dict(verify(out))["checksums"] == "all as in the manifest"


@pytest.mark.parametrize("module", ["bundle", "parity", "model_card", "golden", "placing", "apart", "__main__"])
def test_nobody_else_knows_a_format_by_name(module):
    tree = ast.parse((ROOT / "export" / f"{module}.py").read_text())
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert constants & set(FORMATS) == set()
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert [name for name in imported if (name or "").startswith("export.formats.")] == []


def test_all_that_there_is_can_be_said_without_a_library():
    program = (
        "import sys; from absl import flags; from export.__main__ import define_flags; from export import formats\n"
        "values = flags.FlagValues(); define_flags(values); formats.chosen(formats.FORMATS)\n"
        "print(values['formats'].help); print(*sys.modules, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert all(f"{name} (" in done.stdout for name in FORMATS)
    assert {"tensorflow", "keras", "onnx", "tf2onnx"} & set(done.stderr.split()) == set()
