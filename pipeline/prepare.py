"""Prepares a data set for training: looks at all pictures, decodes them, by all cores, and keeps the result.

  python -m pipeline.prepare --dataset=folder:photos --image_size=64
  python -m pipeline.prepare --dataset=folder:photos.zip --image_size=128 --data_dir=/fast/disk
  python -m pipeline.prepare --dataset=folder:photos --image_size=64 --out=prepared/photos
  python -m pipeline.prepare --dataset=folder:photos --image_size=64 --report=look
  python -m pipeline.prepare --list
  python -m pipeline.prepare --remove=5d1f --data_dir=/fast/disk
  python -m pipeline.prepare --at_most_gb=20

--report writes data.html, a page that shows what is in a data set, what is amiss, and what to do about it.

Training does the same where it must, and with the same flags finds what was prepared, by the content of the files,
wherever they lie then. It may be ended at any moment: the same command goes on where it was.
"""

import sys
import time
from collections.abc import Sequence

from absl import flags

from pipeline.base import command_line
from pipeline.base.crew import shared
from pipeline.base.errors import MISTAKE, MirageError
from pipeline.data.options import DataOptions


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    command_line.define_parameters(values, DataOptions)
    help_text = (
        "folder for it, which --dataset=prepared:FOLDER names, here or on another machine; empty: a place below "
        "--data_dir, where training with the same flags finds it."
    )
    flags.DEFINE_string("out", "", help_text, flag_values=values)
    help_text = "folder for data.html and data.json: look through the data, write there what is in them, and stop."
    flags.DEFINE_string("report", "", help_text, flag_values=values)
    flags.DEFINE_bool("list", False, "say what is kept below --data_dir, and stop.", flag_values=values)
    help_text = "what to remove, by names of --list or how they begin, joined by commas; all removes all."
    flags.DEFINE_list("remove", [], help_text, flag_values=values)
    help_text = "remove what was used the longest ago until what is kept takes at most so much; 0 removes nothing."
    flags.DEFINE_float("at_most_gb", 0.0, help_text, lower_bound=0.0, flag_values=values)


def _prepare(options: DataOptions, out: str) -> None:
    from pipeline.base.folders import local_folder
    from pipeline.data.objects import origin_of
    from pipeline.data.prepared import folder_of, prepared

    started = time.perf_counter()
    source = origin_of(None, options).open()
    spec = source.spec
    shape = "x".join(map(str, spec.image_shape))
    print(f"{spec.num_examples:,} images of {shape}{spec.told_labels}", flush=True)
    if source.arrays is not None and not out:
        print("They are arrays, which are used where they are: there is nothing to prepare.")
        return
    folder = local_folder(f"--out={out}", out) if out else folder_of(options, source)
    prepared(options, source, folder if out else None)
    seconds = time.perf_counter() - started
    rate = f"{spec.num_examples / seconds:,.0f} images/s"
    print(f"Prepared in {seconds:.1f} s ({rate}): {spec.num_bytes / 1e6:,.1f} MB in {folder}")


def _report(options: DataOptions, folder: str) -> None:
    from pipeline.data.survey.findings import find
    from pipeline.data.survey.report import check_place, told, write_report
    from pipeline.data.survey.survey import survey

    check_place(folder)
    seen = survey(options)
    found = find(seen)
    page = write_report(seen, found, folder)
    print(f"{told(seen, found)}\nReport: {page}")


def main(values: flags.FlagValues, argv: Sequence[str]) -> int:
    """Runs the command line; returns its exit status."""
    try:
        if len(argv) > 1:
            raise MirageError(f"{argv[1]!r} is not a flag; expected only --name=value, see --help.")
        options = command_line.given_parameters(values, DataOptions)
        asked = [name for name in ("list", "remove", "at_most_gb") if values[name].value]
        if len(asked) > 1:
            raise MirageError(f"--{asked[0]} and --{asked[1]} are two things to do; pass one of them.")
        if asked and values["dataset"].present:
            raise MirageError(f"--{asked[0]} is for what is kept, whatever its --dataset; leave that out.")
        if asked and values.report:
            raise MirageError(f"--{asked[0]} and --report are two things to do; pass one of them.")
        if values.out and (asked or values.report):
            raise MirageError(f"--out and --{[*asked, 'report'][0]} are two things to do; pass one of them.")
        if not asked:
            with shared():
                _report(options, values.report) if values.report else _prepare(options, values.out)
            return 0
        from pipeline.data.kept import bound, kept, remove, table

        if values.list:
            print(table(kept(options.data_dir)))
            return 0
        remove_all = remove(options.data_dir, values.remove) if values.remove else []
        gone = remove_all or bound(options.data_dir, values.at_most_gb * 1e9)
        print(f"Removed {len(gone)}\n{table(gone)}" if gone else "Nothing to remove.")
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    return 0


def run() -> None:
    """Entry point of `python -m pipeline.prepare` and of `mirage-prepare`."""
    command_line.run(__doc__, define_flags, main)


if __name__ == "__main__":
    run()
