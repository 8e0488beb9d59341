"""The GPU benchmark's figures as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.gpu_card import peak

# Differences as shares of the largest value. Rounding gives 1e-5; but where an input of a LeakyReLU is within rounding
# of 0, sides may take different slopes: that moved a gradient of `resnet` by 2e-3 against float64. Mistakes give more.
TOLERANCE = 1e-2


def with_shares(
    rows: Iterable[Mapping[str, Any]], operations: Mapping[tuple[str, tuple[int, int, int]], int]
) -> list[dict[str, Any]]:
    """Adds operations per second, and their share of the card's peak where that is known.

    Args:
      rows: of `benchmarks.gpu_race.race`.
      operations: per image, by networks and image shape; where it is missing, so are these.
    """
    done = []
    for row in rows:
        row = dict(row)
        if not row["error"]:
            size = row["image_size"]
            count = operations.get((row["networks"], (size, size, row["channels"])))
            limit = peak(row.get("card", ""), row["precision"])
            rate = row["images_per_s"] * count if count else None
            row |= {"operations_per_image": count, "operations_per_s": rate}
            row["share_of_peak"] = rate / limit if rate and limit else None
        done.append(row)
    return done


def ratios(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compares Mirage's fastest form with the fastest of each other family, in the same precision on the same work."""
    found: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if not row["error"]:
            best = found.setdefault((row["networks"], row["image_size"], row["batch_size"], row["precision"]), {})
            family = row["family"]
            if family not in best or row["images_per_s"] > best[family]["images_per_s"]:
                best[family] = row
    return [
        {
            **dict(zip(("networks", "image_size", "batch_size", "precision"), work, strict=True)),
            "best": {family: row["side"] for family, row in best.items()},
            "mirage_over": {
                family: round(best["Mirage"]["images_per_s"] / row["images_per_s"], 3)
                for family, row in best.items()
                if family != "Mirage"
            },
        }
        for work, best in found.items()
        if "Mirage" in best
    ]


def report(results: Mapping[str, Any]) -> str:
    """Writes the figures as Markdown tables."""
    lines = [", ".join(f"{name} {value}" for name, value in results["machine"].items())]
    for name, versions in results["versions"].items():
        lines.append(f"{name}: {', '.join(f'{library} {version}' for library, version in versions.items())}")
    if results.get("same"):
        lines += ["", "| networks | compared with PyTorch | largest difference |", "| --- | --- | --- |"]
        for row in results["same"]:
            if row["error"]:
                lines.append(f"| {row['name']} | failed: {row['error']} | - |")
                continue
            lines += [f"| {row['name']} | {what} | {value:.1e} |" for what, value in row["differences"].items()]
            lines.append(f"| {row['name']} | operations, ours and theirs | {row['operations']} |")
    for part in ("peers", "batch", "devices"):
        if results.get(part):
            lines += ["", f"{part}:", "", *_table(results[part])]
    compared = results.get("ratios", ())
    if compared:
        lines += ["", "| networks | precision | Mirage's fastest | other's fastest | times as fast |"]
        lines.append("| --- | --- | --- | --- | --- |")
        for row in compared:
            for family, ratio in row["mirage_over"].items():
                best = f"{row['best']['Mirage']} | {row['best'][family]}"
                lines.append(f"| {_name(row)} | {row['precision']} | {best} | {ratio:.2f} |")
    failed = [row for part in ("peers", "batch", "devices") for row in results.get(part, ()) if row["error"]]
    if failed:
        lines += ["", "Failed:", ""]
        lines += [f"- {_name(row)}, {row['precision']}, {row['side']}: {row['error']}" for row in failed]
    return "\n".join(lines)


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = ("networks", "precision", "side", "images/s", "TFLOP/s", "of peak", "memory MiB", "process MiB")
    lines = [f"| {' | '.join((*columns, 'compile s', 'start s'))} |", "|" + " --- |" * (len(columns) + 2)]
    for row in rows:
        if row["error"]:
            figures = ["failed"] + ["-"] * 6
        else:
            rate, share = row["operations_per_s"], row["share_of_peak"]
            figures = [f"{row['images_per_s']:,.0f}", f"{rate / 1e12:.2f}" if rate else "-"]
            figures.append(f"{share:.1%}" if share else "unknown")
            figures += [
                f"{row[key]:,.0f}" if row.get(key) is not None else "-" for key in ("memory_mib", "process_mib")
            ]
            figures += [f"{row['compile_s']:.1f}", f"{row['start_s']:.1f}"]
        lines.append(f"| {' | '.join((_name(row), row['precision'], row['side'], *figures))} |")
    return lines


def _name(row: Mapping[str, Any]) -> str:
    devices = f", {row['devices']} devices" if row.get("devices") else ""
    return f"{row['networks']} {row['image_size']} px, batch {row['batch_size']}{devices}"
