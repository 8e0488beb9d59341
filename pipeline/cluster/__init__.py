"""Replicas and workers: the strategy, how workers find each other, meet and watch."""
