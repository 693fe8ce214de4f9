"""What was found as JSON, as text and as one HTML page."""

import html
from pathlib import Path

from mmkeras import templates
from mmkeras.doctor.finding import number
from mmkeras.manifest import SPLITS

# Rows of a table on the page; `--json` and `--rejected` hold all.
MOST = 1000
HEAD = ("input", "kind", "rows", "empty", "measure", "least", "median", "most")


def content(health):
    """A `Health` for JSON."""
    rows = health.rows
    rejected = [
        {"line": row.line, "id": row.id, "column": row.column, "reason": row.reason}
        for row in rows.rejected
    ]
    return {
        "rows": rows.rows_read,
        "used": len(rows),
        "rejected": rejected,
        "warnings": health.warnings,
        "findings": [each.content() for each in health.findings],
        "inputs": health.measures,
        "classes": health.classes,
    }


def summary(rows):
    """Rows read, used and refused in one sentence."""
    counts = rows.frame[rows.split_column].value_counts()
    splits = [f"{counts[name]} {name}" for name in SPLITS if name in counts]
    used = f"{len(rows)} used" + (f" ({', '.join(splits)})" if splits else "")
    return (
        f"{rows.path.name}: {rows.rows_read} rows read, {used}, "
        f"{len(rows.rejected)} refused"
    )


def table(health):
    """Lines of cells about the inputs, the names first."""
    lines = [list(HEAD)]
    for each in health.measures:
        spans = [each.get(key) for key in ("least", "median", "most")]
        spans = ["" if value is None else number(value) for value in spans]
        counts = [str(each["rows"]), str(each["empty"])]
        own = [each["input"], each["kind"], *counts, each.get("quantity", ""), *spans]
        lines.append(own)
    return lines


def write(path, health):
    """Writes the page: no network, light or dark as the reader has it."""
    rows = health.rows
    warnings = [[str(sentence)] for sentence in rows.warnings]
    found = [
        [each.rule, each.column, _lines(each), each.what, each.advice]
        for each in health.findings
    ]
    refused = [[row.line, row.id, row.column, row.reason] for row in rows.rejected]
    values = {
        "name": html.escape(rows.path.name),
        "summary": html.escape(summary(rows)),
        "kind": "bad" if refused else "odd" if found or warnings else "good",
        "inputs": _html(table(health)),
        "classes": "\n".join(_classes(*pair) for pair in health.classes.items()),
        "refused": _part(["line", "id", "column", "reason"], refused),
        "findings": _part(["rule", "column", "lines", "what", "what to do"], found),
        "warnings": _part(["about the manifest"], warnings) if warnings else "",
    }
    text = templates.filled("check.html", values)
    Path(path).write_text(text, encoding="utf-8")


def _lines(found):
    lines = ", ".join(map(str, found.lines[:50]))
    return lines + (
        f" and {len(found.lines) - 50} more" if len(found.lines) > 50 else ""
    )


def _part(head, lines):
    """A table, or that there is nothing for it."""
    if not lines:
        return "<p>None.</p>"
    more = len(lines) - MOST
    return _html([head, *lines[:MOST]]) + (
        f"<p>And {more} more.</p>" if more > 0 else ""
    )


def _classes(target, counts):
    """Rows of each label and split, the rarest in train first."""
    splits = [s for s in SPLITS if any(s in each for each in counts.values())]
    ordered = sorted(counts, key=lambda label: counts[label].get("train", 0))
    lines = [
        [label, *(counts[label].get(split, 0) for split in splits)]
        for label in ordered[:MOST]
    ]
    return _html([[target, *splits], *lines])


def _html(lines):
    return templates.table(lines, first="td")
