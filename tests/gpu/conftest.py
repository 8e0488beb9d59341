"""Tests of what only a GPU can show; `--without_gpu` runs them on the CPU, tiny, to test the tests.

Nothing here touches TensorFlow before a test is run: the default suite collects these files too.
"""

import itertools
import json
import os
import time
from pathlib import Path

import pytest

from tests.gpu.fleet import Fleet

_started = {}


def _record(config, test, **told):
    """Adds a line to tests.jsonl, so that a session that is ended early has told what it knew."""
    if folder := config.getoption("--gpu_out"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with (Path(folder) / "tests.jsonl").open("a") as file:
            file.write(json.dumps({"test": test.removeprefix("tests/gpu/"), **told}) + "\n")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    _started[item.nodeid] = time.monotonic()
    _record(item.config, item.nodeid, outcome="started")
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.when == "call" or report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash else str(report.longrepr or "")
        seconds = round(time.monotonic() - _started[item.nodeid], 1)
        _record(item.config, item.nodeid, outcome=report.outcome, seconds=seconds, message=message[:2000])
    return report


@pytest.fixture(scope="session", autouse=True)
def gpu(request):
    """Starts TensorFlow with four logical devices; returns whether they are parts of a GPU."""
    without = request.config.getoption("--without_gpu")
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"  # also of logical GPUs: all that is started here shares one card
    import tensorflow as tf

    if not without and not tf.config.list_physical_devices("GPU"):
        sentence = (
            "TensorFlow sees no GPU: python -m pipeline.doctor says why; --without_gpu runs the tests on the CPU."
        )
        pytest.exit(f"error: {sentence}", returncode=1)
    from pipeline.config import Config
    from pipeline.devices import numerics

    numerics.prepare(Config())
    import tests.tensorflow_devices  # noqa: F401

    return not without


@pytest.fixture(scope="session", autouse=True)
def fleet(request, gpu, tmp_path_factory):
    """Trainings in processes of their own; those that any test names begin before the first test."""
    out = request.config.getoption("--gpu_out")
    fleet = Fleet(gpu, tmp_path_factory.mktemp("fleet"), Path(out) if out else None)
    with fleet:
        named = [item.callspec.params.get("runs", ()) for item in request.session.items if hasattr(item, "callspec")]
        for name in itertools.chain(*named):
            fleet.begin(name)
        yield fleet


@pytest.fixture
def runs(request, fleet):
    """What became of the runs that the test names, see `Fleet`."""
    return [fleet.result(name) for name in request.param]
