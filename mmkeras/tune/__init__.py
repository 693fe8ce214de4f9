"""Recipes compared: KerasTuner says which to try, each is trained in its own process.

A search is a folder: `trials/<key>/`, a run and its `trial.json`; `trials.csv`,
`trials.png` and `best.yaml`. Who asks for a recipe that was trained there gets what it
gave: so a search that was killed goes on, and one with more trials or seeds grows.
"""

import csv
import hashlib
import json
import math
from pathlib import Path
from typing import NamedTuple

import yaml
from scipy import stats

from mmkeras import config, run
from mmkeras.plots import tuned
from mmkeras.tune import oracle, trial
from mmkeras.tune.trial import RANK, TrialError

__all__ = ["Trial", "TrialError", "search", "spread"]


class Trial(NamedTuple):
    """What was tried and what it gave.

    Attributes:
        values: {key: text in YAML}.
        epochs: that Hyperband allowed; None in other searches.
        results: one of `trial.result` a seed; [] where it failed.
        error: why it failed, or "".
    """

    values: dict
    epochs: int | None
    results: list
    error: str = ""

    def spread(self, split):
        """(mean, half its interval) of the scores over the seeds; see `spread`."""
        return spread([result["scores"][split][RANK] for result in self.results])

    @property
    def seconds(self):
        """Of a seed, their mean; None where it failed."""
        return spread([result["seconds"] for result in self.results])[0]

    @property
    def peak_mb(self):
        """The most memory that one of its processes held; None where it failed."""
        return max((result["peak_mb"] for result in self.results), default=None)


def spread(values):
    """(mean, half the width of its 95 % interval by Student's t); None without values.

    >>> mean, half = spread([0.98, 0.99, 1.00])
    >>> round(mean, 3), round(half, 3)
    (0.99, 0.025)
    >>> spread([0.5]), spread([])
    ((0.5, None), (None, None))
    """
    if not values:
        return None, None
    mean = sum(values) / len(values)
    if len(values) == 1:
        return mean, None
    return mean, float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))


def search(plan, folder, *, log=print):
    """Trains and judges what KerasTuner asks for; writes the table, picture and best.

    Args:
        plan: a `space.Plan`.
        folder: of the search; what it holds of the same recipes is not trained again.
        log: called with one line of text now and then.

    Returns:
        A list of `Trial`, the best first, those that failed last.

    Raises:
        ImportError: KerasTuner is not installed.
        TrialError: not one trial came to its end.
    """
    folder, done = Path(folder), []

    def attempt(values, epochs):
        words = [f"{key}={text}" for key, text in values.items()]
        words += [f"{epochs} epochs"] if epochs else []
        log(f"trial {len(done) + 1}: {', '.join(words)}")
        done.append(_attempt(plan, folder, values, epochs))
        if done[-1].error:
            log(f"trial {len(done)} failed: {done[-1].error}")
        _write(folder, plan, done)
        return done[-1].spread(plan.splits[0])[0]

    oracle.ask(plan, plan.told({}).train.epochs, attempt)
    ranked = _ranked(plan, done)
    if not ranked[0].results:
        raise TrialError(
            f"all {len(done)} trials failed; the first: {done[0].error}. Its folder is "
            f"below {folder / 'trials'}"
        )
    text = config.dump(run.resolved(plan.told(ranked[0].values)))
    (folder / "best.yaml").write_text(text, encoding="utf-8")
    return ranked


def _attempt(plan, folder, values, epochs):
    """One trial, of all its seeds."""
    results = []
    more = ["train.baselines=false"] + ([f"train.epochs={epochs}"] if epochs else [])
    try:
        first = plan.seed
        for seed in range(first, first + plan.seeds):
            recipe = run.resolved(plan.told(values, *more, f"train.seed={seed}"))
            text = config.dump(recipe)
            content = run.sha256(recipe.data.manifest)
            place = folder / "trials" / _key(text, content, plan.quick)
            results.append(trial.result(place, text, quick=plan.quick))
            if missing := set(plan.splits) - set(results[-1]["scores"]):
                raise TrialError(
                    f"{recipe.data.manifest} has no usable row in its split "
                    f"{', '.join(missing)}, by which trials are judged"
                )
    except (config.RecipeError, TrialError) as error:
        return Trial(values, epochs, [], str(error))
    return Trial(values, epochs, results)


def _key(*parts):
    """What a trial's folder is called, by all that it hangs on."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _ranked(plan, done):
    """The best first, those that failed last, else in the order tried."""
    split = plan.splits[0]

    def worth(one):
        return one.spread(split)[0] if one.results else -math.inf

    return sorted(done, key=worth, reverse=True)


def _write(folder, plan, done):
    """The table and the picture of what is tried so far."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = list(plan.space)
    with (
        run.replacing(folder / "trials.csv") as partial,
        open(partial, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        header = ["trial", *keys, "epochs", "seeds"]
        for split in plan.splits:
            header += [split, f"{split}_interval"]
        writer.writerow([*header, "seconds", "peak_mb", "error"])
        for number, one in enumerate(done, start=1):
            cells = [number, *one.values.values(), one.epochs, len(one.results)]
            for split in plan.splits:
                cells += one.spread(split)
            writer.writerow([*cells, one.seconds, one.peak_mb, one.error])
    whole = [one for one in done if one.results]
    if len(whole) > 1:
        tuned.trials(
            folder / "trials.png",
            keys,
            [[_drawn(text) for text in one.values.values()] for one in whole],
            [one.spread(plan.splits[0])[0] for one in whole],
            f"{plan.splits[0]} score",
        )


def _drawn(text):
    """A value as it stands on an axis: a number, or text."""
    value = yaml.safe_load(text)
    if isinstance(value, dict):
        return value.get("kind", text)
    wanted = isinstance(value, int | float) and not isinstance(value, bool)
    return value if wanted else str(value)
