"""Somebody's generator whose second input is several numbers."""

import numpy as np
import onnx
import pytest
from absl import flags

from export import __main__ as command
from export import verify
from export.adoption import options
from export.adoption.meaning import Asked
from export.adoption.source import AdoptedSource
from export.closeness import closeness
from export.rewrites.layouts import session_of
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Opening
from serving import Generator
from serving.contract.attributes import Attribute
from serving.contract.latents import latents
from serving.contract.pixels import to_pixels
from tests import foreign_networks
from tests.export.attributed import FACES, network

SAID = "--attributes=male,long,year:1901:1999:1950.5"


def run(*arguments):
    values = flags.FlagValues()
    command.define_flags(values)
    return command.main(values, values(["export", *arguments]))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("theirs") / "theirs.keras"
    model = network(FACES)
    model.save(path)
    return path, model


def test_it_becomes_a_bundle_that_takes_attributes(saved, tmp_path, capsys):
    path, model = saved
    assert run(f"--generator={path}", f"--out={tmp_path / 'out'}", SAID) == 0, capsys.readouterr().err
    assert "attributes   male, long, year; by --attributes" in capsys.readouterr().out
    generator = Generator.load(tmp_path / "out")
    assert generator.attributes == (
        Attribute("male", "binary", 0, 1, 0),
        Attribute("long", "binary", 0, 1, 0),
        Attribute("year", "number", 1901, 1999, 1950.5),
    )
    values = np.array([[0, 1, 1950.5], [1, 0, 1901], [1, 1, 1999]], np.float32)
    expected = to_pixels(model([latents(range(3), 6), values]).numpy())
    assert closeness(generator.sample(3, attributes=values), expected).same
    assert verify.main(["verify", str(tmp_path / "out")]) == 0
    for wrong in ([0, 0, 1900], [2, 0, 1950], [0, np.nan, 1950]):
        with pytest.raises(Exception, match="out of data bounds"):
            generator.images(latents([0], 6), np.array([wrong], np.float32))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--attributes=male,year:1901:1999"],
            "--attributes names 2, but label float32 [N, 3] doesn't take [N, 2] floats.",
        ),
        (["--attributes=a,b,c", "--classes=3"], "--attributes and classes are two things"),
        (["--attributes=a,b,c", "--class_names=x,y,z"], "--attributes and classes are two things"),
        (["--attributes=a,b,a"], "--attributes=a,b,a has a name twice"),
        (
            ["--attributes=a:1"],
            "--attributes=a:1 can't be read; expected a name, name:low:high or name:low:high:typical.",
        ),
        (["--attributes=a:1:0"], "--attributes=a:1:0 can't be read"),
        (["--attributes=a:0:1:2"], "--attributes=a:0:1:2 can't be read"),
        (["--attributes=a:0:1:0:0"], "--attributes=a:0:1:0:0 can't be read"),
        (["--attributes=a:x:1"], "--attributes=a:x:1 can't be read"),
        (["--attributes=a,,b"], "--attributes= can't be read"),
    ],
)
def test_what_does_not_go_is_said(saved, tmp_path, capsys, arguments, said):
    assert run(f"--generator={saved[0]}", f"--out={tmp_path / 'out'}", *arguments) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_of_a_generator_that_takes_none_they_are_refused(tmp_path, capsys):
    path = tmp_path / "theirs.keras"
    foreign_networks.sequential().save(path)
    assert run(f"--generator={path}", f"--out={tmp_path / 'out'}", "--attributes=male") == 1
    assert "--attributes is given, but no input takes them" in capsys.readouterr().err
    assert run("--run_dir=nowhere", f"--out={tmp_path / 'out'}", "--attributes=male") == 1
    assert "--attributes goes with --generator only; leave it out." in capsys.readouterr().err


def test_what_is_typical_may_be_left_out():
    assert options._attributes("age:16:80")[0].typical == 48
    assert options._attributes("age:16:80:30")[0].typical == 30


def test_an_onnx_file_becomes_one_too(saved, tmp_path, capsys):
    graph = AdoptedSource(open_network(saved[0], Opening()), "", "", Asked(attributes=FACES)).plain
    onnx.save(graph, tmp_path / "theirs.onnx")
    assert run(f"--generator={tmp_path / 'theirs.onnx'}", f"--out={tmp_path / 'out'}", SAID) == 0, (
        capsys.readouterr().err
    )
    values = np.array([[0, 1, 1950.5], [1, 0, 1901]], np.float32)
    expected = to_pixels(saved[1]([latents(range(2), 6), values]).numpy())
    assert closeness(Generator.load(tmp_path / "out").sample(2, attributes=values), expected).same
    assert session_of(onnx.load(tmp_path / "out" / "sampler.onnx")).get_inputs()[1].name == "attributes"
