"""Which of one network's weights are another's: those of equal name and shape, in their order. Needs NumPy only.

Networks of other sizes have layers more or fewer, so a weight's place says little. Of the weights of each name (kernels
or biases) both have a sequence of shapes; what these have in common, in long runs, is taken for the same. Of what is
left in between, weights may be the same but for the number of channels, classes or latent components.
"""

import dataclasses
import difflib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# What the sizes of weights can be made of, one behind the other.
_MADE_OF = (("channels",), ("classes",), ("channels", "classes"), ("latent",), ("latent", "classes"))


@dataclasses.dataclass(frozen=True)
class Facts:
    """What networks are made for.

    Attributes:
      channels: of images.
      classes: names of classes, or of attributes; empty without labels.
      latent: components of a latent.
    """

    channels: int
    classes: tuple[str, ...]
    latent: int

    def size(self, parts: Sequence[str]) -> int:
        """How large an axis is that is made of these parts."""
        sizes = {"channels": self.channels, "classes": len(self.classes), "latent": self.latent}
        return sum(sizes[part] for part in parts)


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight of a network.

    Attributes:
      name: such as "kernel".
      value: its numbers.
    """

    name: str
    value: NDArray


def aligned(
    ours: Sequence[Weight], theirs: Sequence[Weight], to: Facts, of: Facts, *, makes_images: bool
) -> dict[int, tuple[NDArray, bool]]:
    """Finds what of a network can be taken over from another.

    Args:
      ours: the network's weights, in order.
      theirs: the other's.
      to: what the network is made for.
      of: what the other is made for.
      makes_images: whether channels of images come out of it, rather than go into it.

    Returns:
      By the place of each weight that can be: (its new value, whether that was resized).
    """
    found: dict[int, tuple[NDArray, bool]] = {}
    for name in dict.fromkeys(weight.name for weight in ours):
        mine = [place for place, weight in enumerate(ours) if weight.name == name]
        other = [weight.value for weight in theirs if weight.name == name]
        shapes = [ours[place].value.shape for place in mine], [value.shape for value in other]
        for what, i, j, k, m in difflib.SequenceMatcher(None, *shapes, autojunk=False).get_opcodes():
            if what == "equal":
                found |= {place: (value, False) for place, value in zip(mine[i:j], other[k:m], strict=True)}
            elif what == "replace":
                found |= _resized(ours, mine[i:j], other[k:m], to, of, makes_images)
    return found


def _resized(
    ours: Sequence[Weight],
    places: Sequence[int],
    others: Sequence[NDArray],
    to: Facts,
    of: Facts,
    makes_images: bool,
) -> dict[int, tuple[NDArray, bool]]:
    found: dict[int, tuple[NDArray, bool]] = {}
    left = list(others)
    for place in places:
        for index, value in enumerate(left):
            new = resized(ours[place].value, value, to, of, makes_images=makes_images)
            if new is not None:
                found[place] = new, True
                left = left[index + 1 :]
                break
    return found


def resized(ours: NDArray, theirs: NDArray, to: Facts, of: Facts, *, makes_images: bool) -> NDArray | None:
    """Brings a weight to another size, where one axis differs by what networks are made for.

    Args:
      ours: the weight as it is, of which stays what the other has nothing for.
      theirs: the other.
      to: what ours is made for.
      of: what the other is made for.
      makes_images: see `aligned`.

    Returns:
      The new value, or None if their shapes differ by something else.
    """
    if ours.ndim != theirs.ndim:
        return None
    axes = [axis for axis in range(ours.ndim) if ours.shape[axis] != theirs.shape[axis]]
    parts = next((p for p in _MADE_OF if _fits(ours, theirs, axes, p, to, of)), None)
    if parts is None:
        return None
    axis = axes[0]
    new, old = np.moveaxis(ours.copy(), axis, 0), np.moveaxis(theirs, axis, 0)
    begins, began = 0, 0
    for part in parts:
        into, out = new[begins : begins + to.size([part])], old[began : began + of.size([part])]
        if part == "channels":
            _take_channels(into, out, adds_up=not makes_images)
        else:
            chosen = _same_classes(to.classes, of.classes) if part == "classes" else _first(len(into), len(out))
            for here, there in chosen.items():
                into[here] = out[there]
        begins, began = begins + len(into), began + len(out)
    return np.moveaxis(new, 0, axis)


def _fits(ours: NDArray, theirs: NDArray, axes: Sequence[int], parts: Sequence[str], to: Facts, of: Facts) -> bool:
    sizes = [(to.size(parts), of.size(parts))]
    return sizes == [(ours.shape[axis], theirs.shape[axis]) for axis in axes]


def _first(here: int, there: int) -> Mapping[int, int]:
    return {place: place for place in range(min(here, there))}


def _same_classes(ours: Sequence[str], theirs: Sequence[str]) -> Mapping[int, int]:
    """Those of the same name; if there is none, those of the same place."""
    named = {ours.index(name): theirs.index(name) for name in ours if name in theirs}
    return named or _first(len(ours), len(theirs))


def _take_channels(into: NDArray, out: NDArray, *, adds_up: bool) -> None:
    """Takes over channels; colours stand for grey and the other way round, alpha for alpha alone."""
    colours, were = (1 if len(each) == 1 else 3 for each in (into, out))
    if colours == were:
        into[: len(out)] = out[: len(into)]
    elif colours == 3:
        into[:3] = out / 3 if adds_up else out
    else:
        into[0] = out[:3].sum(axis=0) if adds_up else out[:3].mean(axis=0)


def in_order(arrays: Mapping[str, NDArray], network: str) -> list[Weight]:
    """Lists a network's weights out of a checkpoint's arrays, see `pipeline.networks.models.named_weights`."""
    names = (name.split(".", 2) for name in arrays if name.startswith(f"{network}."))
    known = sorted((int(place), rest) for _, place, rest in names if place.isdecimal())
    places = [f"{network}.{place:03}.{rest}" for place, rest in known]
    return [Weight(rest, arrays[key]) for key, (_, rest) in zip(places, known, strict=True)]
