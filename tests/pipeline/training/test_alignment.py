"""Which weights of one network are another's."""

import numpy as np
import pytest

from pipeline.training.alignment import Facts, Weight, aligned, in_order, resized

RNG = np.random.default_rng(5)
FACTS = Facts(3, ("cat", "dog"), 8)


def weights(*shapes, name="kernel"):
    return [Weight(name, RNG.normal(size=shape)) for shape in shapes]


def places(ours, theirs, to=FACTS, of=FACTS, *, makes_images=True):
    """By place of ours, that of theirs which was taken as it is."""
    found = aligned(ours, theirs, to, of, makes_images=makes_images)
    assert not [place for place, (_, changed) in found.items() if changed]
    return {
        place: next(i for i, each in enumerate(theirs) if each.value is value) for place, (value, _) in found.items()
    }


def test_equal_networks_are_taken_whole():
    ours = [*weights((8, 6), (3, 3, 6, 4)), *weights((4,), name="bias")]
    assert places(ours, [Weight(each.name, each.value + 1) for each in ours]) == {0: 0, 1: 1, 2: 2}


def test_layers_that_both_have_are_found_whatever_lies_before_and_between():
    theirs = weights((8, 32), (4, 4, 16, 32), (4, 4, 8, 16), (3, 3, 8, 3))
    ours = weights((8, 64), (4, 4, 32, 64), (4, 4, 16, 32), (4, 4, 8, 16), (3, 3, 8, 3))
    assert places(ours, theirs) == {2: 1, 3: 2, 4: 3}
    assert places(theirs, ours) == {1: 2, 2: 3, 3: 4}


@pytest.mark.parametrize("makes_images", [True, False])
def test_layers_are_taken_whole_and_by_their_resolution(makes_images):
    """Kernels and biases of one layer come from one layer, though all stages are alike."""

    def network(stages):
        to_or_from = [*weights((1, 1, 3, 8)), *weights((8,), name="bias")]
        inner = [each for _ in range(stages) for each in (*weights((3, 3, 8, 8)), *weights((8,), name="bias"))]
        last = [*weights((8, 1)), *weights((1,), name="bias")]
        layers = [*to_or_from, *inner, *last]
        pairs = [layers[i : i + 2] for i in range(0, len(layers), 2)]
        return [each for pair in (pairs[::-1] if makes_images else pairs) for each in pair]

    found = places(network(5), network(4), makes_images=makes_images)
    assert {mine // 2: other // 2 for mine, other in found.items()} == (
        # From the lowest resolution on: at G's beginning, at D's end. Colours are colours.
        {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 6: 5} if makes_images else {0: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5}
    )
    assert all(mine % 2 == other % 2 for mine, other in found.items())


def test_weights_of_other_names_are_others():
    assert places(weights((4,), name="gamma"), weights((4,), name="beta")) == {}


def test_the_order_within_a_layer_does_not_matter():
    first = [*weights((4,), name="gamma"), *weights((4,), name="beta"), *weights((4, 2))]
    assert places(first, [first[2], first[1], first[0]]) == {0: 2, 1: 1, 2: 0}


GREY, ALPHA = Facts(1, ("cat", "dog"), 8), Facts(4, ("cat", "dog"), 8)


@pytest.mark.parametrize("makes_images", [True, False])
def test_colours_see_what_grey_saw(makes_images):
    """A grey picture in three equal channels gives what it gave; a colour's mean is what grey ones are."""
    axis = 1 if makes_images else 0
    grey, colour = RNG.normal(size=(1, 5)), RNG.normal(size=(3, 5))
    grey, colour = (grey.T, colour.T) if makes_images else (grey, colour)
    made = resized(Weight("kernel", np.zeros_like(colour)), grey, FACTS, GREY, makes_images=makes_images)
    back = resized(Weight("kernel", np.zeros_like(grey)), colour, GREY, FACTS, makes_images=makes_images)
    if makes_images:
        np.testing.assert_allclose(made, np.repeat(grey, 3, axis=axis))
        np.testing.assert_allclose(back, colour.mean(axis=axis, keepdims=True))
    else:
        x = RNG.normal(size=(2, 1))
        np.testing.assert_allclose(np.repeat(x, 3, axis=1) @ made, x @ grey)
        np.testing.assert_allclose(x @ back, np.repeat(x, 3, axis=1) @ colour)


def test_what_is_divided_by_its_number_of_inputs_stays_what_it_is_used_as():
    kernel = RNG.normal(size=(1, 1, 1, 5)).astype(np.float32)
    mine = Weight("kernel", np.zeros((1, 1, 3, 5), np.float32), equalised=True)
    made = resized(mine, kernel, FACTS, GREY, makes_images=False)
    assert made.dtype == np.float32
    # A grey picture in three channels, by kernels over the root of their fan-in.
    np.testing.assert_allclose(made.sum(axis=2) / np.sqrt(3), kernel[:, :, 0], rtol=1e-6)
    colours = Weight("kernel", np.zeros((1, 1, 5, 3), np.float32), equalised=True)
    made = resized(colours, np.moveaxis(kernel, 2, 3).reshape(1, 1, 5, 1), FACTS, GREY, makes_images=True)
    np.testing.assert_array_equal(made[..., 0], kernel.reshape(1, 1, 5))


def test_latents_are_known_before_an_embedding_of_labels():
    theirs, ours = RNG.normal(size=(8 + 6, 5)), RNG.normal(size=(10 + 6, 5))
    more = Facts(3, FACTS.classes, 10)
    made = resized(Weight("kernel", ours), theirs, more, FACTS, makes_images=True)
    np.testing.assert_array_equal(made, np.concatenate([theirs[:8], ours[8:10], theirs[8:]]))
    plain = Facts(3, (), 8)
    made = resized(Weight("kernel", ours[:14]), theirs[:8], FACTS, plain, makes_images=True)
    np.testing.assert_array_equal(made, np.concatenate([theirs[:8], ours[8:14]]))
    made = resized(Weight("kernel", ours[:8]), theirs, plain, FACTS, makes_images=True)
    np.testing.assert_array_equal(made, theirs[:8])
    assert resized(Weight("kernel", ours), theirs, more, FACTS, makes_images=False) is None
    assert resized(Weight("kernel", ours[:15]), theirs, FACTS, FACTS, makes_images=True) is None


def test_alpha_comes_and_goes_behind_colours():
    colour, alpha = RNG.normal(size=(3, 5)), RNG.normal(size=(4, 5))
    made = resized(Weight("kernel", alpha), colour, ALPHA, FACTS, makes_images=False)
    np.testing.assert_array_equal(made, np.concatenate([colour, alpha[3:]]))
    np.testing.assert_array_equal(resized(Weight("kernel", colour), alpha, FACTS, ALPHA, makes_images=False), alpha[:3])


def test_classes_are_taken_by_name_or_else_by_place():
    others = Facts(3, ("bird", "dog", "cat"), 8)
    theirs, ours = RNG.normal(size=(11, 5)), RNG.normal(size=(10, 5))  # latent and classes, joined
    made = resized(Weight("kernel", ours), theirs, FACTS, others, makes_images=True)
    np.testing.assert_array_equal(made, np.concatenate([theirs[:8], theirs[[10, 9]]]))
    strangers = Facts(3, ("a", "b", "c"), 8)
    np.testing.assert_array_equal(
        resized(Weight("kernel", ours), theirs, FACTS, strangers, makes_images=True), theirs[:10]
    )
    plain = Facts(3, (), 8)
    made = resized(Weight("kernel", ours), theirs[:8], FACTS, plain, makes_images=True)
    np.testing.assert_array_equal(made, np.concatenate([theirs[:8], ours[8:]]))


def test_what_differs_by_something_else_stays_new():
    assert resized(Weight("kernel", np.zeros((4, 5))), np.zeros((6, 5)), FACTS, FACTS, makes_images=True) is None
    assert resized(Weight("kernel", np.zeros((3, 5))), np.zeros((1, 7)), FACTS, GREY, makes_images=True) is None
    assert resized(Weight("kernel", np.zeros(3)), np.zeros((3, 1)), FACTS, FACTS, makes_images=True) is None
    found = aligned(weights((8, 32)), weights((8, 64)), FACTS, FACTS, makes_images=True)
    assert found == {}


def test_a_checkpoints_arrays_come_in_the_order_of_the_network():
    arrays = {
        "generator.1000.bias": 3,
        "generator.002.kernel": 1,
        "generator.010.u.v": 2,
        "ema.000.kernel": 4,
        "step": 0,
    }
    assert [(each.name, each.value) for each in in_order(arrays, "generator")] == [
        ("kernel", 1),
        ("u.v", 2),
        ("bias", 3),
    ]
