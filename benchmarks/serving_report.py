"""Writes the figures of `benchmarks.serving` as Markdown tables."""

from collections.abc import Mapping
from typing import Any

# Numbers of clients that wait for their answers.
CLIENTS = (1, 8, 64)
_TAKES = {
    ("png", "Mirage"): "seed and label in the URL, returns PNG",
    ("png", "LitServe"): "seed and label as JSON, returns PNG",
    ("json", "Mirage"): "seed and label as the protocol's JSON, returns pixels as JSON",
    ("json", "MLServer"): "the same request, returns pixels as JSON",
    ("binary", "Mirage"): "seed and label as the protocol's binary tensors, returns pixels as one",
    ("binary", "LitServe"): "seed and label as JSON, returns the pixels' bytes",
}


def report(results: Mapping[str, Any]) -> str:
    """Writes all tables.

    Args:
      results: what `benchmarks.serving.run` returned.
    """
    lines = [", ".join(f"{name} {value}" for name, value in results["machine"].items())]
    for name, choice in results.get("chosen", {}).items():
        lines += ["", f"{name} is set up with {choice['title']}; a short try gave:", ""]
        lines += [
            f"| {name} | {' | '.join(f'requests/s of {c}' for c in CLIENTS)} |",
            "| --- |" + " --- |" * len(CLIENTS),
        ]
        for title, rates in choice["tried"].items():
            lines.append(f"| {title} | {' | '.join(f'{rate:,.0f}' for rate in rates)} |")
    for part, write in (("peers", _peers), ("limit", _limit), ("overload", _overload), ("start", _start)):
        if part in results:
            lines += ["", *write(results[part])]
    return "\n".join(lines)


def _peers(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| form | clients | server | requests/s | p50, ms | p99, ms | Mirage is ... times as fast |"]
    lines.append("| --- |" + " --- |" * 6)
    for row in rows:
        for name, side in row["sides"].items():
            over = "" if name == "Mirage" else f"{side['mirage_over']:.2f}"
            figures = f"{side['rate']:,.0f} | {side['p50']:.2f} | {side['p99']:.2f}"
            lines.append(f"| {row['form']} | {row['clients']} | {name} | {figures} | {over} |")
    return [*lines, "", *(f"- {form}, {name}: takes {text}" for (form, name), text in _TAKES.items())]


def _limit(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| images per request | requests/s | images/s | bare loop, images/s | ratio | p50, ms | p99, ms |"]
    lines.append("| --- |" + " --- |" * 6)
    for row in rows:
        rates = f"{row['server'] / row['images']:,.0f} | {row['server']:,.0f} | {row['bare']:,.0f}"
        lines.append(f"| {row['images']} | {rates} | {row['ratio']:.3f} | {row['p50']:.2f} | {row['p99']:.2f} |")
    return lines


def _overload(row: Mapping[str, Any]) -> list[str]:
    def summary(key: str) -> str:
        return " / ".join(f"{row[key][field]:.1f}" for field in ("p50", "p99", "max"))

    statuses = row["statuses"]
    errors = sum(count for status, count in statuses.items() if status not in ("200", "429"))
    memory = row["memory"]
    course = ", ".join(f"{value:.1f}" for value in memory["course"])
    facts = {
        "images per request": row["images"],
        "sustainable, requests/s (64 waiting clients)": f"{row['sustainable']:,.0f}",
        "offered, requests/s (open loop)": f"{row['rate']:,.0f}",
        "accepted, requests/s": f"{row['goodput']:,.0f}",
        "accepted / sustainable": f"{row['ratio']:.3f}",
        "accepted, ms, p50 / p99 / max": summary("accepted_ms"),
        "the server's timeout, ms": f"{row['timeout_s'] * 1e3:.0f}",
        "answers by status": ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items())),
        "errors (neither 200 nor 429)": errors,
        "/v2/health/live, ms, p50 / p99 / max": summary("health_ms"),
        "/v2/health/live, failed": row["unhealthy"],
        "requests sent late by, ms, p50 / p99 / max": summary("late_ms"),
        "the load generator's share of a CPU": f"{row['cpu']:.2f}",
        "seconds of overload": f"{row['seconds']:.0f}",
        "resident, MiB, ready / end": f"{memory['ready']:.1f} / {memory['end']:.1f}",
        "resident, MiB, on the way": course or "not read",
    }
    return ["| overload | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts.items())]


def _start(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    lines = ["| server | start to ready, s | resident after load, MiB | the same, shared pages once |"]
    lines.append("| --- |" + " --- |" * 3)
    for name, row in rows.items():
        lines.append(f"| {name} | {row['seconds']:.3f} | {row['resident']:.1f} | {row['shared_once']:.1f} |")
    return lines
