"""What a configured objective needs of the networks. To be replaced by what objectives say of themselves."""

from pipeline.base.needs import Needs
from pipeline.networks.options import NetworkOptions
from pipeline.objectives.options import ObjectiveOptions


def needs_of(networks: NetworkOptions, objective: ObjectiveOptions, num_labels: int) -> Needs:
    """Reads an objective's needs off the configuration.

    Args:
      networks: the run's.
      objective: the run's.
      num_labels: number of the data's classes.
    """
    if objective.one_loss:
        vae = objective.objective == "vae"
        code = 2 * networks.latent_dim if vae else networks.latent_dim
        return Needs(("generator", "encoder"), code=code, standardised=not vae)
    if objective.objective == "sgan":
        heads = {"classes": num_labels, "features": 0}
        return Needs(heads=heads, noise=True, architectures={"discriminator": "noisy_mlp"})
    heads = {}
    if networks.conditional and "acgan" in networks.conditionings():
        heads["classes"] = num_labels
    if objective.categories or objective.codes:
        heads["codes"] = objective.categories + objective.codes
    return Needs(heads=heads)
