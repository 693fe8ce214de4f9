"""The folder that a run leaves: the name of every file in it, written once."""

import functools
import json
import platform
from pathlib import Path

import keras

from mmkeras import config, fusion, layers, manifest, modalities, tasks

# Loading a model needs these to have been imported: they register their layers.
LAYERS = (fusion, layers)


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
        self.history_csv = self.folder / "history.csv"
        self.baselines = self.folder / "baselines"
        self.logs = self.folder / "logs"
        self.metrics_json = self.folder / "metrics.json"
        self.report_html = self.folder / "report.html"
        self.figures = self.folder / "figures"
        self.rejected_csv = self.folder / "rejected.csv"
        self.card = self.folder / "README.md"
        self.export = self.folder / "export"
        self.judged = self.folder / "judged"  # what other manifests gave

    def __repr__(self):
        return f"Run({str(self.folder)!r})"

    @functools.cached_property
    def recipe(self):
        """The `recipe.Recipe` it was trained with, every option spelled out."""
        return config.load(self.recipe_yaml)

    @functools.cached_property
    def labels(self):
        """{target: list of labels}."""
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
        """{target: task}."""
        return tasks.make(self.recipe.data.targets, self.labels)

    @functools.cached_property
    def model(self):
        """The trained `keras.Model`."""
        return keras.saving.load_model(self.model_file)

    def baseline(self, name):
        """The model of input `name` alone, or None where none was trained."""
        file = self.baselines / f"{name}.keras"
        return keras.saving.load_model(file) if file.is_file() else None

    def read_json(self, path):
        """The content of a JSON file of this run; {} where it is not there yet."""
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def write_json(self, path, content):
        """Writes a JSON file, keys in the order given."""
        text = json.dumps(content, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")

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
    # The folder can be read from anywhere; a relative manifest could not.
    manifest = str(Path(recipe.data.manifest).resolve())
    data = recipe.data.model_copy(update={"manifest": manifest})
    resolved = recipe.model_copy(update={"data": data})
    run.recipe_yaml.write_text(config.dump(resolved), encoding="utf-8")
    run.write_json(run.environment_json, environment())
    return run


def require_vacant(folder):
    """Refuses a folder that a new run cannot have.

    Raises:
        FileExistsError: it is a file, or holds something already.
    """
    if not _vacant(Path(folder)):
        what = "is not empty" if Path(folder).is_dir() else "is a file"
        raise FileExistsError(
            f"{folder} {what}: name another folder with --run, or delete it"
        )


def open_folder(folder):
    """The run in a folder.

    Raises:
        FileNotFoundError: the folder is not there, or holds no finished run.
    """
    run = Run(folder)
    for file in (run.recipe_yaml, run.labels_json, run.model_file):
        if not file.is_file():
            raise FileNotFoundError(
                f"{folder} holds no trained run: no {file.name} in it. Train one with "
                f"`mmkeras train RECIPE --run {folder}`"
            )
    return run


def free(folder):
    """The folder itself where it is not there or empty, else with -2, -3, ... added."""
    folder = Path(folder)
    candidate, number = folder, 1
    while not _vacant(candidate):
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def _vacant(folder):
    if folder.is_dir():
        return not any(folder.iterdir())
    return not folder.exists()


def read_rows(run, path=None):
    """The rows of a run's manifest, or of another one with the same columns.

    Args:
        run: a `Run`.
        path: of the other manifest.

    Returns:
        A `manifest.Manifest`; rows whose label the run does not know are refused.
    """
    data = run.recipe.data
    if path:
        data = data.model_copy(update={"manifest": str(path)})
        return manifest.read(data, labels=run.labels)
    # As it was read for training, so that splits that were made are made the same.
    return manifest.read(data, seed=run.recipe.train.seed)


def environment():
    """Versions and hardware, for `environment.json`."""
    from importlib import metadata

    packages = ("mmkeras", "tensorflow", "keras", "numpy", "pandas", "scikit-learn")
    versions = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        "packages": versions,
    }
