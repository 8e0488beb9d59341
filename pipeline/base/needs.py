"""What an objective needs of the networks that it trains. Needs only the standard library."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Needs:
    """What an objective needs of the networks that it trains.

    Attributes:
      networks: their names, the generator first: `discriminator` or `encoder` beside it.
      trained: what an optimiser moves together, names joined by `+`, such as `generator+encoder`; empty if each
        network has its own.
      heads: what the discriminator outputs beside `logits`, by name, each float32 [N, number]; 0 for any number.
      noise: whether the discriminator is given random numbers, where it has an input `noise`, instead of labels.
      parts: models of which the generator consists, by name, which losses call as well.
      code: how many numbers the encoder outputs for an image.
      standardised: whether those are standardised over the batch, so that standard normal latents lie where codes do.
      architectures: by network, the name of Mirage's architecture that builds it where what the user chose can't build
        what is needed.
    """

    networks: tuple[str, ...] = ("generator", "discriminator")
    trained: tuple[str, ...] = ()
    heads: Mapping[str, int] = dataclasses.field(default_factory=dict)
    noise: bool = False
    parts: tuple[str, ...] = ()
    code: int = 0
    standardised: bool = False
    architectures: Mapping[str, str] = dataclasses.field(default_factory=dict)
