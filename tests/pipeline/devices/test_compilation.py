import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from types import SimpleNamespace

import pytest

from pipeline.base.errors import MISTAKE
from pipeline.config import Config
from pipeline.devices import compilation
from pipeline.devices.compilation import KeptCode, prepare
from tests.processes import ENVIRONMENT, ROOT, last_checkpoint


@pytest.fixture(autouse=True)
def unprepared(monkeypatch):
    """As in a process in which nothing was compiled yet."""
    monkeypatch.setattr(compilation, "_kept", None)
    monkeypatch.setitem(sys.modules, "tensorflow.python.eager.context", None)
    for name in ("XLA_FLAGS", "TF_XLA_FLAGS"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(compilation, "_gpus", list)


def again(config):
    compilation._kept = None
    for name in ("XLA_FLAGS", "TF_XLA_FLAGS"):
        os.environ[name] = ""
    return prepare(config, config.data_dir)


def made(kept):
    """As TensorFlow has made it."""
    kept.folder.mkdir(parents=True, exist_ok=True)
    return kept


def programs(kept):
    return sorted(path.name for path in kept.folder.iterdir())


def test_code_is_kept_below_data_dir(tmp_path):
    kept = prepare(Config(), str(tmp_path))
    assert kept.folder.parent == tmp_path / "compiled"
    assert os.environ["TF_XLA_FLAGS"] == (
        f'--tf_xla_persistent_cache_directory="{kept.folder}" --tf_xla_persistent_cache_read_only=false'
    )
    assert os.environ["XLA_FLAGS"] == ""
    assert kept.described() == "not kept, as TensorFlow was in use before"
    assert list(tmp_path.iterdir()) == []  # TensorFlow makes it, if it compiles something
    kept.folder.mkdir(parents=True)
    (kept.folder / "a.pb").write_bytes(b"a")
    assert kept.described() == f"kept in {kept.folder}"
    assert prepare(Config(), "elsewhere") is kept  # TensorFlow has read it


def test_the_environment_is_left_as_it_was_and_set_again_for_the_next_training(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_XLA_FLAGS")
    monkeypatch.setattr(compilation, "_gpus", lambda: ["NVIDIA H200, driver 13000"])
    before = dict(os.environ)
    seen = []
    for data_dir in (tmp_path, tmp_path / "elsewhere"):
        with compilation.prepared(Config(), str(data_dir)):
            seen.append((os.environ["XLA_FLAGS"], os.environ["TF_XLA_FLAGS"]))
        assert dict(os.environ) == before
    assert str(tmp_path / "compiled") in seen[0][1]
    assert seen[0] == seen[1]


def test_on_gpus_all_cores_compile_and_what_was_timed_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "_gpus", lambda: ["NVIDIA H200, driver 13000"])
    kept = prepare(Config(), str(tmp_path))
    assert os.environ["XLA_FLAGS"] == (
        f"--xla_gpu_force_compilation_parallelism={compilation._cores()} "
        "--xla_gpu_enable_llvm_module_compilation_parallelism=true "
        f'--xla_gpu_per_fusion_autotune_cache_dir="{kept.folder}"'
    )
    assert list(kept.folder.iterdir()) == []  # XLA makes no folder whose parent is missing


def test_what_gpus_timed_is_not_kept_where_nothing_can_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "_gpus", lambda: ["NVIDIA H200, driver 13000"])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1 << 40, 1 << 40, 1 << 20))
    prepare(Config(), str(tmp_path))
    assert "autotune" not in os.environ["XLA_FLAGS"]


def test_what_the_user_has_set_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory=mine")
    kept = prepare(Config(), str(tmp_path))
    assert os.environ["TF_XLA_FLAGS"] == "--tf_xla_persistent_cache_directory=mine"
    assert kept.described() == "kept where TF_XLA_FLAGS says"
    assert list(tmp_path.iterdir()) == []


def test_what_decides_the_code_is_in_the_folders_name(tmp_path, monkeypatch):
    config = Config(data_dir=str(tmp_path))
    folders = [again(config).folder.name]
    assert again(dataclasses.replace(config, seed=7, steps=5)).folder.name == folders[0]
    monkeypatch.setattr(compilation, "_version", lambda package: "3.0")
    folders.append(again(config).folder.name)
    monkeypatch.setattr(compilation, "_gpus", lambda: ["NVIDIA H200, driver 13000"])
    folders.append(again(config).folder.name)
    monkeypatch.setattr(compilation, "_cores", lambda: 99)
    folders.append(again(config).folder.name)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    folders.append(again(config).folder.name)
    folders.append(again(dataclasses.replace(config, deterministic=False)).folder.name)
    assert len({*folders}) == 6


def test_only_files_that_are_as_they_were_written_are_used(tmp_path):
    config = Config(data_dir=str(tmp_path))
    kept = made(prepare(config, config.data_dir))
    for name in ("whole.pb", "flipped.pb", "cut.pb", "timed.textproto"):
        (kept.folder / name).write_bytes(b"code of " + name.encode())
    kept.seal()
    (kept.folder / "flipped.pb").write_bytes(b"code of flapped.pb")
    (kept.folder / "cut.pb").write_bytes(b"")
    (kept.folder / "of_a_killed_process.pb").write_bytes(b"code")
    assert again(config).folder == kept.folder
    left = {name for name in programs(kept) if not name.endswith(".sha256")}
    assert left == {"whole.pb", "timed.textproto"}


def test_the_oldest_code_makes_room(tmp_path, monkeypatch):
    config = Config(data_dir=str(tmp_path))
    kept = made(prepare(config, config.data_dir))
    other = kept.folder.parent / "another version's"
    other.mkdir()
    for age, path in enumerate((kept.folder / "new.pb", kept.folder / "old.pb", other / "older.pb")):
        path.write_bytes(bytes(1000))
        os.utime(path, (1e9 - age, 1e9 - age))
    (other / "half.pb.tmp").write_bytes(b"1")
    os.utime(other / "half.pb.tmp", (1e9 + 1, 1e9 + 1))
    kept.seal()
    monkeypatch.setattr(compilation, "_MOST_BYTES", 2500)
    again(config)
    assert list(other.iterdir()) == []
    assert {"new.pb", "old.pb"} <= {*programs(kept)}


def test_a_folder_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    config = Config(data_dir=str(tmp_path))
    kept = made(prepare(config, config.data_dir))
    (kept.folder / "a.pb").write_bytes(b"a")
    kept.seal()

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    read = again(config)
    assert os.environ["TF_XLA_FLAGS"].endswith(" --tf_xla_persistent_cache_read_only=true")
    assert read.described() == f"not kept, as {kept.folder} can't be written"
    assert "a.pb" in programs(kept)


def test_a_full_disk_is_not_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1 << 40, 1 << 40, 1 << 20))
    kept = made(prepare(Config(), str(tmp_path)))
    assert os.environ["TF_XLA_FLAGS"].endswith(" --tf_xla_persistent_cache_read_only=true")
    (kept.folder / "a.pb").write_bytes(b"a")
    kept.seal()
    assert programs(kept) == ["a.pb"]


def test_code_that_may_be_why_a_compilation_failed_is_forgotten(tmp_path):
    kept = made(prepare(Config(), str(tmp_path)))
    (kept.folder / "a.pb").write_bytes(b"a")
    kept.forget()
    assert programs(kept) == []
    KeptCode(None).forget()
    assert again(Config(data_dir=str(tmp_path))).folder == kept.folder  # this process had compiled it


def test_what_an_earlier_process_kept_fails_once_only(tmp_path):
    config = Config(data_dir=str(tmp_path))
    kept = made(prepare(config, config.data_dir))
    (kept.folder / "a.pb").write_bytes(b"a")
    kept.seal()
    again(config).forget(for_good=False)  # the disk is full
    assert again(config).folder == kept.folder
    (kept.folder / "a.pb").write_bytes(b"a")
    kept.seal()
    again(config).forget()
    assert not (kept.folder / "a.pb").exists()
    refused = again(config)
    assert (refused.folder, os.environ["TF_XLA_FLAGS"]) == (None, "")
    assert refused.described() == f"not kept, as TensorFlow failed with what was; to try again, remove {kept.folder}"
    shutil.rmtree(kept.folder)
    assert again(config).folder == kept.folder


@pytest.mark.parametrize("name", ['with "quotes"', "two  blanks", "back\\slash"])
def test_a_folder_that_xla_would_misread_is_not_used(tmp_path, name):
    kept = prepare(Config(), str(tmp_path / name))
    assert kept.folder is None
    assert kept.described().startswith("not kept, as XLA takes no folder with such a name: ")
    assert os.environ["TF_XLA_FLAGS"] == ""


def test_where_there_can_be_no_folder_training_goes_on(tmp_path):
    (tmp_path / "file").touch()
    kept = prepare(Config(), str(tmp_path / "file"))
    assert kept.folder is None
    assert kept.described().startswith("not kept (")
    kept.seal()


def test_when_tensorflow_was_started_before_nothing_is_set(tmp_path, monkeypatch):
    started = SimpleNamespace(context=lambda: SimpleNamespace(_context_handle=object()))
    monkeypatch.setitem(sys.modules, "tensorflow.python.eager.context", started)
    assert prepare(Config(), str(tmp_path)) == KeptCode(None, "not kept, as TensorFlow was in use before")
    assert os.environ["TF_XLA_FLAGS"] == ""


def train(run_dir, data_dir, *more, **environment):
    command = [sys.executable, "-m", "pipeline", "--model=mlp", "--latent_dim=4", "--batch_size=4", "--steps=6"]
    command += ["--log_every=2", "--jit=on", f"--run_dir={run_dir}", f"--data_dir={data_dir}", *more]
    env = {**ENVIRONMENT, "XLA_FLAGS": "", "TF_XLA_FLAGS": "", **environment}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def same(one, other):
    mine, theirs = last_checkpoint(one), last_checkpoint(other)
    return mine.keys() == theirs.keys() and all((mine[name] == theirs[name]).all() for name in mine)


def test_a_second_process_finds_what_the_first_compiled_to_the_same_bits(tmp_path, image_folder):
    dataset, data_dir = f"--dataset=folder:{image_folder()}", tmp_path / "with a blank"
    first = train(tmp_path / "first", data_dir, dataset)
    (path,) = (data_dir / "compiled").glob("*/*.pb")
    assert f"; compiled code is kept in {path.parent}\n" in first.stdout
    written = path.stat()
    train(tmp_path / "second", data_dir, dataset)
    assert path.stat().st_mtime_ns == written.st_mtime_ns  # TensorFlow writes what it had to compile
    assert [*(data_dir / "compiled").glob("*/*.pb")] == [path]
    assert same(tmp_path / "first", tmp_path / "second")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    train(tmp_path / "third", data_dir, dataset)
    assert path.stat().st_size == written.st_size
    assert same(tmp_path / "first", tmp_path / "third")
    with_none = train(
        tmp_path / "fourth", tmp_path / "other", dataset, TF_XLA_FLAGS="--tf_xla_persistent_cache_directory="
    )
    assert "compiled code is kept where TF_XLA_FLAGS says" in with_none.stdout
    assert same(tmp_path / "first", tmp_path / "fourth")


def test_code_that_cannot_be_written_is_told_in_one_sentence(tmp_path, image_folder):
    command = ["bash", "-c", 'ulimit -f 40; exec "$@"', "bash", sys.executable, "-m", "pipeline", "--model=mlp"]
    command += ["--latent_dim=4", "--batch_size=4", "--steps=6", "--jit=on", f"--dataset=folder:{image_folder()}"]
    command += [f"--run_dir={tmp_path / 'run'}", f"--data_dir={tmp_path / 'data'}"]
    env = {**ENVIRONMENT, "XLA_FLAGS": "", "TF_XLA_FLAGS": ""}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240)
    assert result.returncode == MISTAKE, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert re.search(r"error: compiled code can't be kept in .*; free some space, or set TF_XLA_FLAGS=", result.stderr)


@pytest.mark.slow
def test_two_processes_at_once_do_not_disturb_each_other(tmp_path, image_folder):
    from concurrent.futures import ThreadPoolExecutor

    dataset, data_dir = f"--dataset=folder:{image_folder()}", tmp_path / "data"
    for _ in range(3):
        with ThreadPoolExecutor() as pool:
            runs = [tmp_path / json.dumps(index) for index in range(3)]
            [*pool.map(lambda run: train(run, data_dir, dataset), runs)]
        assert same(runs[0], runs[1])
        assert same(runs[0], runs[2])
        for run in runs:
            shutil.rmtree(run)


OPTIONS = """
import sys
from pipeline.devices import compilation
from pipeline.config import Config
from pipeline.base.errors import MISTAKE
compilation._gpus = lambda: ["a GPU"]
kept = compilation.prepare(Config(), sys.argv[1])
import tensorflow as tf
assert tf.function(lambda x: x + 1, jit_compile=True)(tf.ones([2])).numpy().tolist() == [2, 2]
print(kept.described())
"""


def test_tensorflow_knows_every_option_that_is_set(tmp_path):
    # It ends the process if it doesn't.
    command = [sys.executable, "-c", OPTIONS, str(tmp_path)]
    env = {**ENVIRONMENT, "XLA_FLAGS": "", "TF_XLA_FLAGS": ""}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert re.match(r"kept in .*/compiled/\w{16}\n", result.stdout)
