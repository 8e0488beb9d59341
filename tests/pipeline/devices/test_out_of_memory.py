import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from absl import flags

from pipeline import compare, evaluate
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.config import Config
from pipeline.devices.out_of_memory import out_of_memory, ran_out
from pipeline.evaluation import callback
from pipeline.evaluation.scoring import Evaluation
from pipeline.runs.place import writing
from pipeline.runs.preview import Preview
from pipeline.training import trainer
from tests.experiments import train
from tests.processes import ENVIRONMENT, ROOT, saved

FLAGS = ("--batch_size", "--accumulate", "--precision", "--device_data_mb")


def exhausted(text="OOM when allocating tensor with shape[64,64] and type float on /device:GPU:0 by allocator bfc"):
    return tf.errors.ResourceExhaustedError(None, None, text)


def raising(error):
    def call(*arguments, **named):
        raise error

    return call


@pytest.mark.parametrize(
    "error",
    [
        exhausted(
            "{{function_node f}} OOM when allocating tensor with shape[2] on /job:localhost/replica:0/task:0/device"
        ),
        exhausted("Out of memory while trying to allocate 8589934592 bytes."),
        exhausted("Failed to allocate request for 1.00GiB (1073741824B) on device ordinal 0"),
        tf.errors.InternalError(
            None, None, "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes [Op:f]"
        ),
        tf.errors.InternalError(None, None, "CUDA error: Failed to allocate: CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        tf.errors.InternalError(None, None, "Failed copying input tensor to GPU:0: Dst tensor is not initialized."),
        tf.errors.InternalError(None, None, "Failed to create cublas handle: CUBLAS_STATUS_NOT_INITIALIZED"),
        tf.errors.UnknownError(None, None, "Graph execution error:\n\nCUDNN_STATUS_ALLOC_FAILED\nin x.cc(1): 'y'"),
        tf.errors.FailedPreconditionError(None, None, "Could not create cudnn handle: CUDNN_STATUS_NOT_INITIALIZED"),
        tf.errors.InvalidArgumentError(None, None, "Cannot parse tensor from proto: goo.gle/x\ndtype: DT_FLOAT"),
        MemoryError("Unable to allocate 8.00 GiB for an array with shape (1073741824,) and data type float64"),
        MemoryError(),
    ],
)
def test_whoever_says_it_it_is_one_sentence(error):
    with pytest.raises(MirageError, match=r"^out of memory while drawing") as raised, out_of_memory("drawing"):
        raise error
    sentence = str(raised.value)
    assert all(name in sentence for name in FLAGS)
    assert "the last checkpoint is kept" in sentence
    assert "\n" not in sentence
    assert "{{" not in sentence
    assert "/job:" not in sentence


@pytest.mark.parametrize(
    "said",
    [
        "Graph execution error:\n2 root error(s) found.\n  (0) NOT_FOUND:  No algorithm worked!  Error messages:\n  "
        "Profiling failure on CUDNN engine eng1{}: UNKNOWN: CUDNN_STATUS_INTERNAL_ERROR",
        "cudaSetDevice() on GPU:0 failed. Status: CUDA-capable device(s) is/are busy or unavailable",
    ],
)
def test_what_is_said_on_a_full_gpu_is_taken_for_that_with_a_doubt(said):
    sentence = r"^out of memory, as it seems, while drawing"
    with pytest.raises(MirageError, match=sentence) as raised, out_of_memory("drawing"):
        raise tf.errors.NotFoundError(None, None, said)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        exhausted("/data/x.npy; No space left on device"),
        exhausted("Received message larger than max (5000000 vs. 4194304)"),
        tf.errors.InternalError(None, None, 'ptxas exited\nFile "/home/OOM/out of memory/x.py", line 3'),
        tf.errors.InvalidArgumentError(None, None, "Incompatible shapes: [2] vs. [3]"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_stay_what_they_are(error):
    assert not ran_out(error)
    with pytest.raises(type(error)), out_of_memory("drawing"):
        raise error


def test_a_failed_write_is_not_taken_for_it_and_it_not_for_a_failed_write(tmp_path):
    with pytest.raises(tf.errors.ResourceExhaustedError), writing(tmp_path):
        raise exhausted()
    with pytest.raises(MirageError, match="can't be written"), out_of_memory("saving"), writing(tmp_path):
        raise exhausted("/x; No space left on device")


def test_a_step_that_runs_out_saves_nothing_and_keeps_the_last_checkpoint(config, monkeypatch):
    call = trainer.TrainStep.__call__

    def run_out(self, num_steps, stop):
        result = call(self, num_steps, stop)
        if int(self._trainee.step.numpy()) > 4:  # its state has changed by then
            raise exhausted()
        return result

    monkeypatch.setattr(trainer.TrainStep, "__call__", run_out)
    with pytest.raises(MirageError, match=r"out of memory while training after step 4 \(OOM when allocating.*GPU:0"):
        train(config)
    assert saved(Path(config.run_dir)) == ["step_0000004"]


@pytest.mark.parametrize(
    ("place", "name", "doing"),
    [
        (trainer, "trainee_of", "preparing the training"),
        (trainer, "make_feed", "copying the data set to each device"),
        (callback, "Evaluation", "preparing evaluations"),
        (Preview, "draw", "drawing the preview"),
        (Evaluation, "__call__", "evaluating step 4"),
    ],
)
def test_it_says_what_was_being_done(config, monkeypatch, place, name, doing):
    if name == "draw":
        draws = iter([Preview.draw])
        monkeypatch.setattr(place, name, lambda self: next(draws, raising(exhausted()))(self))
    else:
        monkeypatch.setattr(place, name, raising(MemoryError("Unable to allocate 9 GiB")))
    if name == "__call__":
        monkeypatch.setattr(Evaluation, "__init__", lambda *_: None)
    with pytest.raises(MirageError, match=f"out of memory while {doing}"):
        train(dataclasses.replace(config, eval_every=4 if "evaluat" in doing else 0))


@pytest.mark.parametrize(
    ("module", "place"),
    [(evaluate, "pipeline.evaluation.evaluate.score"), (compare, "pipeline.evaluation.comparison.compare")],
)
def test_evaluations_name_their_own_remedies(module, place, monkeypatch, capsys):
    values = flags.FlagValues()
    module.define_flags(values)
    values(["program"])
    monkeypatch.setattr(place, raising(MemoryError("Unable to allocate 9 GiB")))
    assert module.main(values, ["program"] if module is evaluate else ["program", "run"]) == MISTAKE
    error = capsys.readouterr().err
    assert error.startswith("error: out of memory while evaluating (Unable to allocate 9 GiB): lower --num_samples")
    assert error.count("\n") == 1


def test_tensorflow_really_runs_out(image_folder, tmp_path):
    more = {"model": "mlp", "objective": "nsgan", "latent_dim": 2, "batch_size": 12, "accumulate": 1500, "jit": "off"}
    every = dict.fromkeys(("steps_per_call", "checkpoint_every"), 1)
    config = Config(dataset=f"folder:{image_folder()}", strategy="one_device", steps=1, run_dir=str(tmp_path / "run"))
    config = dataclasses.replace(config, **more, **every)
    train(config)
    changed = {name: value for name, value in config.to_dict().items() if value != getattr(Config(), name)}
    command = [sys.executable, "-m", "pipeline", *(f"--{name}={value}" for name, value in changed.items()), "--steps=3"]
    # Room for the weights and their moments, but not for the 18,000 images of a step.
    limited = {**ENVIRONMENT, "TF_ENABLE_ONEDNN_OPTS": "1", "TF_MKL_ALLOC_MAX_BYTES": "40000000"}
    result = subprocess.run(command, cwd=ROOT, env=limited, capture_output=True, text=True, check=False)
    assert result.returncode == MISTAKE, result.stderr
    assert "error: out of memory while training after step 1 (OOM when allocating tensor" in result.stderr
    assert all(name in result.stderr for name in FLAGS)
    assert "Traceback" not in result.stderr
    assert saved(tmp_path / "run") == ["step_0000001"]
