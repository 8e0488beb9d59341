"""Data sets: where training images come from."""
