"""Decoded rows on disk: the same bits, decoded once, within a limit, never half."""

import dataclasses
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from mmkeras import config, dataset, disk, manifest
from mmkeras.dataset import reading, shelf

COUNT = 40


class Letters:
    """A decoder of files that is quickly traced: so many bytes, or a fault."""

    is_file = True

    def __init__(self, name, size=4):
        self.name, self.size = name, size
        self.specs = {
            name: tf.TensorSpec((size,), tf.uint8),
            f"{name}_present": tf.TensorSpec((), tf.bool),
        }

    def attempt_batch(self, raws):
        good = tf.strings.length(raws) == 8
        faults = tf.where(good | (raws == ""), "", "eight bytes expected")
        whole = tf.strings.substr(tf.where(good, raws, "\0" * 8), 0, self.size)
        letters = tf.io.decode_raw(whole, tf.uint8, fixed_length=self.size)
        return {self.name: letters, f"{self.name}_present": good}, faults


@pytest.fixture
def files(tmp_path):
    """Two files a row, of which some cells are empty, one is broken and one gone."""
    folder, cells = tmp_path / "media", {"one": [], "a/b": []}
    folder.mkdir()
    for number in range(COUNT):
        for place, name in enumerate(cells):
            missing = number % 7 == place
            cells[name].append("" if missing else f"{place}-{number % 30}")
            if not missing:
                (folder / cells[name][-1]).write_bytes(b"%4d%4d" % (number, place))
    (folder / cells["one"][3]).write_bytes(b"short")
    (folder / cells["one"][5]).unlink()
    frame = pd.DataFrame({**cells, "label": "1"}, range(2, COUNT + 2))
    kinds = {"one": "image", "a/b": "audio"}
    return manifest.Manifest(folder / "rows.csv", frame, kinds, {})


@pytest.fixture
def decoders():
    return {name: Letters(name) for name in ("one", "a/b")}


@pytest.fixture
def place(tmp_path):
    return dataset.Shelf(tmp_path / "shelf", 100)


def loaded(files, decoders, place, **options):
    return dataset.load(files, decoders, cache_mb=0, shelf=place, **options)


def batches(found):
    return list(dataset.ordered(found, COUNT, 16).as_numpy_iterator())


def sets(place):
    return {path.name for path in place.folder.iterdir()}


def test_rows_on_disk_are_the_same_bits_and_decoded_once(
    files, decoders, place, monkeypatch
):
    held, faults = dataset.load(files, decoders)
    assert sorted(faults) == [5, 7, 35]
    seen = []
    first = loaded(files, decoders, place, progress=lambda *done: seen.append(done))
    assert seen[-1] == (COUNT, COUNT) and len(sets(place)) == 1
    monkeypatch.setattr(reading, "_decoded", None)  # nothing is decoded again
    again = loaded(files, decoders, place)
    for found, told in (first, again):
        assert told == faults and not found.arrays
        for mine, own in zip(batches(found), batches(held), strict=True):
            assert mine.keys() == own.keys()
            for key, array in mine.items():
                assert array.dtype == own[key].dtype
                np.testing.assert_array_equal(array, own[key], err_msg=key)
        good = ~files.frame.index.isin(list(told))
        kept = found.keep(good).only({"one", "one_present"})
        (one,) = dataset.ordered(kept, good.sum(), COUNT).as_numpy_iterator()
        np.testing.assert_array_equal(one["one"], held.arrays["one"][good])


def test_what_changes_is_decoded_anew(files, decoders, place):
    loaded(files, decoders, place)
    before = sets(place)
    path = next(path for path in files.cells("a/b") if path)
    state = os.stat(path)
    Path(path).write_bytes(Path(path).read_bytes()[::-1])
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))  # size and time as before
    loaded(files, decoders, place)
    assert len(sets(place)) == 2 and sets(place) > before
    small = {**decoders, "one": Letters("one", 3)}
    found, _ = loaded(files, small, place)
    assert len(sets(place)) == 3 and batches(found)[0]["one"].shape == (16, 3)
    # Other answers to the same files are the same set.
    other = dataclasses.replace(files, frame=files.frame.assign(label="2"))
    loaded(other, small, place)
    assert len(sets(place)) == 3


def test_the_same_content_elsewhere_is_the_same_set(
    files, decoders, place, tmp_path, monkeypatch
):
    first = loaded(files, decoders, place)
    moved = tmp_path / "elsewhere"
    shutil.copytree(files.path.parent, moved)  # with other times
    cells = {"one": files.frame["one"].replace("0-1", "renamed")}
    (moved / "0-1").rename(moved / "renamed")
    other = dataclasses.replace(
        files, path=moved / "rows.csv", frame=files.frame.assign(**cells)
    )
    assert other.frame["one"].tolist() != files.frame["one"].tolist()
    monkeypatch.setattr(reading, "_decoded", None)  # nothing is decoded again
    again = loaded(other, decoders, place)
    assert len(sets(place)) == 1 and again[1] == first[1]
    # A file that is gone is another set than one that is there.
    (moved / "renamed").unlink()
    names = [
        shelf.name_of(decoders, {n: each.cells(n) for n in decoders}, range(COUNT))
        for each in (files, other)
    ]
    assert names[0] != names[1]


def test_the_longest_unused_sets_make_room(files, decoders, place):
    place.most_bytes = 2 * COUNT * 5 + 500  # two sets, and what is told of their faults
    names = []
    for size in (4, 3, 2):
        loaded(files, {"one": Letters("one", size)}, place)
        (name,) = sets(place) - set(names)
        os.utime(place.folder / name, (size, size))
        names.append(name)
        if size == 3:  # used again: now the other one is the longest unused
            assert sets(place) == set(names) and place.find(names[0])
            place.most_bytes = 2 * COUNT * 5 + 100
    assert sets(place) == {names[0], names[2]}
    place.most_bytes = COUNT * 5 - 1
    found, _ = loaded(files, {"one": decoders["one"]}, place)
    assert found.decoders == {"one": decoders["one"]}, "what has no room is decoded"


def test_a_set_that_was_not_finished_is_none(files, decoders, place, monkeypatch):
    def stop(*done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loaded(files, decoders, place, progress=stop)
    assert sets(place) == set()
    # What a kill leaves: told from one that is being written by its age.
    name = shelf.name_of(
        decoders, {n: files.cells(n) for n in decoders}, files.frame.index
    )
    left, busy = (place.folder / f"{disk.PARTIAL}1-{n}" for n in (name, "other"))
    for folder in (left, busy):
        folder.mkdir()
        (folder / "0").write_bytes(b"half")
    assert not place.find(name)
    old = time.time() - 2 * shelf.LEFT_SECONDS
    for path in (left / "0", left):
        os.utime(path, (old, old))
    found, _ = loaded(files, decoders, place)
    assert sets(place) == {name, busy.name} and len(batches(found)) == 3

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(reading, "write", full)
    with pytest.raises(OSError, match=r"No space left.*\. Name another folder with"):
        loaded(files, {"one": Letters("one", 3)}, place)
    assert sets(place) == {name, busy.name}


def test_rows_on_disk_are_opened_first(recipe):
    content = recipe.model_dump(by_alias=True)
    changes = ["data.disk_mb=5", "data.open_first=false"]
    with pytest.raises(ValueError, match="data.disk_mb: 5 decodes every file before"):
        config.parse(content, changes)
