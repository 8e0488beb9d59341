import re
import sys
import time
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from pipeline.devices.compilation import KeptCode
from pipeline.training import first_step
from pipeline.training.first_step import FirstStep


class Step:
    jit = True

    def __init__(self, seconds=0.0):
        self.seconds = seconds

    def trace(self, num_steps, stop):
        self.first_name = ops.uid()

    def __call__(self, num_steps, stop):
        time.sleep(self.seconds)
        return tf.zeros([1]), tf.constant(False)


def call(first, step, **more):
    first.call(step, tf.constant(1, tf.int64), tf.constant(0.0), **more)


def test_it_says_how_long_it_took_and_where_the_code_is(tmp_path):
    kept = KeptCode(tmp_path)
    first, step = FirstStep(kept), Step(0.25)
    (tmp_path / "a.pb").write_bytes(b"a")
    call(first, step)
    assert (tmp_path / "a.pb.sha256").exists()
    call(first, Step(0.25))  # the side that won, for the first time in training
    words = first.sentence().split()
    assert words[:4] == ["First", "step", "done", "after"]
    assert float(words[4]) >= 0.5
    assert 0.2 <= float(words[8]) <= float(words[4]) - 0.2  # the second one compiles nothing any more
    assert first.sentence().endswith(f" compiling with XLA; compiled code is kept in {tmp_path}")


def test_without_xla_it_says_how_long_it_took():
    first, step = FirstStep(KeptCode(None)), Step()
    step.jit = False
    call(first, step)
    assert re.fullmatch(r"First step done after \d+\.\d s", first.sentence())


@pytest.mark.parametrize(
    ("jit", "error", "left"),
    [
        (True, tf.errors.InternalError(None, None, "no such kernel"), False),
        (True, tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"), True),
        (False, tf.errors.InternalError(None, None, "no such kernel"), True),
    ],
    ids=["compiled", "memory", "plain"],
)
def test_kept_code_goes_where_it_may_be_why_the_first_step_fails(tmp_path, monkeypatch, jit, error, left):
    def fail(*_):
        raise error

    monkeypatch.setattr(Step, "__call__", fail)
    step = Step()
    step.jit = jit
    (tmp_path / "a.pb").write_bytes(b"a")
    with pytest.raises(type(error)):
        call(FirstStep(KeptCode(tmp_path)), step)
    assert (tmp_path / "a.pb").exists() == left


def test_functions_are_named_alike_in_all_processes():
    names = []
    for _ in range(3):
        step = Step()
        call(FirstStep(KeptCode(None)), step)
        names.append(step.first_name % 2**18)
    assert len({*names}) == 1


def test_who_waits_hears_of_it(monkeypatch, capsys):
    monkeypatch.setattr(first_step, "_LINE_EVERY_S", 0.05)
    call(FirstStep(KeptCode(None)), Step(0.3))
    assert capsys.readouterr().out.startswith("compiling with XLA ... 0 s\n")
    call(FirstStep(KeptCode(None), speaks=False), Step(0.3))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("bar", [True, False])
def test_on_a_terminal_one_line_is_renewed(monkeypatch, capsys, bar):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = []
    call(FirstStep(KeptCode(None)), Step(1.2), **({"show": shown.append} if bar else {}))
    captured = capsys.readouterr()
    assert captured.out == ""
    if bar:
        assert shown == ["compiling with XLA ... 1 s", ""]
    else:
        assert captured.err == "\r\033[Kcompiling with XLA ... 1 s\r\033[K"


def test_the_rewound_feed_begins_again(image_folder, tmp_path):
    import numpy as np

    from pipeline.config import Config
    from pipeline.data.dataset import load
    from pipeline.objectives.composition import compose
    from pipeline.training.feed import Layout, StreamedFeed, make_feed

    config = Config(dataset=f"folder:{image_folder()}", batch_size=4, device_data_mb=0, data_dir=str(tmp_path / "data"))
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    feed = make_feed(strategy, Layout(compose(config.to_dict()).updates(), 4, 1, 1), load(config), config, 3)
    assert isinstance(feed, StreamedFeed)
    first = [feed.next(None)[0].numpy() for _ in range(3)]
    again = [feed.next(None)[0].numpy() for feed in [feed.rewound()] for _ in range(3)]
    np.testing.assert_array_equal(first, again)
    assert Path(config.data_dir).exists()
