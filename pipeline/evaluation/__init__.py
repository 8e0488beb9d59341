"""Judging generators: what is compared with what, and what the figures say."""
