"""No line reaches the user's terminal that neither Mirage nor the user caused; what matters does."""

import os
import subprocess
import sys

import pytest

from pipeline.base.quiet_tensorflow import is_noise
from tests.processes import ROOT


def run(code, level=None, tensorflow=None):
    """Runs code after `quiet_tensorflow()`, with a package of that source in TensorFlow's place if one is given."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    environment["PYTHONPATH"] = os.pathsep.join([*([str(tensorflow)] if tensorflow else []), str(ROOT)])
    if level:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    start = "from pipeline.base.quiet_tensorflow import quiet_tensorflow; quiet_tensorflow()\n"
    command = [sys.executable, "-c", start + code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


@pytest.fixture
def pretended(tmp_path):
    """Returns a function that puts a package into TensorFlow's place, and returns its folder."""

    def write(source):
        (tmp_path / "tensorflow").mkdir()
        (tmp_path / "tensorflow" / "__init__.py").write_text(source)
        return tmp_path

    return write


def test_tensorflow_starts_without_a_line():
    result = run("import keras, tensorflow; tensorflow.constant(1)")
    assert (result.returncode, result.stderr) == (0, "")


def test_who_asks_for_tensorflows_log_gets_it():
    assert "oneDNN" in run("import tensorflow", level="0").stderr


def test_other_lines_of_the_import_come_through_even_if_it_aborts(pretended):
    folder = pretended(
        "import os\n"
        "os.write(2, b'I0000 00:00:1795700967.322030    5288 port.cc:153] oneDNN custom operations are on.\\n')\n"
        "os.write(2, b'F0000 00:00:1795700967.322030 cpu_feature_guard.cc:1] compiled to use AVX instructions\\n')\n"
        "os.abort()\n"
    )
    result = run("import tensorflow", tensorflow=folder)
    assert result.returncode < 0
    assert result.stderr == "F0000 00:00:1795700967.322030 cpu_feature_guard.cc:1] compiled to use AVX instructions\n"


def test_an_import_that_fails_shows_its_traceback_and_standard_error_is_itself_again(pretended):
    folder = pretended("raise ImportError('libcuda.so.1 is missing')")
    code = "import os\ntry:\n  import tensorflow\nexcept ImportError as error:\n  os.write(2, str(error).encode())"
    assert run(code, tensorflow=folder).stderr == "libcuda.so.1 is missing"


def test_who_only_looks_for_tensorflow_does_not_undo_it(pretended):
    folder = pretended("import os\nos.write(2, b'I0000 00:00:1795700967.322030 port.cc:153] oneDNN\\n')\n")
    code = "import importlib.util, os\nimportlib.util.find_spec('tensorflow')\nimport tensorflow\nos.write(2, b'end')"
    assert run(code, tensorflow=folder).stderr == "end"


@pytest.mark.parametrize("executable", ["''", "None", "'/no/such/python'"])
def test_without_a_python_to_filter_with_the_import_works(pretended, executable):
    folder = pretended("import os\nos.write(2, b'I0000 00:00:1795700967.322030 port.cc:153] oneDNN\\n')\n")
    result = run(f"import sys\nsys.executable = {executable}\nimport tensorflow", tensorflow=folder)
    assert (result.returncode, "oneDNN" in result.stderr, "Traceback" in result.stderr) == (0, True, False)


def test_a_child_of_the_import_does_not_stop_it(pretended):
    folder = pretended("import subprocess\nchild = subprocess.Popen(['sleep', '4'])\n")
    result = run("import tensorflow; print(tensorflow.child.poll()); tensorflow.child.kill()", tensorflow=folder)
    assert result.stdout == "None\n"


@pytest.mark.parametrize(
    ("line", "noise"),
    [
        ("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR", True),
        ("I0000 00:00:1795700967.322030    5288 port.cc:153] oneDNN custom operations are on.", True),
        ("W0000 00:00:1795700967.322030    5288 computation_placer.cc:177] already registered", True),
        ("E0000 00:00:1795700967.322030 cuda_dnn.cc:8579] Unable to register cuDNN factory: it is there", True),
        ("2026-11-26 13:00:00.123456: I tensorflow/core/platform/cpu_feature_guard.cc:210] optimized", True),
        ("E0000 00:00:1795700967.322030 cuda_platform.cc:51] failed call to cuInit: no driver", False),
        ("F0000 00:00:1795700967.322030 cpu_feature_guard.cc:1] compiled to use AVX instructions", False),
        ("Traceback (most recent call last):", False),
        ("Illegal instruction", False),
    ],
)
def test_what_is_held_back(line, noise):
    assert is_noise(line) is noise
