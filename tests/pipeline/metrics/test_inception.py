"""The network of 2015 says what pytorch-fid, torch-fidelity and clean-fid say, whatever file its weights come from."""

import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from benchmarks.metric_inputs import inception_weights, pictures
from pipeline.base.errors import MirageError
from pipeline.metrics import inception_weights as files
from pipeline.metrics.extractor import make_extractor
from pipeline.metrics.frechet import frechet_distance
from pipeline.metrics.inception import Inception
from pipeline.metrics.inception_network import layers
from pipeline.metrics.inception_weights import fetch, find_weights, read_weights
from tests.pipeline.pretrained.torch_files import Module, legacy, tensor, zipped

GOLDEN = np.load(Path(__file__).parent / "golden" / "inception.npz")  # by benchmarks/metric_peers.py
LAYERS = {torch: (tensorflow, shape) for torch, tensorflow, shape in layers()}
NAMES = ("inception", "inception_pytorch", "inception_clean")


@pytest.fixture(scope="module")
def arrays():
    return inception_weights({name: shape for name, (_, shape) in LAYERS.items()})


@pytest.fixture(scope="module")
def pth(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    path.write_bytes(legacy({name: tensor(name, array) for name, array in arrays.items()}))
    return path


def of_weights(name, path):
    return make_extractor(name, labelled=None, weights=str(path))


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_other_packages(pth, name):
    extractor = of_weights(name, pth)
    assert extractor.name == name
    assert extractor.facts["weights"] == hashlib.sha256(pth.read_bytes()).hexdigest()[:8]
    for what in (each for each in GOLDEN.files if each.startswith(f"{name},") and "distance" not in each):
        described = extractor(pictures(*map(int, what.split(",")[1:]))).features
        assert described.shape[1] == 2048
        some = described[:, :: 2048 // GOLDEN[what].shape[1]]
        np.testing.assert_allclose(some, GOLDEN[what], atol=1e-4 * np.abs(GOLDEN[what]).max())


def test_two_packages_agree_on_the_resizing_of_papers():
    for what in (each for each in GOLDEN.files if each.startswith("inception,")):
        other = GOLDEN[what.replace("inception,", "legacy,")]
        np.testing.assert_allclose(other, GOLDEN[what], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_distances_are_those_of_other_packages(pth, name):
    extractor = of_weights(name, pth)
    a, b = (extractor(pictures(24, 32, 3, seed)).features for seed in (10, 11))
    assert frechet_distance(a, b) == pytest.approx(float(GOLDEN[f"{name},distance"]), rel=1e-3)


def as_graph(arrays, **changes):
    """The original graph's constants, as protobuf."""
    graph = tf.compat.v1.GraphDef()

    def add(name, array):
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(changes.get(name.replace("/", "_"), tf.make_tensor_proto(array)))

    for torch, (name, _) in LAYERS.items():
        add(f"{name}/conv2d_params", arrays[f"{torch}.conv.weight"].transpose(2, 3, 1, 0))
        for ours, theirs in (("gamma", "weight"), ("beta", "bias"), ("moving_mean", "running_mean")):
            add(f"{name}/batchnorm/{ours}", arrays[f"{torch}.bn.{theirs}"])
        add(f"{name}/batchnorm/moving_variance", arrays[f"{torch}.bn.running_var"])
    return graph.SerializeToString()


def as_script(arrays, mean="mean", gamma=True):
    """The form of StyleGAN3's TorchScript: modules within one another, called as in the graph."""
    root = {}
    for torch, (name, _) in LAYERS.items():
        *above, last = name.split("/")
        place = root
        for part in above:
            place = place.setdefault(part, {})
        names = {"weight": "conv.weight", mean: "bn.running_mean", "var": "bn.running_var", "beta": "bn.bias"}
        names |= {"gamma": "bn.weight"} if gamma else {}
        place[last] = {ours: tensor(f"{torch}.{each}", arrays[f"{torch}.{each}"]) for ours, each in names.items()}

    def module(parts):
        return Module("M", **{name: module(part) if isinstance(part, dict) else part for name, part in parts.items()})

    return zipped(Module("Net", layers=module(root), output=Module("Linear")))


def as_archive(arrays):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=0) as archive:
        for name, content in (("LICENSE", b"free"), ("./classify_image_graph_def.pb", as_graph(arrays))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def as_torch(arrays):
    return zipped({name: tensor(name, array) for name, array in arrays.items()})


@pytest.fixture(scope="module")
def known(pth):
    return read_weights(pth)


@pytest.mark.parametrize("form", [as_torch, as_graph, as_script, as_archive])
def test_every_file_that_people_have_gives_the_same_weights(arrays, known, tmp_path, form):
    path = tmp_path / "weights"
    path.write_bytes(form(arrays))
    read = read_weights(path)
    assert [*read] == [*known] == [*LAYERS]
    for name in LAYERS:
        for part in ("kernel", "gamma", "beta", "mean", "variance"):
            np.testing.assert_array_equal(getattr(read[name], part), getattr(known[name], part))


def test_a_script_without_scale_has_ones(arrays, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(as_script(arrays, mean="running_mean", gamma=False))
    assert all((each.gamma == 1).all() for each in read_weights(path).values())


def without_graph():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("other.pb"))
    return file.getvalue()


def refusal(path):
    with pytest.raises(MirageError) as caught:
        of_weights("inception", path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"--inception_weights={path} ")
    return str(caught.value)


def test_other_files_are_refused_with_the_reason(arrays, tmp_path):
    assert "is no file; expected pt_inception" in refusal(tmp_path / "none.pth")
    path = tmp_path / "weights"

    def said(content):
        path.write_bytes(content)
        return refusal(path)

    assert "holds weights of Keras, whose InceptionV3 is another network" in said(b"\x89HDF\r\n\x1a\n")
    assert "is no file of weights that is known, or damaged" in said(b"no weights")
    assert "lacks conv/conv2d_params, so it is of another network" in said(b"")
    assert "lacks Conv2d_1a_3x3.conv.weight" in said(zipped({"x": tensor("0", np.zeros(3, np.float32))}))
    first = {**arrays, "Conv2d_1a_3x3.conv.weight": np.zeros((3, 3), np.float32)}
    assert "of shape [3, 3] instead of [32, 3, 3, 3]" in said(as_torch(first))
    shape = tf.TensorShape([10**6, 10**6, 10**6, 1]).as_proto()
    huge = tf.make_tensor_proto(np.float32(1))
    huge.tensor_shape.CopyFrom(shape)
    assert "has conv/conv2d_params of another shape" in said(as_graph(arrays, conv_conv2d_params=huge))
    assert "is a damaged archive" in said(b"\x1f\x8b" + bytes(100))
    assert "is an archive without classify_image_graph_def.pb" in said(without_graph())


def test_nothing_is_fetched_without_permission(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fetch", lambda *_: pytest.fail("fetched"))
    with pytest.raises(MirageError, match=r"pass --inception_weights= with .*, or --download to fetch them"):
        Inception(data_dir=str(tmp_path))
    kept = tmp_path / "extractors" / "pt_inception-2015-12-05-6726825d.pth"
    kept.parent.mkdir()
    kept.write_text("x")
    assert find_weights("", str(tmp_path), download=True) == kept


@pytest.fixture
def server():
    """Serves `content`, or what its path says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(404 if "missing" in self.path else 200)
            self.send_header("Content-Length", "7" if "cut" not in self.path else "9")
            self.end_headers()
            self.wfile.write(b"weights")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_file_is_fetched_once_its_hash_is_right(tmp_path, server, capsys):
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    path = tmp_path / "below" / "weights.pth"
    for url, begin, sentence in (
        (server, "00000000", f"begins with {digits} instead of 00000000; fetch it elsewhere and pass"),
        (f"{server}/missing", digits, "can't fetch .*Not Found"),
        (f"{server}/cut", digits, "can't fetch .*"),
        ("http://127.0.0.1:1", digits, r"can't fetch .*refused"),
    ):
        with pytest.raises(MirageError, match=sentence) as caught:
            fetch(url, path, begin)
        assert "\n" not in str(caught.value)
        assert not path.parent.exists()
    fetch(server, path, digits)
    assert path.read_bytes() == b"weights"
    assert [*path.parent.iterdir()] == [path]
    (tmp_path / "file").write_text("x")
    with pytest.raises(MirageError, match=r"can't be kept in .*; pass --data_dir="):
        fetch(server, tmp_path / "file" / "weights.pth", digits)
    assert f"fetching {server} ..." in capsys.readouterr().out
