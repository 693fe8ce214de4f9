"""The model as boxes of a page: inputs -> branches -> fusion -> heads."""

import html

from mmkeras import plots


def drawn(outline):
    """HTML of what `model.outline` tells; "" where nothing is known.

    Args:
        outline: as `parameters.json` holds it.
    """
    if not outline:
        return ""
    rows = {}
    for part in outline:
        if part["part"] in ("input", "backbone", "branch"):
            rows.setdefault(part["name"], []).append(part)
    behind = {
        kind: [part for part in outline if part["part"] == kind]
        for kind in ("fusion", "head")
    }
    chains = ("".join(map(_box, parts)) for parts in rows.values())
    lines = "".join(f'<div class="row">{chain}</div>' for chain in chains)
    return (
        f'<div class="sketch"><div class="rows">{lines}</div>'
        f'<div class="rows">{"".join(map(_box, behind["fusion"]))}</div>'
        f'<div class="rows">{"".join(map(_box, behind["head"]))}</div></div>\n'
    )


def _box(part):
    name = part["name"] if part["part"] in ("input", "head") else part["part"]
    lines = [f"<b>{html.escape(name)}</b>"]
    lines += map(html.escape, filter(None, (part["kind"], plots.shape_text(part))))
    if part["parameters"]:
        told = plots.count(part["parameters"])
        frozen = ", frozen" * (not part["trainable"])
        lines.append(f"{told} parameters{frozen}")
    return f'<div class="box {part["part"]}">{"<br>".join(lines)}</div>'
