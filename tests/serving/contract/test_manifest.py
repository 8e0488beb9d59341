import copy
import dataclasses
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.contract.attributes import Attribute
from serving.contract.manifest import (
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
    st.tuples(st.integers(1, 999), st.integers(1, 999), st.sampled_from([1, 3, 4])),
    st.lists(st.text()),
    st.sampled_from(["premultiplied", "straight"]),
)
def test_model_info_round_trip(latent_dim, image_shape, names, alpha):
    alpha = alpha if image_shape[2] == 4 else None
    info = ModelInfo(latent_dim, image_shape, bool(names), tuple(names), alpha=alpha)
    assert parse_model_info(json.dumps(info.to_dict())) == info
    assert info.to_dict().get("alpha") == alpha


def attribute(low, high, share, number):
    return Attribute(f"a {number}", "number", low, high, min(high, max(low, low + share * (high - low))))


NUMBERS = st.floats(-1e30, 1e30, allow_subnormal=False)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, st.sampled_from([0, 0.5, 1])), max_size=4))
def test_attributes_round_trip(ranges):
    attributes = tuple(
        attribute(low, high, share, number) for number, (low, high, share) in enumerate(ranges) if low < high
    )
    info = ModelInfo(6, (8, 8, 1), bool(attributes), (), attributes=attributes)
    assert parse_model_info(json.dumps(info.to_dict())) == info
    assert info.condition == ("attributes" if attributes else "")


@pytest.mark.parametrize("values", [{}, 3, [3], [{"name": "age"}], [attribute(0, 1, 1, 1).to_dict()] * 2, None])
def test_what_is_no_list_of_attributes_is_refused(values):
    with pytest.raises(BundleError, match=r"attribute.*(expected|same name)|two attributes"):
        parse_model_info(json.dumps({**MODEL.to_dict(), "class_names": [], "attributes": values}))


def test_a_generator_takes_labels_or_attributes():
    both = {**MODEL.to_dict(), "attributes": [attribute(0, 1, 1, 1).to_dict()]}
    for wrong in (both, {**both, "class_names": [], "conditional": False}):
        with pytest.raises(BundleError, match="class_names or attributes must be given if, and only if"):
            parse_model_info(json.dumps(wrong))
    assert (MODEL.condition, "attributes" in MODEL.to_dict()) == ("label", False)


def test_of_pictures_without_alpha_nothing_is_said():
    assert "alpha" not in MODEL.to_dict()


@pytest.mark.parametrize(
    ("channels", "alpha"), [(4, None), (4, "post"), (4, True), (4, []), (1, "straight"), (3, "premultiplied"), (3, "")]
)
def test_alpha_that_does_not_go_with_the_channels_is_refused(channels, alpha):
    text = json.dumps({**MODEL.to_dict(), "image_shape": [8, 8, channels], "alpha": alpha})
    with pytest.raises(BundleError, match=r"alpha is .* and image_shape .* expected 'premultiplied' or 'straight'"):
        parse_model_info(text)


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
        ("image_shape", [8, 8, 2]),
        ("image_shape", [100000, 100000, 3]),
        ("class_names", []),
        ("class_names", [1, 2]),
        ("conditional", False),
        ("conditional", 1),
        ("seed_law", "mt19937"),
        ("seed_law", "threefry2x32-20"),
        ("latent_distribution", "cauchy"),
        ("latent_distribution", "uniform"),  # of which seeds make latents in another way
        ("latent_distribution", ["uniform"]),
        ("value_range", [0, 1]),
    ],
)
def test_values_that_no_generator_has(name, value):
    with pytest.raises(BundleError, match=r"\.$"):
        ModelInfo.from_dict({**MODEL.to_dict(), name: value})


def test_uniform_latents_have_a_seed_law_of_their_own():
    info = dataclasses.replace(MODEL, latent_distribution="uniform")
    values = info.to_dict()
    assert (values["latent_distribution"], values["seed_law"]) == ("uniform", "threefry2x32-20")
    assert ModelInfo.from_dict(values) == info
    with pytest.raises(BundleError, match="latent_distribution is 'cauchy'"):
        dataclasses.replace(MODEL, latent_distribution="cauchy")


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


@pytest.mark.parametrize(
    ("name", "said", "message"),
    [("a.bin", 2, "not have the size"), ("a.onnx", 2**42, "expected at most"), ("a.bin", None, "expected at most")],
)
def test_a_huge_file_is_not_read(tmp_path, name, said, message):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**42)
    entry = {} if said is None else {"bytes": said}
    with pytest.raises(BundleError, match=message):
        verify_file(tmp_path, parse_manifest(listing(name, **entry)), name)


@pytest.mark.parametrize(("text", "expected"), [("1", 1), ("16", 16), ("4096", 4096)])
def test_a_chunk_is_a_number(text, expected):
    assert parse_chunk(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-1", "4097", "1.5", "x", "9" * 5000, "\u0661"])
def test_other_chunks_are_refused(text):
    with pytest.raises(BundleError, match=r"mirage\.chunk"):
        parse_chunk(text)


def listing(*names, **entry):
    return json.dumps({**DOCUMENT, "files": {name: {"sha256": "00", **entry} for name in names}})


PARTS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=5) | st.sampled_from(
    [".hidden", "a b", "variables.data-00000-of-00001", "-x"]
)


@given(st.lists(PARTS, min_size=1, max_size=4).map("/".join))
def test_names_of_files_in_a_bundle(name):
    assert list(parse_manifest(listing(name)).files) == [name]


OUTSIDE = ["..", ".", "", "C:", "c:\\x", "a\\b", "\0", "a\nb", "\x7f", "\ud800", "\u202e"]


@given(st.lists(PARTS, max_size=3), st.sampled_from(OUTSIDE), st.lists(PARTS, max_size=3))
def test_names_that_lead_elsewhere_are_refused(before, wrong, after):
    with pytest.raises(BundleError, match=r"^files lists [^\n\0]+\.$"):
        parse_manifest(listing("/".join([*before, wrong, *after])))


@pytest.mark.parametrize("names", [("a/B", "a/b"), ("manifest.json",), ("MANIFEST.json",), ("stra\u00dfe", "strasse")])
def test_names_that_some_systems_take_for_one(names):
    with pytest.raises(BundleError, match="twice"):
        parse_manifest(listing(*names))


@pytest.mark.parametrize("size", [-1, 1.5, True, None, "7", 10**400])
def test_sizes(size):
    if size == 10**400:
        assert parse_manifest(listing("a", bytes=size)).sizes == {"a": size}
        return
    with pytest.raises(BundleError, match="bytes of 'a'"):
        parse_manifest(listing("a", bytes=size))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format":' * 100_000,
        "9" * 5000,
        '{"a": 1, "a": 2}',
        '{"format": "mirage-bundle", "format_version": true}',
        '{"format": "' + "x" * 10**6 + '"}',
        '"' + "x" * 2**24 + '"',
    ],
    ids=["lists", "objects", "digits", "twice", "version", "long", "huge"],
)
def test_text_that_is_no_manifest_is_one_short_sentence(text):
    with pytest.raises(BundleError, match=r"^[^\n]{,300}\.$"):
        parse_manifest(text)


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/null", "/"])
def test_a_manifest_that_is_no_file(tmp_path, target):
    (tmp_path / "manifest.json").symlink_to(target)
    with pytest.raises(BundleError, match="expected a file"):
        read_manifest(tmp_path)


def test_a_manifest_that_is_a_pipe_or_huge(tmp_path):
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(BundleError, match="a named pipe"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(BundleError, match="expected at most"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("folder", ["a\0b", "\ud800", "x" * 5000])
def test_folders_that_can_not_be(folder):
    with pytest.raises(BundleError, match=r"^[^\n]+\.$"):
        read_manifest(Path(folder))


STYLED = ModelInfo(5, (8, 8, 3), False, (), styles=(6, 8))


def test_styles_and_what_truncation_acts_upon():
    document = STYLED.to_dict()
    assert (document["styles"], document["truncation"]) == ([6, 8], "style")
    assert ModelInfo.from_dict(json.loads(json.dumps(document))) == STYLED
    plain = dataclasses.replace(STYLED, styles=None)
    assert not {"styles", "truncation"} & {*plain.to_dict()}
    assert ModelInfo.from_dict(plain.to_dict() | {"truncation": "latent"}) == plain


@pytest.mark.parametrize("styles", [[6], [6, 8, 2], [0, 8], [6, -1], [6, 8.0], [True, 8], "68", {}, [2**20, 2**20], 6])
def test_styles_that_can_not_be(styles):
    with pytest.raises(BundleError, match=r"^styles is [^\n]+\.$"):
        ModelInfo.from_dict(STYLED.to_dict() | {"styles": styles})


@pytest.mark.parametrize("changes", [{"truncation": "latent"}, {"truncation": "noise"}, {"styles": None}])
def test_truncation_that_does_not_go_with_styles(changes):
    with pytest.raises(BundleError, match=r"^truncation is [^\n]+\.$"):
        ModelInfo.from_dict(STYLED.to_dict() | changes)
