"""The section `data`: where the rows are, and which column holds what."""

import itertools
from typing import Literal

import pydantic
from pydantic import Field

from mmkeras.families import (
    Fraction,
    NonNegativeInt,
    PositiveInt,
    columns_of,
    nearest,
)
from mmkeras.recipe.section import Choice, Section


class Data(Section):
    """Where the rows are, and which column holds what."""

    manifest: str = Field(
        description="path of the CSV or Parquet file, from where the command runs"
    )
    inputs: dict[str, Choice] = Field(
        description="column -> modality (text, image, audio, tabular) and how it is "
        "decoded; an input that lists columns reads those instead",
    )
    targets: dict[str, Choice] = Field(description="column -> task")
    columns: dict[str, str] = Field(
        {},
        description="name of an input, a target or a column that an input lists -> the "
        "file's name of that column, in any script; the same name where not given",
    )
    id: str = Field("id", description="column that names a row; line number without it")
    split: str = Field("split", description="column of train, valid, test")
    shares: tuple[Fraction, Fraction, Fraction] = Field(
        (0.8, 0.1, 0.1),
        description="train, valid, test shares where there is no split column",
    )
    group: str | None = Field(
        None,
        description="column of speaker, patient, dialogue: all its rows come into one "
        "split where splits are drawn",
    )
    folds: int | None = Field(
        None,
        ge=2,
        description="cross-validation: all rows are dealt to so many folds, with the "
        "labels' shares and whole groups, and as many runs each test on one of them",
    )
    fold: PositiveInt | None = Field(
        None,
        description="the one of data.folds that a run tests on, from 1; all of them, "
        "one after the other, where not given",
    )
    clean: tuple[Literal["empty", "duplicates"], ...] = Field(
        (),
        description="rows left out: those that lack an input, those that are there "
        "already",
    )
    weight: str | None = Field(
        None,
        description="column of what a train row counts in the loss, 0 or more; 1 where "
        "empty",
    )
    separator: str = Field(",", description="of cells, one character")
    encoding: str = Field("utf-8", description="of the CSV; a BOM is skipped")
    on_bad_row: Literal["drop", "refuse"] = Field(
        "drop", description="train without the bad rows, counted, or not at all"
    )
    cache_mb: NonNegativeInt = Field(
        2048,
        description="megabytes that decoded rows may take in memory; above it they "
        "go to disk_mb, or are decoded anew each epoch",
    )
    disk_mb: NonNegativeInt = Field(
        0,
        description="megabytes of disk for decoded rows that do not fit in memory: "
        "decoded once, in the next run not at all; 0: none are kept",
    )
    open_first: bool = Field(
        True,
        description="open every file before training; false: not where decoded rows do "
        "not fit in memory, and a bad file stops the run that comes to it",
    )
    features_mb: NonNegativeInt = Field(
        4096,
        description="megabytes of disk for what frozen backbones give, computed once "
        "a file; 0: nothing is kept, the backbones run in every step",
    )

    @pydantic.field_validator("group")
    @classmethod
    def _no_target(cls, value, info):
        if value in info.data.get("targets", ()):
            raise ValueError("a target: each of its labels would be in one split only")
        return value

    @pydantic.field_validator("separator")
    @classmethod
    def _one_character(cls, value):
        if len(value) != 1 or value in '"\r\n':
            raise ValueError('expected one character, as ";" or "\\t"')
        return value

    @pydantic.field_validator("shares")
    @classmethod
    def _whole(cls, value):
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"the three shares must add up to 1, not {sum(value):g}")
        return value

    def conflicts(self):
        """Sentences on keys that do not go together."""
        found = self._misnamed()
        if self.fold and not self.folds:
            found.append(
                f"data.fold: {self.fold} is one of data.folds, which is not given: set "
                "it too, as 5"
            )
        elif self.fold and self.fold > self.folds:
            found.append(
                f"data.fold: there are {self.folds} folds, counted from 1: no "
                f"{self.fold}"
            )
        if self.disk_mb and not self.open_first:
            found.append(
                f"data.disk_mb: {self.disk_mb} decodes every file before training, "
                "which data.open_first: false does not want: set disk_mb to 0, or "
                "leave open_first out"
            )
        if self.folds and not self.shares[0]:
            found.append(
                f"data.shares: {list(self.shares)} leaves nothing to train on beside "
                "the fold that is tested: give train a share"
            )
        return found

    @property
    def columns_read(self):
        """All columns that the inputs read, in the order of the recipe, each once."""
        lists = [columns_of(*each) for each in self.inputs.items()]
        return list(dict.fromkeys(itertools.chain.from_iterable(lists)))

    def _misnamed(self):
        """Sentences on `columns`: each name is one of the recipe's, each column its."""
        names = dict.fromkeys([*self.columns_read, *self.targets])
        found = []
        for name, column in self.columns.items():
            if name in ("id", "split", "group", "weight") and name not in names:
                found.append(
                    f"data.columns: `{name}` is no input or target: that column is "
                    f"named by a key of its own, data.{name}: {column}"
                )
            elif name not in names:
                found.append(
                    f"data.columns: no input or target reads `{name}`. Names: "
                    f"{', '.join(names)}{nearest(name, names)}"
                )
        columns = [self.columns.get(name, name) for name in names]
        found += [
            f"data.columns: the column `{column}` is that of two names: give each its "
            "own"
            for column in dict.fromkeys(columns)
            if columns.count(column) > 1
        ]
        return found
