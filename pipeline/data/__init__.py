"""Data sets: where training images come from.

What `--dataset=` may be is listed in `SOURCES`: to add a source, write one file with a function that returns the data
(see `pipeline.data.objects` for what they may be), and enter it here under a name, or a prefix that ends with a colon.
"""

from typing import Any

_TFDS = "pipeline.data.tfds_images:tfds_origin"

# By name or prefix: an import path of the function, or the function.
SOURCES: dict[str, Any] = {
    "array:": "pipeline.data.array_files:array_origin",
    "folder:": "pipeline.data.folder:folder_origin",
    "mnist5k": _TFDS,
    "prepared:": "pipeline.data.prepared:prepared_origin",
    "python:": "pipeline.data.objects:refuse_python",
    "stacked:": "pipeline.data.stacked:stacked_origin",
    # Where tensorflow-datasets has data sets that others look after; they look like import paths.
    "huggingface:": _TFDS,
    "kubric:": _TFDS,
    "robotics:": _TFDS,
}
# What is neither listed nor an import path.
OTHERS = _TFDS
