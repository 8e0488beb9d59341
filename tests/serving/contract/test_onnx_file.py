"""Damaged and hostile model files are refused before onnxruntime sees them."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from serving.contract.manifest import BundleError
from serving.contract.onnx_file import SEAL_KEY, check_onnx_file, seal


def sealed(model):
    return seal(model.SerializeToString())


def test_a_seal_is_metadata_that_onnx_reads(build_model, conditional):
    model = build_model(conditional)
    data = sealed(model)
    check_onnx_file(data)
    read = onnx.load_from_string(data)
    assert {entry.key for entry in read.metadata_props} == {entry.key for entry in model.metadata_props} | {SEAL_KEY}
    assert read.graph == model.graph


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_change_breaks_the_seal(data):
    content = seal(b"\x08\x08" * 20)
    place = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BundleError, match="seal"):
        check_onnx_file(bytes(changed))
    with pytest.raises(BundleError, match="seal"):
        check_onnx_file(content[:place])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b":\x00")  # a graph of nothing
@example(b":\x00" + 8 * b"\x00")
def test_sealed_nonsense_is_one_sentence(data):
    assume(b":" not in data or data.count(b"\n") == 0)  # which might be a graph with an operator, by chance
    with pytest.raises(BundleError, match=r"^[^\n]+\.$"):
        check_onnx_file(seal(data))


def external_data(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../secret"


def other_domain(model):
    model.opset_import.append(helper.make_opsetid("com.evil", 1))


def node_of_other_domain(model):
    model.graph.node[0].domain = "com.evil"


def functions(model):
    model.functions.add().name = "f"


def loop(model):
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["never"], body=body))


def sparse(model):
    model.graph.sparse_initializer.add()


def huge(model):
    tensor = TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[2**20, 2**20])
    model.graph.initializer.append(tensor)


def many_dimensions(model):
    tensor = TensorProto(name="many", data_type=TensorProto.FLOAT, dims=[2**62] * 40_000)
    model.graph.initializer.append(tensor)


def short(model):
    model.graph.initializer[0].dims[0] += 1


def hidden_in_an_attribute(model):
    tensor = numpy_helper.from_array(np.ones(3, np.float32))
    tensor.dims[0] = 7
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def no_graph(model):
    model.ClearField("graph")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (external_data, "another file"),
        (other_domain, r"com\.evil"),
        (node_of_other_domain, r"com\.evil"),
        (functions, "functions"),
        (loop, "loops"),
        (sparse, "sparse"),
        (huge, "too large"),
        (many_dimensions, "more than 64 dimensions"),
        (short, "do not fit"),
        (hidden_in_an_attribute, "do not fit"),
        (no_graph, "0 graphs"),
    ],
)
def test_what_no_generator_needs_is_refused(build_model, conditional, damage, named):
    model = build_model(conditional)
    check_onnx_file(sealed(model))
    damage(model)
    with pytest.raises(BundleError, match=named):
        check_onnx_file(sealed(model))


# Loads mutated bundles in a process of its own, which a crash would end.
_FUZZ = """
import json, pathlib, random, sys
from serving import BundleError, Generator

folder, count, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
random = random.Random(seed)
originals = {name: (folder / name).read_bytes() for name in ("generator.onnx", "manifest.json")}
before = sorted(path.name for path in folder.rglob("*"))
outcomes = {"refused": 0, "loaded": 0}
for number in range(count):
    name = random.choice(sorted(originals))
    data = bytearray(originals[name])
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        place = random.randrange(len(data))
        change = random.randrange(5)
        if change == 0:
            data[place] = random.randrange(256)
        elif change == 1:
            data[place] ^= 1 << random.randrange(8)
        elif change == 2:
            del data[place : place + random.choice((1, 4, 1000))]
        elif change == 3:
            data[place:place] = random.randbytes(random.choice((1, 4, 100)))
        else:
            data[place : place + 8] = b"\\xff" * 8
        if not data:
            data = bytearray(b"{")
    (folder / name).write_bytes(data)
    # A single file has no manifest that would tell.
    target = folder / name if name == "generator.onnx" and random.random() < 0.5 else folder
    try:
        Generator.load(target, threads=1).sample(1)
        outcomes["loaded"] += 1
        assert bytes(data) == originals[name] or name == "manifest.json", number
    except BundleError as error:
        assert str(error) and "\\n" not in str(error), (number, str(error))
        outcomes["refused"] += 1
    (folder / name).write_bytes(originals[name])
assert sorted(path.name for path in folder.rglob("*")) == before
print(json.dumps(outcomes))
"""


def fuzz(folder, count, seed):
    command = [sys.executable, "-c", _FUZZ, str(folder), str(count), str(seed)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutated_bundles_never_crash_nor_write(write_bundle, conditional, count, repeats):
    count = repeats(count)
    outcomes = fuzz(write_bundle(conditional), count, seed=count)
    assert sum(outcomes.values()) == count
    assert outcomes["refused"] > 0.8 * count
