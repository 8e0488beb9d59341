"""Runs of tiny untrained networks with the statistics of trained ones."""

import numpy as np

from benchmarks.edge_sides import with_statistics
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.runs.checkpoint import Checkpoints
from pipeline.runs.run_file import write_run
from pipeline.training.configured import trainee_of

SPECS = {
    "mlp": (
        Config(model="mlp", latent_dim=7, ema_images=0),
        DataSpec("shapes", "2.0.0", (8, 8, 1), (), 20),
    ),
    "dcgan": (
        Config(model="dcgan", latent_dim=5, conditional=True, dataset="folder:/secret/place/pets"),
        DataSpec("folder:/secret/place/pets", "", (16, 16, 3), ("cat", "dog"), 20),
    ),
    "resnet": (
        Config(model="resnet", latent_dim=6),
        DataSpec("shapes", "2.0.0", (18, 26, 3), (), 20),
    ),
    "r3gan": (
        Config(model="r3gan", model_args="width=(32,32,16),blocks=1", latent_dim=6, conditional=True),
        DataSpec("shapes", "2.0.0", (20, 16, 3), ("cat", "dog"), 20),
    ),
    "stylegan2": (
        Config(
            model="stylegan2",
            model_args="channel_base=128,channel_max=16,w_dim=8,mapping_layers=2",
            objective="nsgan",
            conditional=True,
            latent_dim=6,
        ),
        DataSpec("shapes", "2.0.0", (17, 24, 3), ("cat", "dog"), 20),
    ),
}


def make_run(run_dir, kind, seed=0):
    """Writes a run whose batch norms have statistics that matter."""
    config, data = SPECS[kind]
    trainee = trainee_of(config, data)
    with_statistics(trainee.sampler, seed)
    if kind == "r3gan":
        with_kernels(trainee.sampler, seed)
    trainee.step.assign(3)
    run_dir.mkdir()
    checkpoints = Checkpoints(run_dir, trainee.state(), 1)
    checkpoints.save()
    checkpoints.wait()
    write_run(run_dir, config, data)
    return trainee


def with_kernels(generator, seed):
    """Gives kernels that start at zero values, as training does."""
    rng = np.random.default_rng(seed)
    for weight in generator.trainable_variables:
        if weight.name == "kernel" and not np.any(weight):
            weight.assign(rng.standard_normal(weight.shape) / weight.shape[-2] ** 0.5)
