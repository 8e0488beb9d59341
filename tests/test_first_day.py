"""A user's first commands: none reaches a host, and none prints a line that is not Mirage's own."""

import os
import re
import subprocess
import sys

from tests.no_network import SILENCING, UNDER_THE_FILTER
from tests.processes import ROOT

# What a library writes into the home: Keras its settings, matplotlib (which Keras imports) its list of fonts.
OTHERS_FILES = {".keras/keras.json", *(f".cache/matplotlib/{name}" for name in ("fontlist.json", "CACHEDIR.TAG"))}


def test_from_the_first_training_to_a_verified_bundle(tmp_path):
    home, run_dir, bundle = (tmp_path / name for name in ("home", "run", "bundle"))
    home.mkdir()
    unset = (*SILENCING, "TF_CPP_MIN_LOG_LEVEL", "XDG_CACHE_HOME", "MPLCONFIGDIR", "KERAS_HOME")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    environment = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    said = []

    def run(module, *arguments):
        command = [*UNDER_THE_FILTER, sys.executable, "-m", module, *arguments]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        # The bar of the log is ours, and what an evaluation of so few images says of itself.
        ours = ("\r", "step ", "warning: the classifier that judges", "note: --metrics=frechet_distance_infinity")
        foreign = [line for line in result.stderr.splitlines() if line and not line.startswith(ours)]
        assert (result.returncode, foreign) == (0, [])
        said.append(result.stdout)

    run(
        "pipeline",
        "--dataset=mnist5k",
        "--split=train[:200]",
        "--model=mlp",
        "--conditional",
        "--steps=2",
        f"--run_dir={run_dir}",
    )
    run("pipeline.evaluate", f"--run_dir={run_dir}", "--num_samples=50", "--extractor=classifier")
    run("export", f"--run_dir={run_dir}", f"--out={bundle}", "--formats=saved_model,onnx,litert,triton")
    run("export.verify", str(bundle))
    run("serving.sample", f"--bundle={bundle}", f"--out={tmp_path / 'sheet.png'}")
    assert re.match(r"Preparing mnist5k below .*, once\nTraining mlp ", said[0])
    assert "All is well." in said[3]
    files = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    ours = {name for name in files if name.startswith((".cache/mirage/", "tensorflow_datasets/mnist5k/"))}
    assert {re.sub(r"fontlist-.*json", "fontlist.json", name) for name in files - ours} <= OTHERS_FILES
