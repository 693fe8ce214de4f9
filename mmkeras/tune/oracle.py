"""KerasTuner asked which values to try next."""

import contextlib
import json
import math
import os
import sys
import tempfile
import warnings

SCORE = "score"
# Of Hyperband: a round has so many times fewer trials and more epochs than that before.
FACTOR = 3
EPOCHS = "tuner/epochs"  # KerasTuner's name


def ask(plan, epochs, attempt):
    """Runs a search.

    The same plan and the same scores give the same questions: all draws are seeded.

    Args:
        plan: a `space.Plan`.
        epochs: most of a trial; what Hyperband divides.
        attempt: called with ({key: text in YAML}, epochs or None) for each trial; gives
            its score, higher is better, or None where it failed.

    Raises:
        ImportError: KerasTuner is not installed.
    """
    tuner = _imported()

    class Search(tuner.engine.base_tuner.BaseTuner):
        def run_trial(self, trial):
            values = dict(trial.hyperparameters.values)
            given = {key: _text(each, values[key]) for key, each in plan.space.items()}
            try:
                score = attempt(given, values.get(EPOCHS))
            except Exception as error:  # any other would be swallowed
                raise tuner.errors.FatalError(str(error)) from error
            # A trial without a number counts as failed.
            return {SCORE: math.nan if score is None else score}

    # Finished trials are read from their own folders: its notes are not needed.
    with tempfile.TemporaryDirectory() as notes:
        search = Search(_oracle(tuner, plan, epochs), directory=notes)
        search.oracle.verbose = 0
        try:
            with warnings.catch_warnings():  # of trials without a number
                warnings.filterwarnings("ignore", "All-NaN axis")
                search.search()
        except tuner.errors.FatalError as error:
            raise error.__cause__ from None


def _imported():
    # It prints which of its optional parts are missing.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        try:
            import keras_tuner
        except ImportError as error:
            raise ImportError(
                "mmkeras tune needs KerasTuner: pip install 'mmkeras[tune]'"
            ) from error
    return keras_tuner


def _oracle(tuner, plan, epochs):
    options = {
        "objective": tuner.Objective(SCORE, "max"),
        "hyperparameters": _parameters(tuner, plan.space),
        "seed": plan.seed + 1,  # KerasTuner takes 0 for none
        # A trial that fails does not end the others; `tune.search` tells of all.
        "max_consecutive_failed_trials": sys.maxsize,
    }
    if plan.method == "hyperband":
        return tuner.oracles.HyperbandOracle(
            **options, max_epochs=epochs, factor=FACTOR
        )
    kind = {
        "grid": tuner.oracles.GridSearchOracle,
        "random": tuner.oracles.RandomSearchOracle,
        "bayesian": tuner.oracles.BayesianOptimizationOracle,
    }[plan.method]
    return kind(**options, max_trials=plan.trials)


def _parameters(tuner, space):
    found = tuner.HyperParameters()
    for key, values in space.items():
        if values.choices:
            found.Choice(key, values.choices)
            continue
        sampling = "log" if values.scale == "log" else "linear"
        kind = found.Int if values.whole else found.Float
        kind(key, values.low, values.high, sampling=sampling)
    return found


def _text(values, value):
    """A value as text in YAML."""
    if values.choices:
        return value
    return json.dumps(value if values.whole else float(f"{value:.4g}"))
