"""Trainings in this process."""

from pipeline import Config, Experiment, Run


def train(config: Config) -> Run:
    """Trains a run as the command line does."""
    return Experiment.of(config).train()
