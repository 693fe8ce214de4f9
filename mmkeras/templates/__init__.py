"""Pages with $names to fill in, and the pieces of HTML that fill them."""

import base64
import html
import string
from pathlib import Path

FOLDER = Path(__file__).parent


def filled(name, values):
    """The text of a template with its $names replaced.

    Args:
        name: of the file in this folder.
        values: {name: text}; what goes into HTML is escaped already.
    """
    text = (FOLDER / name).read_text(encoding="utf-8")
    return string.Template(text).substitute(values)


def table(lines, first="th"):
    """Rows of cells as an HTML table.

    Args:
        lines: lists of what `str` takes, the first one the header; escaped here.
        first: element of the first cell of a row, `th` where it names the row.
    """
    head, *body = ([html.escape(str(cell)) for cell in line] for line in lines)
    rows = "".join(
        f"<tr><{first}>{line[0]}</{first}>"
        + "".join(f"<td>{cell}</td>" for cell in line[1:])
        + "</tr>\n"
        for line in body
    )
    names = "".join(f"<th>{cell}</th>" for cell in head)
    return f'<div class="scroll"><table>\n<tr>{names}</tr>\n{rows}</table></div>\n'


def embedded(kind, content):
    """Bytes as an address that holds them, so that a page needs no other file.

    Args:
        kind: media type, as `image/png`.
        content: bytes.
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
