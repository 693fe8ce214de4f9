"""Frozen backbones run once per file; their features kept on disk, between runs too.

A frozen backbone gives the same features of the same input in every epoch. They are
kept under the hash of the decoded input, which is that of the file and of every
setting of its decoding together, and under the hash of the backbone's layers and
weights: what changes is computed anew, what does not is read.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mmkeras import dataset, model
from mmkeras.branches import pretrained

# Rows a call of the backbone; a call's features are written at once.
CHUNK = 32
STEP = 8
# Names in one SQL statement; SQLite takes 999 at least.
ASKED = 500


def folder():
    """Where features are kept: $MMKERAS_CACHE, or `mmkeras` in the user's cache."""
    if named := os.environ.get("MMKERAS_CACHE"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "mmkeras"


class Cache:
    """Features on disk, in one SQLite file: a kill at any moment loses one chunk.

    Args:
        path: of the file; its folder is made where it is not there.
        most_mb: megabytes of features kept; the longest unused go first.

    Raises:
        OSError: nothing can be kept there.
    """

    def __init__(self, path, most_mb):
        self.path, self.most_mb = Path(path), most_mb
        try:
            self._create()
        except (OSError, sqlite3.Error) as error:
            raise OSError(
                f"features cannot be kept in {self.path} ({error}). Name another "
                "folder with MMKERAS_CACHE, delete the file if it is broken, or run "
                "backbones in every step: data.features_mb = 0"
            ) from error

    def _create(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute(
                "CREATE TABLE IF NOT EXISTS features "
                "(key BLOB PRIMARY KEY, used INTEGER, size INTEGER, value BLOB)"
            )
            database.execute("CREATE INDEX IF NOT EXISTS by_use ON features (used)")

    def missing(self, keys):
        """Those of the keys (bytes) that are not held, a set; the others count as used.

        Args:
            keys: a list of bytes.
        """
        wanted = set(keys)
        listed = list(wanted)
        held = set()
        with self._connection() as database:
            now = self._now(database)
            for start in range(0, len(listed), ASKED):
                part = listed[start : start + ASKED]
                marks = ",".join("?" * len(part))
                found = database.execute(
                    f"UPDATE features SET used = ? WHERE key IN ({marks}) "
                    "RETURNING key",
                    [now, *part],
                )
                held |= {key for (key,) in found}
        return wanted - held

    def read(self, keys):
        """The values (bytes) of these keys, in order.

        Raises:
            LookupError: one is no longer held.
        """
        found = {}
        with self._connection() as database:
            for start in range(0, len(keys), ASKED):
                part = keys[start : start + ASKED]
                marks = ",".join("?" * len(part))
                found |= dict(
                    database.execute(
                        f"SELECT key, value FROM features WHERE key IN ({marks})", part
                    )
                )
        if gone := set(keys) - set(found):
            raise LookupError(
                f"{len(gone)} features are no longer in {self.path}: another run "
                "needed the room. Raise data.features_mb, or data.cache_mb to hold "
                "them in memory"
            )
        return [found[key] for key in keys]

    def write(self, values):
        """Stores {key: value}, both bytes; `shrink` keeps the limit."""
        with self._connection() as database:
            now = self._now(database)
            database.executemany(
                "INSERT OR REPLACE INTO features VALUES (?, ?, ?, ?)",
                [(key, now, len(value), value) for key, value in values.items()],
            )

    def shrink(self):
        """Drops the longest unused features until the rest fits the limit."""
        with self._connection() as database:
            above = self._size(database) - self.most_mb * 2**20
            if above <= 0:
                return
            gone = []
            for key, size in database.execute(
                "SELECT key, size FROM features ORDER BY used"
            ):
                gone.append((key,))
                above -= size
                if above <= 0:
                    break
            database.executemany("DELETE FROM features WHERE key = ?", gone)
        with contextlib.closing(sqlite3.connect(self.path)) as database:
            database.execute("VACUUM")

    def size_bytes(self):
        """Bytes of all features held."""
        with self._connection() as database:
            return self._size(database)

    @contextlib.contextmanager
    def _connection(self):
        # One a call: connections must not pass between threads or a fork.
        with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as database:
            with database:
                yield database

    @staticmethod
    def _now(database):
        """A number above that of all earlier uses."""
        (last,) = database.execute("SELECT MAX(used) FROM features").fetchone()
        return (last or 0) + 1

    @staticmethod
    def _size(database):
        return database.execute("SELECT SUM(size) FROM features").fetchone()[0] or 0


class Stored:
    """Reads features from a `Cache`, in the way of a decoder: cells are keys.

    Args:
        name: of the input.
        specs: {key: tf.TensorSpec} of one row of features.
        cache: the `Cache`.
    """

    is_file = False

    def __init__(self, name, specs, cache):
        self.name, self.specs, self.cache = name, specs, cache

    def attempt_batch(self, cells):
        """(batch,) keys -> ({key: (batch, ...)}, (batch,) faults, all "")."""
        order = list(self.specs)
        read = tf.numpy_function(
            self._read, [cells], [self.specs[key].dtype for key in order]
        )
        rows = {
            key: tf.ensure_shape(values, (None, *self.specs[key].shape))
            for key, values in zip(order, read, strict=True)
        }
        return rows, tf.zeros_like(cells)

    def _read(self, cells):
        rows = [unpack(value, self.specs) for value in self.cache.read(cells.tolist())]
        return [np.stack([row[key] for row in rows]) for key in self.specs]


def computed(backbone, rows, count, cache, *, name=None, memory_mb=2048, progress=None):
    """The features of all rows, from the cache or, once, from the backbone.

    Args:
        backbone: `<name>_backbone`, a frozen `keras.Model` from tensors of an input to
            {key: (batch, ...)}, `<name>_features` among them.
        rows: `dataset.Rows` of the decoded input.
        count: how many rows there are.
        cache: a `Cache`.
        name: of the input, where it is another one that shares the backbone.
        memory_mb: megabytes of features that may be held in memory; where there are
            more they are read from disk, batch by batch.
        progress: called with (rows done, rows) now and then.

    Returns:
        `dataset.Rows` of the features, and of what else the input has beside
        `<name>` itself.
    """
    if not count:
        return dataset.Rows({}, {}, {})
    name = name or pretrained.owner(backbone)
    keys, beside = [], {}
    for hashes, arrays in _kept(
        backbone, name, dataset.ordered(rows, count, CHUNK), cache
    ):
        keys += hashes
        for key in arrays.keys() - {name}:
            beside.setdefault(key, []).append(arrays[key])
        if progress:
            progress(len(keys), count)
    beside = {key: tf.constant(np.concatenate(each)) for key, each in beside.items()}
    cells = {f"{name}_features": tf.constant(keys, tf.string)}
    specs = pretrained.renamed(feature_specs(backbone), backbone, name)
    stored = {f"{name}_features": Stored(f"{name}_features", specs, cache)}
    held = dataset.Rows({}, cells, stored)
    if count * row_bytes(specs) <= memory_mb * 2**20:
        parts = list(dataset.ordered(held, count, ASKED))
        beside |= {key: tf.concat([part[key] for part in parts], 0) for key in specs}
        held = dataset.Rows({}, {}, {})
    return held | dataset.Rows(beside, {}, {})


def _kept(backbone, name, batches, cache):
    """Runs a backbone on all that is not held yet, CHUNK rows at a time.

    Yields:
        (keys, {key: array}) of each batch.
    """
    known, specs, waiting = digest(backbone), feature_specs(backbone), {}
    own = {key: key for key in sorted(backbone.input)}
    asked = pretrained.renamed(own, backbone, name)  # {key here: that of the backbone}
    for batch in batches:
        arrays = {key: values.numpy() for key, values in batch.items()}
        given = {its: arrays[key] for key, its in asked.items()}
        hashes = _hashes(known, given)
        missing = cache.missing(hashes) - waiting.keys()
        for row, key in enumerate(hashes):
            if key in missing:  # copied, or one row would hold its whole batch
                waiting[key] = {its: array[row].copy() for its, array in given.items()}
        if len(waiting) >= CHUNK:
            cache.write(_first_of(waiting, backbone, specs))
        yield hashes, arrays
    if waiting:
        cache.write(_first_of(waiting, backbone, specs))


def on_features(network, names):
    """What a model makes of features for some inputs, with the same layers.

    Args:
        network: a model of `model.build`.
        names: inputs whose backbone is left out.

    Returns:
        ({key: keras.Input}, {key: output of its core}).
    """
    core, backbones = model.parts(network)
    live = {name: one for name, one in backbones.items() if name not in names}
    needed = dict(core.input)
    for name, backbone in live.items():
        for key in pretrained.renamed(backbone.output, backbone, name):
            needed.pop(key, None)
        needed |= pretrained.renamed(backbone.input, backbone, name)
    inputs = pretrained.inputs_like(needed)
    return inputs, model.joined(core, live, inputs)


def digest(backbone):
    """What tells a backbone from others: a hash of its layers and weights, bytes."""
    found = hashlib.blake2b(digest_size=16)
    text = json.dumps(backbone.get_config(), sort_keys=True, default=str)
    config = json.loads(text)
    plain = _renumbered(config, set(_names(config)), {})
    found.update(json.dumps(plain, sort_keys=True).encode())
    for weight in backbone.weights:
        found.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)))
    return found.digest()


def _names(config):
    """Every name of a layer or operation in a config."""
    inner = config.values() if isinstance(config, dict) else config
    for each in inner if isinstance(config, dict | list) else ():
        yield from _names(each)
    if isinstance(config, dict) and isinstance(config.get("name"), str):
        yield config["name"]


def _renumbered(config, names, seen):
    """A config with names as numbers: Keras counts names up as layers are made."""
    if isinstance(config, dict):
        return {
            key: _renumbered(each, names, seen)
            for key, each in config.items()
            if key != "trainable"  # changes no feature
        }
    if isinstance(config, list):
        return [_renumbered(each, names, seen) for each in config]
    if isinstance(config, str) and config in names:
        return seen.setdefault(config, len(seen))
    return config


def pack(row):
    """{key: array} of one row -> bytes."""
    return b"".join(np.ascontiguousarray(one).tobytes() for one in row.values())


def unpack(value, specs):
    """What `pack` made, {key: array} of the specs' shapes and types."""
    row, start = {}, 0
    for key, spec in specs.items():
        kind, items = spec.dtype.as_numpy_dtype, spec.shape.num_elements()
        row[key] = np.frombuffer(value, kind, items, start).reshape(spec.shape)
        start += row[key].nbytes
    return row


def _hashes(known, arrays):
    """A key a row, of what was decoded and of the backbone; hex, as bytes."""
    count = len(next(iter(arrays.values())))
    keys = []
    for row in range(count):
        found = hashlib.blake2b(known, digest_size=16)
        for array in arrays.values():
            found.update(np.ascontiguousarray(array[row]))
        keys.append(found.hexdigest().encode())
    return keys


def _first_of(waiting, backbone, specs):
    """{key: packed features} of the first CHUNK rows that wait; they wait no more."""
    keys = list(waiting)[:CHUNK]
    rows = [waiting.pop(key) for key in keys]
    made = _run(
        backbone, {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    )
    return {
        key: pack({name: made[name][at] for name in specs})
        for at, key in enumerate(keys)
    }


def _run(backbone, arrays):
    """The backbone's outputs for up to CHUNK rows, {key: (as many or more, ...)}."""
    given = {key: arrays[key] for key in backbone.input}
    count = len(next(iter(given.values())))
    # Rows repeated to the next multiple of STEP: few shapes, so few traces.
    rows = -(-count // STEP) * STEP
    filled = {key: np.resize(one, (rows, *one.shape[1:])) for key, one in given.items()}
    if tf.distribute.has_strategy():  # `predict` would have every replica do it all
        made = backbone(filled, training=False)
        return {key: tensor.numpy() for key, tensor in made.items()}
    return backbone.predict_on_batch(filled)


def feature_specs(backbone):
    """{key: tf.TensorSpec} of one row of a backbone's features."""
    return {
        key: tf.TensorSpec(tensor.shape[1:], tf.as_dtype(tensor.dtype))
        for key, tensor in backbone.output.items()
    }


def row_bytes(specs):
    """Bytes of one row of these specs."""
    return sum(spec.dtype.size * spec.shape.num_elements() for spec in specs.values())
