"""A run that is stopped anywhere and goes on gives the bits of one that was not."""

import contextlib
import errno
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from mmkeras import cli, config, dataset, disk, manifest, progress, run, train
from mmkeras.config import RecipeError
from mmkeras.manifest import ManifestError
from mmkeras.train import checkpoints, keeping, resuming, stops
from mmkeras.train.checkpoints import Checkpoints, State

WORDS = {"a": "apple and ant", "b": "bear or bird"}


def silent(line):
    """In the place of print."""


def write_recipe(folder, *overrides):
    """The path of a recipe on 48 texts: 5 steps an epoch, two inputs, one of them used.

    Dropout in the branch, words dropped at random, cosine and patience: all that could
    differ in a run that goes on.
    """
    lines = ["id,text,more,label,split"]
    for number in range(48):
        label = "ab"[number % 2]
        split = "train" if number < 36 else "valid"
        words = f"{WORDS[label]} {number % 7},more {number % 5}"
        lines.append(f"row{number},{words},{label},{split}")
    (folder / "rows.csv").write_text("\n".join(lines), encoding="utf-8")
    tree = {
        "name": "texts",
        "data": {
            "manifest": str(folder / "rows.csv"),
            "inputs": {"text": {"kind": "text", "length": 4}},
            "targets": {"label": "classification"},
        },
        "branches": {"text": {"kind": "transformer", "units": 8, "num_layers": 1}},
        "fusion": {"kind": "concat", "units": 8, "hidden": 8, "dropout": 0.2},
        "augment": {"word_dropout": 0.1},
        "train": {
            "epochs": 3,
            "batch_size": 8,
            "learning_rate": 0.01,
            "schedule": "cosine",
            "checkpoint_steps": 2,
        },
    }
    path = folder / "texts.yaml"
    recipe = config.parse(tree, overrides)
    path.write_text(config.dump(recipe), encoding="utf-8")
    return path


TWO = [
    "data.inputs.more={kind: text, length: 2}",
    "branches.text={kind: bag, units: 4}",
    "branches.more={kind: bag, units: 4}",
]


def fit(path, folder, *overrides, **options):
    recipe = config.load(path, overrides)
    rows = manifest.read(recipe.data)
    return train.fit(recipe, rows, folder=folder, **{"log": silent, **options})


def left(folder):
    """Every weight that a finished run left, and its history."""
    made = run.open_folder(folder)
    files = [made.model_file, *sorted(made.baselines.glob("*.keras"))]
    models = [run.keras.saving.load_model(file) for file in files]
    weights = [array for one in models for array in one.get_weights()]
    return weights, made.history_csv.read_text(encoding="utf-8")


def require_same(folder, reference):
    (weights, history), (expected, expected_history) = left(folder), reference
    assert history == expected_history
    for one, two in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(one, two)
    names = {path.name for path in folder.iterdir()}
    assert not names & {"checkpoints", ".lock"}
    assert not any(name.startswith(disk.PARTIAL) for name in names)


class Broken(Exception):
    """Ends a fit in the middle of a step's callbacks, as a kill would."""


def break_at(monkeypatch, count, how=None):
    """Breaks a fit after so many steps in all, once; gives the list of all steps."""
    seen = []
    plain = progress.Epochs.on_train_batch_end

    def watched(self, batch, logs=None):
        plain(self, batch, logs)
        seen.append(batch)
        if len(seen) == count:
            if how:
                how()
            else:
                raise Broken

    monkeypatch.setattr(progress.Epochs, "on_train_batch_end", watched)
    return seen


@pytest.fixture
def heeded():
    """Ctrl-C as in a terminal; a shell's background jobs are made to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def reference(texts, tmp_path_factory):
    """What the run leaves that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit(texts, folder)
    return left(folder)


def test_stopped_in_mid_epoch_it_gives_the_same_bits(
    texts, reference, tmp_path, monkeypatch
):
    seen = break_at(monkeypatch, 8)  # the third of the second epoch's five
    with pytest.raises(Broken):
        fit(texts, tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["00000003.checkpoint", "00000004.checkpoint"], "the last two"
    said = []
    fit(texts, tmp_path / "run", resume=True, log=said.append)
    assert "fusion: goes on at epoch 2, step 3" in said
    assert len(seen) - 8 == 15 - 7, "goes on after the second step of the epoch"
    require_same(tmp_path / "run", reference)


@pytest.mark.slow
def test_stopped_when_patience_had_ended_it_fits_no_further(
    texts, tmp_path, monkeypatch
):
    patient = ["train.patience=1", "train.learning_rate=0.5", "train.epochs=9"]
    fit(texts, tmp_path / "whole", *patient)
    expected = left(tmp_path / "whole")
    assert expected[1].count("\n") < 10, "patience ended it"

    def killed(*arguments):
        raise Broken

    with monkeypatch.context() as patch, pytest.raises(Broken):
        patch.setattr(train, "_save", killed)
        fit(texts, tmp_path / "run", *patient)
    seen = break_at(monkeypatch, 0)
    fit(texts, tmp_path / "run", *patient, resume=True)
    assert not seen
    require_same(tmp_path / "run", expected)


@pytest.mark.slow
def test_blending_goes_on_with_the_losses_it_began_with(texts, tmp_path, monkeypatch):
    blended = [*TWO, "train.balance=blending", "train.baselines=false"]
    fit(texts, tmp_path / "whole", *blended)
    break_at(monkeypatch, 13)
    with pytest.raises(Broken):
        fit(texts, tmp_path / "run", *blended)
    fit(texts, tmp_path / "run", *blended, resume=True)
    require_same(tmp_path / "run", left(tmp_path / "whole"))


@pytest.mark.nightly
def test_both_phases_of_a_tuned_backbone_go_on(tiny_bert, tmp_path, monkeypatch):
    branch = f"branches.text={{kind: kerashub, preset: {tiny_bert}, trainable: true}}"
    path = write_recipe(tmp_path, branch, "train.frozen_epochs=1")
    fit(path, tmp_path / "whole")
    for count in (3, 8):
        folder = tmp_path / f"run{count}"
        with monkeypatch.context() as patch, pytest.raises(Broken):
            break_at(patch, count)
            fit(path, folder)
        fit(path, folder, resume=True)
        require_same(folder, left(tmp_path / "whole"))


def test_what_is_fitted_already_is_not_fitted_again(texts, tmp_path, monkeypatch):
    titles, stop = [], ["more alone"]
    plain = train.fit_one

    def watched(recipe, prepared, network, title, *others, **options):
        titles.append(title)
        if title in stop:
            raise Broken
        return plain(recipe, prepared, network, title, *others, **options)

    monkeypatch.setattr(train, "fit_one", watched)
    overrides = [*TWO, "train.epochs=1"]
    with pytest.raises(Broken):
        fit(texts, tmp_path / "run", *overrides)
    assert titles == ["fusion", "text alone", "more alone"]
    stop.clear(), titles.clear()
    made = fit(texts, tmp_path / "run", *overrides, resume=True)
    assert titles == ["more alone"]
    assert set(made.model.input) >= {"text", "more"}
    assert set(made.baseline("more").input) >= {"more"}
    said = []
    fit(texts, tmp_path / "run", *overrides, resume=True, log=said.append)
    assert titles == ["more alone"]
    assert said == [f"{tmp_path / 'run'} is a finished run: nothing is left to train"]


def test_killed_before_the_first_checkpoint_it_begins_anew(texts, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for name in (".lock", ".partial-recipe.yaml", "environment.json"):
        (folder / name).touch()
    fit(texts, folder, "train.epochs=1", "branches.text={kind: bag}", resume=True)
    assert run.open_folder(folder).finished


def test_ctrl_c_keeps_the_step_it_met(
    heeded, texts, reference, tmp_path, monkeypatch, capsys
):
    seen = break_at(monkeypatch, 6, lambda: signal.raise_signal(signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(texts, tmp_path / "run", "train.checkpoint_steps=0")
    assert signal.getsignal(signal.SIGINT) is before
    assert "SIGINT: stops after this step, with a checkpoint" in capsys.readouterr().err
    assert len(seen) == 6
    fit(texts, tmp_path / "run", "train.checkpoint_steps=0", resume=True)
    assert len(seen) == 15, "no step was made twice"
    require_same(tmp_path / "run", reference)


def test_sigterm_ends_the_verb_with_143_and_the_command_to_go_on(
    texts, tmp_path, monkeypatch, capsys
):
    break_at(monkeypatch, 2, lambda: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    folder = str(tmp_path / "run")
    change = ["--set", "train.seed=3"]
    assert cli.main(["train", str(texts), "--run", folder, *change]) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    told = capsys.readouterr().err
    assert f"mmkeras train {texts} --run {folder} --resume --set train.seed=3" in told
    assert told.endswith("mmkeras train: ended by SIGTERM\n")
    assert cli.main(["train", str(texts), "--run", folder, *change]) == 2
    told = capsys.readouterr().err
    assert "is not empty: name another folder with --run, or delete it" in told
    assert "It holds an unfinished run: go on with --resume" in told
    assert cli.main(["train", str(texts), "--run", folder, "--resume"]) == 2
    assert "`train.seed` is 3 there and 0 here" in capsys.readouterr().err


def test_a_second_signal_does_not_wait(heeded):
    held = stops.Stops()
    with pytest.raises(KeyboardInterrupt), held:
        signal.raise_signal(signal.SIGINT)
        assert held.asked == signal.SIGINT
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second one came through")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_loss_that_is_no_number_names_step_and_rows(texts, tmp_path, monkeypatch):
    plain = dataset.shuffled

    def poisoned(*arguments, **options):
        """The rows of the eighth step teach something that is no number."""
        batches = plain(*arguments, **options).enumerate()

        def poison(number, batch):
            inputs, targets = batch
            bad = tf.where(number == 7, np.float32("nan"), np.float32(1))
            return inputs, {name: each * bad for name, each in targets.items()}

        return batches.map(poison)

    monkeypatch.setattr(dataset, "shuffled", poisoned)
    with pytest.raises(FloatingPointError) as caught:
        fit(texts, tmp_path / "run")
    told = str(caught.value)
    found = re.fullmatch(
        r"fusion: the loss is not a number in epoch 2, step 3, on the rows (.*)\. "
        r"Lower train\.learning_rate, which is 0\.01, or look at these rows\. The last "
        r"good weights stay in (.*/checkpoints/00000004\.checkpoint)",
        told,
    )
    order = dataset.permute(np.arange(16, 24), 36, 0, 1).numpy()
    assert found[1].split(", ") == [f"row{number}" for number in order]
    state = checkpoints.read(found[2])
    assert (state.meta["epoch"], state.meta["step"]) == (1, 2)
    assert all(np.isfinite(array).all() for array in state.arrays["model"])


def test_a_weight_that_is_no_number_is_not_kept(texts, tmp_path):
    wild = ["train.optimizer=sgd", "train.learning_rate=1e38", "train.epochs=1"]
    with pytest.raises(FloatingPointError, match="is not a number in epoch 1, step"):
        fit(texts, tmp_path / "run", *wild, "train.checkpoint_steps=1")
    for path in (tmp_path / "run" / "checkpoints").glob("*.checkpoint"):
        state = checkpoints.read(path)
        assert all(np.isfinite(array).all() for array in state.arrays["model"])


@pytest.fixture
def store(tmp_path):
    """Checkpoints with two in them; what it logged is in `store.said`."""
    said = []
    made = Checkpoints(tmp_path / "checkpoints", said.append)
    made.said = said
    for step in (1, 2, 3):
        made.add(state(step))
    return made


def state(step):
    arrays = {"model": [np.full((3, 2), step, "float32"), np.uint32(7)], "best": []}
    return State({"fit": "fusion", "step": step, "loss": 0.1 + 0.2}, arrays)


def test_a_checkpoint_comes_back_as_it_was(store):
    assert [path.name for path in sorted(store.folder.iterdir())] == [
        "00000002.checkpoint",
        "00000003.checkpoint",
    ]
    found = store.newest("fusion")
    assert found.meta == {"fit": "fusion", "step": 3, "loss": 0.1 + 0.2}
    weights, number = found.arrays["model"]
    assert weights.dtype == "float32" and (weights == 3).all()
    assert (
        number.dtype == "uint32" and number.shape == () and found.arrays["best"] == []
    )
    assert store.newest("text alone") is None and store.said == []
    store.end()
    assert not store.folder.exists()


@pytest.mark.parametrize("place", [0, 9, 40, -40, -1])
def test_a_flipped_byte_is_found_and_the_one_before_taken(store, place):
    path = store.last
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert store.newest("fusion").meta["step"] == 2
    assert store.said == [
        f"{path} is broken (its checksum does not fit its content): going on from the "
        "one before it"
    ]
    assert not path.exists()


@pytest.mark.parametrize("size", [0, 20, 200])
def test_a_truncated_file_is_found(store, size):
    for path in store.folder.iterdir():
        path.write_bytes(path.read_bytes()[:size])
    assert store.newest("fusion") is None and len(store.said) == 2


def test_a_full_disk_is_told_and_the_last_good_one_stays(store, monkeypatch):
    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(run.NotWrittenError) as caught:
        patch.setattr(os, "fsync", full)
        store.add(state(4))
    told = str(caught.value)
    assert told.startswith(f"{store.folder} cannot be written: No space left on device")
    assert "go on: mmkeras train with the same arguments and --resume" in told
    assert store.newest("fusion").meta["step"] == 3
    names = [path.name for path in sorted(store.folder.iterdir())]
    assert names == ["00000002.checkpoint", "00000003.checkpoint"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(run.NotWrittenError, match="cannot be written: Permission den"):
        with resuming.lock(tmp_path / "run"):
            pytest.fail("it was made")
    tmp_path.chmod(0o700)


def test_two_runs_do_not_write_one_folder(texts, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "prepare", None)
    folder = tmp_path / "run"
    with resuming.lock(folder):
        assert run.free(folder) == tmp_path / "run-2", "taken, though nothing is in it"
        for resume in (False, True):
            with pytest.raises(
                FileExistsError, match="is being written by another run"
            ):
                fit(texts, folder, resume=resume)
        assert (folder / ".lock").exists()
    assert not folder.exists(), "nothing was written"


def test_a_lock_is_its_process_s_and_ends_with_it(tmp_path):
    folder = tmp_path / "run"
    code = (
        "import fcntl, sys; file = open(sys.argv[1], 'a'); fcntl.flock(file, "
        "fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    folder.mkdir()
    command = [sys.executable, "-c", code, str(folder / ".lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FileExistsError), resuming.lock(folder):
            pytest.fail("both hold it")
        other.kill()
    with resuming.lock(folder), open(folder / ".lock") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert list(folder.iterdir()) == []


def test_another_recipe_or_other_rows_are_refused(texts, tmp_path):
    recipe = config.load(texts)
    folder = tmp_path / "run"
    run.create(folder, recipe)
    assert resuming.begun(folder, recipe).folder == folder
    other = config.load(texts, ["train.epochs=5", "fusion.units=9"])
    with pytest.raises(RecipeError) as caught:
        resuming.begun(folder, other)
    told = str(caught.value)
    assert told.startswith(f"{folder} was begun with another recipe: `fusion.units` is")
    assert "is 8 there and 9 here" in told
    assert f"mmkeras train {folder}/recipe.yaml --run {folder} --resume" in told
    assert "start anew in another folder: --run" in told
    rows = config.load(write_recipe(tmp_path))
    run.create(tmp_path / "two", rows)
    with open(tmp_path / "rows.csv", "a", encoding="utf-8") as file:
        file.write("\nnew,apple,,a,train")
    with pytest.raises(ManifestError, match="rows.csv has been changed since the run"):
        resuming.begun(tmp_path / "two", rows)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match="thesis is not empty: name another"):
        resuming.begun(tmp_path / "thesis", recipe)


def test_other_rows_than_at_the_checkpoint_are_refused():
    place = {"fit": "fusion", "phase": 0, "rows": {"train": 90, "valid": 9}}
    keeper = keeping.Keeper(place, None, 1, [], None, None)
    meta = {**place, "rows": {"train": 100, "valid": 9}}
    with pytest.raises(
        ManifestError, match="'train': 100.* cannot go on .*'train': 90"
    ):
        keeper.begin(State({**meta, "budget": {"steps": 0, "seconds": 0}}, {}))


def test_the_latest_run_is_the_one_to_go_on_with(tmp_path):
    folder = tmp_path / "birds"
    assert run.latest(folder) == folder
    for name in ("birds", "birds-2", "birds-3", "birds-5"):
        (tmp_path / name).mkdir()
    assert run.latest(folder) == tmp_path / "birds-3"


def test_batches_begin_in_mid_epoch_and_decode_nothing_before(monkeypatch):
    targets = {"label": np.arange(10)}
    rows = dataset.Rows({"it": tf.range(10)}, {}, {})
    taken, plain = [], dataset.Rows.take

    def watched(self, numbers):
        tf.numpy_function(lambda n: taken.append(len(n)) or n, [numbers], "int64")
        return plain(self, numbers)

    options = {"batch_size": 4, "seed": 1}
    whole = dataset.shuffled(rows, targets, begin=(2, 0), **options).take(6)
    expected = [batch[0]["it"].numpy().tolist() for batch in whole]
    monkeypatch.setattr(dataset.Rows, "take", watched)
    late = dataset.shuffled(rows, targets, begin=(2, 2), **options).take(4)
    found = [batch[0]["it"].numpy().tolist() for batch in late]
    assert found == expected[2:] and [len(part) for part in found] == [2, 4, 4, 2]


# Imports take longer than what is tested; TensorFlow's threads begin with its first
# operation, so a process that has only imported it can be forked.
FORKS = """
import json, os, sys
from mmkeras import cli, evaluate, train
from mmkeras.verbs import train
for line in sys.stdin:
    said, *words = json.loads(line)
    child = os.fork()
    if not child:
        for stream in (1, 2):
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        os._exit(cli.main(words))
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    """Runs of `mmkeras train`, one at a time, each a process of its own.

    Args:
        folder: where each writes what it says.
    """

    def __init__(self, folder):
        self.folder, self.begun = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, *words):
        """Starts one; gives its process id."""
        self.begun += 1
        words = [str(self._said), "train", *map(str, words)]
        print(json.dumps(words), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    @property
    def _said(self):
        return self.folder / f"said{self.begun}"

    @property
    def said(self):
        """What the last one said so far."""
        return self._said.read_text() if self._said.exists() else ""

    def end(self):
        """Its exit code, -9 where it was killed."""
        return int(self.process.stdout.readline())


@pytest.fixture
def forks(tmp_path):
    made = Forks(tmp_path)
    yield made
    made.process.kill()
    made.process.communicate()


def kill_somewhere(forks, child, folder, chance):
    """Kills a training process at a random moment; says whether it was alive.

    Some at its start, some while a file is half written where one can be met.
    """
    kind = chance.choice(["start", "writing", "any", "any"])
    alive = os.path.exists
    while kind != "start" and alive(f"/proc/{child}") and " epoch " not in forks.said:
        time.sleep(0.01)
    until = time.monotonic() + chance.uniform(0, 3)
    while time.monotonic() < until and alive(f"/proc/{child}"):
        half = (folder / "checkpoints").glob(f"{disk.PARTIAL}*")
        if kind == "writing" and any(half):
            break
        time.sleep(0.0005)
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(child, signal.SIGKILL)
    code = forks.end()
    assert code in (0, -signal.SIGKILL), forks.said
    return code != 0


@pytest.mark.slow
def test_twenty_kills_leave_the_weights_of_a_run_that_was_not_killed(tmp_path, forks):
    path = write_recipe(
        tmp_path,
        *TWO,
        "train.epochs=60",
        "train.checkpoint_steps=1",
        "train.patience=0",
    )
    whole = tmp_path / "whole"
    forks.begin(path, "--run", whole)
    assert forks.end() == 0, forks.said
    reference, chance = left(whole), random.Random(0)
    kills, number = 0, 0
    while kills < 20:
        number += 1
        folder = tmp_path / f"run{number}"
        while True:
            child = forks.begin(path, "--run", folder, "--resume")
            if kills >= 20:
                assert forks.end() == 0, forks.said
                break
            if not kill_somewhere(forks, child, folder, chance):
                break
            kills += 1
        require_same(folder, reference)
