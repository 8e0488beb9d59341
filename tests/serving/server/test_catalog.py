"""Which models a server has."""

import os
import shutil

import numpy as np
import pytest

from serving.contract.manifest import BundleError
from serving.generator import Generator
from serving.server.catalog import load


def test_the_first_bundle_has_the_short_names(digits, flags_bundle):
    catalog = load([str(digits), f"two={flags_bundle}"], None, "float32")
    assert set(catalog.models) == {
        "generator",
        "sampler",
        "digits-generator",
        "digits-sampler",
        "two-generator",
        "two-sampler",
    }
    assert catalog.model("sampler", None).bundle.name == "digits"
    assert catalog.bundle().name == "digits"
    assert catalog.bundle("two").generator.info.conditional is False
    assert catalog.bundle("x") is catalog.model("x", None) is None


def test_models_say_what_they_take(digits, flags_bundle):
    catalog = load([str(digits), str(flags_bundle)], None, "float32")
    sampler, generator = catalog.model("sampler", None), catalog.model("flags-generator", "1")
    assert [spec.to_dict() for spec in (*sampler.inputs, *sampler.outputs)] == [
        {"name": "seed", "datatype": "INT64", "shape": [-1]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "truncation", "datatype": "FP32", "shape": []},
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, 8, 8, 1]},
    ]
    assert [spec.to_dict() for spec in (*generator.inputs, *generator.outputs)] == [
        {"name": "z", "datatype": "FP32", "shape": [-1, 5]},
        {"name": "image", "datatype": "FP32", "shape": [-1, 8, 8, 3]},
    ]


def test_a_repository_has_versions(digits, flags_bundle, tmp_path):
    for version, bundle in (("2", digits), ("10", flags_bundle), ("draft", digits)):
        shutil.copytree(bundle, tmp_path / "pictures" / version)
    (tmp_path / "README.md").write_text("not a model")
    catalog = load([], tmp_path, "float32")
    assert list(catalog.models["pictures-sampler"]) == ["2", "10"]
    assert catalog.model("sampler", None).bundle.version == "10"
    assert catalog.model("sampler", "2").bundle.generator.info.conditional
    assert catalog.model("sampler", "3") is None


def test_a_file_alone_is_a_bundle(digits):
    catalog = load([str(digits / "generator.onnx")], None, "float32")
    assert catalog.names == ("generator",)
    assert np.array_equal(
        catalog.bundle().generator.sample(3), load([str(digits)], None, "float32").bundle().generator.sample(3)
    )


def test_a_folder_may_be_called_like_a_file(digits, tmp_path):
    (tmp_path / "digits.onnx").symlink_to(digits)
    bundle = load([str(tmp_path / "digits.onnx")], None, "float32").bundle()
    assert bundle.digest == load([str(digits)], None, "float32").bundle().digest == bundle.generator.seal[:16]
    assert bundle.digest.encode() in (digits / "generator.onnx").read_bytes()


def test_digests_tell_files_apart(digits, flags_bundle):
    bundles = load([str(digits), f"other={flags_bundle}"], None, "float32")
    assert bundles.bundle("digits").digest != bundles.bundle("other").digest


@pytest.mark.parametrize(
    ("bundles", "message"),
    [
        ([], "there is nothing to serve"),
        (["nowhere"], "nowhere is no bundle"),
        (["a b=x"], "gives the name 'a b'"),
        (["{digits}", "{digits}"], "two bundles are called digits; pass --bundle=NAME="),
    ],
)
def test_what_cannot_be_served(digits, bundles, message):
    with pytest.raises(BundleError, match=message):
        load([text.format(digits=digits) for text in bundles], None, "float32")


def test_what_is_no_repository(tmp_path):
    with pytest.raises(BundleError, match="is no folder"):
        load([], tmp_path / "x", "float32")
    with pytest.raises(BundleError, match="has no bundles; expected"):
        load([], tmp_path, "float32")


def repository(folder, digits, broken):
    """One good bundle among broken ones; `broken` damages a copy."""
    for name in ("a", "b"):
        shutil.copytree(digits, folder / name / "1")
    broken(folder / "a" / "1")
    return folder


def remove_the_manifest(path):
    (path / "manifest.json").unlink()


def remove_the_model(path):
    (path / "generator.onnx").unlink()


def cut_the_model(path):
    os.truncate(path / "generator.onnx", 100)


def write_no_text(path):
    (path / "manifest.json").write_bytes(b"\xff\xfe{}")


def write_deep_json(path):
    (path / "manifest.json").write_text("[" * 100_000)


def write_a_list(path):
    (path / "manifest.json").write_text('{"files": [], "model": 3}')


def replace_by_nothing(path):
    shutil.rmtree(path)
    path.mkdir()


def link_to_nowhere(path):
    (path / "generator.onnx").unlink()
    (path / "generator.onnx").symlink_to(path / "nowhere")


@pytest.mark.parametrize(
    "broken",
    [
        remove_the_manifest,
        remove_the_model,
        cut_the_model,
        write_no_text,
        write_deep_json,
        write_a_list,
        replace_by_nothing,
        link_to_nowhere,
    ],
)
def test_a_broken_bundle_of_a_repository_is_left_out(digits, tmp_path, broken):
    catalog = load([], repository(tmp_path, digits, broken), "float32")
    assert catalog.names == ("b",)
    assert len(catalog.left_out) == 1
    assert str(tmp_path / "a" / "1") in catalog.left_out[0]
    assert "\n" not in catalog.left_out[0]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("two\nlines"),
        MemoryError(),
        RecursionError("deep"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "no"),
        OSError(5, "I/O"),
    ],
)
def test_whatever_a_bundle_raises_is_a_sentence(digits, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(Generator, "load", fail)
    with pytest.raises(BundleError, match=rf"^{digits} can't be loaded \({type(error).__name__}: [^\n]+\); export it"):
        load([str(digits)], None, "float32")


def test_what_is_ignored_in_a_repository_and_what_is_named(digits, tmp_path):
    shutil.copytree(digits, tmp_path / "good" / "1")
    shutil.copytree(digits, tmp_path / "flat")
    shutil.copytree(digits, tmp_path / "bad name" / "1")
    shutil.copytree(digits, tmp_path / "bad\nname" / "1")
    shutil.copytree(digits, tmp_path / ".hidden" / "1")
    shutil.copytree(digits, tmp_path / "good" / "2.tmp")
    (tmp_path / "file").write_text("x")
    (tmp_path / "good" / "3").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    found = load([], tmp_path, "float32")
    assert found.names == ("good",)
    assert list(found.models["sampler"]) == ["1"]
    assert found.left_out == (
        f"'{tmp_path}/bad\\nname' has a name that can't be served; expected letters, digits, '_', '.' and '-'.",
        f"{tmp_path}/bad name has a name that can't be served; expected letters, digits, '_', '.' and '-'.",
        f"{tmp_path}/flat is a bundle without a version; move it into a folder 1 there.",
    )


def test_a_repository_without_a_good_bundle(digits, tmp_path):
    folder = repository(tmp_path, digits, remove_the_model)
    remove_the_manifest(tmp_path / "b" / "1")
    with pytest.raises(BundleError, match=r"has no bundles that can be served \(and 1 more like it\): .*/a/1"):
        load([], folder, "float32")
    assert load([str(digits)], folder, "float32").names == ("digits",)


def test_a_broken_bundle_of_a_flag_is_an_error(digits, tmp_path):
    folder = repository(tmp_path, digits, remove_the_model)
    with pytest.raises(BundleError, match="is no bundle"):
        load([f"x={tmp_path}"], folder, "float32")


def test_int8_where_there_is_none(digits):
    with pytest.raises(BundleError, match="export it again with --formats=onnx,int8"):
        load([str(digits)], None, "int8")
