"""The values of `--metrics` and `--extractor`, as far as names go. Needs only the standard library."""

from collections.abc import Iterable

from pipeline.base.errors import MirageError
from pipeline.metrics import EXTRACTORS, METRICS

AUTO = "auto"
# Figures of Mirage's own metrics that evaluations during training measure and that can be better or worse.
BETTER = {
    "frechet_distance": ("frechet_distance",),
    "precision_recall": ("precision", "recall"),
    "density_coverage": ("density", "coverage"),
    "inception_score": ("inception_score",),
    "class_entropy": ("class_entropy",),
    "label_accuracy": ("label_accuracy",),
    "attribute_accuracy": ("attribute_accuracy",),
    "attribute_correlation": ("attribute_correlation",),
    "modes": ("modes", "kl_to_uniform"),
}


def split_metrics(text: str) -> list[str]:
    """Splits `--metrics` at the commas outside of brackets; nothing means `auto`.

    Raises:
      MirageError: if brackets or names are missing.
    """
    entries, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            entries.append("")
        else:
            entries[-1] += letter
    entries = [entry.strip() for entry in entries]
    if entries == [""]:
        return [AUTO]
    if depth or "" in entries:
        raise MirageError(f"--metrics={text} can't be understood; expected names joined by commas.")
    return entries


def check_metrics(text: str) -> None:
    """Refuses names that are not known; what lies at an import path is seen when it is needed.

    Raises:
      MirageError: naming the flag.
    """
    for entry in split_metrics(text):
        _check("metrics", entry.partition("(")[0], METRICS)


def check_figure(figure: str, metrics: str) -> None:
    """Refuses a figure by which nothing can be called better, as far as names go.

    Args:
      figure: the value of `--best_by`.
      metrics: that of `--metrics`; what figures those at import paths have is seen when they are needed.

    Raises:
      MirageError: naming those that could be.
    """
    entries = [entry.partition("(")[0] for entry in split_metrics(metrics)]
    if any(":" in entry for entry in entries):
        return
    known = [name for entry in METRICS if {AUTO, entry} & {*entries} for name in BETTER.get(entry, ())]
    if figure not in known:
        raise MirageError(unknown_figure(figure, known))


def unknown_figure(figure: str, known: Iterable[str]) -> str:
    """The sentence for a value of `--best_by` that is not among those that could be."""
    names = ", ".join(known)
    could = f"choose from {names}" if names else "none of --metrics has any; add frechet_distance"
    return f"--best_by={figure} is no figure of --metrics that is better or worse during training; {could}."


def check_extractor(text: str) -> None:
    """The same for `--extractor`, where ONNX files are known by their ending."""
    if not split_onnx(text)[0]:
        _check("extractor", text, EXTRACTORS, " or a file.onnx,")


def check_weights(extractor: str, weights: str, download: bool) -> None:
    """Refuses weights that an extractor doesn't take, so that nobody holds its distance for FID.

    Args:
      extractor: its name.
      weights: the value of `--inception_weights`.
      download: that of `--download`.

    Raises:
      MirageError: if weights are named or to be fetched, and Mirage's own extractor of that name takes none.
    """
    own = extractor in (AUTO, *EXTRACTORS) or split_onnx(extractor)[0]
    if own and not extractor.startswith("inception") and (weights or download):
        flag = f"--inception_weights={weights}" if weights else "--download"
        raise MirageError(
            f"{flag} goes with --extractor=inception, and it is {extractor}; add --extractor=inception or leave it out."
        )


def split_onnx(text: str) -> tuple[str, str]:
    """Splits `file.onnx(mean=0.5,std=0.5)` into path and arguments; without an ONNX file both are empty."""
    path, bracket, arguments = text.partition(".onnx(")
    if bracket and arguments.endswith(")"):
        return f"{path}.onnx", arguments[:-1]
    return (text, "") if text.endswith(".onnx") else ("", "")


def _check(flag: str, name: str, registry: Iterable[str], more: str = "") -> None:
    if name not in (AUTO, *registry) and ":" not in name:
        known = ", ".join((AUTO, *registry))
        raise MirageError(f"--{flag}={name} is not known; choose from {known},{more} or give package.module:Name.")
