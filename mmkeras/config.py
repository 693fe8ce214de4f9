"""A recipe: what to train on what, as YAML in and out, checked before anything runs.

All faults of a recipe are reported at once, each with its key, its value and the
nearest name. Nothing here imports TensorFlow.
"""

import re
from pathlib import Path
from typing import Literal

import pydantic
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)

from mmkeras import families
from mmkeras.families import Fraction


class RecipeError(ValueError):
    """A recipe that cannot be used; the message holds every fault, one a line."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class Data(_Section):
    """Where the rows are, and which column holds what."""

    manifest: str = Field(description="path of the CSV, from where the command runs")
    inputs: dict[str, dict] = Field(
        description="column -> modality (text, image, audio) and how it is decoded"
    )
    targets: dict[str, dict] = Field(description="column -> task")
    id: str = Field("id", description="column that names a row; line number without it")
    split: str = Field("split", description="column of train, valid, test")
    shares: tuple[Fraction, Fraction, Fraction] = Field(
        (0.8, 0.1, 0.1),
        description="train, valid, test shares where there is no split column",
    )
    separator: str = Field(",", min_length=1, max_length=1, description="of cells")
    encoding: str = Field("utf-8", description="of the CSV; a BOM is skipped")
    on_bad_row: Literal["drop", "refuse"] = Field(
        "drop", description="train without the bad rows, counted, or not at all"
    )
    cache_mb: NonNegativeInt = Field(
        2048,
        description="megabytes that decoded rows may take in memory; above it they "
        "are decoded anew each epoch",
    )

    @pydantic.field_validator("inputs", "targets", mode="before")
    @classmethod
    def _expand(cls, value):
        if isinstance(value, dict):
            return {
                name: {"kind": kind} if isinstance(kind, str) else kind
                for name, kind in value.items()
            }
        return value

    @pydantic.field_validator("shares")
    @classmethod
    def _whole(cls, value):
        if abs(sum(value) - 1) > 1e-6:
            raise ValueError(f"the three shares must add up to 1, not {sum(value):g}")
        return value


class Augment(_Section):
    """Random changes of training rows, seeded by (seed, epoch, row)."""

    modality_dropout: Fraction = Field(
        0.0, description="chance that a present modality of a row is hidden"
    )
    image_shift: Fraction = Field(
        0.0, description="largest shift of a picture, as a share of its size"
    )
    audio_snr_db: float | None = Field(
        None, description="white noise is added: least signal-to-noise ratio, in dB"
    )
    word_dropout: Fraction = Field(
        0.0, description="chance that a word becomes the unknown word"
    )


class Train(_Section):
    """How the model is fitted."""

    epochs: PositiveInt = Field(12, description="most epochs")
    batch_size: PositiveInt = Field(32, description="rows a step")
    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: PositiveFloat = 0.001
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="cosine: falls to zero over all epochs"
    )
    patience: NonNegativeInt = Field(
        5, description="epochs without a better validation loss before the end; 0: all"
    )
    seed: NonNegativeInt = 0
    jit_compile: bool = Field(False, description="compile the step with XLA")
    baselines: bool = Field(
        True, description="also train each modality alone, for comparison"
    )


class Recipe(_Section):
    """One system from manifest to model."""

    schema_: Literal[1] = Field(1, alias="schema")
    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    data: Data
    branches: dict[str, dict] = Field(default_factory=dict)
    fusion: dict = Field(default_factory=dict)
    augment: Augment = Field(default_factory=Augment)
    train: Train = Field(default_factory=Train)


def load(path, overrides=()):
    """Reads a recipe from a YAML file.

    Args:
        path: the file.
        overrides: strings `a.b=value`, the value in YAML, as `--set` takes them.

    Returns:
        A `Recipe` with every option filled in.

    Raises:
        FileNotFoundError: no such file.
        RecipeError: not YAML, or a recipe with faults.
    """
    path = Path(path)
    if path.is_dir():
        raise RecipeError(f"{path} is a folder; a recipe is a YAML file")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"no recipe at {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {error}") from None
    return parse(tree, overrides, source=str(path))


def shipped(name):
    """Path of a recipe that comes with mmkeras, as `digits.yaml`.

    Raises:
        FileNotFoundError: none of that name; lists those there are.
    """
    package = Path(__file__).parent
    # An installed package has them inside; a checkout where a reader looks for them.
    folders = [package / "recipes", package.parent / "pipelines" / "recipes"]
    found = {file.name: file for folder in folders for file in folder.glob("*.yaml")}
    if name not in found:
        names = ", ".join(sorted(found))
        raise FileNotFoundError(f"no shipped recipe `{name}`. There are: {names}")
    return found[name]


def parse(tree, overrides=(), source="recipe"):
    """A recipe from a nested dict; see `load` for arguments and errors."""
    if not isinstance(tree, dict):
        raise RecipeError(f"{source}: expected a mapping of keys, found {tree!r}")
    for override in overrides:
        tree = _override(tree, override)
    try:
        recipe = Recipe.model_validate(tree)
    except pydantic.ValidationError as error:
        faults = [_sentence(fault) for fault in error.errors()]
        raise RecipeError(_listed(source, faults)) from None
    faults = _resolve(recipe)
    if faults:
        raise RecipeError(_listed(source, faults))
    return recipe


def dump(recipe):
    """The recipe as YAML text with every option spelled out; `parse` reads it back."""
    tree = recipe.model_dump(by_alias=True, mode="json")
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)


def quick(recipe):
    """The recipe with one epoch, to see that everything runs."""
    train = recipe.train.model_copy(update={"epochs": 1})
    return recipe.model_copy(update={"train": train})


def json_schema():
    """The JSON schema of a recipe, kinds and their options included, for editors."""
    schema = Recipe.model_json_schema(by_alias=True)
    schema["$defs"] |= {
        f"{family}.{kind}": model.model_json_schema()
        for family in families.FAMILIES
        for kind, model in families.kinds(family).items()
    }
    return schema


def _override(tree, override):
    """A copy of the tree with `a.b.c=value` set; `image` counts as `{kind: image}`."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        raise RecipeError(f"--set takes key.path=value, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: the value is not YAML: {error}") from None
    return _set(tree, path.strip().split("."), value)


def _set(tree, keys, value):
    if isinstance(tree, str):
        tree = {"kind": tree}
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise RecipeError(f"--set: {tree!r} has no key `{keys[0]}`")
    inner = value if len(keys) == 1 else _set(tree.get(keys[0]), keys[1:], value)
    return {**tree, keys[0]: inner}


def _resolve(recipe):
    """Fills in kinds and options of every family; returns the faults found."""
    faults = []

    def resolve(family, choice, key):
        try:
            return families.resolve(family, choice)
        except families.OptionError as error:
            faults.extend(f"{key}: {line}" for line in str(error).splitlines())
            return {}

    data = recipe.data
    for name, choice in data.inputs.items():
        data.inputs[name] = resolve("modalities", choice, f"data.inputs.{name}")
    for name, choice in data.targets.items():
        data.targets[name] = resolve("tasks", choice, f"data.targets.{name}")
    faults += _names(recipe)
    branches = {}
    for name, decode in data.inputs.items():
        if "kind" in decode:
            choice = recipe.branches.get(name, {})
            family = f"branches.{decode['kind']}"
            branches[name] = resolve(family, choice, f"branches.{name}")
    recipe.branches = branches
    recipe.fusion = resolve("fusion", recipe.fusion, "fusion")
    return faults


def _names(recipe):
    data, faults = recipe.data, []
    for key in ("inputs", "targets"):
        if not getattr(data, key):
            faults.append(f"data.{key}: name at least one column")
    for name in [*data.inputs, *data.targets]:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            faults.append(
                f"data: column `{name}` cannot name a tensor of the served model: "
                "rename it to ASCII letters, digits and underscores"
            )
    for name in sorted(set(data.inputs) & set(data.targets)):
        faults.append(f"data: `{name}` is both an input and a target")
    for name in recipe.branches:
        if name not in data.inputs:
            hint = families.nearest(name, data.inputs)
            faults.append(
                f"branches: no input `{name}`. Inputs: {', '.join(data.inputs)}{hint}"
            )
    return faults


def _sentence(fault):
    owner, model = "recipe", Recipe
    for part in fault["loc"][:-1]:
        field = model.model_fields.get(part) if model else None
        model = field.annotation if field else None
        model = model if isinstance(model, type) else None
        model = model if model and issubclass(model, BaseModel) else None
        owner = str(part)
    allowed = [f.alias or n for n, f in model.model_fields.items()] if model else []
    return families.describe(fault, allowed, owner)


def _listed(source, faults):
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return f"{source} has {count}:\n" + "\n".join(f"  {fault}" for fault in faults)
