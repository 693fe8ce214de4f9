"""One thing that is odd about rows which are used all the same."""

import dataclasses
import itertools

# Lines that a sentence names; JSON and HTML hold all.
SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is odd, where, and what to do.

    Attributes:
        rule: short name of the rule that found it, as `leak`.
        column: the input or target, by the file's name where it has one; "" where it
            is the row as a whole.
        lines: of the manifest, in its order.
        what: one clause.
        advice: one clause.
        ids: of the rows, in the order of `lines`.
    """

    rule: str
    column: str
    lines: tuple
    what: str
    advice: str
    ids: tuple = ()

    def __str__(self):
        column = f"`{self.column}`, " if self.column else ""
        where = f"{listed(self.lines)}: " if self.lines else ""
        return f"{column}{where}{self.what}. {self.advice}"

    def content(self):
        """For JSON."""
        return {
            "rule": self.rule,
            "column": self.column,
            "lines": list(self.lines),
            "ids": list(self.ids),
            "what": self.what,
            "advice": self.advice,
        }


def of(rows, rule, column, lines, what, advice):
    """A `Finding` about rows of a manifest.

    Args:
        rows: the `manifest.Manifest`.
        rule: see `Finding`, as the others.
        column: as there.
        lines: in any order.
        what: as there.
        advice: as there.
    """
    lines = sorted(int(line) for line in lines)
    ids = tuple(rows.frame.loc[lines, rows.id])
    column = rows.columns_in_file.get(column, column)
    return Finding(rule, column, tuple(lines), what, advice, ids)


def number(value):
    """Three digits, or all before the point.

    >>> number(0.25), number(1234567)
    ('0.25', '1,234,567')
    """
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def listed(lines):
    """Lines as words.

    >>> listed([2, 5])
    'lines 2, 5'
    """
    shown = ", ".join(str(line) for line in itertools.islice(lines, SHOWN))
    more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return f"line{'s' * (len(lines) > 1)} {shown}{more}"
