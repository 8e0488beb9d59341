"""Embedding: a bundle, or its ONNX file alone, makes images with numpy and onnxruntime only."""

from serving.contract.manifest import BundleError
from serving.generator import Generator

__all__ = ["BundleError", "Generator"]
