"""The kinds of each family and their options, read from the source text.

A family is a dict literal (`FUSIONS`, `TEXT`, ...) of functions or classes, and the
options of a kind are the keyword-only arguments with a default of that function or
class. They are read with `ast`, not by import, so that a recipe is checked in
milliseconds and without TensorFlow, while every default stands in one place: the
signature.
"""

import ast
import difflib
import functools
import itertools
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BeforeValidator, Field


def _not_bool(value):
    # Python, and so pydantic, would take `yes` for 1.
    if isinstance(value, bool):
        raise ValueError("expected a number")
    return value


_NUMBER = BeforeValidator(_not_bool)
Fraction = Annotated[float, Field(ge=0, lt=1), _NUMBER]
NonNegativeFloat = Annotated[float, Field(ge=0), _NUMBER]
NonNegativeInt = Annotated[int, Field(ge=0), _NUMBER]
PositiveFloat = Annotated[float, Field(gt=0), _NUMBER]
PositiveInt = Annotated[int, Field(gt=0), _NUMBER]


def _listed(value):
    if isinstance(value, str):
        raise ValueError(f"expected a list of columns, as [{value}]")
    return value


# Names of columns of the manifest; no other option is a list.
Columns = Annotated[tuple[str, ...], BeforeValidator(_listed)]

# The words that may stand in the annotation of an option.
TYPES = {
    "bool": bool,
    "tuple[str, ...]": Columns,
    "int": Annotated[int, _NUMBER],
    "float": Annotated[float, _NUMBER],
    "str": str,
    "None": None,
    "Fraction": Fraction,
    "NonNegativeFloat": NonNegativeFloat,
    "NonNegativeInt": NonNegativeInt,
    "PositiveFloat": PositiveFloat,
    "PositiveInt": PositiveInt,
}

# Kinds of input whose cell is the value itself; in all others it is a file's path.
VALUES = ("text", "tabular")

# Where each family's dict literal stands.
FAMILIES = {
    "modalities": ("modalities/__init__.py", "MODALITIES"),
    "branches.text": ("branches/text.py", "TEXT"),
    "branches.image": ("branches/image.py", "IMAGE"),
    "branches.audio": ("branches/audio.py", "AUDIO"),
    "branches.tabular": ("branches/tabular.py", "TABULAR"),
    "fusion": ("fusion/__init__.py", "FUSIONS"),
    "tasks": ("tasks/__init__.py", "TASKS"),
}


class OptionError(ValueError):
    """A kind or an option that the family does not have; the message says which."""


@functools.cache
def kinds(family):
    """The kinds of a family, in the order of its dict literal; the first is default.

    Args:
        family: a key of `FAMILIES`, as `"branches.text"`.

    Returns:
        {kind: pydantic model class of its options}.
    """
    path, table = FAMILIES[family]
    file = Path(__file__).parent / path
    tree = ast.parse(file.read_text(encoding="utf-8"))
    literal = _assigned(tree, table)
    return {
        key.value: _options(key.value, _definition(tree, value.id))
        for key, value in zip(literal.keys, literal.values, strict=True)
    }


def resolve(family, choice):
    """A kind with all its options, the ones not given filled with their defaults.

    Args:
        family: a key of `FAMILIES`.
        choice: a kind (`"lstm"`) or a dict (`{"kind": "lstm", "units": 64}`); a dict
            without `kind` means the family's first.

    Returns:
        A dict: `kind` first, then every option.

    Raises:
        OptionError: no such kind or option, or a value out of its range. All faults
            in one message, one a line, each with the nearest name.
    """
    given = {"kind": choice} if isinstance(choice, str) else dict(choice)
    members = kinds(family)
    kind = given.pop("kind", next(iter(members)))
    if not isinstance(kind, str) or kind not in members:
        raise OptionError(
            f"no kind `{kind}`. Kinds: {', '.join(members)}{nearest(kind, members)}"
        )
    try:
        options = members[kind].model_validate(given)
    except pydantic.ValidationError as error:
        allowed = list(members[kind].model_fields)
        lines = [describe(fault, allowed, kind) for fault in error.errors()]
        raise OptionError("\n".join(lines)) from None
    return {"kind": kind, **options.model_dump()}


def is_name(name):
    """Whether tensors of the served model can bear a name.

    >>> is_name("photo_2"), is_name("图片")
    (True, False)
    """
    return bool(re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name))


def columns_of(name, choice):
    """The columns of the manifest that an input reads.

    Args:
        name: of the input.
        choice: its dict in `data.inputs`, of which each list names columns.

    Returns:
        A tuple of str, in the order in which its decoder takes them: those that it
        lists, else the one of its own name.

    >>> columns_of("person", {"kind": "tabular", "numbers": ["age"], "categories": []})
    ('age',)
    """
    lists = [value for value in choice.values() if isinstance(value, list | tuple)]
    return tuple(itertools.chain.from_iterable(lists)) or (name,)


def describe(fault, allowed, owner):
    """One pydantic fault in one sentence, with the value and what was expected.

    Args:
        fault: one of `ValidationError.errors()`.
        allowed: names of the keys that the owner has.
        owner: kind or section that the key belongs to, for the sentence.
    """
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(allowed) or "none"
        hint = nearest(str(fault["loc"][-1]), allowed)
        return f"unknown key `{key}` for `{owner}`. Keys: {known}{hint}"
    if fault["type"] == "missing":
        return f"`{key}` is missing for `{owner}`"
    value, message = fault["input"], fault["msg"].removeprefix("Value error, ")
    hint = ""
    if fault["type"] == "literal_error":
        hint = nearest(value, re.findall(r"'(.*?)'", fault["ctx"]["expected"]))
    if fault["type"] in ("dict_type", "model_type"):
        message = "expected a mapping of keys"
    if fault["loc"][-1] == "[key]":
        # YAML reads a bare `no` or `1` as False or a number.
        key, message = key.removesuffix(".[key]"), "expected a name; quote it in YAML"
    return f"`{key}`: {message}, got {value!r}{hint}"


def nearest(word, words):
    """` (did you mean ...?)` where one of the words is near, else nothing.

    >>> nearest("lsmt", ["lstm", "gru"])
    ' (did you mean `lstm`?)'
    """
    close = difflib.get_close_matches(str(word), [str(each) for each in words], n=1)
    return f" (did you mean `{close[0]}`?)" if close else ""


def _assigned(tree, name):
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return node.value
    raise LookupError(f"no dict literal `{name}`")


def _definition(tree, name):
    """The signature of a function, or of a class's `__init__`, by name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node.args
        if isinstance(node, ast.ClassDef) and node.name == name:
            return _definition(node, "__init__")
        if isinstance(node, ast.ImportFrom) and name in [n.name for n in node.names]:
            parts = node.module.split(".")[1:]
            file = Path(__file__).parent.joinpath(*parts).with_suffix(".py")
            return _definition(ast.parse(file.read_text(encoding="utf-8")), name)
    raise LookupError(f"no function or class `{name}`")


def _options(kind, signature):
    fields = {
        argument.arg: (_type(argument.annotation), ast.literal_eval(default))
        for argument, default in zip(
            signature.kwonlyargs, signature.kw_defaults, strict=True
        )
        if default is not None  # without a default it is data, not an option
    }
    rules = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)
    return pydantic.create_model(kind, __config__=rules, **fields)


def _type(annotation) -> Any:
    if isinstance(annotation, ast.BinOp):
        return _type(annotation.left) | _type(annotation.right)
    if isinstance(annotation, ast.Subscript) and annotation.value.id == "Literal":
        return Literal[ast.literal_eval(annotation.slice)]
    return TYPES[ast.unparse(annotation)]
