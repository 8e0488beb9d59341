"""Verdicts on all but GPUs: software, processor, memory, disk, cluster, training steps."""

import configparser
import dataclasses
import json
import re
from pathlib import Path

import pytest

from pipeline.diagnosis.checks import software as software_checks
from pipeline.diagnosis.checks.steps import check_step, trials
from pipeline.diagnosis.examination import diagnose, document
from pipeline.diagnosis.facts import Folder, Network, Peer, Step, TensorFlow
from tests.pipeline.diagnosis.doctor_machines import GIB, GOOD, MACHINE, PLAIN, change, the_only_bad, verdicts


def test_a_good_machine_is_good_in_every_line():
    findings = diagnose(GOOD)
    assert {each.verdict for each in findings} == {"good"}
    assert [each.do for each in findings if each.do] == []
    assert {"driver", "gpu:0", "cuda-libraries", "cudnn", "cuda-packages", "ptxas", "tensorflow-gpu"} <= {
        each.name for each in findings
    }


def test_a_machine_without_gpus_is_good():
    for facts in (PLAIN, change(GOOD, driver=dataclasses.asdict(PLAIN.driver), tensorflow={"gpus": ()})):
        assert verdicts(facts) == {}
        (gpu,) = (each for each in diagnose(facts) if each.name == "gpu")
        assert gpu.says == "no NVIDIA GPU in this machine; training runs on the CPU"
        assert trials(facts) == [["cpu:0"]]


@pytest.mark.parametrize("there", [GOOD, PLAIN])
def test_both_packages_of_tensorflow(there):
    facts = change(there, software={"tensorflows": {"tensorflow": "2.21.0", "tensorflow-cpu": "2.21.0"}})
    finding = verdicts(facts)["tensorflow"]
    assert finding.says.startswith("tensorflow 2.21.0 and tensorflow-cpu 2.21.0 are both installed")
    wanted = "tensorflow[and-cuda]" if there is GOOD else "tensorflow-cpu"
    assert finding.do.startswith("python -m pip uninstall -y tensorflow tensorflow-cpu && ")
    assert finding.do.endswith(f"install '{wanted}>=2.20,<2.22'")


@pytest.mark.parametrize(
    ("name", "says", "parts"),
    [
        ("python", "3.14.0 is not supported; Mirage needs 3.11 to 3.13", {"software": {"python": (3, 14, 0)}}),
        ("python", "3.10.4 is not supported", {"software": {"python": (3, 10, 4)}}),
        ("tensorflow", "files are missing", {"software": {"tensorflow_broken": True}}),
        (
            "tensorflow",
            "not installed",
            {
                "software": {"tensorflows": {}, "tensorflow_folder": ""},
                "tensorflow": dataclasses.asdict(TensorFlow(failure="No module named 'tensorflow'")),
            },
        ),
        (
            "tensorflow",
            "tensorflow-cpu 2.21.0 can't be imported: it was ended by SIGABRT",
            {"tensorflow": dataclasses.asdict(TensorFlow(failure="it was ended by SIGABRT"))},
        ),
        ("tensorflow", "2.19.1 (tensorflow-cpu), built without CUDA", {"tensorflow": {"version": "2.19.1"}}),
        ("keras", "not installed", {"software": {"keras": ""}}),
        ("keras", "3.9.2 is too old", {"software": {"keras": "3.9.2"}, "tensorflow": {"keras": ""}}),
        ("keras", "KERAS_BACKEND=jax is set", {"environment": {"KERAS_BACKEND": "jax"}}),
        ("keras", "its backend is torch", {"tensorflow": {"backend": "torch"}}),
        ("keras", "can't be imported: ImportError: x", {"tensorflow": {"keras_failure": "ImportError: x"}}),
        ("packages", "not installed: tqdm, pillow", {"software": {"absent": ("tqdm", "pillow")}}),
        ("instructions", "no avx, which", {"machine": {"instructions": frozenset({"sse4_2"})}}),
        ("memory", "1.0 of 128.0 GiB can be used; training needs 2.0", {"machine": {"available": GIB}}),
        ("memory", "(a control group grants 1.5)", {"machine": {"limit": GIB * 3 // 2}}),
        (
            "disk",
            "/x can't be written: Permission denied",
            {"machine": {"folders": (Folder("/x", failure="Permission denied"),)}},
        ),
        ("cluster", "TF_CONFIG=x can't be understood", {"network": {"failure": "TF_CONFIG=x can't be understood"}}),
    ],
)
def test_what_is_bad_without_any_gpu(name, says, parts):
    finding = the_only_bad(change(PLAIN, **parts))
    assert finding.name == name
    assert says in finding.says
    assert finding.do


def test_an_import_that_fails_for_want_of_avx_says_so():
    facts = change(
        PLAIN,
        tensorflow=dataclasses.asdict(TensorFlow(failure="it was ended by SIGILL")),
        machine={"instructions": frozenset({"sse4_2"})},
    )
    assert "has no AVX" in verdicts(facts)["tensorflow"].do
    assert trials(facts) == []


def test_an_import_that_fails_for_want_of_a_module_says_which_to_install():
    failure = "it ended with status 1: ModuleNotFoundError: No module named 'requests'"
    facts = change(PLAIN, tensorflow=dataclasses.asdict(TensorFlow(failure=failure)))
    assert verdicts(facts)["tensorflow"].do.endswith("-m pip install requests")


@pytest.mark.parametrize(
    ("says", "parts"),
    [
        ("imported from its folder", {"software": {"mirage": ""}}),
        ("2 of 16 cores", {"machine": {"quota": 2.0}}),
    ],
)
def test_lines_that_are_no_reason_to_fail(says, parts):
    facts = change(PLAIN, **parts)
    assert verdicts(facts) == {}
    assert says in "\n".join(each.says for each in diagnose(facts))


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        ({"free": GIB}, "1.0 GiB free, writes 500 MB/s, reads 1,000 MB/s: little"),
        ({"write": 5e6}, "writes 5 MB/s, reads 1,000 MB/s: slow"),
    ],
)
def test_a_disk_that_is_no_reason_to_fail(folder, says):
    facts = change(machine={"folders": (dataclasses.replace(MACHINE.folders[0], **folder),)})
    assert says in verdicts(facts, "note")["disk"].says
    assert verdicts(facts) == {}


PEERS = (Peer(0, "a:2222", True, ("10.0.0.1",), "free"), Peer(1, "b:2222", False, ("10.0.0.2",), "refused"))


def cluster(*peers, **environment):
    return dataclasses.replace(PLAIN, network=Network("TF_CONFIG", peers=peers), environment=environment)


def test_a_cluster_whose_workers_are_reached_is_good():
    facts = cluster(*PEERS)
    says = {each.name: each.says for each in diagnose(facts)}
    assert verdicts(facts) == {}
    assert says["cluster"] == "TF_CONFIG: 2 workers, of which this is number 0"
    assert says["worker:1"] == "b:2222 is reached; nothing listens there yet, as no training runs"


@pytest.mark.parametrize(
    ("peer", "says"),
    [
        ({"result": "silent"}, "b:2222 doesn't answer"),
        ({"result": "unknown", "reason": "Name or service not known"}, "the name b is not known here: Name or"),
        ({"result": "unreachable", "reason": "No route to host"}, "b:2222 can't be reached: No route to host"),
        ({"own": True, "result": "used"}, "port 2222 of this worker is in use"),
        ({"own": True, "result": "unknown", "reason": "no such name"}, "this worker's own name, b:2222, is not known"),
    ],
)
def test_a_worker_that_can_not_be_reached(peer, says):
    own = {"own": not peer.get("own", False)}
    finding = the_only_bad(
        cluster(
            dataclasses.replace(PEERS[0], **own, result="free" if own["own"] else "answers"),
            dataclasses.replace(PEERS[1], **peer),
        )
    )
    assert finding.name == "worker:1"
    assert says in finding.says


def test_a_proxy_between_the_workers():
    finding = the_only_bad(cluster(*PEERS, http_proxy="http://proxy:3128", no_proxy="localhost"))
    assert "http_proxy is set, and TensorFlow would call b through that proxy, and wait for ever" in finding.says
    assert finding.do == "export no_grpc_proxy=b"
    assert verdicts(cluster(*PEERS, http_proxy="http://proxy:3128", no_proxy="localhost,b")) == {}
    near = [dataclasses.replace(peer, address=f"10.0.0.{peer.index}:2222") for peer in PEERS]
    assert verdicts(cluster(*near, grpc_proxy="http://proxy:3128", no_proxy="10.0.0.0/8")) == {}
    assert set(verdicts(cluster(*near, https_proxy="http://proxy:3128", no_proxy="10.1.0.0/16"))) == {"proxy"}
    assert verdicts(dataclasses.replace(PLAIN, environment={"http_proxy": "http://proxy:3128"})) == {}


ALONE = Step(("gpu:0",), 9000.0, 100, 20.0, xla="works")
TOGETHER = Step(("gpu:0", "gpu:1"), 17000.0, 100, 20.0, replicas_agree=True)


def test_steps_that_work():
    assert str(check_step(ALONE)) == (
        "good  step:gpu:0        9,000 images/s (dcgan, 28x28, 64 a device), the first after 20 s; XLA works"
    )
    finding = check_step(TOGETHER, [ALONE, dataclasses.replace(ALONE, devices=("gpu:1",), images_per_s=8000.0)])
    assert (finding.name, finding.verdict) == ("step:together", "good")
    assert finding.says.endswith("the first after 20 s; 2.00 times one of them; all replicas have the same bits")


@pytest.mark.parametrize(
    ("step", "says", "do"),
    [
        ({"finite": False, "images_per_s": None}, "NaN or infinite", "memory"),
        ({"replicas_agree": False}, "different weights", "NCCL_P2P_DISABLE=1"),
        ({"xla": "libdevice not found"}, "XLA can't compile for it: libdevice not found", "--jit=off"),
        ({"failure": "it was ended by SIGABRT: no kernel image is available"}, "no code for this GPU", "see the line"),
        ({"failure": "ResourceExhaustedError: OOM when allocating tensor"}, "its memory is full", "nvidia-smi"),
        ({"failure": "it was ended by SIGKILL"}, "the system killed it", "dmesg"),
        ({"failure": "it said nothing for 310 seconds"}, "it hangs", "xid"),
        (
            {"failure": "it was ended by SIGSEGV", "stage": "training"},
            "it was ended by SIGSEGV (while training)",
            "shows all",
        ),
    ],
)
def test_steps_that_fail(step, says, do):
    finding = check_step(dataclasses.replace(TOGETHER if "replicas_agree" in step else ALONE, **step))
    assert finding.verdict == "bad"
    assert says in finding.says
    assert do in finding.do


def test_versions_and_packages_are_those_of_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    extras = setup["options.extras_require"]
    assert software_checks.GPU in extras["gpu"].splitlines()
    assert f"{software_checks.CPU}; sys_platform" in extras["train"]
    tools = [line for line in extras["tools"].splitlines() if line and not line.startswith("#")]
    named = {re.split(r"[^\w-]", line)[0].replace("_", "-") for line in tools}
    assert named == {*software_checks.TOOLS, "keras"}
    assert software_checks.KERAS_REQUIREMENT in tools
    first, end = software_checks.PYTHONS
    assert setup["options"]["python_requires"] == f">={first[0]}.{first[1]},<{end[0]}.{end[1]}"
    first, end = software_checks.TENSORFLOWS
    assert software_checks.GPU.endswith(f">={first[0]}.{first[1]},<{end[0]}.{end[1]}")


def test_the_document_holds_every_line_and_all_facts():
    findings = diagnose(GOOD)
    report = json.loads(json.dumps(document(dataclasses.replace(GOOD, steps=(ALONE,)), findings)))
    assert (report["format"], report["verdict"]) == (1, "good")
    assert [each["name"] for each in report["checks"]] == [each.name for each in findings]
    assert set(report["checks"][0]) == {"name", "verdict", "says", "do"}
    assert report["facts"]["driver"]["gpus"][0]["capability"] == [9, 0]
    assert report["facts"]["steps"][0]["images_per_s"] == 9000.0
    facts = change(driver={"init": 803, "visible": 0})
    assert document(facts, diagnose(facts))["verdict"] == "bad"
