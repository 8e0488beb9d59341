"""What a step does, counted; how it scales, modelled; and both beside this machine."""

import pytest

import tests.tensorflow_devices  # noqa: F401
from benchmarks import scaling, scaling_check, scaling_model, step_plan
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.objectives.composition import compose
from pipeline.training.trainee import Trainee

SMALL = DataSpec("small", "", (8, 8, 1), (), 21)


def dense_pair(config, data):
    """Networks whose arithmetic is easily counted: G 4 x 64, D 64 x 8 x 1, without biases."""
    import keras

    dense = keras.layers.Dense
    generator = keras.Sequential(
        [keras.Input([4]), dense(64, use_bias=False), keras.layers.Reshape([8, 8, 1])], name="generator"
    )
    discriminator = keras.Sequential(
        [
            keras.Input([8, 8, 1]),
            keras.layers.Flatten(),
            dense(8, use_bias=False),
            dense(1, use_bias=False),
            keras.layers.Reshape([]),
        ],
        name="discriminator",
    )
    return Trainee({"generator": generator, "discriminator": discriminator}, None, config, compose(config.to_dict()))


def test_what_a_step_does_is_counted(monkeypatch):
    monkeypatch.setattr(step_plan, "build_trainee", dense_pair)
    config = Config(objective="nsgan", latent_dim=4, batch_size=6)
    plan = step_plan.plan_step(config, SMALL)
    n, g, d = 3, 4 * 64, 64 * 8 + 8
    of_d = n * g + 2 * n * d + 2 * n * (d + 8)  # G; D of both; their weights' gradients, and what leads to D's first
    of_g = n * g + n * d + n * d + n * g  # G, D; through D; the weights' gradients
    assert plan.macs == of_d + of_g
    assert plan.weights == {"generator": g, "discriminator": d}
    # Three metrics of D, one of G, and in each whether to stop.
    assert plan.messages(gradients=True) == [4 * (d + 3 + 1), 4 * (g + 1 + 1)]
    assert plan.messages(gradients=False) == []
    assert plan.metrics == 6
    assert plan.random_numbers == 2 * n * 4
    assert plan.input_bytes == n * 64
    # Weights, two moments and the number of updates of each; step, probability of augmentation.
    assert plan.checkpoint_bytes == 4 * 3 * (g + d) + 2 * 8 + 8 + 4


def test_convolutions_are_counted():
    import tensorflow as tf

    @tf.function
    def f(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = tf.nn.conv2d(x, w, strides=2, padding="SAME")
        return tape.gradient(y, [x, w])

    graph = f.get_concrete_function(tf.TensorSpec([2, 8, 8, 3]), tf.TensorSpec([4, 4, 3, 5])).graph
    counted = {op.type: step_plan.macs_of(op) for op in graph.get_operations() if op.type.startswith("Conv2D")}
    each = 2 * 4 * 4 * 5 * 4 * 4 * 3
    assert counted == {"Conv2D": each, "Conv2DBackpropInput": each, "Conv2DBackpropFilter": each}


def test_what_replicas_do_does_not_grow_with_their_number():
    data = DataSpec("small", "", (16, 16, 1), (), 21)
    two, four = (
        step_plan.plan_step(
            Config(model="dcgan", objective="nsgan", latent_dim=3, batch_size=3 * n, flip=True), data, n
        )
        for n in (2, 4)
    )
    for what in ("macs", "launches", "input_bytes", "checkpoint_bytes", "weights"):
        assert getattr(two, what) == getattr(four, what)
    norms = two.messages(gradients=False)
    assert norms == four.messages(gradients=False)
    # Two moments of 64 bits for each channel: forward in both updates, and backward in the generator's.
    forward = [16 * channels for channels in (4 * 4 * 128, 64, 32)]
    assert norms == [*forward, *forward, *reversed(forward)]
    assert two.messages(gradients=True) == four.messages(gradients=True)
    # But for up to three numbers, where a share begins within a count of Philox's.
    assert abs(two.random_numbers - four.random_numbers) <= 4 * 3


def task(macs=0, message=0, after=()):
    return step_plan.Task(macs, bool(macs), message, False, after)


def test_a_step_is_scheduled_on_a_device_and_a_wire():
    def seconds(*tasks):
        return scaling_model.scheduled(tasks, lambda each: float(each.macs), float)

    assert seconds(task(2), task(3)) == 5  # one device
    assert seconds(task(2), task(0, 4, (0,)), task(1, 0, (1,))) == 7  # all after one another
    assert seconds(task(2), task(0, 4, (0,)), task(3, 0, (0,))) == 6  # computed while it is reduced
    assert seconds(task(2), task(0, 4, (0,)), task(0, 4, (0,))) == 10  # one wire


def test_the_wire_follows_its_formula():
    wire = scaling_model.Wire(gpus=8, link=1e9, network=1e8, start_s=1e-5, hop_s=1e-6)
    assert wire.seconds(1000, 1) == 0
    assert wire.seconds(1000, 8) == pytest.approx(2 * 7 / 8 * 1e-6 + 1e-5)
    assert wire.seconds(1000, 16) == pytest.approx(2 * 7 / 8 * 1e-6 + 2 / 2 * 1e-5 + 1e-5 + 2e-6)
    assert wire.seconds(1000, 1000) == pytest.approx(2 * 7 / 8 * 1e-6 + 2 * 124 / 125 * 1e-5 + 1e-5 + 14e-6)


def test_a_small_share_takes_as_long_as_its_launches():
    device = scaling_model.Device(macs_per_s=100, launch_s=1.0)
    wire = scaling_model.Wire(8, 1.0, 1.0, 0.5, 0.0)
    tasks = [task(100), task(300, after=(0,)), task(0, 2, (1,))]
    assert scaling_model.step_seconds(tasks, device, wire, 1) == (4, 4)
    assert scaling_model.step_seconds(tasks, device, wire, 1, growth=2) == (8, 8)
    assert scaling_model.step_seconds(tasks, device, wire, 1, growth=0.1) == (2, 2)
    assert scaling_model.step_seconds(tasks, device, wire, 2) == (4 + 2 + 0.5, 4)


def test_the_scaling_report_shows_every_figure():
    plan = step_plan.StepPlan(4, (task(10), task(0, 400, (0,))), {"generator": 12345}, 6, 789, 321, 4567)
    config = Config(batch_size=32)
    rows = scaling.model(plan, config, 4, scaling_model.Device(1e4, 0), scaling_model.Wire(8, 1e6, 1e6, 1e-3, 0))
    assert [row["ms"] is None for row in rows] == [False, False, False, True, True] + [False] * 5
    assert rows[0]["efficiency"] == rows[5]["efficiency"] == 1
    assert all(row["without_overlap"] <= row["efficiency"] <= 1 for row in rows if row["ms"])
    check = [vars(scaling_check.Row("here", 2, 16, 50, 200.0, 190.0))]
    text = scaling.report({"count": scaling.count(plan, config), "checkpoint_s": 1.5, "model": rows, "check": check})
    for figure in ("12,345", "1: 400", "789", "4,567", "1.50", "| 0.950 |", "fewer images than GPUs", "100.0%"):
        assert figure in text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--parts=nothing"], "--parts=nothing"),
        (["--batch_size=9"], "--batch_size=9"),
        (["--width=8"], "--width=8"),
        (["--images_per_s=100"], "--local_batch"),
        (["--batch_size=0"], "--batch_size"),
    ],
)
def test_mistakes_in_scaling_are_told_in_one_sentence(arguments, named, monkeypatch, capsys):
    from absl import flags

    from pipeline import __main__ as training

    values = flags.FlagValues()
    training.define_flags(values)
    scaling.define_flags(values)
    values(["scaling", *arguments])
    monkeypatch.setattr(scaling.flags, "FLAGS", values)
    assert scaling.main(["scaling"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert named in said
    assert len(said.strip().splitlines()) == 1


def test_replicas_here_are_compared_with_the_model(monkeypatch):
    monkeypatch.setattr(scaling_check, "build_trainee", dense_pair)
    monkeypatch.setattr(step_plan, "build_trainee", dense_pair)
    monkeypatch.setattr(scaling_check, "COLLECTIVES", 2)
    rows = scaling_check.on_logical_devices(Config(objective="nsgan", latent_dim=4, batch_size=8), SMALL, 1, 1)
    assert [(row.replicas, row.local_batch) for row in rows] == [(2, 4), (4, 2), (2, 2)]
    assert all(row.measured > 0 and row.modelled > 0 for row in rows)


@pytest.mark.slow
def test_processes_on_loopback_are_compared_with_the_model():
    config = Config(model="mlp", objective="nsgan", latent_dim=4, batch_size=4)
    rows = scaling_check.on_loopback(config, SMALL, 2, 1)
    # 2 updates, and batch norm of 3 layers forward in both and backward in one, none of them at once.
    for row in rows:
        assert row.measured >= (2 + 3 * 3) * row.delay_ms
        assert row.modelled >= (2 + 3 * 3) * row.delay_ms
