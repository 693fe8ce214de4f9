"""Columns of numbers and words: a few strings a row -> numbers and ids, in the graph.

Keras' own `FeatureSpace`, `Normalization` and `StringLookup` are not used: they take
numbers where a server is sent strings, know no missing cell and no fault, and keep what
they learnt in layers that must be built before they can be saved. One look-up table of
constants does their work here, and travels inside the graph.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import tensorflow as tf
from pydantic import PositiveInt

from mmkeras.modalities.text import first

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
EXPECTED = (
    " is not a number: expected one as 12, -1.5 or 1e3, with a point before decimals "
    "and without a unit, or an empty cell"
)
TOO_LARGE = " is too large a number"
# What a message shows of a cell, characters.
SHOWN = 40
# As far from the median as a number can be told apart from one still further away.
FARTHEST = 1e6
# As what `str.strip` takes away when a manifest is read.
_EDGES = r"^[\s\x{85}\p{Z}]+|[\s\x{85}\p{Z}]+$"
LARGEST = 1e300  # so that no difference of two is infinite
MISSING = 0


class Tabular:
    """Columns of a row: numbers in one scale, and ids of words.

    A number x becomes f(s (x - m)): m is the median of the train split, s one over the
    distance of its quartiles (two over that of smallest and largest where the quartiles
    are equal, zero where all are) and f(t) = t / sqrt(1 + (t / 3)^2) keeps the result
    within 3. So one row with the height of 1,800 cm changes neither the scale of the
    others nor, by its own size, what the model makes of it; mean and deviation would be
    its. (Holzmüller, Grinsztajn and Steinwart 2024, arXiv 2407.04491, "robust scale and
    smooth clip".)

    Words are looked up as they are, but for spaces around them. In `<name>_ids` 0 is an
    empty cell; each column has an id for words that it did not learn, and after it one
    for each that it did, the most frequent first. No two columns share an id.

    Call `learn`, or `load`, before anything is decoded.

    Args:
        name: the model's input; no column needs to have this name.
        numbers: columns that hold numbers, as 12, -1.5 or 1e3.
        categories: columns that hold words.
        max_categories: words that a column learns at most.
        min_rows: words on fewer train rows are not learnt; they teach the model what
            to do with a word that it does not know.

    Raises:
        ValueError: no columns.
    """

    is_file = False
    packages = ()

    def __init__(
        self,
        name,
        *,
        numbers: tuple[str, ...] = (),
        categories: tuple[str, ...] = (),
        max_categories: PositiveInt = 1000,
        min_rows: PositiveInt = 2,
    ):
        if not (numbers or categories):
            raise ValueError(f"The tabular input `{name}` has no columns.")
        self.name = name
        self.numbers, self.categories = tuple(numbers), tuple(categories)
        self.max_categories = max_categories
        self.min_rows = min_rows
        self.signatures = (*self.numbers, *self.categories)
        self._learnt = self._table = self._unknown = None

    @property
    def specs(self):
        """{key: tf.TensorSpec} of one decoded row, without the batch dimension."""
        return {
            self.name: tf.TensorSpec((len(self.numbers),), tf.float32),
            f"{self.name}_ids": tf.TensorSpec((len(self.categories),), tf.int32),
            f"{self.name}_seen": tf.TensorSpec((len(self.signatures),), tf.bool),
            f"{self.name}_present": tf.TensorSpec((), tf.bool),
        }

    @property
    def geometry(self):
        """What a branch must know: columns of each kind, and ids of all words."""
        words = self.learnt["categories"].values()
        return {
            "numbers": len(self.numbers),
            "categories": len(self.categories),
            "vocabulary_size": 1 + sum(1 + len(each) for each in words),
        }

    @property
    def resources(self):
        """TensorFlow objects which a SavedModel must track: the look-up table."""
        self._check_learnt()
        return [self._table] if self._table else []

    @property
    def learnt(self):
        """What `save` writes.

        Returns:
            {"numbers": {column: {"median", "scale"}}, "categories": {column: list of
            words}}.

        Raises:
            RuntimeError: nothing was learnt or loaded yet.
        """
        self._check_learnt()
        return self._learnt

    @learnt.setter
    def learnt(self, learnt):
        # A table may not be empty; no key of a column is.
        keys, ids, unknown, free = [""], [MISSING], [], MISSING + 1
        for position, column in enumerate(self.categories):
            words = learnt["categories"][column]
            unknown.append(free)
            keys += [f"{position}={word}" for word in words]
            ids += range(free + 1, free + 1 + len(words))
            free += 1 + len(words)
        for column in self.numbers:
            float(learnt["numbers"][column]["scale"])
        self._learnt, self._unknown, self._table = learnt, unknown, None
        if not self.categories:
            return
        # A table made of constants travels inside the graph, as that of texts.
        with tf.init_scope():
            self._table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(keys, tf.string), tf.constant(ids, tf.int32)
                ),
                default_value=MISSING,
            )

    def learn(self, cells):
        """Learns the scale of each number and the words of each category.

        Args:
            cells: of the train split, a list of tuples of str, as `attempt_batch`
                takes them; of str where there is one column.
        """
        cells = _stripped(self._by_column(tf.constant(cells, tf.string)))
        split = len(self.numbers)
        values, bad, _ = _parsed(cells[:, :split])
        values = np.where((cells[:, :split] == "") | bad, np.nan, values)
        words = cells[:, split:].numpy()
        self.learnt = {
            "numbers": {
                column: _scale(values[:, at][np.isfinite(values[:, at])])
                for at, column in enumerate(self.numbers)
            },
            "categories": {
                column: self._words(words[:, at])
                for at, column in enumerate(self.categories)
            },
        }

    def save(self, folder):
        """Writes what was learnt to `<folder>/<name>.json`."""
        text = json.dumps(self.learnt, indent=2, ensure_ascii=False)
        (Path(folder) / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")

    def load(self, folder):
        """Reads what `save` wrote."""
        file = Path(folder) / f"{self.name}.json"
        self.learnt = json.loads(file.read_text(encoding="utf-8"))

    def decode(self, raw):
        """One row -> dict as `specs`; what is wrong with a cell makes it missing.

        Args:
            raw: (columns,) string, numbers first; a scalar where there is one column.

        Returns:
            `<name>` (numbers,) float32 in [-3, 3], 0 where missing; `<name>_ids`
            (categories,) int32, 0 where missing; `<name>_seen` (columns,) bool;
            `<name>_present` bool, any of them seen.

        Raises:
            RuntimeError: nothing learnt yet.
        """
        return self.attempt(raw)[0]

    def attempt(self, raw):
        """One row -> (dict as `decode`, faults in the shape of `raw`)."""
        return first(self, raw)

    def attempt_batch(self, raws):
        """(batch, columns) strings -> (dict as `decode`, (batch, columns) faults).

        A cell with a fault is missing; the others of its row are not. With one column
        strings and faults are (batch,).

        Raises:
            RuntimeError: nothing learnt yet.
        """
        learnt = self.learnt["numbers"]
        cells = _stripped(self._by_column(raws))
        there, split = cells != "", len(self.numbers)
        values, bad, faults = _parsed(cells[:, :split])
        seen = there & ~tf.pad(bad, [[0, 0], [0, len(self.categories)]])
        median, scale = (
            tf.constant([learnt[column][key] for column in self.numbers], tf.float64)
            for key in ("median", "scale")
        )
        far = tf.clip_by_value((values - median) * scale, -FARTHEST, FARTHEST)
        # Not x / sqrt(y): a graph's optimiser would make of it what stands here.
        near = far * tf.math.rsqrt(1.0 + far * far * (1 / 9))
        near = tf.where(seen[:, :split], near, 0.0)
        present = tf.reduce_any(seen, axis=1)
        rows = {
            self.name: tf.ensure_shape(tf.cast(near, tf.float32), (None, split)),
            f"{self.name}_ids": self._ids(cells[:, split:]),
            f"{self.name}_seen": tf.ensure_shape(seen, (None, len(self.signatures))),
            f"{self.name}_present": present,
        }
        return rows, self._all_faults(faults, raws)

    def faults(self, raws):
        """The faults of `attempt_batch`; nothing needs to be learnt yet."""
        cells = _stripped(self._by_column(raws))
        return self._all_faults(_parsed(cells[:, : len(self.numbers)])[2], raws)

    def _by_column(self, raws):
        return tf.reshape(raws, (-1, len(self.signatures)))

    def _all_faults(self, faults, raws):
        """Faults of the numbers -> of all columns, in the shape of `raws`."""
        none = [[0, 0], [0, len(self.categories)]]
        return tf.reshape(tf.pad(faults, none, constant_values=""), tf.shape(raws))

    def _ids(self, cells):
        """(batch, categories) words -> (batch, categories) int32."""
        if not self.categories:
            return tf.zeros((tf.shape(cells)[0], 0), tf.int32)
        columns = tf.constant([f"{at}=" for at in range(len(self.categories))])
        ids = self._table.lookup(columns + cells)
        ids = tf.where(ids == MISSING, tf.constant(self._unknown, tf.int32), ids)
        ids = tf.where(cells == "", MISSING, ids)
        return tf.ensure_shape(ids, (None, len(self.categories)))

    def _words(self, cells):
        """The words of one column, the most frequent first, then by alphabet."""
        counts = Counter(cell.decode("utf-8") for cell in cells if cell)
        often = [word for word, count in counts.items() if count >= self.min_rows]
        ranked = sorted(often, key=lambda word: (-counts[word], word))
        return ranked[: self.max_categories]

    def _check_learnt(self):
        if self._learnt is None:
            raise RuntimeError(
                f"The tabular input `{self.name}` has learnt nothing yet. Call "
                "learn(cells) with the cells of the train split, or load(folder) with "
                "what a run keeps."
            )


def _stripped(cells):
    return tf.strings.regex_replace(cells, _EDGES, "")


def _parsed(cells):
    """Strings as numbers, any shape.

    Returns:
        (float64, 0 where there is none; bool, whether it is neither a number nor "";
        string, the fault).
    """
    shaped = tf.strings.regex_full_match(cells, NUMBER)
    values = tf.strings.to_number(tf.where(shaped, cells, "0"), tf.float64)
    fits = tf.abs(values) <= LARGEST
    bad = (cells != "") & ~(shaped & fits)
    # The bytes of a client may be no text; a message is.
    shown = tf.strings.unicode_transcode(
        tf.strings.substr(tf.where(bad, cells, ""), 0, 4 * SHOWN, unit="BYTE"),
        "UTF-8",
        "UTF-8",
        errors="replace",
        replace_control_characters=True,
    )
    shown = tf.strings.substr(shown, 0, SHOWN, unit="UTF8_CHAR")
    reason = tf.where(shaped, TOO_LARGE, EXPECTED)
    faults = tf.where(bad, tf.strings.join(["`", shown, "`", reason]), "")
    return tf.where(fits, values, 0.0), bad, faults


def _scale(values):
    """{"median", "scale"} of the numbers of a column, see `Tabular`."""
    if not len(values):
        return {"median": 0.0, "scale": 0.0}
    least, first, median, third, most = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    width = (third - first) or (most - least) / 2
    scale = 1 / max(width, 1 / LARGEST) if width else 0.0
    return {"median": float(median), "scale": float(scale)}
