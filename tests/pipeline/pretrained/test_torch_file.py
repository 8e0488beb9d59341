"""Files of torch.save are read without PyTorch, and hostile ones are refused in a sentence, without harm."""

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.base.errors import MirageError
from pipeline.pretrained.torch_file import read_tensors
from tests.pipeline.pretrained.torch_files import Called, Module, legacy, pickled, tensor, zipped

A = np.arange(12, dtype=np.float32).reshape(3, 4)
B = np.arange(5, dtype=np.int64)
GOOD = {"a.weight": tensor("0", A), "b": tensor("1", B), "epoch": 3, "rate": 0.5, "name": "x", "more": [None, True]}


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return path

    return write


def refusal(path):
    with pytest.raises(MirageError) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path} ")
    return str(caught.value)


def attempt(path):
    """What is read, and what is said where it is refused."""
    try:
        return read_tensors(path), ""
    except MirageError as error:
        return {}, str(error)


@pytest.mark.parametrize("form", [legacy, zipped])
def test_tensors_are_read_by_name(file, form):
    found = read_tensors(file(form(GOOD)))
    assert [*found] == ["a.weight", "b"]
    np.testing.assert_array_equal(found["a.weight"], A)
    np.testing.assert_array_equal(found["b"], B)
    assert (found["a.weight"].dtype, found["b"].dtype) == (A.dtype, B.dtype)
    assert not found["b"].flags.writeable


@pytest.mark.parametrize("form", [legacy, zipped])
def test_parts_transposed_and_empty_tensors_of_any_type_are_read(file, form):
    half, flags = A.astype(np.float16), np.array([1, 0], np.uint8)
    found = read_tensors(
        file(
            form(
                [
                    {"turned": tensor("0", A, shape=(4, 3), strides=(1, 4))},
                    tensor("0", A, offset=4, shape=(2,), strides=(3,)),
                    (tensor("1", half), tensor("2", flags)),
                    Called("torch._utils", "_rebuild_parameter", tensor("3", A[:1]), True, {}),
                    Called("collections", "OrderedDict", [["scalar", tensor("4", A[:1, :1], shape=(), strides=())]]),
                    tensor("5", A[:0]),
                ]
            )
        )
    )
    assert [*found] == ["0.turned", "1", "2.0", "2.1", "3", "4.scalar", "5"]
    np.testing.assert_array_equal(found["0.turned"], A.T)
    np.testing.assert_array_equal(found["1"], [4, 7])
    np.testing.assert_array_equal(found["2.0"], half)
    assert found["4.scalar"].shape == ()
    assert found["5"].shape == (0, 4)


def test_files_that_pytorch_wrote_are_read():
    folder = Path(__file__).parent.parent / "metrics" / "golden"  # by benchmarks/metric_peers.py
    for name in ("zipped.pth", "legacy.pth"):
        found = read_tensors(folder / name)
        assert [*found] == ["a.weight", "b", "turned"]
        np.testing.assert_array_equal(found["a.weight"], A)
        np.testing.assert_array_equal(found["b"], B)
        np.testing.assert_array_equal(found["turned"], np.arange(6).reshape(2, 3).T)
    script = read_tensors(folder / "script.pt")
    np.testing.assert_array_equal(script["conv.weight"].ravel(), [0, 1])
    np.testing.assert_array_equal(script["conv.bias"], [3, 4])


def test_modules_of_torchscript_are_read_and_their_code_is_left_alone(file):
    shared = Module("Conv", weight=tensor("0", A), stride=[1, 1], training=False)
    network = Module("Net", layers=Module("Sequential", conv=shared, other=Module("Conv", weight=tensor("1", B))))
    content = zipped(
        network, "inception-2015-12-05", **{"code/__torch__.py": b"raise SystemExit", "constants.pkl": b")."}
    )
    found = read_tensors(file(content))
    assert [*found] == ["layers.conv.weight", "layers.other.weight"]


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (Called("os", "system", "touch harmed"), "asks for os.system, and nothing but tensors is read"),
        (Called("torch.nn.modules.conv", "Conv2d"), "asks for torch.nn.modules.conv.Conv2d"),
        (Called("builtins", "eval", "1"), "asks for builtins.eval"),
        (Called("collections", "OrderedDict", 3), "is damaged at byte"),
        (tensor("0", A, shape=(3, 5), strides=(5, 1)), "reaches beyond the end of its storage 0"),
        (tensor("0", A, shape=(3, 4), strides=(5, 1)), "reaches beyond the end of its storage 0"),
        (tensor("0", A, offset=1), "reaches beyond the end of its storage 0"),
        (tensor("0", A, shape=(10**12,), strides=(0,)), "reaches beyond the end of its storage 0"),
        (tensor("0", A, shape=(2**61, 2**61), strides=(0, 0)), "reaches beyond the end of its storage 0"),
        (tensor("0", A, offset=-1), "place, shape or strides are no whole numbers"),
        (tensor("0", A, strides=(-4, 1)), "place, shape or strides are no whole numbers"),
        (tensor("0", A, shape=(3, 4, 1)), "place, shape or strides are no whole numbers"),
        (tensor("0", A, shape=(3, 2**70), strides=(1, 1)), "place, shape or strides are no whole numbers"),
        (tensor("0", A, shape=(1,) * 70, strides=(2**61,) * 70), "that NumPy can't hold"),
        (tensor("0", A, kind="BFloat16Storage"), "numbers of the type torch.BFloat16Storage, which is not known"),
        (tensor("0", A, count=10**12), "(has a storage 0 of another size|announces more numbers)"),
        (tensor("0", A, count=11), "reaches beyond|has a storage 0 of another size"),
        ([tensor("0", A), tensor("0", A, kind="DoubleStorage")], "has a storage 0 of two types or sizes"),
        (Called("torch._utils", "_rebuild_tensor_v2", 1, 0, (), ()), "place, shape or strides are no whole numbers"),
        ({(1, 2): 3}, "keys are neither text nor numbers"),
    ],
)
@pytest.mark.parametrize("form", [legacy, zipped])
def test_what_a_file_must_not_ask_for_is_named(file, tmp_path, monkeypatch, form, thing, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MirageError, match=sentence) as caught:
        read_tensors(file(form({"x": thing})))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_pickles_of_others_run_nothing(file, tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    harmful = pickle.dumps({"x": Harmful()}, protocol)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("archive/data.pkl", harmful)
    said = refusal(file(archive.getvalue()))
    assert "asks for posix.system" in said or "has the instruction" in said
    assert "is no file of torch.save" in refusal(file(harmful))
    assert not (tmp_path / "harmed").exists()


def test_levels_without_end_are_refused(file):
    # A tree of 2 to the power of 200 leaves, if it were one.
    pickle_of_it = b"\x80\x02]q\x00" + b"".join(b"](h\x00h\x00e" + b"q\x00" for _ in range(200)) + b"."
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("archive/data.pkl", pickle_of_it)
    assert "more than 100 levels" in refusal(file(archive.getvalue()))
    endless = b"\x80\x02]q\x00h\x00a."  # a list that holds itself
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("archive/data.pkl", endless)
    assert read_tensors(file(archive.getvalue())) == {}


def test_archives_that_announce_more_than_they_hold_are_refused(file):
    def archive(compression=zipfile.ZIP_STORED, **members):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", compression) as written:
            for name, data in members.items():
                written.writestr(name.replace("_", "/", 1).replace("DATA", "data/"), data)
        return content.getvalue()

    bomb = archive(zipfile.ZIP_DEFLATED, **{"a_data.pkl": pickled({}), "a_DATA0": bytes(10**6)})
    assert read_tensors(file(bomb)) == {}  # nothing refers to it
    zeros = np.zeros(250_000, np.float32)
    asked = {"a_data.pkl": pickled({"x": tensor("0", zeros)}), "a_DATA0": bytes(10**6)}
    assert "announces more" in refusal(file(archive(zipfile.ZIP_DEFLATED, **asked)))
    assert "lacks a/data/0" in refusal(file(archive(**{"a_data.pkl": asked["a_data.pkl"], "pad_x": bytes(10**6)})))
    outside = {"a_data.pkl": pickled({"x": tensor("../../etc/passwd", A)})}
    assert "lacks a/data/../../etc/passwd" in refusal(file(archive(**outside)))
    assert "without a data.pkl" in refusal(file(archive(model_x=b"")))
    assert "another order of bytes" in refusal(file(archive(**{"a_data.pkl": pickled({}), "a_byteorder": b"big"})))


def test_what_is_no_file_of_tensors_is_refused(file, tmp_path):
    assert "can't be read (No such file or directory)" in refusal(tmp_path / "none.pth")
    assert "can't be read (Is a directory)" in refusal(tmp_path)
    assert "can't be read (it is empty)" in refusal(file(b""))
    assert "is no file of torch.save" in refusal(file(b"\x89HDF\r\n\x1a\n"))
    assert "not known" in refusal(file(b"".join(pickled(each) for each in (0x1950A86A20F9469CFC6C, 1002, {}))))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("form", [legacy, zipped])
def test_damaged_files_are_refused_or_read_as_what_they_hold(file, form, data):
    content = bytearray(form(GOOD))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = file(bytes(content))
    found, said = attempt(path)
    assert "\n" not in said
    assert sum(each.nbytes for each in found.values()) <= 10 * len(content)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=60))
def test_any_pickle_is_refused_or_harmless(file, body):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as members:
        members.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
    found, said = attempt(file(archive.getvalue()))
    assert found == {}
    assert "\n" not in said
