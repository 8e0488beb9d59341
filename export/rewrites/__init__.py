"""Exact rewrites of an ONNX graph, for CPUs.

tf2onnx leaves batch norm as a multiplication and an addition behind each layer, and transpositions where TensorFlow
and ONNX order axes differently. Each rewrite is a function that returns a new model that computes the same function,
up to float rounding; `layouts.py` puts them together.
"""
