"""Which models a server has."""

import shutil

import numpy as np
import pytest

from serving.manifest import BundleError
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


def test_int8_where_there_is_none(digits):
    with pytest.raises(BundleError, match="export it again with --formats=onnx,int8"):
        load([str(digits)], None, "int8")
