import dataclasses
import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.runs.run_file import ema_counts_batches, read_decided_jit, read_run, write_run

DATA = DataSpec("shapes", "1.0.0", (16, 16, 1), ("round", "square"), 20)


@pytest.mark.parametrize("field", dataclasses.fields(Config), ids=lambda field: field.name)
def test_every_field_can_become_a_flag(field):
    assert type(field.default) in (str, int, float, bool)
    assert field.metadata["help"].endswith(".")


def test_defaults_are_valid():
    Config().validate()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"batch_size": 0}, "--batch_size=0"),
        ({"steps": -1}, "--steps=-1"),
        ({"learning_rate": float("nan")}, "--learning_rate=nan"),
        ({"beta_1": 1.0}, "--beta_1=1.0"),
        ({"seed": 2**31}, "--seed=2147483648"),
        ({"model": "transformer"}, "--model=transformer"),
        ({"objective": "gan"}, "--objective=gan"),
        ({"dataset": ""}, "--dataset="),
        ({"dataset": "folder:"}, "--dataset=folder:"),
        ({"dataset": "stacked:"}, "--dataset=stacked:"),
        ({"dataset": "mnist", "skip_bad_images": True}, "--skip_bad_images does not go with --dataset=mnist"),
        ({"dataset": "stacked:folder:"}, "--dataset=stacked:folder:"),
        ({"image_size": 2**14, "model": "mlp"}, "--image_size=16384"),
        ({"run_dir": ""}, "--run_dir="),
        ({"objective": "r3gan", "d_batches": "split"}, "--d_batches=split"),
        ({"objective": "nsgan", "d_batches": "split", "batch_size": 33}, "--batch_size=33"),
        ({"strategy": "one_device", "virtual_devices": 2}, "--virtual_devices=2"),
        ({"model": "dcgan", "image_size": 8}, "--image_size=8"),
        ({"model": "dcgan", "image_size": 256}, "--image_size=256"),
        ({"keep_best": True}, "--keep_best"),
        ({"objective": "nsgan", "d_batches": "split", "d_steps": 2}, "--d_steps=2"),
        ({"objective": "nsgan", "d_batches": "split", "gp": 1.0}, "--gp=1.0"),
        ({"objective": "vae", "r1": 1.0}, "--r1=1.0"),
        ({"objective": "autoencoder", "d_steps": 2}, "--d_steps=2"),
        ({"objective": "vae", "conditional": True, "conditioning": "acgan"}, "--conditioning=acgan"),
        ({"objective": "sgan", "conditional": True}, "--conditional"),
        ({"objective": "sgan", "r2": 1.0}, "--r2=1.0"),
        ({"conditioning": "projection"}, "--conditioning=projection"),
        ({"conditional": True, "conditioning": "projection,film"}, "--conditioning=projection,film"),
        ({"conditional": True, "conditioning": ""}, "--conditioning="),
        ({"objective": "r3gan", "r1": 1.0}, "--r1"),
        ({"augment": "blur"}, "--augment=blur"),
        ({"augment": "color", "objective": "vae"}, "--augment=color"),
        ({"augment_adaptive": True}, "--augment_adaptive"),
        ({"augment_adaptive": True, "augment": "color", "objective": "wgan_gp"}, "--augment_adaptive"),
        ({"augment": "bgc,geom"}, "--augment=bgc,geom names geom twice"),
        ({"augment": "bgc:2"}, "--augment=bgc:2 has '2' after bgc"),
        ({"augment": "bgc:half"}, "--augment=bgc:half has 'half' after bgc"),
        ({"augment": "bgc:"}, "--augment=bgc: has '' after bgc"),
        ({"augment": "bgc", "augment_p": 1.5}, "--augment_p=1.5 is too large"),
        ({"augment_scheduled": True, "schedule_images": 9}, "--augment_scheduled needs something"),
        ({"augment_scheduled": True, "augment": "bgc"}, "--augment_scheduled=True needs to know over how many images"),
        (
            {"augment_scheduled": True, "augment": "bgc", "augment_adaptive": True, "schedule_images": 9},
            "--augment_scheduled does not go with --augment_adaptive",
        ),
        ({"augment_adaptive_images": -1}, "--augment_adaptive_images=-1"),
        ({"codes": 2, "objective": "vae"}, "--codes=2"),
        ({"categories": 10, "objective": "sgan"}, "--categories=10"),
        ({"categories": 3, "objective": "nsgan", "d_batches": "split"}, "--categories=3"),
        ({"categories": 1}, "--categories=1"),
        ({"categories": 10, "codes": 2, "latent_dim": 11}, "--categories=10 and --codes=2"),
        ({"spectral_norm": True, "model": "resnet"}, "--spectral_norm"),
        ({"spectral_norm": True, "objective": "autoencoder"}, "--spectral_norm"),
    ],
)
def test_refuses_what_cannot_work_naming_the_flag(changes, named):
    with pytest.raises(MirageError, match="^" + named):
        Config(**changes).validate()


@given(
    st.builds(
        Config,
        dataset=st.text(),
        batch_size=st.integers(),
        learning_rate=st.floats(allow_nan=False),
        conditional=st.booleans(),
    )
)
def test_json_round_trip(config):
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("values", [{"no_such_flag": 1}, {"batch_size": "64"}, {"conditional": 1}])
def test_from_dict_refuses_a_wrong_document(values):
    with pytest.raises(MirageError, match=next(iter(values))):
        Config.from_dict(values)


def test_only_what_matters_keeps_a_run_from_continuing():
    earlier = Config()
    now = dataclasses.replace(earlier, steps=99, log_every=7, run_dir="elsewhere", batch_size=32)
    assert now.changes_from(earlier) == [("batch_size", 64, 32)]


def test_run_round_trip(tmp_path):
    config = Config(batch_size=8)
    write_run(tmp_path, config, DATA)
    assert read_run(tmp_path) == (config, DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_read_run_says_that_there_is_none(tmp_path):
    with pytest.raises(MirageError, match="holds no training run"):
        read_run(tmp_path / "nothing")


def document(**changes):
    return json.dumps({"config": {}, "data": DATA.to_dict()} | changes)


BAD_FILES = {
    "": "Expecting value",
    "{": "Expecting property name",
    "[]": "it has no 'config'",
    "{}": "it has no 'config'",
    "\0" * 50: "Expecting value",
    b"\xff": "can't decode byte",
    "[" * 100_000: "nested too deeply",
    '{"config": {}, "data": 3}': "it has no 'data'",
    '{"config": {"steps": null}, "data": {}}': "'steps' is None; expected int",
    document(config=[]): "it has no 'config'",
    document(config={"latent_dim": -5}): "--latent_dim=-5 is too small",
    document(config={"gamma": math.nan}): "--gamma=nan is too small",
    document(config={"of tomorrow": 1}): "unknown field 'of tomorrow'",
    document(data={}): "is damaged",
    document(data={**DATA.to_dict(), "image_shape": [8, 8]}): "images of shape",
    document(data={**DATA.to_dict(), "image_shape": ["8", 8, 1]}): "images of shape",
    document(data={**DATA.to_dict(), "num_examples": -1}): "-1 in number",
    document(data={**DATA.to_dict(), "class_names": "ab"}): "no list of names",
    document(data={**DATA.to_dict(), "class_names": [1]}): "no list of names",
}


@pytest.mark.parametrize(("content", "reason"), BAD_FILES.items(), ids=range(len(BAD_FILES)))
def test_read_run_says_what_is_wrong_with_the_file(tmp_path, content, reason):
    path = tmp_path / "config.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(MirageError, match=re.escape(reason)) as error:
        read_run(tmp_path)
    assert str(path) in str(error.value)
    assert read_decided_jit(tmp_path) is None


def test_a_field_that_a_run_of_long_ago_does_not_have_is_the_default(tmp_path):
    (tmp_path / "config.json").write_text(document(config={"batch_size": 8}))
    assert read_run(tmp_path) == (Config(batch_size=8), DATA)


def test_read_run_says_that_the_file_cannot_be_read(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(MirageError, match="can't be read"):
        read_run(tmp_path)


def test_the_images_of_ema_images_keep_their_meaning(tmp_path):
    assert not ema_counts_batches(tmp_path)  # a new run
    write_run(tmp_path, Config(), DATA)
    assert not ema_counts_batches(tmp_path)
    write_run(tmp_path, Config(), DATA, ema_counts_batches=True)
    assert ema_counts_batches(tmp_path)
    before = Path(__file__).with_name("config_of_before.json").read_text()
    (tmp_path / "config.json").write_text(before)
    assert ema_counts_batches(tmp_path)
    config, data = read_run(tmp_path)
    assert (config.d_steps, config.extractor, data.num_examples, data.fingerprint) == (2, "auto", 12, "")
