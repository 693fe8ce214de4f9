"""Pages that are made of the source: README, recipe keys, families, verbs, Python API.

Run by MkDocs (`make docs`). Nothing here imports TensorFlow: options are read as a
recipe's check reads them, their meaning from the docstrings.
"""

import ast
import functools
import re
import typing
from pathlib import Path

import griffe
import mkdocs_gen_files
from pydantic_core import PydanticUndefined

from mmkeras import cli, families, recipe

ROOT = Path(__file__).parent.parent
STAGES = ["decoders", "branches", "fusion", "heads"]
# Page of a family: title, the stage that it stands for, its families.
PAGES = {
    "inputs": ("Inputs", "decoders", ["modalities"]),
    "text": ("Text branches", "branches", ["branches.text"]),
    "image": ("Image branches", "branches", ["branches.image"]),
    "audio": ("Audio branches", "branches", ["branches.audio"]),
    "tabular": ("Tabular branches", "branches", ["branches.tabular"]),
    "fusion": ("Fusions", "fusion", ["fusion"]),
    "tasks": ("Tasks", "heads", ["tasks"]),
}
SECTIONS = {
    "": recipe.Recipe,
    "data": recipe.Data,
    "augment": recipe.Augment,
    "train": recipe.Train,
}
ROOMS = [
    "config",
    "manifest",
    "train",
    "evaluate",
    "explain",
    "export",
    "answering",
    "formats",
    "client",
    "tune",
    "distribution",
    "run",
    "model",
    "dataset",
    "features",
    "modalities",
    "layers",
    "starter",
]


def write(name, text):
    """One page."""
    with mkdocs_gen_files.open(name, "w") as file:
        file.write(text.rstrip() + "\n")


def copied(name, source):
    """A page of the repository's root; its links to others hold here too."""
    text = (ROOT / source).read_text("utf-8")
    pages = {"README.zh.md": "zh.md", "README.md": "index.md"}
    for file, page in pages.items():
        text = text.replace(f"]({file})", f"]({page})")
    write(name, re.sub(r"`docs/(\w+\.md)`", r"[\1](\1)", text))


def kind_text(annotation):
    """A type with its range for people, as `integer, at least 1`."""
    if annotation is type(None):
        return "none"
    if isinstance(annotation, type):
        names = {
            int: "whole number",
            float: "number",
            str: "text",
            bool: "true or false",
        }
        return names.get(annotation, "mapping")
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        limits = (limit for part in parts[1:] for limit in _limits(part))
        return ", ".join(dict.fromkeys([kind_text(parts[0]), *limits]))
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (dict,):
        return "mapping"
    if origin in (tuple, list):
        return "list"
    return " or ".join(dict.fromkeys(map(kind_text, parts)))


def _limits(part):
    """`ge=0` and the like in words."""
    found = [part, *getattr(part, "metadata", ())]
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    for each in found:
        for name, told in words.items():
            value = getattr(each, name, None)
            if isinstance(value, int | float):
                yield f"{told} {value:g}"


def default_text(field):
    """A default in YAML."""
    if field.default_factory:
        return "`{}`"
    if field.default is PydanticUndefined:
        return "must be given"
    plain = {None: "none", True: "`true`", False: "`false`"}
    if field.default is None or isinstance(field.default, bool):
        return plain[field.default]
    if isinstance(field.default, tuple):
        return f"`{list(field.default)}`"
    return f"`{field.default}`"


def cell(text):
    """Text that may stand in a table."""
    return " ".join(str(text or "").split()).replace("|", "\\|")


def recipe_page():
    """Every key of every section."""
    lines = [
        "# The recipe",
        "A YAML file. A key that is not here is an error that names the nearest one; "
        "every fault is told at once, before anything runs. `--set a.b=value` "
        "overrides a key on the command line.",
    ]
    for name, section in SECTIONS.items():
        lines += [f"## {name or 'Sections'}", cell(section.__doc__), ""]
        lines += ["| key | value | default | |", "| --- | --- | --- | --- |"]
        for key, field in section.model_fields.items():
            shown = field.alias or key
            full = f"{name}.{shown}" if name else shown
            lines.append(
                f"| `{full}` | {cell(_kind(field))} | {cell(default_text(field))} "
                f"| {cell(field.description)} |"
            )
        lines.append("")
    lines.append("Kinds of inputs, branches, fusions and tasks: see the families.")
    return "\n".join(lines)


def _kind(field):
    limits = [limit for part in field.metadata for limit in _limits(part)]
    return ", ".join(dict.fromkeys([kind_text(field.annotation), *limits]))


def family_page(title, stage, keys):
    """Each kind of a family: what it is, its options."""
    lines = [f"# {title}", diagram(stage), ""]
    for key in keys:
        path, table = families.FAMILIES[key]
        lines.append(_intro(path))
        for kind, options in families.kinds(key).items():
            summary, told = described(path, table, kind)
            lines += [f"## {kind}", summary, ""]
            if not options.model_fields:
                lines.append("No options.")
                continue
            lines += ["| option | value | default | |", "| --- | --- | --- | --- |"]
            for name, field in options.model_fields.items():
                lines.append(
                    f"| `{name}` | {cell(_kind(field))} | {cell(default_text(field))} "
                    f"| {cell(told.get(name))} |"
                )
            lines.append("")
    return "\n".join(lines)


def _intro(path):
    """The docstring of a family's file; what is indented in it is a table of text."""
    tree = ast.parse((ROOT / "mmkeras" / path).read_text("utf-8"))
    return (ast.get_docstring(tree) or "").strip() + "\n"


@functools.cache
def _read(path):
    """A module of the package, from its source."""
    return griffe.load(path.replace("/", "."), search_paths=[str(ROOT)])


def described(path, table, kind):
    """(what a kind is, {option: meaning}) from its docstring."""
    package = _read("mmkeras/" + path.removesuffix(".py").removesuffix("/__init__"))
    literal = ast.parse(str(package.members[table].value), mode="eval").body
    pairs = zip(literal.keys, literal.values, strict=True)
    names = {ast.literal_eval(key): value.id for key, value in pairs}
    member = package.members[names[kind]]
    member = member.final_target if member.is_alias else member
    if not member.docstring:
        return "", {}
    sections = griffe.parse_google(member.docstring, warnings=False)
    text = "\n\n".join(s.value for s in sections if s.kind.value == "text")
    told = {
        each.name: each.description
        for section in sections
        if section.kind.value == "parameters"
        for each in section.value
    }
    return text, told


def diagram(stage):
    """The way of a row, the stage at hand filled."""
    names = ["a row of the CSV", *STAGES, "the answer"]
    boxes = []
    for at, name in enumerate(names):
        x, own = 4 + 128 * at, name == stage
        style = "fill:#d9741a" if own else "fill:none;stroke:currentColor"
        color = "#ffffff" if own else "currentColor"
        boxes.append(
            f'<rect x="{x}" y="6" width="108" height="34" rx="4" style="{style}"/>'
            f'<text x="{x + 54}" y="28" text-anchor="middle" font-size="12" '
            f'fill="{color}">{name}</text>'
        )
        if at:
            boxes.append(
                f'<path d="M{x - 19} 23h13m-5-4l5 4l-5 4" fill="none" '
                'stroke="currentColor"/>'
            )
    wide = 4 + 128 * len(names) - 16
    return f'<svg viewBox="0 0 {wide} 46" role="img">{"".join(boxes)}</svg>\n'


def cli_page():
    """The help of every verb."""
    lines = [
        "# Command line",
        "`mmkeras VERB`. Results go to stdout, progress to stderr.",
    ]
    for name in cli.VERBS:
        text = cli._verb_parser(name, cli.verb_of(name)).format_help()
        lines += [f"## {name}", f"```text\n{text.rstrip()}\n```"]
    return "\n\n".join(lines)


copied("index.md", "README.md")
copied("zh.md", "README.zh.md")
copied("contributing.md", "CONTRIBUTING.md")
copied("changes.md", "CHANGELOG.md")
write("recipe.md", recipe_page())
write("cli.md", cli_page())
for page, told in PAGES.items():
    write(f"families/{page}.md", family_page(*told))
for room in ROOMS:
    write(f"python/{room}.md", f"::: mmkeras.{room}")
