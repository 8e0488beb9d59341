"""The run directory: configuration, checkpoints, logs, previews."""
