"""Exports a trained generator as a bundle that runs without TensorFlow.

  python -m export --run_dir=runs/digits --out=bundles/digits
  python -m export --generator=theirs.h5 --out=bundles/theirs

The bundle holds a SavedModel, an ONNX file for any plain CPU, a manifest with checksums, a model card
and a sheet of samples. It appears only if the source and all exported formats make the same pictures.

--generator takes what others have trained: .keras and .h5 files of any Keras, SavedModels, .onnx and .tflite files.
What was understood of it is said before anything is written, and what can't be seen is asked for, by its flag.
"""

import functools
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from export import formats
from export.adoption import options
from export.adoption.meaning import LAYOUTS
from pipeline.base import command_line
from pipeline.base.errors import MirageError
from serving.contract.manifest import GENERATOR_FILE, read_manifest

_FORMS = ("portable", "measured")  # see `export.rewrites.layouts`


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    flags.DEFINE_string(
        "run_dir",
        "runs/default",
        "folder of the training run, the --run_dir of `python -m pipeline`.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "generator",
        "",
        "a generator that others have trained, instead of --run_dir: a .keras, .h5, .onnx or .tflite file, or the "
        "folder of a SavedModel.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "out",
        "bundles/default",
        "folder of the bundle; an older bundle there is replaced, other files stay.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "checkpoint",
        "newest",
        ["newest", "best"],
        "which checkpoint to export: newest, or best, which --keep_best kept.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "layout",
        "",
        "which exact form of convolutions the ONNX files take: portable, the one that is fastest on most CPUs, the "
        "default of a run; or measured, which times all of them on this one, the default of a --generator. Of that, "
        "joined by a comma, also how its "
        f"pictures lie in memory: {', '.join(LAYOUTS)}; found out if it is left out.",
        flag_values=values,
    )
    flags.DEFINE_list("formats", ",".join(formats.DEFAULT), formats.help_text(), flag_values=values)
    flags.DEFINE_integer("num_samples", 10000, "images by which int8 is judged.", lower_bound=20, flag_values=values)
    flags.DEFINE_enum(
        "noise",
        "kept",
        ["kept", "none"],
        "what becomes of the noise that stylegan2's layers add: kept, planes that were drawn once, the same for all "
        "pictures; or none.",
        flag_values=values,
    )
    options.define_flags(values)
    flags.DEFINE_string(
        "dataset",
        "",
        "for int8: where the folder that the run was trained on is now, such as folder:/path; empty takes the run's.",
        flag_values=values,
    )


def main(values: flags.FlagValues, argv: Sequence[str], *, own_process: bool = False) -> int:
    """Runs the command line with parsed flags; returns its exit status.

    Args:
      values: the flags.
      argv: what they leave over.
      own_process: whether this process does nothing else, so that GPUs may be hidden from it for good.
    """
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        if not values.out:
            raise MirageError("--out is empty; expected the folder of the bundle.")
        out = Path(values.out)
        opening, asked = options.given(values)
        default = "measured" if values.generator else "portable"
        layout, asked = options.split_layout(values.layout, asked, _FORMS, default)
        if asked.layout and not values.generator:
            raise MirageError(f"--layout={asked.layout} goes with --generator only; leave it out.")
        if values["noise"].present and values.generator:
            raise MirageError("--noise goes with --run_dir only; leave it out.")
        print(f"Exporting {values.generator or values.run_dir} to {out}", flush=True)
        if own_process:
            os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # before TensorFlow is there
        chosen = formats.chosen(values.formats)
        if own_process:
            from pipeline.devices import numerics

            numerics.cpu_only()
        if values.generator:
            from export.adoption.adopt import adopt

            given = chosen if values["formats"].present else ()
            more = {"licence": values.license, "layout": layout, "num_samples": values.num_samples}
            adopt(values.generator, out, given, asked=asked, opening=opening, **more)
        else:
            from export.bundle import export_bundle

            run_dir, samples = Path(values.run_dir), values.num_samples
            export_bundle(run_dir, out, chosen, values.checkpoint, layout, samples, values.dataset, values.noise)
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    files = read_manifest(out).files
    size = sum((out / name).stat().st_size for name in files)
    print(f"Done: {out}, {size / 1e6:.1f} MB")
    print(f"  look at    {out}/samples.png and {out}/README.md")
    if GENERATOR_FILE in files:
        bundle = shlex.quote(f"--bundle={out}")
        print(f"  next       python -m serving.sample {bundle} --n=25 --seed=1 --out=sample.png")
    return 0


def run() -> None:
    """Entry point of `python -m export` and of `mirage-export`."""
    command_line.run(__doc__, define_flags, functools.partial(main, own_process=True))


if __name__ == "__main__":
    run()
