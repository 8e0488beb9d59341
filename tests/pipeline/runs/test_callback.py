"""What callbacks may be, and what Mirage's own are."""

import subprocess
import sys

import pytest

from pipeline import Callback, Config, MirageError
from pipeline.runs.callback import check_callbacks
from pipeline.runs.calling import interval_facts
from tests.processes import ENVIRONMENT, ROOT


class Mine(Callback):
    def __init__(self, every=7, at=()):
        self.every, self.at = every, at


def test_the_class_can_be_subclassed_without_tensorflow():
    program = "import sys, pipeline; pipeline.Callback; print([n for n in ('tensorflow', 'numpy') if n in sys.modules])"
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=True).stdout == b"[]\n"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (Mine, "Mine is no callback; expected objects"),
        (print, "builtin_function_or_method is no callback"),
        (Mine(-1), "Mine has every=-1"),
        (Mine(2.0), r"Mine has every=2\.0"),
        (Mine(True), "Mine has every=True"),
        (Mine(at=5), "Mine has every=7 and at=5"),
        (Mine(at=(3, "4")), r"Mine has every=7 and at=\(3, '4'\)"),
    ],
)
def test_what_is_no_callback_is_refused(wrong, sentence):
    with pytest.raises(MirageError, match=sentence) as caught:
        check_callbacks([Mine(), wrong])
    assert "\n" not in str(caught.value)


def test_workers_compare_the_intervals_of_others_callbacks():
    from pipeline.evaluation.callback import Evaluations
    from pipeline.runs.recording import recording

    own = [*recording(Config()), Evaluations(Config(eval_every=5))]
    assert interval_facts(own) == {}
    assert interval_facts([*own, Mine(), Mine(0, (3,))]) == {
        "the list of callbacks": "Mine every 7, Mine every 0 and at [3]"
    }


def test_mirages_own_are_such_too_and_saving_comes_first():
    from pipeline.runs.recording import recording

    config = Config(checkpoint_every=1, log_every=2, preview_every=3)
    assert [(type(each).__name__, each.every) for each in recording(config)] == [
        ("Saving", 1),
        ("Log", 2),
        ("Previews", 3),
    ]
