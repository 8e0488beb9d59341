"""The command line of an edge machine."""

import os
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from PIL import Image

from serving import Generator, sample
from serving.contract import png
from serving.contract.latents import latents
from serving.contract.manifest import ModelInfo
from tests.processes import ROOT


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


def test_pictures_with_alpha_stay_transparent(call, icons, tmp_path):
    out = tmp_path / "grid.png"
    assert call(f"--bundle={icons}", "--n=4", f"--out={out}")[1].startswith(f"{out}: 4 images of 8x12")
    with Image.open(out) as sheet:
        assert (sheet.mode, sheet.size) == ("RGBA", (2 * 14 + 2, 2 * 10 + 2))
        np.testing.assert_array_equal(np.asarray(sheet), png.grid(Generator.load(icons).sample(4), 2))


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
        (["--label=\u00b2", "--out=a.png"], "label '\u00b2'"),
        (["--label=--1", "--out=a.png"], "label '--1'"),
        (["--truncation=1e39", "--out=a.png"], "truncation is 1e+39"),
        (["--seed=9223372036854775807", "--out=a.png"], "int64"),
        (["--bundle=/dev/zero", "--out=a.png"], "/dev/zero"),
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


@pytest.mark.parametrize(("label", "expected"), [("2", "2"), ("0", "10"), ("33", "33")])
def test_a_number_that_is_a_name_means_its_class(call, write_bundle, tmp_path, label, expected):
    bundle = write_bundle(ModelInfo(6, (8, 8, 1), True, ("10", "2", "33")))
    assert call(f"--bundle={bundle}", "--n=1", f"--label={label}", f"--out={tmp_path}/a.png")[0] == 0
    with Image.open(tmp_path / "a.png") as picture:
        drawn = np.asarray(picture)[2:10, 2:10]
    np.testing.assert_array_equal(drawn, Generator.load(bundle).sample(1, labels=expected)[0, ..., 0])


def test_a_path_that_the_terminal_can_not_show(write_bundle, conditional, tmp_path):
    out = tmp_path / os.fsdecode(b"\xff\xc3\xa9.png")
    command = [sys.executable, "-m", "serving.sample", f"--bundle={write_bundle(conditional)}", f"--out={out}"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert out.exists()


@pytest.mark.parametrize("redirected", ["| true", ">/dev/full", ">&-", ">&- 2>&- <&-"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_sheet_is_written_whoever_takes_the_output(write_bundle, conditional, tmp_path, redirected, unbuffered):
    out = tmp_path / "a.png"
    line = f'"$0" -m serving.sample "$1" "$2" {redirected}; exit ${{PIPESTATUS[0]}}'
    command = ["bash", "-c", line, sys.executable, f"--bundle={write_bundle(conditional)}", f"--out={out}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert out.exists()


def test_a_sheet_larger_than_memory(call, write_bundle, conditional, tmp_path, monkeypatch):
    def grid(images, columns):
        raise MemoryError

    monkeypatch.setattr(png, "grid", grid)
    status, _, error = call(f"--bundle={write_bundle(conditional)}", "--n=9", f"--out={tmp_path}/a.png")
    assert (status, error) == (1, "error: a sheet of --n=9 images is larger than memory; ask for fewer.\n")


def test_attributes_choose_the_pictures(call, faces, tmp_path):
    out, generator = tmp_path / "grid.png", Generator.load(faces)
    assert call(f"--bundle={faces}", "--n=4", "--attributes=male=1,age=30", "--seed=3", f"--out={out}")[0] == 0
    expected = png.grid(generator.sample(4, 3, attributes={"male": 1, "age": 30}), 2)[..., 0]
    with Image.open(out) as sheet:
        np.testing.assert_array_equal(np.asarray(sheet), expected)


def test_a_walk_has_a_seed_for_each_row(call, faces, tmp_path):
    out, generator = tmp_path / "grid.png", Generator.load(faces)
    flags_ = [f"--bundle={faces}", "--n=8", "--columns=3", "--seed=-2", "--truncation=0.5", f"--out={out}"]
    status, told, _ = call(*flags_, "--attributes=age=16..80,male=1")
    assert status == 0
    assert "8 images of 8x8, seeds -2 to 0, " in told
    ages, places = [16, 48, 80], np.arange(8)
    z = latents(places // 3 - 2, 6) * np.float32(0.5)
    images = generator.decode(z, attributes={"male": 1, "age": [ages[place % 3] for place in places]})
    with Image.open(out) as sheet:
        np.testing.assert_array_equal(np.asarray(sheet), png.grid(images, 3)[..., 0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--attributes=age=90"], "attribute 'age' is 90; expected a number from 16 to 80."),
        (["--attributes=age=16..90"], "attribute 'age' is 90; expected a number from 16 to 80."),
        (["--attributes=beard=1"], "there is no attribute 'beard'; there are male, smiling, age."),
        (["--attributes=age"], "attributes ends with 'age'; expected a name, = and a number"),
        (["--attributes="], "attributes ends with ''"),
        (["--label=1"], "labels were passed, but this generator takes attributes"),
        (["--attributes=age=16..80", "--seed=9223372036854775807"], "seed is 9223372036854775807; expected at most"),
    ],
)
def test_mistakes_with_attributes_are_one_sentence(call, faces, tmp_path, arguments, said):
    status, _, error = call(f"--bundle={faces}", *arguments, f"--out={tmp_path}/a.png")
    assert (status, error.count("\n")) == (1, 1)
    assert said in error
    assert not list(tmp_path.iterdir())


def test_attributes_of_a_generator_without_are_refused(call, digits, tmp_path):
    status, _, error = call(f"--bundle={digits}", "--attributes=age=30", f"--out={tmp_path}/a.png")
    assert (status, error) == (1, "error: attributes were passed, but this generator takes labels; leave them out.\n")


def test_truncation_draws_styles_towards_their_mean(call, styled, tmp_path):
    out, generator = tmp_path / "grid.png", Generator.load(styled)
    status, _, _ = call(f"--bundle={styled}", "--n=3", "--label=1", "--truncation=0.5", f"--out={out}")
    assert status == 0
    images = generator.synthesise(generator.map(seeds=range(3), labels=1, truncation=0.5))
    with Image.open(out) as sheet:
        np.testing.assert_array_equal(np.asarray(sheet), png.grid(images, 2)[..., 0])
