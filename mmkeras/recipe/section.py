"""What the sections of a recipe have in common: no key but those that are named."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema


def _long(choice):
    """`lstm` -> `{kind: lstm}`."""
    return {"kind": choice} if isinstance(choice, str) else choice


# A member of a family: its kind, or a mapping of its kind and options.
Choice = Annotated[
    dict,
    BeforeValidator(_long),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]}),
]


class Section(BaseModel):
    """Keys, each with its rule, default and meaning."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
