"""An objective of your own: the relativistic average least-squares GAN (arXiv 1807.00734, section 4).

  python own_objective.py runs/own_objective

Losses return one value per sample. Mirage averages them over the global batch, over all replicas, and adds what the
other flags ask for: here a gradient penalty.
"""

import dataclasses
import sys

import tensorflow as tf

from pipeline import Experiment
from pipeline.objectives import Update, global_mean


@dataclasses.dataclass
class RaLSGAN:
    """Each image shall look more, or less, real than the others' average, by a margin."""

    margin: float = 1.0

    def updates(self):
        def logits(networks, batch):
            generated = networks["generator"](batch.z, batch.labels)
            judge = networks["discriminator"]
            return judge(batch.images, batch.labels), judge(generated, batch.labels)

        def apart(winner, loser):
            over = tf.square(winner - global_mean(loser) - self.margin)
            return 0.5 * (over + tf.square(loser - global_mean(winner) + self.margin))

        def d_loss(networks, batch):
            real, fake = logits(networks, batch)
            return apart(real, fake), {"d_loss": apart(real, fake), "gap": real - fake}

        def g_loss(networks, batch):
            real, fake = logits(networks, batch)
            return apart(fake, real), {"g_loss": apart(fake, real)}

        return Update("discriminator", d_loss, ("d_loss", "gap")), Update(
            "generator", g_loss, ("g_loss",), new_images=False
        )


if __name__ == "__main__":
    run = Experiment(
        data="mnist5k",
        objective=RaLSGAN(margin=1.0),
        r1=0.1,  # what can be added to any objective can be added to this one
        batch_size=64,
        steps=int(sys.argv[2]) if len(sys.argv) > 2 else 2000,
    ).train(sys.argv[1])
    print(run)
