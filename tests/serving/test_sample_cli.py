"""The command line of an edge machine."""

import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from PIL import Image

from serving import Generator, sample


@pytest.fixture
def call(capsys):
    """Calls the command line in this process; returns (exit status, stdout, stderr)."""

    def call(*arguments):
        values = flags.FlagValues()
        sample.define_flags(values)
        status = sample.main(values, values(["sample", *arguments]))
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_writes_the_grid(call, write_bundle, conditional, tmp_path):
    bundle, out = write_bundle(conditional), tmp_path / "grid.png"
    status, printed, _ = call(f"--bundle={bundle}", "--n=4", "--label=dog", "--seed=3", f"--out={out}", "--columns=2")
    assert status == 0
    assert "4 images of 8x8, seeds 3 to 6" in printed
    picture = np.asarray(Image.open(out))
    assert picture.shape == (22, 22)
    expected = Generator.load(bundle).sample(4, seed=3, labels=1)[..., 0]
    np.testing.assert_array_equal(picture[2:10, 12:20], expected[1])
    np.testing.assert_array_equal(picture[12:20, 2:10], expected[2])


def test_classes_take_turns_in_columns(call, write_bundle, conditional, tmp_path):
    assert call(f"--bundle={write_bundle(conditional)}", "--n=6", f"--out={tmp_path}/a.png")[0] == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (32, 22)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--bundle=nowhere", "--out=a.png"], "nowhere"),
        (["--out=a.jpg"], "--out=a.jpg"),
        (["--out=missing/a.png"], "--out=missing/a.png"),
        (["--label=cow", "--out=a.png"], "cow"),
        (["--label=3", "--out=a.png"], "label 3"),
        (["stray", "--out=a.png"], "stray"),
    ],
)
def test_mistakes_are_one_sentence(call, write_bundle, conditional, tmp_path, monkeypatch, arguments, named):
    bundle = write_bundle(conditional)
    monkeypatch.chdir(tmp_path)
    status, _, error = call(f"--bundle={bundle}", *arguments)
    assert status == 1
    assert error.startswith("error: ")
    assert named in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.png"))


def test_edge_process_loads_no_tensorflow(write_bundle, unconditional, tmp_path):
    code = (
        "import sys; from serving import Generator; "
        f"print(Generator.load({str(write_bundle(unconditional))!r}).sample(2, seed=7).sum()); "
        "print([name for name in ('tensorflow', 'keras', 'onnx', 'tf2onnx', 'PIL') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total, loaded = result.stdout.splitlines()
    assert int(total) == Generator.load(write_bundle(unconditional)).sample(2, seed=7).sum(dtype=int)
    assert loaded == "[]"
