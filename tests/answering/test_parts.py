"""Files of answers: every row once, in order, whoever is killed meanwhile."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmkeras import answering
from mmkeras.answering import asking, parts


class Echo:
    """Answers a text with its length; no model, so that what is asked can be seen."""

    labels, inputs, identity = {}, {"text": ["text"]}, "echo"
    data, keys = None, {}

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def answer(self, columns):
        texts = columns["text"]
        if self.fails_at in texts:
            raise ConnectionError("gone")
        self.asked += texts
        odd = [b"odd" if len(text) % 2 else b"" for text in texts]
        return {
            "label": np.array(texts, object),
            "value": np.array(list(map(len, texts)), np.float32),
            "embedding": np.array([[len(text), 1] for text in texts], np.float32),
            "present": np.array([[bool(text)] for text in texts]),
            "error": np.array(odd, object),
        }


COUNT = 43


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """43 rows in parts of 8, batches of 3."""
    monkeypatch.setattr(parts, "PART_ROWS", 8)
    monkeypatch.setattr(asking, "BATCH_ROWS", 3)
    path = tmp_path / "asked.csv"
    texts = [f"{'x' * (at % 5)}{at}" for at in range(COUNT)]
    texts[7] = 'a "quoted", text\nof two lines'
    pd.DataFrame({"id": [f"r{at}" for at in range(COUNT)], "text": texts}).to_csv(
        path, index=False
    )
    return answering.questions(Echo(), path)


def read(path):
    if str(path).endswith("csv"):
        return pd.read_csv(path, keep_default_na=False)
    return pd.read_parquet(path)


def quiet(_):
    pass


@pytest.mark.parametrize("name", ["answers.csv", "answers.parquet"])
def test_all_rows_are_answered_once_and_in_order(asked, tmp_path, name):
    source, told = Echo(), []
    found = answering.write(
        source, asked, tmp_path / name, advance=lambda *at: told.append(at)
    )
    table = read(tmp_path / name)
    texts = asked.cells("text")
    assert table["id"].tolist() == asked.ids
    assert table["label"].tolist() == texts
    assert table["value"].tolist() == list(map(len, texts))
    assert table["missing"].tolist() == [""] * COUNT
    odd = sum(len(text) % 2 for text in texts)
    assert found == {
        "path": str(tmp_path / name),
        "rows": COUNT,
        "answered": COUNT,
        "errors": odd,
    }
    assert told == [(done, COUNT) for done in (8, 16, 24, 32, 40, 43)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "asked.csv"]
    if name.endswith("parquet"):
        numbers = np.stack(table["embedding"])
        assert numbers[:, 0].tolist() == table["value"].tolist()
    else:
        assert "embedding" not in table


@pytest.mark.parametrize("name", ["answers.csv", "answers.parquet"])
def test_shards_one_after_another_are_the_whole(asked, tmp_path, name):
    whole, count = tmp_path / name, 5
    answering.write(Echo(), asked, whole)
    tables = []
    for own in range(1, count + 1):
        answering.write(Echo(), asked, whole, shard=(own, count))
        tables.append(read(answering.shard_path(whole, (own, count))))
    sizes = [len(table) for table in tables]
    assert max(sizes) - min(sizes) <= 1
    pd.testing.assert_frame_equal(pd.concat(tables, ignore_index=True), read(whole))


def test_what_was_answered_before_a_failure_is_not_asked_again(asked, tmp_path):
    out, texts = tmp_path / "answers.csv", asked.cells("text")
    broken, lines = Echo(fails_at=texts[20].encode()), []
    with pytest.raises(ConnectionError):
        answering.write(broken, asked, out, log=lines.append)
    assert not out.exists()
    assert lines == []
    source = Echo()
    found = answering.write(source, asked, out, log=lines.append)
    assert lines == ["predict: 16 of 43 rows were answered before"]
    assert found["answered"] == COUNT - 16
    assert sorted(source.asked) == sorted(text.encode() for text in texts[16:])
    assert read(out)["label"].tolist() == texts


KILLED = """
import sys, time
from mmkeras import answering
from mmkeras.answering import asking, parts
sys.path.insert(0, sys.argv[1])
from test_parts import Echo
parts.PART_ROWS, asking.BATCH_ROWS = 8, 3

class Stuck(Echo):
    def answer(self, columns):
        if b"xx32" in columns["text"]:
            print("stuck", flush=True)
            time.sleep(600)
        return super().answer(columns)

rows = answering.questions(Echo(), sys.argv[2])
answering.write(Stuck(), rows, sys.argv[3])
"""


def test_whoever_is_killed_goes_on(asked, tmp_path):
    """SIGKILL: nothing is tidied up, and nothing needs to be."""
    out = tmp_path / "answers.parquet"
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, here, str(asked.path), str(out)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "stuck\n"
        folder = tmp_path / ".answers.parquet.parts"
        for _ in range(600):  # parts before the one that is stuck
            if len(list(folder.glob("0*"))) == 4:
                break
            time.sleep(0.05)
        with pytest.raises(answering.AnswersError, match="another process writes into"):
            answering.write(Echo(), asked, out)
    finally:
        process.kill()
        process.communicate()
    assert not out.exists()
    source = Echo()
    found = answering.write(source, asked, out, log=quiet)
    assert found["answered"] == COUNT - 32 == len(source.asked)
    assert read(out)["id"].tolist() == asked.ids
    assert not folder.exists()


def test_parts_of_other_answers_are_not_mixed_in(asked, tmp_path):
    out, texts = tmp_path / "answers.csv", asked.cells("text")
    with pytest.raises(ConnectionError):
        answering.write(Echo(texts[20].encode()), asked, out, log=quiet)
    other = Echo()
    other.identity = "another"
    with pytest.raises(
        answering.AnswersError, match="changed since is the model. Delete that folder"
    ):
        answering.write(other, asked, out, log=quiet)
    asked.path.write_text(asked.path.read_text() + "last,row\n")
    longer = answering.questions(Echo(), asked.path)
    with pytest.raises(answering.AnswersError, match="is the manifest, the rows"):
        answering.write(Echo(), longer, out, log=quiet)
    asked_json = tmp_path / ".answers.csv.parts" / "asked.json"
    assert json.loads(asked_json.read_text())["model"] == "echo"


def test_names_and_shards_that_cannot_be(asked, tmp_path, monkeypatch):
    with pytest.raises(answering.AnswersError, match=r"ends in .csv or .parquet"):
        answering.write(Echo(), asked, tmp_path / "answers.txt")
    with pytest.raises(answering.AnswersError, match="shard 1 of 44 has no row"):
        answering.write(Echo(), asked, tmp_path / "a.csv", shard=(1, 44))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        answering.write(Echo(), asked, tmp_path / "no" / "a.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'mmkeras\[parquet\]'"):
        answering.write(Echo(), asked, tmp_path / "a.parquet")


def test_batches_are_neither_long_nor_heavy(tmp_path, monkeypatch):
    monkeypatch.setattr(asking, "BATCH_ROWS", 4)
    monkeypatch.setattr(asking, "BATCH_BYTES", 100)
    sizes = [10, 10, 10, 10, 10, 90, 20, 300, 5, 0]
    paths = []
    for at, size in enumerate(sizes):
        path = tmp_path / str(at)
        path.write_bytes(b"x" * size)
        paths.append(str(path) if size else "")
    spans = list(asking.batches([paths], 10))
    assert spans == [(0, 4), (4, 6), (6, 7), (7, 8), (8, 10)]
    assert list(asking.batches([], 10, 5)) == [(0, 4), (4, 5), (5, 9), (9, 10)]
    assert list(asking.batches([], 0)) == []
