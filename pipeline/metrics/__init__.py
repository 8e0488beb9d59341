"""Measures of quality, one file each: functions of features, probabilities or pixels, in NumPy.

Features come from an extractor (`classifier.py`, `inception.py`). A distance means nothing without the
extractor, the numbers of samples and its value for real against real, so `pipeline/evaluate.py` gives
them together.
"""
