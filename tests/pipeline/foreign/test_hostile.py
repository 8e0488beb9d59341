"""Files that are damaged, or made to do harm, are refused in a sentence each: nothing runs, nothing is written."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.foreign import apart
from pipeline.foreign.files import open_network
from pipeline.foreign.network import Opening
from tests import foreign_networks as made
from tests import hostile_keras, hostile_models, hostile_onnx

FILES = {
    **hostile_keras.KERAS,
    **hostile_onnx.ONNX,
    **hostile_models.SAVED_MODELS,
    **hostile_models.LITERT,
    **hostile_models.OTHERS,
}
MARKS = {
    # TensorFlow asks for memory for ten seconds.
    "kernel.keras": pytest.mark.slow,
    "large": pytest.mark.slow,
    # They end a process that took seconds to start.
    "endless": pytest.mark.slow,
    "endless.tflite": pytest.mark.slow,
    "endless.onnx": pytest.mark.own_process,
    "endless.h5": pytest.mark.own_process,
}


def harm():
    """What files would have written by what they hold."""
    return [path for name in ("harm", "mirage_harm*", "escaped.txt") for path in Path("/tmp").glob(name)]


def is_sentence(text):
    return text.isprintable() and len(text) <= 1000 and (text.endswith(".") or len(text) == 1000)


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(name, ())) for name in FILES])
def test_each_is_refused_in_a_sentence(tmp_path, monkeypatch, name):
    write, said = FILES[name]
    if "endless" in name:
        monkeypatch.setattr(apart, "COMPUTING_S", 2)
    write(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MirageError, match=said) as caught:
        open_network(tmp_path / name, Opening())
    assert is_sentence(str(caught.value))
    assert sorted(tmp_path.rglob("*")) == before
    assert harm() == []


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    made.save_onnx(tmp_path / "theirs.onnx")

    def refuse(self, mode):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MirageError, match=r"can't be read \(Permission denied\)"):
        open_network(tmp_path / "theirs.onnx", Opening())


@pytest.mark.own_process
def test_in_a_process_of_its_own(tmp_path):
    """As users have it: not in a process that tests keep."""
    FILES["resize.onnx"][0](tmp_path / "large.onnx")
    with pytest.raises(MirageError, match="being computed takes it far more memory"):
        open_network(tmp_path / "large.onnx", Opening())
    made.save_onnx(tmp_path / "good.onnx")
    assert open_network(tmp_path / "good.onnx", Opening()).inputs[0].shape == (None, 7, 1, 1)


@pytest.mark.parametrize(
    ("exchange", "said"),
    [
        (apart.Exchange([], -11, "Fatal Python error"), r"ended by SIGSEGV when it is opened \(Fatal Python error\)"),
        (
            apart.Exchange(['{"phase": "computed"}'], -6, ""),
            r"ended by SIGABRT when it is computed \(it said nothing\)",
        ),
        (apart.Exchange([], -6, "terminate called\nstd::bad_alloc"), "being opened takes it far more memory"),
        (apart.Exchange([], -14, ""), "being opened takes it longer than 300 s"),
        (apart.Exchange(['{"phase": "computed"}'], -14, ""), "being computed takes it longer than 60 s"),
    ],
)
def test_what_ends_the_process_that_reads_a_file_is_a_sentence(tmp_path, monkeypatch, exchange, said):
    made.save_onnx(tmp_path / "theirs.onnx")
    monkeypatch.setattr(apart, "exchange", lambda worker, order: exchange)
    with pytest.raises(MirageError, match=said) as caught:
        open_network(tmp_path / "theirs.onnx", Opening())
    assert is_sentence(str(caught.value))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A saved network of each kind."""
    folder = tmp_path_factory.mktemp("good")
    made.sequential().save(folder / "theirs.keras")
    made.conditional().save(folder / "theirs.h5")
    made.save_onnx(folder / "theirs.onnx")
    made.save_litert(folder / "theirs.tflite")
    made.save_module(folder / "module")
    return folder


PARTS = {
    "theirs.keras": ["", "config.json", "model.weights.h5"],
    "theirs.h5": [""],
    "theirs.onnx": [""],
    "theirs.tflite": [""],
    "module": ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
}


def damaged(content, rng):
    """Cuts it off somewhere, or changes a few bytes."""
    content = bytearray(content)
    if rng.integers(3) == 0:
        return bytes(content[: rng.integers(len(content))])
    for _ in range(rng.integers(1, 6)):
        content[rng.integers(len(content))] = rng.integers(256)
    return bytes(content)


def write_damaged(source, part, target, rng):
    """Writes a network of which a part is damaged; checksums of zip files are right nevertheless."""
    if source.is_dir():
        shutil.copytree(source, target)
        (target / part).write_bytes(damaged((source / part).read_bytes(), rng))
    elif part:
        with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as changed:
            for name in archive.namelist():
                content = archive.read(name)
                changed.writestr(name, damaged(content, rng) if name == part else content)
    else:
        target.write_bytes(damaged(source.read_bytes(), rng))


def opens_or_is_refused(good, folder, name, rounds):
    rng = np.random.default_rng(7)
    for place in range(rounds):
        target = folder / f"{place}_{name}"
        write_damaged(good / name, PARTS[name][place % len(PARTS[name])], target, rng)
        try:
            open_network(target, Opening())
            said = "."
        except MirageError as error:
            said = str(error)
        assert is_sentence(said), said


@pytest.mark.parametrize("name", PARTS)
def test_what_is_damaged_anywhere_opens_or_is_refused_in_a_sentence(good, tmp_path, name):
    opens_or_is_refused(good, tmp_path, name, 9)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARTS)
def test_what_is_damaged_anywhere_often(good, tmp_path, name, repeats):
    opens_or_is_refused(good, tmp_path, name, repeats(150))
