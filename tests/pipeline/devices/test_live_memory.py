import tensorflow as tf

from pipeline.devices.live_memory import peak_bytes

KIB = 1024


def peak(function, *shapes):
    traced = tf.function(function).get_concrete_function(*(tf.TensorSpec(shape) for shape in shapes))
    return peak_bytes(traced.graph)


def test_what_is_read_no_more_is_freed_and_written_into():
    # Each product is of 4 KiB, and only the one before is alive beside it.
    def products(x):
        for _ in range(5):
            x = tf.matmul(x, x)
        return x

    assert peak(products, [32, 32]) == 8 * KIB
    # Elementwise operations need one buffer in all, since the input, which belongs to the caller, is left alone.
    assert peak(lambda x: tf.tanh(tf.exp(tf.square(x))), [32, 32]) == 4 * KIB
    assert 4 * KIB <= peak(lambda x: tf.reshape(tf.transpose(x), [-1]), [32, 32]) < 5 * KIB


def test_what_the_gradient_reads_is_kept():
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for _ in range(6):
                y = tf.matmul(y, y)
        return tape.gradient(y, x)

    forward = 6 * 4 * KIB
    assert forward < peak(gradient, [32, 32]) <= forward + 3 * 4 * KIB


def test_a_second_order_gradient_keeps_more():
    def penalty(x, w):
        with tf.GradientTape() as outer:
            outer.watch(w)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.tanh(tf.matmul(tf.tanh(tf.matmul(x, w)), w))
            slope = tf.square(inner.gradient(y, x))
        return outer.gradient(slope, w)

    def plain(x, w):
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = tf.tanh(tf.matmul(tf.tanh(tf.matmul(x, w)), w))
        return tape.gradient(y, w)

    assert peak(penalty, [64, 64], [64, 64]) > 1.5 * peak(plain, [64, 64], [64, 64])


def test_a_loop_counts_as_one_round_and_a_choice_as_its_larger_side():
    def loop(x):
        for _ in tf.range(100):
            x = tf.matmul(x, x)
        return x

    assert 4 * KIB <= peak(loop, [32, 32]) <= 16 * KIB

    def choice(x):
        return tf.cond(x[0, 0] > 0, lambda: tf.reduce_sum(tf.tile(x, [8, 8])), lambda: tf.reduce_sum(x))

    assert 256 * KIB <= peak(choice, [32, 32]) <= 270 * KIB
