"""Says how far scorers agree in how they rank runs: correlations of ranks, by Spearman and by Kendall.

  python -m benchmarks.agreement comparisons/*/scores.json runs/ladder/ladder.jsonl

Files hold scores as `python -m pipeline.evaluate` prints them, one or a list of them as `pipeline.compare` writes it,
or the ladder's lines. A scorer is what described the pictures (`extractor`); runs are known by `source` and `step`.
Another scorer joins in by a file of its own, people too, with their ranks as the distance:

  [{"source": "runs/a", "step": 5000, "reference": "train", "extractor": "eye", "frechet_distance": 1}, ...]

Only runs that were judged against the same reference are ranked among each other.
"""

import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags

from pipeline.base.errors import MISTAKE, MirageError

_FEWEST = 3


def define_flags(values: flags.FlagValues) -> None:
    """Adds the command's flags to `values`."""
    help_text = "which figure ranks the runs; scorers that lack it are left out."
    flags.DEFINE_string("figure", "frechet_distance", help_text, flag_values=values)


def read_scores(path: Path) -> list[dict[str, Any]]:
    """Reads the scores of a file.

    Args:
      path: JSON, or JSON lines; of a line with `scores`, these count.

    Raises:
      MirageError: if it can't be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise MirageError(f"{path} can't be read ({error}); expected a file with scores.") from None
    try:
        try:
            found = json.loads(text)
        except ValueError:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        rows = [_of_line(each) for each in (found if isinstance(found, list) else [found])]
        if not rows:
            raise ValueError
    except (ValueError, AttributeError, KeyError, TypeError):
        raise MirageError(
            f"{path} holds no scores; expected JSON with source and extractor, as pipeline.evaluate prints it."
        ) from None
    return rows


def _of_line(line: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the scores that a line is or holds; raises KeyError or AttributeError if there are none."""
    row = dict(line.get("scores", line))
    row["source"], row["extractor"]
    if "rung" in line:  # what the ladder learns are many things, and each may be its own reference
        row["reference"] = f"{line['data']}, {line['size']} px, {row.get('reference', '')}"
    return row


def by_scorer(rows: Iterable[Mapping[str, Any]], figure: str) -> dict[tuple[str, str], dict[tuple[str, int], float]]:
    """Sorts a figure by what was judged against and by whom.

    Args:
      rows: scores.
      figure: name of the figure.

    Returns:
      By (reference, extractor), the figure of each run, (source, step).

    Raises:
      MirageError: if one scorer judged a run twice and found different things.
    """
    found: dict[tuple[str, str], dict[tuple[str, int], float]] = {}
    for row in rows:
        if figure not in row:
            continue
        run = row["source"], row.get("step", 0)
        of_scorer = found.setdefault((str(row.get("reference", "")), row["extractor"]), {})
        if of_scorer.setdefault(run, row[figure]) != row[figure]:
            raise MirageError(
                f"{row['extractor']} judged {run[0]} at step {run[1]} twice, {of_scorer[run]:g} and {row[figure]:g}; "
                "pass scores of one evaluation."
            )
    return found


def agreement(scorers: Mapping[tuple[str, str], Mapping[tuple[str, int], float]]) -> list[dict[str, Any]]:
    """Correlates the ranks of each two scorers over the runs that both judged.

    Args:
      scorers: of `by_scorer`.

    Returns:
      For each pair with at least three runs in common: `reference`, `scorers`, `runs`, `spearman`, `kendall`, and the
      probability of as much agreement by chance, `spearman_p` and `kendall_p`; NaN where one finds all alike.
    """
    from scipy import stats

    rows = []
    for (first, ranked), (second, others) in itertools.combinations(sorted(scorers.items()), 2):
        runs = sorted(ranked.keys() & others.keys())
        if first[0] != second[0] or len(runs) < _FEWEST:
            continue
        one, other = [ranked[run] for run in runs], [others[run] for run in runs]
        if len({*one}) == 1 or len({*other}) == 1:
            figures = dict.fromkeys(("spearman", "spearman_p", "kendall", "kendall_p"), float("nan"))
        else:
            by_spearman, by_kendall = stats.spearmanr(one, other), stats.kendalltau(one, other)
            figures = {"spearman": float(by_spearman.statistic), "spearman_p": float(by_spearman.pvalue)}
            figures |= {"kendall": float(by_kendall.statistic), "kendall_p": float(by_kendall.pvalue)}
        rows.append({"reference": first[0], "scorers": [first[1], second[1]], "runs": len(runs), **figures})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Writes the rows of `agreement` as Markdown."""
    lines = ["| scorers | reference | runs | Spearman (p) | Kendall (p) |", "|" + " --- |" * 5]
    for row in rows:
        cells = [" and ".join(row["scorers"]), row["reference"], str(row["runs"])]
        cells += [f"{row[name]:.3f} ({row[f'{name}_p']:.2g})" for name in ("spearman", "kendall")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Prints the table; returns the exit status."""
    figure = flags.FLAGS.figure
    try:
        if len(argv) < 2:
            raise MirageError("no scores were given; name files, such as comparisons/default/scores.json.")
        scorers = by_scorer([row for path in argv[1:] for row in read_scores(Path(path))], figure)
        rows = agreement(scorers)
        if not rows:
            told = ", ".join(f"{name} ({len(runs)} runs, {reference})" for (reference, name), runs in scorers.items())
            raise MirageError(
                f"no two scorers have --figure={figure} of {_FEWEST} runs in common, against one reference: "
                f"{told or 'there is none'}; judge the same runs by both."
            )
    except MirageError as error:
        print(f"error: {error}", file=sys.stderr)
        return MISTAKE
    print(table(rows))
    return 0


if __name__ == "__main__":
    define_flags(flags.FLAGS)
    app.run(main)
