"""The examples of what is one's own, from an empty folder: train, kill, resume, evaluate, export, sample."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pipeline.runs.checkpoint_files import list_checkpoints, read_checkpoint
from tests.no_network import SILENCING
from tests.processes import ENVIRONMENT, ROOT

EXAMPLES = ROOT / "examples"
OWN = {
    "own_networks": [],
    "own_objective": [],
    "own_data": ["--dataset=own_data:rings"],
}


def last(run_dir):
    """The arrays of the newest checkpoint, as bytes."""
    return {
        name: value.tobytes() for name, value in read_checkpoint(list_checkpoints(run_dir / "checkpoints")[-1]).items()
    }


@pytest.mark.parametrize("name", OWN)
def test_examples_are_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where what describes pictures is kept: it is trained once."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN)
def test_an_example_from_its_training_to_pictures_without_tensorflow(name, tmp_path, home):
    (tmp_path / f"{name}.py").write_bytes((EXAMPLES / f"{name}.py").read_bytes())
    kept = {key: value for key, value in ENVIRONMENT.items() if key not in SILENCING}
    environment = {**kept, "PYTHONPATH": str(ROOT), "HOME": str(home)}

    def run(*arguments, check=True):
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=check)

    run(f"{name}.py", "whole", "6")
    run(f"{name}.py", "killed", "3")
    with subprocess.Popen(
        [sys.executable, f"{name}.py", "killed", "6000"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as training:
        assert any(line.startswith("First step done") for line in training.stdout)
        os.kill(training.pid, signal.SIGKILL)
    run(f"{name}.py", "killed", "6")
    assert last(tmp_path / "killed") == last(tmp_path / "whole")

    (tmp_path / f"{name}.py").rename(tmp_path / "own_data.py" if name == "own_data" else tmp_path / "elsewhere.txt")
    scores = run("-m", "pipeline.evaluate", "--run_dir=killed", "--num_samples=40", *OWN[name]).stdout
    assert json.loads(scores.splitlines()[-1])["step"] == 6
    assert "parity of Keras" in run("-m", "export", "--run_dir=killed", "--out=bundle").stdout
    code = (
        "import sys; from serving import Generator; print(Generator.load('bundle').sample(3).shape, "
        "{'tensorflow', 'keras'} & {*sys.modules})"
    )
    assert run("-c", code).stdout.endswith(" set()\n")


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path):
    text = (EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8")
    assert "steps=1000" in text
    (tmp_path / "notebook.ipynb").write_text(
        text.replace("steps=1000", "steps=12").replace("num_samples=1000", "num_samples=100"), encoding="utf-8"
    )
    code = (
        "import nbclient, nbformat\n"
        "notebook = nbformat.read('notebook.ipynb', 4)\n"
        "nbclient.NotebookClient(notebook, timeout=300).execute()\n"
        "nbformat.write(notebook, 'done.ipynb')\n"
    )
    environment = {
        **ENVIRONMENT,
        "PYTHONPATH": str(ROOT),
        "IPYTHONDIR": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path),
    }
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    cells = json.loads((tmp_path / "done.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [cell["outputs"] for cell in cells if cell["cell_type"] == "code"]
    assert "<img" in str(outputs[0])  # the newest preview
    assert "image/png" in str(outputs[1])
    assert np.uint8(outputs[-1][-1]["data"]["text/plain"]) <= 1  # what serving makes differs by rounding at most
