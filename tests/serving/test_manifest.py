import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.manifest import (
    BundleError,
    ModelInfo,
    parse_chunk,
    parse_manifest,
    parse_model_info,
    read_manifest,
    verify_file,
)

MODEL = ModelInfo(6, (8, 8, 1), True, ("cat", "dog"))
DOCUMENT = {
    "format": "mirage-bundle",
    "format_version": 1,
    "producer": "mirage-gan 0.1.0",
    "model": MODEL.to_dict(),
    "files": {"generator.onnx": {"sha256": "00", "bytes": 1}},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.integers(1, 9999),
    st.tuples(st.integers(1, 999), st.integers(1, 999), st.sampled_from([1, 3])),
    st.lists(st.text()),
)
def test_model_info_round_trip(latent_dim, image_shape, names):
    info = ModelInfo(latent_dim, image_shape, bool(names), tuple(names))
    assert parse_model_info(json.dumps(info.to_dict())) == info


def test_a_manifest_is_read():
    manifest = parse_manifest(json.dumps(DOCUMENT))
    assert manifest.model == MODEL
    assert manifest.files == {"generator.onnx": "00"}
    assert manifest.producer == "mirage-gan 0.1.0"


@given(st.text() | JSON.map(json.dumps))
def test_whatever_is_no_manifest_is_refused(text):
    with pytest.raises(BundleError):
        parse_manifest(text)


@given(st.sampled_from(["format", "format_version", "files", *(f"model/{name}" for name in MODEL.to_dict())]), JSON)
def test_one_wrong_value_is_refused_or_valid(path, value):
    document = copy.deepcopy(DOCUMENT)
    *parents, last = path.split("/")
    target = document[parents[0]] if parents else document
    target[last] = value
    try:
        manifest = parse_manifest(json.dumps(document))
    except BundleError:
        return
    # What is accepted must be a description that round-trips.
    assert ModelInfo.from_dict(manifest.model.to_dict()) == manifest.model


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latent_dim", 0),
        ("latent_dim", 1.5),
        ("latent_dim", True),
        ("image_shape", [8, 8]),
        ("image_shape", [8, 8, 4]),
        ("image_shape", [100000, 100000, 3]),
        ("class_names", []),
        ("class_names", [1, 2]),
        ("conditional", False),
        ("conditional", 1),
        ("seed_law", "mt19937"),
        ("value_range", [0, 1]),
    ],
)
def test_values_that_no_generator_has(name, value):
    with pytest.raises(BundleError, match=r"\.$"):
        ModelInfo.from_dict({**MODEL.to_dict(), name: value})


def test_read_manifest_names_what_is_wrong(tmp_path):
    with pytest.raises(BundleError, match="is no bundle"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe")
    with pytest.raises(BundleError, match="can't be read"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        read_manifest(tmp_path)


def test_verify_file(tmp_path):
    manifest = parse_manifest(json.dumps(DOCUMENT))
    with pytest.raises(BundleError, match="lists no other"):
        verify_file(tmp_path, manifest, "other")
    with pytest.raises(BundleError, match="can't be read"):
        verify_file(tmp_path, manifest, "generator.onnx")
    (tmp_path / "generator.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match="checksum"):
        verify_file(tmp_path, manifest, "generator.onnx")


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("16", 16), ("4096", 4096)])
def test_a_chunk_is_a_number(text, expected):
    assert parse_chunk(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "4097", "1.5", "x", "9" * 5000, "\u0661"])
def test_other_chunks_are_refused(text):
    with pytest.raises(BundleError, match=r"mirage\.chunk"):
        parse_chunk(text)
