"""Inputs with the branch of another input, `same_as`: who owns it, who may have it."""

import pydantic
from pydantic import Field

from mmkeras.families import nearest


class Shared(pydantic.BaseModel):
    """A branch that is another input's: the same layers with the same weights."""

    model_config = pydantic.ConfigDict(extra="forbid")
    same_as: str = Field(description="the input whose branch it is")


def owner(name, branches):
    """The input whose branch an input has: its own, or that which it is the same as.

    Args:
        name: of the input.
        branches: the resolved `branches` of a recipe.

    >>> owner("b", {"a": {"kind": "lstm"}, "b": {"same_as": "a"}})
    'a'
    """
    return branches[name].get("same_as", name)


def found(branches):
    """Those of a recipe's `branches` that name another input's, resolved or not."""
    return {
        name: choice
        for name, choice in branches.items()
        if isinstance(choice, dict) and "same_as" in choice
    }


def faults(inputs, shared):
    """Why some of them cannot have the branch they name, a list of sentences.

    Args:
        inputs: the resolved `data.inputs` of a recipe, {} of one with faults.
        shared: see `found`.
    """
    told = []
    for name in [name for name in shared if name in inputs]:
        choice, other = shared[name], shared[name]["same_as"]
        beside = ", ".join(f"`{key}`" for key in choice if key != "same_as")
        names = [each for each in inputs if each != name]
        if beside:
            why = (
                f"{beside} beside it. It takes the branch of `{other}` as it is: leave "
                f"{beside} out, or set it in branches.{other}"
            )
        elif not isinstance(other, str):
            why = f"expected the name of an input, got {other!r}"
        elif other == name:
            why = f"`{name}` itself. Name another input: {', '.join(names)}"
        elif other not in inputs:
            hint = nearest(other, names)
            why = f"no input `{other}`. Inputs: {', '.join(names)}{hint}"
        elif other in shared:
            why = _chained(name, shared)
        else:
            why = _unlike(name, inputs[name], other, inputs[other])
        told += [f"branches.{name}: same_as: {why}"] if why else []
    return told


def _chained(name, shared):
    """Why an input cannot have the branch of one that has that of another."""
    way = [name]
    while way[-1] in shared and len(way) == len(set(way)):
        way.append(str(shared[way[-1]]["same_as"]))
    if way[-1] in way[:-1]:
        told = ", ".join(f"`{each}`" for each in way[1:])
        return f"this leads round: {told}. Give one of them a branch of its own"
    return (
        f"`{way[1]}` has no branch of its own, it is the same as `{way[2]}`. Write "
        f"same_as: {way[-1]}"
    )


def _unlike(name, choice, other, theirs):
    """Why two inputs cannot have one branch; "" where they can."""
    kind, wanted = choice.get("kind"), theirs.get("kind")
    if not (kind and wanted):
        return ""  # a fault of its own
    if kind != wanted:
        return (
            f"`{name}` is {kind} and `{other}` is {wanted}, and a branch reads one "
            "kind. Leave same_as out"
        )
    if kind == "tabular":
        return (
            "tables cannot share a branch, each has the scales and words of its own "
            "columns. Leave same_as out"
        )
    told = [
        f"data.inputs.{name}.{key} is {choice[key]} and data.inputs.{other}.{key} is "
        f"{theirs[key]}"
        for key in choice
        if key != "columns" and choice[key] != theirs[key]
    ]
    return f"{'; '.join(told)}. Set both to one value" if told else ""
