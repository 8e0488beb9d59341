"""Which of one network's layers are another's: those with weights of equal names and shapes. Needs NumPy only.

Networks of other sizes have layers more or fewer, so a layer's place says little. Both have a sequence of layers, each
known by the names and shapes of its weights; what these have in common, in long runs, is taken for the same. Where a
layer could be either of two, as in networks that are as wide at all resolutions, it is the one nearer to the lowest
resolution. Of what is left in between, layers may be the same but for the number of channels, classes or latent
components.
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
      equalised: whether it is divided by the root of its inputs' number wherever it is used.
    """

    name: str
    value: NDArray
    equalised: bool = False


_Layer = list[int]  # the places of its weights
_BEGINS = "affine_kernel"  # of modulated layers, the first of which has other names than what stands before it


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
    order = 1 if makes_images else -1  # from the lowest resolution to the highest
    mine, other = (_layers(weights)[::order] for weights in (ours, theirs))
    shapes = [[_form(weights, layer) for layer in layers] for weights, layers in ((ours, mine), (theirs, other))]
    found: dict[int, tuple[NDArray, bool]] = {}
    for what, i, j, k, m in difflib.SequenceMatcher(a=shapes[0], b=shapes[1], autojunk=False).get_opcodes():
        if what in ("equal", "replace"):
            left: Sequence[Sequence[Weight]] = [[theirs[place] for place in layer] for layer in other[k:m]]
            for layer in mine[i:j]:
                taken, left = _first_fit([ours[place] for place in layer], left, to, of, makes_images)
                found |= {layer[index]: each for index, each in taken.items()}
    return found


def _layers(weights: Sequence[Weight]) -> list[_Layer]:
    """Weights that stand together until a name comes again, or one with which a layer begins."""
    layers: list[_Layer] = []
    names: set[str] = set()
    for place, weight in enumerate(weights):
        if not layers or weight.name in names or weight.name == _BEGINS:
            layers.append([])
            names.clear()
        layers[-1].append(place)
        names.add(weight.name)
    return layers


def _form(weights: Sequence[Weight], layer: _Layer) -> frozenset[tuple[str, tuple[int, ...]]]:
    return frozenset((weights[place].name, weights[place].value.shape) for place in layer)


def _first_fit(
    ours: Sequence[Weight], left: Sequence[Sequence[Weight]], to: Facts, of: Facts, makes_images: bool
) -> tuple[Mapping[int, tuple[NDArray, bool]], Sequence[Sequence[Weight]]]:
    """Takes over the first of the other's layers that can be; returns that, or nothing, and what is left behind it."""
    for index, theirs in enumerate(left):
        taken = _taken(ours, theirs, to, of, makes_images)
        if taken:
            return taken, left[index + 1 :]
    return {}, left


def _taken(
    ours: Sequence[Weight], theirs: Sequence[Weight], to: Facts, of: Facts, makes_images: bool
) -> dict[int, tuple[NDArray, bool]]:
    """Takes a layer over, if all of the other's weights fit; what only ours has, such as a mean, stays as it is."""
    named = {weight.name: weight.value for weight in theirs}
    places = {weight.name: place for place, weight in enumerate(ours)}
    found: dict[int, tuple[NDArray, bool]] = {}
    for name, value in named.items():
        if name not in places:
            return {}
        weight = ours[places[name]]
        same = value.shape == weight.value.shape
        new = value if same else resized(weight, value, to, of, makes_images=makes_images)
        if new is None:
            return {}
        found[places[name]] = new, not same
    return found


def resized(weight: Weight, theirs: NDArray, to: Facts, of: Facts, *, makes_images: bool) -> NDArray | None:
    """Brings a weight to another size, where one axis differs by what networks are made for.

    Args:
      weight: as it is; of it stays what the other has nothing for.
      theirs: the other.
      to: what ours is made for.
      of: what the other is made for.
      makes_images: see `aligned`.

    Returns:
      The new value, or None if their shapes differ by something else.
    """
    ours = weight.value
    if ours.ndim != theirs.ndim:
        return None
    axes = [axis for axis in range(ours.ndim) if ours.shape[axis] != theirs.shape[axis]]
    if len(axes) != 1:
        return None
    (axis,) = axes
    sizes = ours.shape[axis], theirs.shape[axis]
    spans = _spans(sizes, to, of, joined=makes_images and ours.ndim == 2 and axis == 0)
    if not spans:
        return None
    if weight.equalised and axis < ours.ndim - 1:  # what it is used as shall be the same
        theirs = theirs * np.sqrt(sizes[0] / sizes[1], dtype=theirs.dtype)
    new, old = np.moveaxis(ours.copy(), axis, 0), np.moveaxis(theirs, axis, 0)
    begins, began = 0, 0
    for part, (length, was) in spans.items():
        into, out = new[begins : begins + length], old[began : began + was]
        if part == "channels":
            _take_channels(into, out, adds_up=not makes_images)
        else:
            chosen = _same_classes(to.classes, of.classes) if part == "classes" else _first(len(into), len(out))
            for here, there in chosen.items():
                into[here] = out[there]
        begins, began = begins + length, began + was
    return np.moveaxis(new, 0, axis)


def _spans(sizes: tuple[int, int], to: Facts, of: Facts, *, joined: bool) -> dict[str, tuple[int, int]]:
    """What two axes of these sizes are made of: how long each part is in ours, and in theirs; empty if nothing fits.

    Where latents are `joined`, an embedding of labels may stand behind them, of whatever size.
    """
    for parts in _MADE_OF:
        if sizes == (to.size(parts), of.size(parts)):
            return {part: (to.size([part]), of.size([part])) for part in parts}
    embedded = sizes[0] - to.latent, sizes[1] - of.latent
    has = bool(to.classes), bool(of.classes)
    if joined and tuple(size > 0 for size in embedded) == has and len({*embedded} - {0}) == 1 and min(embedded) >= 0:
        return {"latent": (to.latent, of.latent), "embedding": embedded}
    return {}


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
