"""Says how far scorers agree in how they rank runs: correlations of ranks, by Spearman and by Kendall.

  python -m benchmarks.agreement comparisons/*/scores.json runs/ladder/ladder.jsonl

Files hold scores as `python -m pipeline.evaluate` prints them, one or a list of them as `pipeline.compare` writes it,
or the ladder's lines. A scorer is what described the pictures (`extractor`); runs are known by `source` and `step`.
Another scorer joins in by a file of its own, people too, with their ranks as the distance:

  [{"source": "runs/a", "step": 5000, "extractor": "eye", "frechet_distance": 1}, ...]

Runs are ranked among those that each of both scorers judged against the same data and reference as them. What people
say needs no reference.
"""

import itertools
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
    if "rung" in line:  # what the ladder learns are many things
        row["protocol"] = {"data": f"{line['data']}, {line['size']} px"}
    return row


class Judged(NamedTuple):
    """A figure of a run.

    Attributes:
      against: what it was judged against; figures of others say nothing beside it.
      value: the figure.
    """

    against: str
    value: float


Scorers = Mapping[str, Mapping[tuple[str, int], Judged]]


def by_scorer(rows: Iterable[Mapping[str, Any]], figure: str) -> Scorers:
    """Sorts a figure by who judged.

    Args:
      rows: scores.
      figure: name of the figure.

    Returns:
      By extractor, and number of samples if there are several, the figure of each run, (source, step).

    Raises:
      MirageError: if one scorer judged a run twice and found different things.
    """
    rows = [row for row in rows if figure in row]
    counts: dict[str, set[Any]] = {}
    for row in rows:
        counts.setdefault(row["extractor"], set()).add(row.get("num_samples"))
    found: dict[str, dict[tuple[str, int], Judged]] = {}
    for row in rows:
        run, count = (row["source"], row.get("step", 0)), row.get("num_samples")
        several = len(counts[row["extractor"]]) > 1 and count is not None
        scorer = f"{row['extractor']} ({count:,} samples)" if several else row["extractor"]
        judged = Judged(_against(row), row[figure])
        before = found.setdefault(scorer, {}).setdefault(run, judged)
        if before.value != judged.value:
            raise MirageError(
                f"{scorer} judged {run[0]} at step {run[1]} twice, {before.value:g} and {judged.value:g}; "
                "pass scores of one evaluation."
            )
    return found


def _against(row: Mapping[str, Any]) -> str:
    protocol = row.get("protocol")
    data = protocol.get("data", "") if isinstance(protocol, Mapping) else ""
    return ", ".join(each for each in (str(data), str(row.get("reference", ""))) if each)


def agreement(scorers: Scorers) -> list[dict[str, Any]]:
    """Correlates the ranks of each two scorers over the runs that both judged, each of them against one reference.

    Args:
      scorers: of `by_scorer`.

    Returns:
      For each pair with at least three runs in common: `reference`, `scorers`, `runs`, `spearman`, `kendall`, and the
      probability of as much agreement by chance, `spearman_p` and `kendall_p`; NaN where one finds all alike.
    """
    rows = []
    for (first, ranked), (second, others) in itertools.combinations(sorted(scorers.items()), 2):
        groups: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for run in sorted(ranked.keys() & others.keys()):
            groups.setdefault((ranked[run].against, others[run].against), []).append(run)
        for (one, other), runs in sorted(groups.items()):
            if len(runs) >= _FEWEST:
                figures = _correlations([ranked[run].value for run in runs], [others[run].value for run in runs])
                rows.append({"reference": one or other, "scorers": [first, second], "runs": len(runs), **figures})
    return rows


def _correlations(one: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    from scipy import stats

    if len({*one}) == 1 or len({*other}) == 1:
        return dict.fromkeys(("spearman", "spearman_p", "kendall", "kendall_p"), float("nan"))
    by_spearman, by_kendall = stats.spearmanr(one, other), stats.kendalltau(one, other)
    return {
        "spearman": float(by_spearman.statistic),
        "spearman_p": float(by_spearman.pvalue),
        "kendall": float(by_kendall.statistic),
        "kendall_p": float(by_kendall.pvalue),
    }


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
            told = ", ".join(f"{name} ({len(runs)} runs)" for name, runs in scorers.items())
            raise MirageError(
                f"no two scorers have --figure={figure} of {_FEWEST} runs in common, each against one reference: "
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
