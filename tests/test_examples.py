"""The examples are what batch systems accept, and call Mirage with flags that exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import yaml
from absl import flags
from PIL import Image

import pipeline.__main__
import tests.tensorflow_devices  # noqa: F401
from pipeline.base.errors import PREEMPTED, WORKER_LOST
from pipeline.config import Config
from tests.serving.conftest import FACES, TRANSPARENT, UNCONDITIONAL, build, write

EXAMPLES = Path(__file__).parent.parent / "examples"
CLUSTER = EXAMPLES / "cluster"


def config_of(arguments) -> Config:
    values = flags.FlagValues()
    pipeline.__main__.define_flags(values)
    assert values(["pipeline", *arguments]) == ["pipeline"]
    config = pipeline.__main__.config_from_flags(values)
    config.validate()
    return config


def test_the_slurm_script():
    path = CLUSTER / "train.sbatch"
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", text, re.MULTILINE))
    known = {"job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "time", "signal", "requeue"}
    assert options.keys() <= known | {"open-mode"}
    assert options["signal"].startswith("TERM@")  # without B:, so that it goes to the tasks
    command = re.search(r"^srun ((?:.*\\\n)*.*)", text, re.MULTILINE)[1].replace("\\\n", " ")
    words = shlex.split(command)
    assert words[1:3] == ["-m", "pipeline"]
    replicas = int(options["nodes"]) * int(options["gpus-per-node"])
    assert config_of(words[3:]).batch_size % replicas == 0
    assert {int(status) for status in re.findall(r'"\$status" -eq (\d+)', text)} == {PREEMPTED, WORKER_LOST}


def test_the_kubeflow_manifest():
    job = yaml.safe_load((CLUSTER / "tfjob.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert job["spec"].keys() == {"runPolicy", "tfReplicaSpecs"}
    assert job["spec"]["runPolicy"]["cleanPodPolicy"] in ("None", "Running", "All")
    (role,) = job["spec"]["tfReplicaSpecs"]
    workers = job["spec"]["tfReplicaSpecs"][role]
    assert role == "Worker"
    # The operator retries 128 and above.
    assert workers["restartPolicy"] == "ExitCode"
    assert min(PREEMPTED, WORKER_LOST) >= 128
    pod = workers["template"]["spec"]
    (container,) = pod["containers"]
    assert container["name"] == "tensorflow"  # the operator looks for this name, and for that of the port
    assert container["ports"] == [{"name": "tfjob-port", "containerPort": 2222}]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert container["command"][:3] == ["python", "-m", "pipeline"]
    replicas = workers["replicas"] * container["resources"]["limits"]["nvidia.com/gpu"]
    assert config_of(container["command"][3:]).batch_size % replicas == 0


def test_the_python_program(tmp_path):
    bundle, sheet = write(tmp_path / "bundle", UNCONDITIONAL, build(UNCONDITIONAL)), tmp_path / "sheet.png"
    subprocess.run([sys.executable, EXAMPLES / "python" / "sample.py", bundle, sheet], check=True)
    with Image.open(sheet) as picture:
        assert picture.size == (10 * 8, 6 * 8)


def test_the_python_program_keeps_alpha(tmp_path):
    bundle, sheet = write(tmp_path / "bundle", TRANSPARENT, build(TRANSPARENT)), tmp_path / "sheet.png"
    subprocess.run([sys.executable, EXAMPLES / "python" / "sample.py", bundle, sheet], check=True)
    with Image.open(sheet) as picture:
        assert (picture.mode, picture.size) == ("RGBA", (10 * 12, 6 * 8))


def test_the_python_program_takes_attributes(tmp_path):
    bundle, sheet = write(tmp_path / "bundle", FACES, build(FACES)), tmp_path / "sheet.png"
    command = [sys.executable, EXAMPLES / "python" / "sample.py", bundle, sheet]
    sheets = []
    for given in ([], ["male=1", "age=20"]):
        subprocess.run([*command, *given], check=True)
        sheets.append(sheet.read_bytes())
    assert sheets[0] != sheets[1]
