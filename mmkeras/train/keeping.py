"""The state of a fit: taken after a step, given back before one."""

import time

import keras
import numpy as np
from keras import ops

from mmkeras import distribution
from mmkeras.branches import pretrained
from mmkeras.manifest import ManifestError
from mmkeras.train import averaging, blending
from mmkeras.train.checkpoints import State
from mmkeras.train.stops import Stops

# What other callbacks know beside what they were made with.
KNOWN = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.History: ("history",),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    averaging.Averages: ("is_in_model",),
    blending.Blend: ("first",),
}


class Budget:
    """The steps and the minutes that a fit may take.

    Args:
        options: the `train` section of a recipe.
    """

    def __init__(self, options):
        self.options = options
        self.steps, self.began = 0, time.monotonic()

    def step(self):
        """Counts the steps of a call; gives whether they were the last ones."""
        self.steps += self.options.steps_per_execution
        return self.spent

    @property
    def spent(self):
        """Whether nothing is left."""
        steps, minutes = self.options.max_steps, self.options.time_limit_minutes
        if steps and self.steps >= steps:
            return True
        return bool(minutes) and self.used()["seconds"] >= 60 * minutes

    def used(self):
        """What a fit that goes on must know."""
        return {"steps": self.steps, "seconds": time.monotonic() - self.began}

    def add(self, used):
        """Takes over what `used` gave before an interruption."""
        self.steps, self.began = used["steps"], time.monotonic() - used["seconds"]


class Keeper(keras.callbacks.Callback):
    """Keeps the state of a fit, and gives it back to one that goes on.

    The last of all callbacks: what the others did in an epoch is in its checkpoint.

    Args:
        place: what tells this fit from others: {"fit": title, "phase": number, "rows":
            {split: rows}}.
        budget: a `Budget`.
        steps: of an epoch.
        beside: the callbacks whose state counts.
        numbers: a `numbers.Numbers`.
        store: a `checkpoints.Checkpoints`; None keeps nothing.
    """

    def __init__(self, place, budget, steps, beside, numbers, store):
        super().__init__()
        self.place, self.budget, self.steps = place, budget, steps
        self.options = budget and budget.options
        self.beside = [each for each in beside if type(each) in KNOWN]
        self.numbers, self.store = numbers, store
        self.stops, self.found = Stops(), None

    def begin(self, found):
        """Takes the `State` to go on from in the `fit` that comes.

        Returns:
            (epoch, step, whether patience had ended the fit).

        Raises:
            ManifestError: other rows can be used than when the run began.
        """
        self.found, meta = found, found.meta
        if meta["rows"] != self.place["rows"]:
            raise ManifestError(
                f"{self.place['fit']}: the run began with the rows {meta['rows']} and "
                f"cannot go on with {self.place['rows']}. Put back the files that are "
                "gone, give --quick again if it was given, or start anew: --run"
            )
        self.budget.add(meta["budget"])
        return meta["epoch"], meta["step"], meta["stopped"]

    def on_train_begin(self, logs=None):
        """Gives back what was found; after all others have forgotten theirs."""
        if self.found:
            restore(self.model, self.beside, self.found)

    def on_epoch_begin(self, epoch, logs=None):
        """Draws the seeds of dropout from (seed, epoch), but in mid-epoch."""
        found, self.found = self.found, None
        self.epoch, self.done = epoch, found.meta["step"] if found else 0
        if self.done:
            _assign(self.model.metrics_variables, found.arrays["metrics"])
        else:
            reseed(self.model, self.options.seed, epoch)

    def on_train_batch_end(self, batch, logs=None):
        """Looks at the loss; a checkpoint where one is due or a signal came."""
        step = self.done + batch + 1  # as many are done
        # Of several steps in one call nobody knows which it was.
        place = step - 1 if self.options.steps_per_execution == 1 else None
        self.numbers.require_loss(logs["loss"], self.epoch, place)
        # A signal to one worker is one to all: they make their steps together.
        self.stops.asked = distribution.agreed(self.stops.asked or 0) or None
        every = self.options.checkpoint_steps
        due = self.stops.asked or (every and step % every == 0)
        if self.budget.step():
            self.model.stop_training = True  # the epoch ends here, with its checkpoint
        elif due and step < self.steps:
            self._keep(self.epoch, step)

    def on_epoch_end(self, epoch, logs=None):
        """A checkpoint of the epoch that comes next."""
        self.numbers.require_losses(logs, epoch)
        self._keep(epoch + 1, 0)

    def _keep(self, epoch, step):
        state = taken(self.model, self.beside, {"epoch": epoch, "step": step})
        last = (epoch, step - 1) if step else (epoch - 1, self.steps - 1)
        self.numbers.require_weights(state.arrays["model"], *last)
        if self.store:
            state.meta.update(self.place, budget=self.budget.used())
            self.store.add(state)
            distribution.wait()  # until the chief has written it
        self.stops.deliver()


def taken(model, beside, meta):
    """The `State` of a fit.

    Args:
        model: that is fitted.
        beside: callbacks of `KNOWN` kinds.
        meta: {"epoch", "step"} that come next; step 0 is an epoch's begin.
    """
    known = [{key: getattr(one, key) for key in KNOWN[type(one)]} for one in beside]
    stopping = _early_stopping(beside)
    arrays = {
        "model": _values(model.variables),
        "optimizer": _values(model.optimizer.variables),
        "metrics": _values(model.metrics_variables) if meta["step"] else [],
        "best": stopping.best_weights or [] if stopping else [],
    }
    meta = {**meta, "stopped": model.stop_training, "callbacks": known}
    return State(meta, arrays)


def restore(model, beside, state):
    """Gives a `State` back to a model and its callbacks, but for the metrics."""
    if not model.optimizer.built:  # that of float16 would make its variables twice
        model.optimizer.build(model.trainable_variables)
    _assign(model.variables, state.arrays["model"])
    _assign(model.optimizer.variables, state.arrays["optimizer"])
    for callback, known in zip(beside, state.meta["callbacks"], strict=True):
        for key, value in known.items():
            setattr(callback, key, value)
    if stopping := _early_stopping(beside):
        stopping.best_weights = state.arrays["best"] or None


def reseed(model, seed, epoch):
    """Sets every seed generator of a model (dropout, noise) from (seed, epoch)."""
    states = [each for each in model.variables if each.name == "seed_generator_state"]
    # Backbones last: whether they run or their features are read must not shift others.
    live = {
        id(variable)
        for inner in pretrained.within(model)
        if inner.name.endswith("_backbone")
        for variable in inner.variables
    }
    states.sort(key=lambda state: id(state) in live)
    drawn = np.random.default_rng((seed, epoch)).integers(2**31, size=len(states))
    for state, number in zip(states, drawn, strict=True):
        state.assign([int(number), 0])


def _early_stopping(beside):
    kind = keras.callbacks.EarlyStopping
    return next((each for each in beside if type(each) is kind), None)


def _values(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
