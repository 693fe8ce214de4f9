"""What a run tells others while it trains: TensorBoard's files, MLflow, W&B.

A tracker has

- `begin(name, title, settings, known)`: begins a run of it, or goes on with the `known`
  one; gives its id;
- `tell(values, epoch)`: numbers of an epoch, or of the end where that is None;
- `end(state)`: `finished` or `stopped`.
"""

import contextlib
import time
from typing import NamedTuple

import keras

SEEN, STOPPED = "finished", "stopped"


class TrackerError(RuntimeError):
    """A tracker that cannot begin; the message says how to go on without it."""


class Mlflow:
    """An MLflow run: parameters, and metrics by epoch.

    Where it is kept is MLflow's to say: MLFLOW_TRACKING_URI; without, `mlflow.db`.

    Args:
        folder: of the run.
    """

    def __init__(self, folder):
        mlflow = _imported("mlflow")
        from mlflow import entities

        self.client, self.entities = mlflow.MlflowClient(), entities

    def begin(self, name, title, settings, known):
        """See above; the recipe's name is the experiment."""
        found = self.client.get_experiment_by_name(name)
        number = found.experiment_id if found else self.client.create_experiment(name)
        self.id = known
        if known:
            self.client.update_run(known, "RUNNING")
            return known
        self.id = self.client.create_run(number, run_name=title).info.run_id
        told = [self.entities.Param(key, str(each)) for key, each in settings.items()]
        for first in range(0, len(told), 100):  # as many as it takes at once
            self.client.log_batch(self.id, params=told[first : first + 100])
        return self.id

    def tell(self, values, epoch):
        """See above."""
        now = int(1000 * time.time())
        told = [
            self.entities.Metric(key, value, now, epoch or 0)
            for key, value in values.items()
        ]
        self.client.log_batch(self.id, metrics=told)

    def end(self, state):
        """See above."""
        self.client.set_terminated(self.id, "FINISHED" if state == SEEN else "KILLED")


class Wandb:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it in the run's folder.

    Args:
        folder: of the run.
    """

    def __init__(self, folder):
        self.wandb, self.folder, self.run = _imported("wandb"), folder, None

    def begin(self, name, title, settings, known):
        """See above; the recipe's name is the project."""
        self.run = self.wandb.init(
            project=name,
            name=title,
            config=settings,
            dir=str(self.folder),
            id=known,
            resume="allow",
            settings=self.wandb.Settings(silent=True),
        )
        return self.run.id

    def tell(self, values, epoch):
        """See above."""
        told = dict(values)
        if epoch is None:
            self.run.summary.update(told)
            return
        # Epochs of one fit after the other: each counts its own.
        fit = next(iter(values)).rpartition("/")[0]
        self.run.define_metric(f"{fit}/*", step_metric=f"{fit}/epoch")
        self.run.log({**told, f"{fit}/epoch": epoch})

    def end(self, state):
        """See above."""
        self.run.finish(exit_code=0 if state == SEEN else 1)


TRACKERS = {"mlflow": Mlflow, "wandb": Wandb}


def _imported(name):
    try:
        return __import__(name)
    except ImportError as error:
        raise ImportError(
            f"train.trackers: {name} is not installed: pip install 'mmkeras[{name}]', "
            "or take it out"
        ) from error


class Logs(NamedTuple):
    """Where a fit's numbers go beside the run's own files.

    Attributes:
        folder: of TensorBoard's files; None for none.
        trackers: {name: tracker} that have begun.
        log: called with a line of text where a tracker fails.
        own: the user's `keras.callbacks.Callback`s.
    """

    folder: object = None
    trackers: dict = {}  # noqa: RUF012
    log: object = print
    own: tuple = ()

    def callbacks(self, title):
        """The user's, and one that tells every tracker what an epoch of a fit gave."""
        return [*self.own, *([Telling(title, self)] if self.trackers else [])]

    def tell(self, values, epoch=None):
        """Numbers to all; one that fails is told of, and training goes on."""
        for name, tracker in self.trackers.items():
            try:
                tracker.tell(values, epoch)
            except Exception as error:  # a server's, a disk's: not the run's
                self.log(f"train.trackers: {name} was not told: {error}")


class Telling(keras.callbacks.Callback):
    """Tells trackers what each epoch gave, as `<title>/<metric>`.

    Args:
        title: of the fit.
        logs: a `Logs`.
    """

    def __init__(self, title, logs):
        super().__init__()
        self.title, self.logs = title, logs

    def on_epoch_end(self, epoch, logs=None):
        """All numbers of the epoch, counted from 1."""
        told = {f"{self.title}/{key}": float(each) for key, each in logs.items()}
        self.logs.tell(told, epoch + 1)


@contextlib.contextmanager
def begun(run, log):
    """The trackers that a run's recipe names, ended with it; a `Logs`.

    Args:
        run: a `run.Run`; `environment.json` keeps the ids, for who goes on. None tells
            nobody.
        log: called with a line of text now and then.

    Raises:
        ImportError: one is not installed.
        TrackerError: one cannot begin.
    """
    if run is None:
        yield Logs()
        return
    trackers, known = {}, run.read_json(run.environment_json).get("trackers", {})
    settings = flat(run.recipe.model_dump(by_alias=True, mode="json"))
    logs, state = Logs(run.logs, trackers, log), STOPPED
    try:
        for name in run.recipe.train.trackers:
            title = run.folder.resolve().name
            with _told(name):
                tracker = TRACKERS[name](run.folder)
                id_ = tracker.begin(run.recipe.name, title, settings, known.get(name))
            trackers[name], known = tracker, {**known, name: id_}
        if trackers:
            run.note(trackers=known)
        yield logs
        state = SEEN
    finally:
        for name, tracker in trackers.items():
            try:
                tracker.end(state)
            except Exception as error:
                log(f"train.trackers: {name} was not told of the end: {error}")


@contextlib.contextmanager
def _told(name):
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        raise TrackerError(
            f"train.trackers: {name} cannot begin: {error}. Mend that, work without a "
            "server (MLFLOW_TRACKING_URI=sqlite:///runs.db, WANDB_MODE=offline), or "
            f"take {name} out"
        ) from error


def scores(run, metrics, log):
    """Tells the trackers of a run how it was judged.

    Args:
        run: a trained `run.Run`.
        metrics: {split: see `evaluate.judge`}.
        log: called with a line of text now and then.
    """
    if not run.recipe.train.trackers:
        return
    told = {
        f"{split}/{key}": value
        for split, judged in metrics.items()
        for key, value in judged.items()
        if isinstance(value, float)
    }
    with begun(run, log) as logs:
        logs.tell(told)


def flat(tree, path=""):
    """A nested dict as {"a.b": value}.

    >>> flat({"train": {"epochs": 3}, "name": "pets"})
    {'train.epochs': 3, 'name': 'pets'}
    """
    found = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{path}{key}.")
        else:
            found[f"{path}{key}"] = value
    return found
