"""Whole trainings and exports, in processes of their own."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from export import verify
from serving.contract.manifest import sha256
from tests.gpu.fleet import CASES, NETWORKS, PRECISIONS, difference, each, ended

pytestmark = pytest.mark.gpu


@each("user", of=NETWORKS)
def test_a_run_writes_pictures_scores_and_a_profile(runs, fleet):
    ended(runs)
    folder = runs[0].folder
    assert len(list((folder / "samples").iterdir())) >= 2
    scores = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert [each["step"] for each in scores] == [fleet.scale.user_steps // 2, fleet.scale.user_steps]
    assert all(math.isfinite(each["frechet_distance"]) for each in scores)
    assert list((folder / "tensorboard" / "plugins" / "profile").rglob("*.xplane.pb"))


@each("user", "again", of=["dcgan"])
def test_the_same_run_has_the_same_bits(runs):
    ended(runs)
    assert difference(*(run.folder for run in runs)) == ""


@each("straight", "killed", of=CASES)
def test_a_killed_run_ends_with_the_bits_of_one_that_was_not(runs):
    ended(runs)
    straight, killed = runs
    assert "from the start" in straight.said
    assert "from the checkpoint of step" in killed.said
    assert difference(straight.folder, killed.folder) == ""


@pytest.mark.parametrize(
    "runs", [("straight:float32-plain", f"straight:{name}-plain") for name in PRECISIONS[1:]], ids=PRECISIONS[1:],
    indirect=True,
)  # fmt: skip
def test_mixed_precision_stays_near_float32(runs):
    ended(runs)
    first = [json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[0]) for run in runs]
    for name in ("d_loss", "g_loss"):
        assert first[1][name] == pytest.approx(first[0][name], rel=0.2, abs=0.1)
        assert first[1][name] != first[0][name]


@pytest.mark.parametrize("runs", [("straight:float32-plain", "without_determinism:")], indirect=True)
def test_the_opening_line_says_how_floats_are_computed(runs, gpu):
    ended(runs)
    deterministic, not_so = (next(line for line in run.said.splitlines() if "Training" in line) for run in runs)
    assert "not deterministic" not in deterministic
    assert ("not deterministic" in not_so) == gpu
    assert ("TF32" in deterministic) == gpu


@pytest.mark.parametrize("runs", [("short_of_memory:",)], indirect=True)
def test_running_out_of_memory_is_one_sentence_and_keeps_the_checkpoint(runs):
    ended(runs)
    said = runs[0].said
    assert "status when memory was short: 1\n" in said
    sentences = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1
    for flag in ("--batch_size", "--accumulate", "--precision", "--device_data_mb"):
        assert flag in sentences[0]
    assert "Traceback" not in said
    afterwards = said.partition("status when memory was short")[2]
    assert "from the checkpoint of step 2 " in afterwards
    assert "step 4/4" in afterwards


@each("export", "export_without_gpu", of=NETWORKS)
def test_the_bundle_is_the_one_of_a_machine_without_gpu(runs, fleet, capsys):
    ended(runs)
    here, there = (
        {path.relative_to(run.folder).as_posix(): path for path in sorted(run.folder.rglob("*")) if path.is_file()}
        for run in runs
    )
    assert len(here) > 8
    assert here.keys() == there.keys()
    assert [name for name in here if here[name].read_bytes() != there[name].read_bytes()] == []
    assert verify.main(["verify", str(runs[0].folder)]) == 0, capsys.readouterr().err
    # For an export of the same run on another machine, see BUILD.md.
    network = runs[0].folder.name.partition("-")[2]
    fleet.keep(f"{network}/bundle", runs[0].folder)
    fleet.keep(f"{network}/run", fleet.result(f"user:{network}").folder)
    if fleet.out:
        lines = [f"{sha256(path)}  {name}\n" for name, path in here.items() if name.endswith(".onnx")]
        (fleet.out / network / "onnx.sha256").write_text("".join(lines))


@pytest.mark.parametrize("runs", [("export:dcgan",)], indirect=True)
@pytest.mark.parametrize("label", [-1, 10])
def test_a_saved_model_refuses_labels_of_no_class_on_the_device_too(runs, gpu, label):
    (bundle,) = runs
    signature = tf.saved_model.load(str(bundle.folder / "saved_model")).signatures["serving_default"]
    latent = next(spec for spec in signature.structured_input_signature[1].values() if spec.name == "z").shape[1]
    image = signature(z=tf.zeros([1, latent]), label=tf.constant([1], tf.int64))["image"]
    assert ("GPU" in image.device) == gpu
    assert np.abs(image.numpy()).max() <= 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="label must be of a class"):
        signature(z=tf.zeros([1, latent]), label=tf.constant([label], tf.int64))["image"].numpy()
