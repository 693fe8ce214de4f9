"""The sections of a recipe and their keys, each with its rule, default and meaning."""

import re
from typing import Literal

import pydantic
from pydantic import Field

from mmkeras.recipe.augment import Augment, augment_faults
from mmkeras.recipe.data import Data
from mmkeras.recipe.section import Choice, Section
from mmkeras.recipe.train import Train

__all__ = ["NAME", "Augment", "Data", "Recipe", "Train", "augment_faults"]


# Of a recipe: of run folders and of the model at a server.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class Recipe(Section):
    """One system from manifest to model."""

    schema_: Literal[1] = Field(
        1, alias="schema", description="of the recipe itself: which keys it may have"
    )
    name: str = Field(description="of the run's folder, unless --run says another")
    data: Data = Field(description="where the rows are; see below")
    branches: dict[str, Choice] = Field(
        default_factory=dict, description="input -> branch and its options"
    )
    fusion: Choice = Field(
        default_factory=dict, description="how the branches are brought together"
    )
    augment: Augment = Field(
        default_factory=Augment, description="random changes of train rows; see below"
    )
    train: Train = Field(default_factory=Train, description="the fit; see below")

    @pydantic.field_validator("name")
    @classmethod
    def _folder(cls, value):
        if not NAME.fullmatch(value):
            raise ValueError("expected ASCII letters, digits, `_`, `.` and `-`")
        return value

    def conflicts(self):
        """Sentences on keys that do not go together."""
        found = self.data.conflicts() + self.train.conflicts()
        if self.train.data_service and self.data.disk_mb:
            found.append(
                f"data.disk_mb: {self.data.disk_mb} keeps what this process decodes, "
                "and train.data_service has others decode: drop one"
            )
        return found
