"""Which pictures to learn, and where they are kept. Needs only the standard library."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.objects import parsed_arguments
from pipeline.base.parameters import Parameters, parameter
from pipeline.base.sizes import Size, read_size, size_of
from pipeline.data.names import is_ours, is_tfds

FITS = ("crop", "pad", "stretch", "none")


@dataclasses.dataclass(frozen=True)
class DataOptions(Parameters):
    """Which pictures to learn, and where they are kept. Field names are flag names."""

    dataset: str = parameter(
        "mnist5k",
        "what to learn: mnist5k (5,000 digits that come with the installation), any image data set of "
        "tensorflow-datasets by name (mnist, fashion_mnist, cifar10, ...), folder:/path with images, flat or in one "
        "sub-folder per class, or of a .zip or .tar file of such, array:/path of a .npy or "
        ".npz file, prepared:/path of what python -m pipeline.prepare --out made, stacked:NAME, three grey images of a "
        "data set as red, green and blue, or package.module:name, your own function or object that gives arrays, a "
        "tf.data set or the like.",
    )
    dataset_args: str = parameter(
        "",
        "what the function of --dataset=package.module:name is called with, such as root=/data,size=64.",
        may_change=True,
        may_differ=True,
    )
    data_dir: str = parameter(
        "",
        "where prepared and decoded data sets are kept; empty means tensorflow-datasets' own default, and "
        "~/.cache/mirage for what is decoded or compiled.",
        may_change=True,
        may_differ=True,
    )
    manual_dir: str = parameter(
        "",
        "folder with a data set's original files, for machines without network.",
        may_change=True,
        may_differ=True,
    )
    split: str = parameter(
        "train", "which examples to use, in tensorflow-datasets' notation: train, test, train[:50%]."
    )
    image_size: int | str = parameter(
        0,
        "size in pixels that images get, as --fit says: a side, such as 64, or HEIGHTxWIDTH, such as 96x64; 0 keeps "
        "the data set's own size, which must then be the same for all images.",
        reads=read_size,
    )
    fit: str = parameter(
        "crop",
        "how images get the size of --image_size, resized with antialiasing: crop fills it and cuts off what exceeds "
        "it on both sides, pad shows the whole image on a ground of the median colour of its outermost pixels, stretch "
        "brings each side to its length, and none refuses images that haven't this size.",
        choices=FITS,
    )
    transparency: str = parameter(
        "white",
        "what becomes of transparent pictures: white lays them over white, keep gives images a fourth channel, alpha, "
        "if any file has one.",
        choices=("white", "keep"),
    )
    random_crop: float = parameter(
        1.0,
        "prepare images whose sides are longer than those of --image_size by this factor, such as 1.25, and draw "
        "another part of that size each time that an image is trained on; previews and figures are of the centre.",
        minimum=1.0,
        below=8.0,
    )
    class_depth: int = parameter(
        -1,
        "how many levels of folders name the class of an image; 0: none, so that folders mean nothing; -1: none or "
        "one, whichever it is, and images that lie deeper are refused.",
        minimum=-1,
        below=16,
    )
    labels: str = parameter(
        "",
        "FILE:COLUMN, where the class of each image of a folder stands: a table (.csv, .tsv, .json, .jsonl, .parquet) "
        "with a column of paths, in the folder or elsewhere; dataset.json, as StyleGAN's tools write it, is found by "
        "itself. FILE:COLUMN,COLUMN, or a column of numbers that are no whole ones, gives attributes; COLUMN=number "
        "and COLUMN=class say which. Of a data set of tensorflow-datasets FEATURE, or FEATURE,FEATURE.",
        may_change=True,
        may_differ=True,
    )
    skip_bad_images: bool = parameter(
        False,
        "leave out the images of a folder that can't be read, instead of refusing the folder; all are decoded "
        "once to find them.",
    )
    prepared_as: str = parameter(
        "auto",
        "what is kept of a data set whose decoding takes a while: pixels, or pictures (a third of the bytes, without "
        "loss), which are decoded by all cores whenever they are drawn; auto: pixels, unless they take more than half "
        "of the free disk.",
        choices=("auto", "pixels", "pictures"),
        may_change=True,
        may_differ=True,
    )
    device_data_mb: int = parameter(
        2048,
        "a data set of at most this many MiB (as uint8) is kept on each device; a larger one is streamed "
        "from the file to which it was decoded.",
        minimum=0,
        may_change=True,
        may_differ=True,
    )

    @property
    def picture_size(self) -> Size | None:
        """(height, width) of images as networks see them; None if they keep their own."""
        return size_of(self.image_size)

    @property
    def prepared_size(self) -> Size | None:
        """(height, width) of images as they are prepared, of which `random_crop` takes parts; None for their own."""
        return self.picture_size and self.with_margin(self.picture_size)

    def with_margin(self, size: Size) -> Size:
        """Sides that are longer by `random_crop`, rounded to whole pixels."""
        height, width = (math.floor(side * self.random_crop + 0.5) for side in size)
        return height, width

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        if self.dataset.removeprefix("stacked:") in ("", "array:", "folder:", "prepared:"):
            raise MirageError(
                f"--dataset={self.dataset} names no data; give mnist5k, a tensorflow-datasets name or folder:/path."
            )
        self._check_fit()
        parsed_arguments(self.dataset_args, "dataset_args")
        if self.dataset_args and is_ours(self.dataset.removeprefix("stacked:")):
            raise MirageError(
                f"--dataset_args={self.dataset_args} does not go with --dataset={self.dataset}, only with "
                "package.module:function; leave it out."
            )
        if self.labels and self.class_depth > 0:
            raise MirageError(
                f"--labels={self.labels} and --class_depth={self.class_depth} both name the classes; leave one out."
            )
        if not self.dataset.removeprefix("stacked:").startswith("folder:"):
            given = {
                "skip_bad_images": self.skip_bad_images,
                f"class_depth={self.class_depth}": self.class_depth != -1,
                f"labels={self.labels}": bool(self.labels) and not is_tfds(self.dataset),
            }
            for flag in (name for name, is_set in given.items() if is_set):
                takers = "folders and tensorflow-datasets" if flag.startswith("labels") else "folders"
                raise MirageError(
                    f"--{flag} does not go with --dataset={self.dataset}, only with {takers}; leave it out."
                )

    def _check_fit(self) -> None:
        size = self.picture_size
        if size is None:
            given = {
                f"fit={self.fit}": self.fit not in ("crop", "none"),
                f"random_crop={self.random_crop}": self.random_crop > 1,
            }
            for flag in (name for name, is_set in given.items() if is_set):
                raise MirageError(f"--{flag} needs a size to bring images to; set --image_size.")
        elif self.random_crop > 1 and self.prepared_size == size:
            raise MirageError(
                f"--random_crop={self.random_crop} adds no pixel to --image_size={self.image_size}; expected a larger "
                "factor, such as 1.25, or 1 for no cropping at random."
            )
