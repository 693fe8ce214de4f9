"""The folder that a run leaves: the name of every file in it, written once."""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import platform
import subprocess
from pathlib import Path

import keras

from mmkeras import config, disk, fusion, layers, manifest, modalities, tasks
from mmkeras.branches import own
from mmkeras.families import VALUES

# Loading a model needs these to have been imported: they register their layers.
LAYERS = (fusion, layers)
LOCK = ".lock"


class NotWrittenError(OSError):
    """A file that a run needs could not be written; the message names the folder."""


class Run:
    """A run folder. Making one touches no file; see `create` and `open_folder`.

    Args:
        folder: path of the folder.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.recipe_yaml = self.folder / "recipe.yaml"
        self.environment_json = self.folder / "environment.json"
        self.model_file = self.folder / "model.keras"
        self.diagram = self.folder / "model.svg"
        self.parameters_json = self.folder / "parameters.json"
        self.vocabulary = self.folder / "vocabulary"
        self.labels_json = self.folder / "labels.json"
        self.decisions_json = self.folder / "decisions.json"
        self.members_json = self.folder / "members.json"  # of an ensemble
        self.history_csv = self.folder / "history.csv"
        self.baselines = self.folder / "baselines"
        self.checkpoints = self.folder / "checkpoints"  # gone when all is trained
        self.logs = self.folder / "logs"
        self.metrics_json = self.folder / "metrics.json"
        self.report_html = self.folder / "report.html"
        self.figures = self.folder / "figures"
        self.rejected_csv = self.folder / "rejected.csv"
        self.card = self.folder / "README.md"
        self.export = self.folder / "export"
        self.judged = self.folder / "judged"  # what other manifests gave
        self.folds_json = self.folder / "folds.json"  # of a cross-validation

    def __repr__(self):
        return f"Run({str(self.folder)!r})"

    @functools.cached_property
    def recipe(self):
        """The `recipe.Recipe` it was trained with, every option spelled out."""
        return config.load(self.recipe_yaml)

    @functools.cached_property
    def labels(self):
        """{target: what its task learnt of the train rows}, lists of labels mostly."""
        return json.loads(self.labels_json.read_text(encoding="utf-8"))

    @functools.cached_property
    def decoders(self):
        """{input: decoder}, with what was learnt of the train split."""
        made = modalities.make(self.recipe.data.inputs, self.recipe.branches)
        for decoder in made.values():
            if not decoder.is_file:
                decoder.load(self.vocabulary)
        return made

    @functools.cached_property
    def tasks(self):
        """{target: task}, with what was decided after training."""
        return self.tasks_of("fusion")

    def tasks_of(self, name):
        """The tasks as decided for one model.

        Args:
            name: `fusion`, an input's, or `late_fusion`.
        """
        decisions = self.read_json(self.decisions_json).get(name)
        return tasks.make(self.recipe.data.targets, self.labels, decisions)

    @functools.cached_property
    def model(self):
        """The trained `keras.Model`."""
        return self._loaded(self.model_file)

    @property
    def finished(self):
        """Whether everything is trained: the model, and the baselines if any."""
        if self.checkpoints.exists():
            return False
        wanted = [self.model_file]
        if self.recipe.train.baselines and len(self.recipe.data.inputs) > 1:
            wanted += map(self.baseline_file, self.recipe.data.inputs)
        return all(file.is_file() for file in wanted)

    @property
    def folds(self):
        """Folders of the runs of a cross-validation, in order; [] of a plain run."""
        data = self.recipe.data if self.recipe_yaml.is_file() else None
        if data is None or not data.folds or data.fold:
            return []
        return [self.fold(number) for number in range(1, data.folds + 1)]

    def fold(self, number):
        """Where the run of one fold is kept, counted from 1."""
        return self.folder / "folds" / str(number)

    def baseline_file(self, name):
        """Where the model of input `name` alone is kept."""
        return self.baselines / f"{name}.keras"

    def baseline(self, name):
        """The model of input `name` alone, or None where none was trained."""
        file = self.baseline_file(name)
        return self._loaded(file) if file.is_file() else None

    def _loaded(self, file):
        own.imported(self.recipe.branches, required=False)
        return keras.saving.load_model(file)

    def read_json(self, path):
        """The content of a JSON file of this run; {} where it is not there yet."""
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def write_json(self, path, content):
        """Writes a JSON file, keys in the order given."""
        text = json.dumps(content, indent=2, ensure_ascii=False)
        with replacing(path) as partial:
            partial.write_text(text + "\n", encoding="utf-8")

    def note(self, **known):
        """Adds what is known now to `environment.json`."""
        told = self.read_json(self.environment_json)
        self.write_json(self.environment_json, {**told, **known})

    def write_outline(self, outline):
        """Writes what `model.outline` gives, as numbers and as a diagram.

        A file of its own beside the model: which weights of a backbone were trained
        cannot be told of one that was loaded.
        """
        from mmkeras import plots

        self.write_json(self.parameters_json, outline)
        plots.model(self.diagram, outline)


def create(folder, recipe):
    """Makes the folder of a new run and writes its recipe and environment.

    Raises:
        FileExistsError: the folder holds something already.
    """
    require_vacant(folder)
    run = Run(folder)
    run.folder.mkdir(parents=True, exist_ok=True)
    text = config.dump(resolved(recipe))
    # The recipe last: where it stands, the run has begun.
    run.write_json(run.environment_json, environment(recipe))
    with replacing(run.recipe_yaml) as partial:
        partial.write_text(text, encoding="utf-8")
    return run


def resolved(recipe):
    """The recipe as a run keeps it, which can be read from anywhere."""
    manifest = str(Path(recipe.data.manifest).resolve())
    data = recipe.data.model_copy(update={"manifest": manifest})
    return recipe.model_copy(update={"data": data})


def require_vacant(folder):
    """Refuses a folder that a new run cannot have.

    Raises:
        FileExistsError: it is a file, or holds something already.
    """
    if _vacant(Path(folder)):
        return
    run, hint = Run(folder), ""
    done = run.folds_json if run.folds else run.model_file
    if run.recipe_yaml.is_file() and (run.checkpoints.exists() or not done.is_file()):
        hint = ". It holds an unfinished run: go on with --resume"
    what = "is not empty" if run.folder.is_dir() else "is a file"
    raise FileExistsError(
        f"{folder} {what}: name another folder with --run, or delete it{hint}"
    )


@contextlib.contextmanager
def replacing(path):
    """`disk.replacing` of a file of a run.

    Raises:
        NotWrittenError: the disk is full or the folder cannot be written.
    """
    with told(path.parent), disk.replacing(path) as partial:
        yield partial


@contextlib.contextmanager
def told(folder):
    """Turns errors of the disk into one that names the folder and how to go on."""
    try:
        yield
    except OSError as error:
        raise NotWrittenError(
            f"{folder} cannot be written: {error.strerror or error}. What was written "
            "before is whole. Make room or mend the permissions, then go on: mmkeras "
            "train with the same arguments and --resume"
        ) from error


def open_folder(folder):
    """The run in a folder.

    Raises:
        FileNotFoundError: the folder is not there, or holds no finished run.
    """
    run = Run(folder)
    if run.folds:
        raise FileNotFoundError(
            f"{folder} holds a cross-validation of {len(run.folds)} runs: name one of "
            f"them, as {run.fold(1)}, or judge all: mmkeras evaluate {folder}"
        )
    for file in (run.recipe_yaml, run.labels_json, run.model_file):
        if not file.is_file():
            resume, state = "", f"no {file.name} in it. Train one"
            if run.checkpoints.exists():
                resume, state = " --resume", "it was stopped before its end. Go on"
            raise FileNotFoundError(
                f"{folder} holds no trained run: {state} with `mmkeras train RECIPE "
                f"--run {folder}{resume}`"
            )
    return run


def free(folder):
    """The folder itself where it is not there or empty, else with -2, -3, ... added."""
    return next(each for each in _numbered(folder) if _vacant(each) and not _held(each))


def latest(folder):
    """The last that `free` gave and that is there; the folder itself where none is."""
    found = Path(folder)
    for candidate in _numbered(folder):
        if not candidate.exists():
            return found
        found = candidate


def _numbered(folder):
    """The folder, then with -2, -3, ... added, without end."""
    folder = Path(folder)
    yield folder
    for number in itertools.count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def _vacant(folder):
    """Whether nothing is there, but what a run that was killed early leaves."""
    if folder.is_dir():
        names = [path.name for path in folder.iterdir()]
        left = (LOCK, disk.PARTIAL, "environment.json")
        return all(name.startswith(left) for name in names)
    return not folder.exists()


def _held(folder):
    """Whether a run that has written nothing yet holds the lock of a folder."""
    try:
        with open(folder / LOCK) as file:
            return not disk.locked(file)
    except OSError:
        return False


def is_own(run, path):
    """Whether a manifest's path is that of the rows that a run was trained on."""
    return Path(path).resolve() == Path(run.recipe.data.manifest).resolve()


def read_rows(run, path=None, **keys):
    """The rows of a run's manifest, or of another one with the same columns.

    Args:
        run: a `Run`.
        path: of the other manifest.
        **keys: `separator` and `encoding` of that one, where they are not the run's.

    Returns:
        A `manifest.Manifest`; rows whose label the run does not know are refused.
    """
    data = run.recipe.data
    if path and not is_own(run, path):
        data = data.model_copy(update={"manifest": str(path), **keys})
        return manifest.read(data, labels=run.labels)
    # As it was read for training, so that splits that were made are made the same.
    return manifest.read(data, seed=run.recipe.train.seed)


def known_lines(run, rows):
    """Lines of rows that the run was trained on or validated by, by their cells.

    Args:
        run: a `Run`.
        rows: a `manifest.Manifest` of another file.

    Returns:
        A list of int; empty where the run's own manifest is gone.
    """
    try:
        own = read_rows(run)
    except (OSError, manifest.ManifestError):
        return []
    seen = {*_contents(own.split("train")), *_contents(own.split("valid"))}
    contents = zip(rows.frame.index, _contents(rows), strict=True)
    return [int(line) for line, cells in contents if cells in seen]


def _contents(rows):
    """What the inputs of each row are: texts, and where files stand."""
    columns = [rows.cells(name) for name in rows.inputs]
    for at, kind in enumerate(rows.inputs.values()):
        if kind not in VALUES:
            columns[at] = [path and os.path.abspath(path) for path in columns[at]]
    return zip(*columns, strict=True)


def environment(recipe=None):
    """Versions and hardware, for `environment.json`, and what tells a run from others.

    Args:
        recipe: the `recipe.Recipe` of a run; its hash and that of its manifest are
            None without.
    """
    packages = ("mmkeras", "tensorflow", "keras", "numpy", "pandas", "scikit-learn")
    text = config.dump(resolved(recipe)).encode() if recipe else None
    page = os.sysconf("SC_PAGE_SIZE")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "packages": {name: _version(name) for name in packages},
        "cpus": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * page // 2**20,
        "gpus": _gpus(),
        "git_commit": _git_commit(),
        "recipe_sha256": hashlib.sha256(text).hexdigest() if recipe else None,
        "manifest_sha256": sha256(recipe.data.manifest) if recipe else None,
    }


def _version(package):
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpus():
    try:
        return keras.distribution.list_devices("gpu")
    except (RuntimeError, ValueError):  # says that there are none
        return []


def _git_commit():
    """Of the folder where the command runs; None where that is no checkout."""
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None


def sha256(path):
    """Of a file's bytes; None where there is no file."""
    if not Path(path).is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
