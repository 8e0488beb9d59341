"""Fixtures of saved networks."""

from tests.kept_workers import _kept_workers, kept

__all__ = ["_kept_workers", "kept"]
