"""What is searched: keys of a recipe and the values each may take.

As text, `KEY=VALUES` with the values in YAML:

    fusion.kind=[concat, gated]                   one of these
    train.learning_rate={log: [1e-4, 1e-2]}       between, evenly on a log scale
    augment.word_dropout={between: [0, 0.4]}      between; whole numbers where both are

Nothing here imports TensorFlow or KerasTuner.
"""

import json
from typing import NamedTuple

import yaml

from mmkeras import config, families

SCALES = ("between", "log")
METHODS = ("grid", "random", "bayesian", "hyperband")


class Values(NamedTuple):
    """What one key may take.

    Attributes:
        choices: a list of texts in YAML, as `--set` takes them; None for a range.
        low: smallest value of a range, inclusive.
        high: largest, inclusive.
        scale: `between` or `log`.
    """

    choices: list | None = None
    low: float = 0.0
    high: float = 0.0
    scale: str = "between"

    @property
    def whole(self):
        """Whether a range holds whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def samples(self):
        """Texts in YAML that stand for all: every choice, or both ends."""
        return self.choices or [json.dumps(self.low), json.dumps(self.high)]


class Plan(NamedTuple):
    """What is to be tried.

    Attributes:
        recipe: path of its YAML.
        overrides: strings `a.b=value` that hold for all trials.
        space: {key: `Values`}, as `read` gives.
        method: one of `METHODS`.
        trials: at most so many; None: a whole grid. Hyperband counts itself.
        seeds: runs of each trial, of the recipe's seed and those after it.
        splits: that are judged; the first ranks.
        quick: a hundred rows, one epoch.
    """

    recipe: str
    overrides: tuple
    space: dict
    method: str = "grid"
    trials: int | None = None
    seeds: int = 1
    splits: tuple = ("valid",)
    quick: bool = False

    @property
    def seed(self):
        """The recipe's, which draws the trials too."""
        return config.load(self.recipe, self.overrides).train.seed

    def told(self, values, *more):
        """A trial's recipe, as a `recipe.Recipe`."""
        changes = [f"{key}={text}" for key, text in values.items()]
        found = config.load(self.recipe, [*self.overrides, *changes, *more])
        return config.quick(found) if self.quick else found


def read(recipe_path, overrides, given):
    """The space of a search, each of its values tried on the recipe.

    Args:
        recipe_path: of the recipe's YAML.
        overrides: strings `a.b=value` that hold for all trials.
        given: strings `KEY=VALUES`, see above.

    Returns:
        {key: `Values`}, in the order given.

    Raises:
        FileNotFoundError: no such recipe.
        RecipeError: a key the recipe does not have, a value that it does not take, or
            nothing to search; all faults at once.
    """
    config.load(recipe_path, overrides)  # its own faults first
    found, faults = {}, []
    for text in given:
        key, _, values = (part.strip() for part in text.partition("="))
        try:
            if key in found:
                raise ValueError("stands twice")
            found[key] = _values(values)
        except ValueError as error:
            faults.append(f"--over {text}: {error}")
            continue
        for sample in found[key].samples:
            try:
                config.load(recipe_path, [*overrides, f"{key}={sample}"])
            except config.RecipeError as error:
                faults += [f"--over {key}={sample}: {line}" for line in _lines(error)]
    if not given:
        faults = [
            "nothing to search: name a key, as --over 'fusion.kind=[concat, late]'"
        ]
    if faults:
        raise config.RecipeError("\n".join(dict.fromkeys(faults)))
    return found


def _values(text):
    """`Values` of the text behind a key."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        tree = None
    if isinstance(tree, dict) and list(tree) == ["choice"]:
        tree = tree["choice"]
    if isinstance(tree, list) and tree:
        texts = [json.dumps(value, ensure_ascii=False) for value in tree]
        if len(set(texts)) < len(texts):
            raise ValueError("a choice stands twice")
        return Values(texts)
    if isinstance(tree, dict) and len(tree) == 1:
        (scale, ends), *_ = tree.items()
        if scale in SCALES:
            return _range(scale, ends)
        hint = families.nearest(str(scale), SCALES)
        raise ValueError(f"no scale `{scale}`. Scales: {', '.join(SCALES)}{hint}")
    raise ValueError(
        "expected a list of choices, as [16, 32], or a range, as {between: [0, 0.5]} "
        "or {log: [1e-4, 1e-2]}"
    )


def _range(scale, ends):
    ends = [_number(end) for end in ends] if isinstance(ends, list) else []
    if len(ends) != 2 or None in ends or ends[0] >= ends[1]:
        raise ValueError(f"{scale} takes two numbers, the smaller first, as [1e-4, 1]")
    if scale == "log" and ends[0] <= 0:
        raise ValueError(f"log takes numbers above 0, not {ends[0]:g}")
    return Values(None, *ends, scale)


def _number(value):
    """A number as YAML reads it; `1e-4`, a string to YAML 1.1, too."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return None
    wanted = isinstance(value, int | float) and not isinstance(value, bool)
    return value if wanted else None


def _lines(error):
    """The faults that a RecipeError lists, without its heading."""
    return [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
