"""Embedding: a bundle, or its ONNX file alone, makes images with numpy and onnxruntime only."""

from serving.generator import Generator
from serving.manifest import BundleError

__all__ = ["BundleError", "Generator"]
