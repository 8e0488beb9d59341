"""Benchmarks: both sides in the same run, alternating, medians and ratios."""
