"""Trainings in this process."""

import dataclasses

from pipeline import Config, Experiment, Run

# Flags of what would be chosen for the data and the device.
PLAIN = {field.name: field.default for field in dataclasses.fields(Config) if field.metadata["automatic"]}


def train(config: Config) -> Run:
    """Trains a run as the command line does."""
    return Experiment.of(config).train()
