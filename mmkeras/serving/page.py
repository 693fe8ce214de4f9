"""The page at `/`: a form of the model's inputs, and bars of its answer."""

import html
import json

from mmkeras import export, templates


def render(versions):
    """The page for the newest version, HTML.

    Args:
        versions: `models.Versions`.
    """
    loaded = versions.pick(versions.name)
    try:
        labels, inputs = export.assets(loaded.folder)
    except FileNotFoundError:  # a SavedModel of somebody else: its inputs as they are
        labels, inputs = {}, {name: [name] for name in loaded.inputs("serving_default")}
    told = {
        "name": versions.name,
        "version": loaded.version,
        "labels": labels,
        "inputs": inputs,
    }
    # `<` would end the script's element.
    text = json.dumps(told, ensure_ascii=False).replace("<", "\\u003c")
    name = html.escape(versions.name, quote=False)
    return templates.filled("serve.html", {"name": name, "model": text})
