import numpy as np
import pytest
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.cluster.strategy import make_strategy
from pipeline.config import Config
from pipeline.data.dataset import load
from pipeline.objectives.composition import compose
from pipeline.training.feed import Layout, Order, ResidentFeed, check_data, make_feed


@pytest.mark.parametrize("replicas", [1, 3])
def test_each_device_holds_one_copy_of_the_data_set(replicas):
    strategy = make_strategy("mirrored", replicas)
    layout = Layout(compose(Config().to_dict()).updates(), 6, 1, replicas)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, [12, 4, 4, 1], dtype=np.uint8), np.arange(12, dtype=np.int32)
    feed = ResidentFeed(strategy, layout, images, labels, 0)
    copies = strategy.experimental_local_results(feed._images)
    assert [copy.device for copy in copies] == list(strategy.extended.worker_devices)
    for copy in copies:
        np.testing.assert_array_equal(copy, images)
    # TensorFlow keeps no int32 in a GPU's memory, which would be sent it in each step.
    assert {copy.dtype for copy in strategy.experimental_local_results(feed._labels)} == {tf.int64}

    @tf.function
    def step(number):
        return feed.next(number)

    pixels, marks = (strategy.experimental_local_results(part) for part in step(tf.constant(0, tf.int64)))
    assert {part.dtype for part in marks} == {tf.int32}
    np.testing.assert_array_equal(np.concatenate(pixels), images[np.concatenate(marks)])
    assert len({*np.concatenate(marks).tolist()}) == 6


LABELS = np.array([0] * 1 + [1] * 7 + [2] * 3, np.int32)


def drawn(balance, count, seed=3):
    order = Order(LABELS, seed, balance=balance)
    return order(tf.range(count, dtype=tf.int64)).numpy()


def test_balance_draws_all_classes_equally_often_and_each_picture_of_one():
    epoch = drawn(True, 21)
    assert np.bincount(LABELS[epoch]).tolist() == [7, 7, 7]
    assert np.bincount(epoch).tolist() == [7] + [1] * 7 + [3, 2, 2]
    two = np.bincount(LABELS[drawn(True, 42)])
    assert two.tolist() == [14, 14, 14]
    assert np.bincount(drawn(False, 11)).tolist() == [1] * 11


@pytest.mark.parametrize("kept", ["resident", "pixels", "pictures"])
def test_balanced_images_are_the_same_wherever_they_are_kept(image_folder, tmp_path, kept):
    root = image_folder(per_class=6)
    for name in ("0", "1", "2", "3"):
        (root / "dog" / f"{name}.png").unlink()
    where = {} if kept == "resident" else {"device_data_mb": 0, "prepared_as": kept}
    config = Config(dataset=f"folder:{root}", batch_size=4, balance=True, data_dir=str(tmp_path), **where)
    strategy = make_strategy("mirrored", 2)
    layout = Layout(compose(Config(batch_size=4).to_dict()).updates(), 4, 1, 2)
    dataset = load(config)
    feed = make_feed(strategy, layout, dataset, config, 0)

    @tf.function
    def step(number):
        return feed.next(number)

    labels, pixels = [], []
    for number in range(3):
        images, marks = (strategy.experimental_local_results(part) for part in step(tf.constant(number, tf.int64)))
        pixels += [*np.concatenate(images)]
        labels += np.concatenate(marks).tolist()
    assert np.bincount(labels).tolist() == [6, 6]
    expected = dataset.images[Order(dataset.labels, config.seed, balance=True)(tf.range(12, dtype=tf.int64)).numpy()]
    np.testing.assert_array_equal(pixels, expected)


def test_balance_without_classes_is_refused(image_folder):
    config = Config(dataset=f"folder:{image_folder(classes=())}", batch_size=2, balance=True)
    with pytest.raises(MirageError, match="--balance needs classes"):
        check_data(config, config, "train", load(config).spec)
