"""Whatever a method is called with, it works as documented or is refused with a ValueError of one sentence."""

import decimal
import fractions
import itertools
import pathlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving import BundleError, Generator

EXAMPLES = [100, pytest.param(2_000, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def generator(digits):
    return Generator.load(digits, threads=1)


NUMPY_TYPES = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
SMALL = st.integers(0, 5)
INTEGERS = SMALL | SMALL.flatmap(lambda number: st.sampled_from(NUMPY_TYPES).map(lambda kind: kind(number)))
WHOLE = INTEGERS | INTEGERS.map(np.array)  # arrays without axes
HUGE = st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30, np.uint64(2**63), 2**50])
FLOATS = st.floats() | st.floats(width=16).map(np.float16) | st.floats(width=32).map(np.float32)


class NoArray:
    """Refuses as a tensor of PyTorch's does that requires a gradient."""

    def __array__(self, *arguments, **options):
        raise RuntimeError("can't be converted")


def masked(value):
    return np.ma.array(value, mask=True)


# Each of what nobody means by a number; made anew, since iterators are used up.
STRANGE = st.sampled_from(
    [
        lambda: None,
        lambda: True,
        lambda: np.True_,
        lambda: "3",
        lambda: b"3",
        lambda: "",
        lambda: "cat",
        lambda: np.str_("dog"),
        lambda: 1j,
        lambda: np.complex64(1),
        lambda: decimal.Decimal(1),
        lambda: fractions.Fraction(1, 2),
        lambda: np.longdouble("1e4000"),
        lambda: np.datetime64("2020-01-01"),
        lambda: object(),
        lambda: int,
        lambda: ...,
        lambda: pathlib.Path("cat"),
        list,
        lambda: -(10**5000),
        lambda: [[]],
        lambda: [[1], [2, 3]],
        lambda: (1, "dog", np.int8(2)),
        lambda: {0, 1},
        lambda: {0: 1},
        lambda: range(3),
        lambda: iter([0, 1, 2]),
        lambda: itertools.count(),
        lambda: itertools.repeat("cat"),
        lambda: (number for number in ()),
        lambda: bytearray(b"\0\1"),
        lambda: memoryview(b"\0\1"),
        lambda: np.array([]),
        lambda: np.array([0, 1]),
        lambda: np.array([0, 1, 2], np.uint8),
        lambda: np.array(["cat", "owl"]),
        lambda: np.array([0, "owl", None], object),
        lambda: np.array(object()),
        lambda: np.array([[0], [1]]),
        lambda: np.array([0.0, 1.0]),
        lambda: np.array([True, False]),
        lambda: np.zeros((2, 6)),
        lambda: np.zeros((0, 6), np.float16),
        lambda: np.zeros((2, 6), complex),
        lambda: np.zeros((2, 6), object),
        lambda: np.zeros((2, 6), "U1"),
        lambda: np.zeros((2, 6), "M8[s]"),
        lambda: np.zeros((2, 6), [("a", "f4")]),
        lambda: np.zeros((2, 6), ">f8"),
        lambda: np.zeros((6, 2)).T,
        lambda: np.full((2, 6), 1e39),
        lambda: np.full((2, 6), 3e38),
        lambda: np.full((2, 6), np.nan),
        lambda: np.full((2, 6), -np.inf),
        lambda: [[10**400] * 6],
        lambda: [["0"] * 6],
        lambda: [range(6)] * 2,
        lambda: masked(1),
        lambda: masked([0, 1]),
        lambda: masked(np.zeros((2, 6))),
        lambda: [masked(np.zeros(6)), np.zeros(6)],
        lambda: NoArray(),
        lambda: np.ma.masked,
    ]
).map(lambda make: make())
ANY = WHOLE | HUGE | FLOATS | STRANGE
# So that most calls have one mistake at most.
N = WHOLE | WHOLE | ANY
SEED = WHOLE | WHOLE | ANY
LABELS = st.none() | st.none() | st.sampled_from([0, 2, "owl"]) | st.lists(st.sampled_from([0, 1, "dog"])) | ANY


def works_or_is_refused(call):
    pictures, refusal = None, None
    try:
        pictures = call()
    except ValueError as error:
        refusal = str(error)
    if pictures is None:
        assert refusal.endswith(".")
        assert "\n" not in refusal
        assert len(refusal) < 500
    else:
        assert pictures.dtype == np.uint8
        assert pictures.shape[1:] == (8, 8, 1)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_arguments(generator, examples, repeats):
    examples = repeats(examples)

    @settings(max_examples=examples, deadline=None)
    @given(N, SEED, LABELS, st.just(1.0) | FLOATS | ANY)
    def sample(n, seed, labels, truncation):
        works_or_is_refused(lambda: generator.sample(n, seed, labels, truncation=truncation))

    @settings(max_examples=examples, deadline=None)
    @given(st.sampled_from([[[0] * 6], np.ones((3, 6), np.int8)]) | ANY, LABELS)
    def decode(z, labels):
        works_or_is_refused(lambda: generator.decode(z, labels))

    @settings(max_examples=examples, deadline=None)
    @given(SEED, SEED, N, LABELS)
    def interpolate(first, last, n, labels):
        works_or_is_refused(lambda: generator.interpolate(first, last, n, labels))

    @settings(max_examples=examples, deadline=None)
    @given(WHOLE, WHOLE, st.none() | st.sampled_from(["cat", 1, np.int8(2), np.array(0), np.array("dog")]))
    def right_ones_work(n, seed, labels):
        assert len(generator.sample(n, seed, labels)) == int(n)

    for each in (sample, decode, interpolate, right_ones_work):
        each()


@settings(max_examples=100, deadline=None)
@example(np.True_)  # which numpy 2.0 takes for 1, and warns
@given((HUGE | FLOATS | STRANGE).filter(lambda value: value is not None))
def test_wrong_threads_and_precisions_of_any_type(digits, value):
    with pytest.raises(ValueError, match=r"^threads is [^\n]+\.$"):
        Generator.load(digits, threads=value)
    with pytest.raises(ValueError, match=r"^precision is [^\n]+\.$"):
        Generator.load(digits, precision=value)


@pytest.mark.parametrize("threads", [0, -1, 1025, 2**40, 1.0, True, "1", masked(1)])
def test_wrong_threads(digits, threads):
    with pytest.raises(ValueError, match="threads is"):
        Generator.load(digits, threads=threads)


@pytest.mark.parametrize("threads", [1, np.uint8(2), np.array(1), None])
def test_right_threads(digits, threads):
    assert len(Generator.load(digits, threads=threads).sample(1)) == 1


@pytest.mark.parametrize("path", [None, 3, b"bundle", 1.5, ["bundle"], np.array("bundle")])
def test_what_is_no_path(path):
    with pytest.raises(ValueError, match=r"^path is [^\n]+\.$"):
        Generator.load(path)


@pytest.mark.parametrize("path", ["", "a\0b", "\ud800", "x" * 5000, "x.onnx/", "/dev/zero", "/dev/null", "/", "."])
@pytest.mark.parametrize("ending", ["", "/", ".onnx", "/generator.onnx"])
def test_paths_of_nothing(tmp_path, monkeypatch, path, ending):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match=r"^[^\n]+\.$"):
        Generator.load(path + ending)


def test_a_folder_may_be_called_like_a_file(write_bundle, conditional, tmp_path):
    bundle = write_bundle(conditional).rename(tmp_path / "bundle.onnx")
    assert len(Generator.load(bundle).sample(1)) == 1


@pytest.mark.parametrize("kind", [*NUMPY_TYPES, np.array])
def test_integers_of_all_types_are_the_same(generator, kind):
    expected = generator.sample(2, 3, 1)
    np.testing.assert_array_equal(generator.sample(kind(2), kind(3), kind(1)), expected)
    np.testing.assert_array_equal(generator.sample(2, 3, [kind(1), kind(1)]), expected)
    walk = generator.interpolate(kind(3), kind(4), kind(2), kind(1))
    np.testing.assert_array_equal(walk, expected)


def test_iterables_of_all_types_are_the_same(generator):
    expected = generator.sample(3, labels=[2, 1, 0])
    for labels in (
        (2, 1, 0),
        iter([2, "dog", 0]),
        range(2, -1, -1),
        np.array([2, 1, 0], np.uint64),
        np.array(["owl", "dog", "cat"]),
        np.array([2, "dog", 0], object),
        np.arange(3)[::-1],
    ):
        np.testing.assert_array_equal(generator.sample(3, labels=labels), expected)


@pytest.mark.parametrize(
    "labels", [itertools.repeat(0), iter([0]), np.zeros(4, int), [0] * 4, "cow", b"cat", {0, 1, 2}]
)
def test_labels_that_are_no_labels_of_three(generator, labels):
    with pytest.raises(ValueError, match=r"^(label|\d|more than 3|.* labels)"):
        generator.sample(3, labels=labels)


def test_the_ends_of_the_seeds(generator):
    for seed in (-(2**63), 2**63 - 1):
        np.testing.assert_array_equal(generator.sample(1, seed), generator.sample(1, np.int64(seed)))
        assert generator.interpolate(seed, seed, 2).shape == (2, 8, 8, 1)
    assert generator.sample(0, 2**63 - 1).shape == (0, 8, 8, 1)
    with pytest.raises(ValueError, match="int64"):
        generator.sample(2, 2**63 - 1)


@pytest.mark.parametrize("truncation", [1e39, -1e39, 3e38, np.inf, np.nan, 10**400, "1", None, True, 1j, [1.0]])
def test_truncations_that_give_no_picture(generator, truncation):
    with pytest.raises(ValueError, match="truncation is"):
        generator.sample(1, truncation=truncation)


def test_truncations_of_all_types_are_the_same(generator):
    expected = generator.sample(2, truncation=0.5)
    for truncation in (np.float32(0.5), np.float16(0.5), np.array(0.5), fractions.Fraction(1, 2)):
        np.testing.assert_array_equal(generator.sample(2, truncation=truncation), expected)
    np.testing.assert_array_equal(generator.sample(2, truncation=1), generator.sample(2))
    assert generator.sample(2, truncation=0).shape == generator.sample(2, truncation=-1.5).shape


def test_latents_that_the_network_makes_no_numbers_of(generator):
    # The dense layer's sums are infinite, of both signs, and their sums are no numbers.
    with pytest.raises(ValueError, match="NaN"):
        generator.decode(np.full((1, 6), 3e38), 0)


@pytest.mark.parametrize("n", [2**50, 2**62, 2**63 - 1])
def test_more_images_than_memory_holds(generator, n):
    for call in (lambda: generator.sample(n, -(2**63)), lambda: generator.interpolate(0, 1, n)):
        with pytest.raises(ValueError, match="memory"):
            call()


def test_many_images_are_those_of_a_few(generator):
    # More than one block of latents.
    together = generator.sample(5000, seed=-7)
    for start in (0, 4090, 4996):
        expected = generator.sample(4, seed=start - 7, labels=[(start + i) % 3 for i in range(4)])
        np.testing.assert_array_equal(together[start : start + 4], expected)
    walk = generator.interpolate(0, 1, 5000)
    np.testing.assert_array_equal(walk[[0, -1]], generator.interpolate(0, 1, 2))
