"""Any ONNX network that takes images describes them; what does not fit is refused in a sentence."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.metric_inputs import pictures
from pipeline.base.errors import MirageError
from pipeline.metrics.extractor import make_extractor
from pipeline.metrics.names import check_extractor

IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))


@pytest.fixture
def file(tmp_path):
    """Writes a network of one node: the mean over both sides of images, or what is asked for."""

    def write(shape=("n", 3, "h", "w"), kind="mean", metadata=(), output=None, inputs=1, dtype=TensorProto.FLOAT):
        images = [helper.make_tensor_value_info(f"images{i}", dtype, shape) for i in range(inputs)]
        axes = [2, 3] if shape[1] == 3 else [1, 2]
        if kind == "mean":
            node = helper.make_node("ReduceMean", ["images0"], ["features"], axes=axes, keepdims=0)
        elif kind == "tokens":  # one token for each row: the first is that of the first row
            node = helper.make_node("ReduceMean", ["images0"], ["features"], axes=[2], keepdims=0)
        else:
            node = helper.make_node(kind, ["images0"], ["features"])
        made = helper.make_tensor_value_info("features", TensorProto.FLOAT, output or [shape[0], 3])
        graph = helper.make_graph([node], "network", images, [made])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        helper.set_model_props(model, dict(metadata))
        path = tmp_path / "dino.onnx"
        onnx.save(model, path)
        return str(path)

    return write


def described(text, images):
    return make_extractor(text, labelled=None)(images).features


def expected(images, mean, std):
    return (images.astype(np.float64).mean(axis=(1, 2)) / 255 - mean) / std


@pytest.mark.parametrize("shape", [("n", 3, "h", "w"), ("n", "h", "w", 3), (4, 3, 32, 32), ("n", 32, 32, 3)])
def test_images_get_to_the_network_as_it_wants_them(file, shape):
    images = pictures(5, 32)
    path = file(shape)
    extractor = make_extractor(path, labelled=None)
    assert (extractor.name, extractor.title) == ("dino.onnx", "dino.onnx")
    assert "mean" in extractor.facts
    # Resizing keeps the mean of an image about as it was.
    np.testing.assert_allclose(extractor(images).features, expected(images, *IMAGENET), atol=0.05)
    plain = described(f"{path}(mean=0,std=1)", images)
    np.testing.assert_allclose(plain, expected(images, 0, 1), atol=0.01)
    other = described(f"{path}(mean=(0.5,0.4,0.3),std=(0.2,0.3,0.4))", images)
    np.testing.assert_allclose(other, (plain - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4], atol=1e-4)


def test_grey_images_and_any_number_of_them(file):
    path = file()
    images = pictures(20, 28, 1)
    together = described(path, images)
    assert together.shape == (20, 3)
    assert together.dtype == np.float32
    np.testing.assert_array_equal(described(path, images[17:]), together[17:])


def test_the_file_itself_says_what_it_wants_and_brackets_overrule_it(file):
    path = file(metadata={"mean": "0", "std": "(1,1,1)", "size": "32", "unrelated": "((("})
    extractor = make_extractor(path, labelled=None)
    assert extractor.facts["resize"] == "bicubic, antialiased, to 32 pixels"
    images = pictures(2, 32)
    np.testing.assert_allclose(extractor(images).features, expected(images, 0, 1), atol=1e-5)
    assert make_extractor(f"{path}(size=48)", labelled=None).facts["resize"].endswith("48 pixels")


def test_of_tokens_the_first_is_taken(file):
    path = file(("n", 32, 32, 3), "tokens", output=["n", 32, 3])
    images = pictures(3, 32)
    first = images[:, 0].astype(np.float64).mean(axis=1) / 255
    np.testing.assert_allclose(described(f"{path}(mean=0,std=1)", images), first, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "arguments", "sentence"),
    [
        ({"inputs": 2}, "", "takes images0 .*, images1 .*; expected one input, float32"),
        ({"shape": ("n", 1, "h", "w")}, "", r"expected one input, float32 \[n, 3, H, W\]"),
        ({"dtype": TensorProto.UINT8}, "", "can't be run|expected one input, float32"),
        ({"shape": ("n", 3, 32, 48)}, "", "takes images of 32 by 48 pixels"),
        ({"shape": ("n", 3, 32, 32)}, "(size=64)", "takes images of 32 by 32 pixels, which size=64"),
        ({}, "(size=0)", "which size=0"),
        ({}, "(size=big)", "which size=big"),
        ({}, "(std=0)", "has std=0; expected a number other than 0, or three of them"),
        ({}, "(mean=(1,2))", r"has mean=\(1, 2\); expected a number, or three of them"),
        ({}, "(scale=2)", "says scale, which is not known; choose from mean, std, size, output"),
        ({}, "(mean=1,)2)", "can't be understood"),
        ({}, "(output=pooled)", "has no output pooled, only features"),
        (
            {"kind": "Relu", "output": ["n", 3, "h", "w"]},
            "",
            r"gives features of shape \[16, 3, 224, 224\] for 16 images",
        ),
        ({"kind": "Size"}, "", "can't be run|gives features"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(file, options, arguments, sentence):
    with pytest.raises(MirageError, match=sentence) as caught:
        described(file(**options) + arguments, pictures(2, 32))
    assert "\n" not in str(caught.value)


def test_other_files_are_told_in_a_sentence(tmp_path):
    for name, content, sentence in (("none", None, "No such file"), ("bad", b"no network", "can't be run")):
        path = tmp_path / f"{name}.onnx"
        if content:
            path.write_bytes(content)
        with pytest.raises(MirageError, match=sentence) as caught:
            make_extractor(str(path), labelled=None)
        assert "\n" not in str(caught.value)


def test_flags_know_onnx_files_by_their_ending():
    check_extractor("nets/dino.onnx")
    check_extractor("C:/nets/dino.onnx(mean=(0,0,0))")
    for wrong in ("dino.onnx(mean=0", "dino.onnx2", "onnx"):
        with pytest.raises(MirageError, match=r"or a file\.onnx, or give package"):
            check_extractor(wrong)
