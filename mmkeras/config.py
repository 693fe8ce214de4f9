"""A recipe: what to train on what, as YAML in and out, checked before anything runs.

All faults of a recipe are reported at once, each with its key, its value and the
nearest name. Nothing here imports TensorFlow.
"""

import itertools
from pathlib import Path

import pydantic
import yaml
from pydantic import BaseModel

from mmkeras import families, sharing
from mmkeras.recipe import Recipe, augment_faults

# The options in which a tabular input lists its columns.
LISTS = ("numbers", "categories")


class RecipeError(ValueError):
    """A recipe that cannot be used; the message holds every fault, one a line."""


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
        text = path.read_text(encoding="utf-8")
        tree, twice = yaml.safe_load(text), list(_repeated(yaml.compose(text)))
    except FileNotFoundError:
        raise FileNotFoundError(f"no recipe at {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {_told(error)}") from None
    if twice:
        raise RecipeError(_listed(path, twice))
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
    # A section of which all lines are commented out is None; its defaults hold.
    tree = {key: value for key, value in tree.items() if value is not None}
    chosen, faults = _resolve(tree)
    try:
        recipe = Recipe.model_validate(tree)
        faults += recipe.conflicts()
    except pydantic.ValidationError as error:
        faults = [_sentence(fault) for fault in error.errors()] + faults
    if faults:
        raise RecipeError(_listed(source, faults))
    data = recipe.data.model_copy(
        update={key: chosen.pop(key) for key in ("inputs", "targets")}
    )
    return recipe.model_copy(update={"data": data, **chosen})


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
    schema["$defs"]["branches.same_as"] = sharing.Shared.model_json_schema()
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
        raise RecipeError(
            f"--set {override}: the value is not YAML: {_told(error)}"
        ) from None
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


def _resolve(tree):
    """Fills in kinds and options of every family.

    Works on the tree as it was read, so that faults here and faults of other keys are
    told together; what is no mapping where one is wanted is left to those.

    Returns:
        ({inputs, targets, branches, fusion}, faults).
    """
    faults = []

    def resolve(family, choice, key):
        try:
            return families.resolve(family, choice)
        except families.OptionError as error:
            faults.extend(f"{key}: {line}" for line in str(error).splitlines())
            return {}

    data = tree.get("data")
    inputs = {
        name: resolve("modalities", choice, f"data.inputs.{name}")
        for name, choice in _choices(data, "inputs").items()
    }
    targets = {
        name: resolve("tasks", choice, f"data.targets.{name}")
        for name, choice in _choices(data, "targets").items()
    }
    for key in ("inputs", "targets"):
        if isinstance(data, dict) and data.get(key) == {}:
            faults.append(f"data.{key}: name at least one column")
    given = _choices(tree, "branches")
    shared = sharing.found(given)
    faults += _names(inputs, targets, given) + sharing.faults(inputs, shared)
    faults += _rates(inputs, shared, tree)
    faults += _columns(inputs, targets) + _weights(targets, tree)
    faults += augment_faults(inputs, targets, given, _section(tree, "augment"))
    branches = {
        name: dict(shared[name])
        if name in shared
        else resolve(
            f"branches.{decode['kind']}", given.get(name, {}), f"branches.{name}"
        )
        for name, decode in inputs.items()
        if decode
    }
    fusion = tree.get("fusion", {})
    if isinstance(fusion, str | dict):
        fusion = resolve("fusion", fusion, "fusion")
    parts = {"inputs": inputs, "targets": targets, "branches": branches}
    return {**parts, "fusion": fusion}, faults


def _choices(tree, key):
    """{name: kind or mapping} of a section; {} where it is not that."""
    return {
        name: choice
        for name, choice in _section(tree, key).items()
        if isinstance(name, str) and isinstance(choice, str | dict)
    }


def _section(tree, key):
    """The mapping under a key; {} where there is none."""
    section = tree.get(key) if isinstance(tree, dict) else None
    return section if isinstance(section, dict) else {}


def _names(inputs, targets, branches):
    """Faults in the names of columns."""
    faults = []
    read = [families.columns_of(*each) for each in inputs.items()]
    for name in dict.fromkeys([*inputs, *targets, *itertools.chain(*read)]):
        if not families.is_name(name):
            faults.append(
                f"data: column `{name}` cannot name a tensor of the served model: give "
                "it a name of ASCII letters, digits and underscores here, and the "
                f"file's under data.columns, as columns: {{text: {name}}}"
            )
    for name in sorted(set(inputs) & set(targets)):
        faults.append(f"data: `{name}` is both an input and a target")
    for name in inputs:
        owner, _, last = name.rpartition("_")
        if owner in inputs and last in _parts(inputs[owner]):
            faults.append(
                f"data.inputs: `{name}` is a name that the model gives to a part of "
                f"input `{owner}`: rename the column"
            )
    for name in branches:
        if name not in inputs:
            hint = families.nearest(name, inputs)
            faults.append(
                f"branches: no input `{name}`. Inputs: {', '.join(inputs)}{hint}"
            )
    return faults


def _parts(choice):
    """What the model adds to an input's name to name what goes with it."""
    tabular = choice.get("kind") == "tabular"
    return ("present", *(("ids", "seen") if tabular else ("samples", "bytes")))


def _columns(inputs, targets):
    """Faults in the columns that inputs list, beside those of the names themselves."""
    faults, values = [], families.VALUES
    files = {n for n, each in inputs.items() if each.get("kind", "text") not in values}
    for name, choice in inputs.items():
        columns = families.columns_of(name, choice)
        if choice.get("kind") == "tabular" and not any(map(choice.get, LISTS)):
            faults.append(
                f"data.inputs.{name}: no columns. List those of numbers under "
                f"`numbers` and those of words under `categories`: numbers: [{name}]"
            )
        for column in sorted(set(columns) - {name} | _repeats(columns)):
            wrong = {
                "is listed twice": columns.count(column) > 1,
                "is a target, which a model would only copy": column in targets,
                "is the name of a file that is sent: rename the column": column in files
                or column.removesuffix("_bytes") in {*files, name} - {column},
            }
            told = f"data.inputs.{name}: the column `{column}`"
            faults += [f"{told} {what}" for what, is_so in wrong.items() if is_so]
    return faults


def _repeats(names):
    return {name for name in names if names.count(name) > 1}


def _rates(inputs, shared, tree):
    """Faults in the names of `train.learning_rates`."""
    faults = []
    for name in _section(tree.get("train"), "learning_rates"):
        if name not in inputs:
            faults.append(
                f"train.learning_rates: no input `{name}`. Inputs: {', '.join(inputs)}"
                f"{families.nearest(name, inputs)}"
            )
        elif name in shared:
            faults.append(
                f"train.learning_rates: `{name}` has the branch of another input. Set "
                f"the rate of `{shared[name]['same_as']}`"
            )
    return faults


def _weights(targets, tree):
    """Faults of `train.loss_weights`."""
    train = _section(tree, "train")
    kinds = {choice.get("kind") for choice in targets.values()}
    balanced = [
        key for key in ("class_weight", "oversample") if train.get(key) == "balanced"
    ]
    if balanced and "classification" not in kinds:
        return [f"train.{balanced[0]}: balanced, but no target is a classification"]
    if len(balanced) == 2:
        return ["train.oversample: class_weight is balanced already: drop one of both"]
    weights = train.get("loss_weights")
    if weights == "uncertainty":
        if train.get("balance", "none") == "none":
            return []
        return ["train.loss_weights: uncertainty goes without train.balance: drop one"]
    return [
        f"train.loss_weights: no target `{name}`. Targets: {', '.join(targets)}"
        f"{families.nearest(name, targets)}"
        for name in _section(train, "loss_weights")
        if name not in targets
    ]


def _repeated(node):
    """A sentence for every key that stands twice; YAML would keep the last."""
    lines = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        line = key.start_mark.line + 1
        if key.value in lines:
            yield f"`{key.value}` stands twice: lines {lines[key.value]} and {line}"
        lines[key.value] = line
        yield from _repeated(value)


def _told(error):
    """What a YAML parser met and where, in one line."""
    mark = getattr(error, "problem_mark", None)
    if not mark:
        return str(error)
    context = f" {error.context}" if error.context else ""
    return f"{error.problem}{context}, line {mark.line + 1}, column {mark.column + 1}"


def _sentence(fault):
    owner, model = "recipe", Recipe
    for part in fault["loc"][:-1]:
        field = model.model_fields.get(part) if model else None
        model = field.annotation if field else None
        model = model if isinstance(model, type) else None
        model = model if model and issubclass(model, BaseModel) else None
        owner = str(part)
    allowed = [f.alias or n for n, f in model.model_fields.items()] if model else []
    if model is Recipe and fault["type"] == "extra_forbidden":
        key = fault["loc"][-1]
        places = [name for name in ("train", "data") if key in _fields(name)]
        if places:
            return f"unknown key `{key}` for `{owner}`: it is `{places[0]}.{key}`"
    return families.describe(fault, allowed, owner)


def _fields(section):
    return Recipe.model_fields[section].annotation.model_fields


def _listed(source, faults):
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return f"{source} has {count}:\n" + "\n".join(f"  {fault}" for fault in faults)
