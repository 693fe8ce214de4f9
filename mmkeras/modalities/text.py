"""Texts: one UTF-8 string -> word ids, in the graph, for training and serving alike."""

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf
from pydantic import PositiveInt

from mmkeras.modalities import vectors

PADDING, UNKNOWN = "", "[UNK]"
# A text is cut to this many characters a token before any regular expression sees
# it, so that 100,000 characters cost what `length` tokens cost. The longest words
# of natural languages stay well below it.
CHARACTERS_PER_TOKEN = 64
LEARN_CHUNK = 8192

# Left-to-right marks, byte order marks, soft hyphens: invisible, and different
# between two texts that a reader takes for the same. The joiners U+200C and U+200D
# stay: Persian words and emoji need them.
_INVISIBLE = r"[\x{AD}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2060}-\x{2069}\x{FEFF}]"
_APOSTROPHES = r"[\x{2018}\x{2019}\x{02BC}]"
_SPACES = r"[\s\x{85}\x{200B}\p{Z}]+"
# What is a token of its own even where no space stands around it.
_FLAG = r"[\x{1F1E6}-\x{1F1FF}]{2}"
_TONE = r"[\x{FE0F}\x{1F3FB}-\x{1F3FF}]*"
_EMOJI = rf"\p{{So}}{_TONE}(?:\x{{200D}}\p{{So}}{_TONE})*"
# Scripts written without spaces. U+30FC and U+FF70, the long vowel mark, belong to
# no script in Unicode but to Japanese words.
_UNSPACED = (
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    r"\x{30FC}\x{FF70}]"
)
# RE2 has no set difference: "not (not punctuation or ')" is punctuation without '.
_PUNCTUATION = r"[^\P{P}']|\p{S}"
_ALONE = f"{_FLAG}|{_EMOJI}|{_UNSPACED}|{_PUNCTUATION}"


def folded(texts):
    """Lower-case, without invisible characters, one kind of apostrophe.

    Args:
        texts: strings, valid UTF-8, any shape.

    Returns:
        Strings of the same shape.
    """
    texts = tf.strings.lower(texts, encoding="utf-8")
    texts = tf.strings.regex_replace(texts, _INVISIBLE, "")
    return tf.strings.regex_replace(texts, _APOSTROPHES, "'")


def normalise(texts):
    """Lower-case, one space between tokens: the form in which words are compared.

    Characters of scripts written without spaces, emoji (whole sequences) and
    punctuation become tokens of their own; an apostrophe inside a word does not.

    Args:
        texts: strings, UTF-8, any shape. Invalid bytes count as spaces.

    Returns:
        Strings of the same shape.
    """
    texts = tf.strings.unicode_transcode(
        texts,
        input_encoding="UTF-8",
        output_encoding="UTF-8",
        errors="replace",
        replacement_char=ord(" "),
        replace_control_characters=True,
    )
    texts = folded(texts)
    texts = tf.strings.regex_replace(texts, _ALONE, r" \0 ")
    # Quotes at a word's edge are punctuation; RE2 has no look-around, so the edge is
    # taken along and put back.
    texts = tf.strings.regex_replace(texts, r"(^|[\s\p{Z}])('+)", r"\1\2 ")
    texts = tf.strings.regex_replace(texts, r"('+)([\s\p{Z}]|$)", r" \1\2")
    return tf.strings.strip(tf.strings.regex_replace(texts, _SPACES, " "))


def joined(raws, columns):
    """The cells of several columns as one text, "age: 31; city: Graz".

    So a model of texts reads a whole row: what every other way of reading it has to
    beat. Blank cells are left out; a row of blank cells gives "".

    Args:
        raws: (batch, columns) string; (batch,) where there is one column.
        columns: their names; none: `raws` are texts already.

    Returns:
        (batch,) string.
    """
    if not columns:
        return raws
    cells = tf.reshape(raws, (-1, len(columns)))
    names = tf.constant([f"; {column}: " for column in columns])
    named = names + tf.strings.strip(cells)
    blank = tf.strings.regex_full_match(cells, f"({_SPACES}|{_INVISIBLE})*")
    texts = tf.strings.reduce_join(tf.where(blank, "", named), axis=1)
    return tf.strings.regex_replace(texts, "^; ", "", replace_global=False)


def bounded(raws, length):
    """The beginning of texts, valid UTF-8, at most what `length` tokens can take.

    Args:
        raws: (batch,) string.
        length: tokens that will be kept of a text.

    Returns:
        (batch,) string; invalid bytes are spaces.
    """
    characters = length * CHARACTERS_PER_TOKEN
    texts = tf.strings.strip(raws)
    # First by bytes, at most four a character, so that a huge text is not even
    # checked for valid UTF-8; a character cut in two lies behind the second cut.
    texts = tf.strings.substr(texts, 0, 4 * characters, unit="BYTE")
    texts = tf.strings.unicode_transcode(
        texts, "UTF-8", "UTF-8", errors="replace", replacement_char=ord(" ")
    )
    return tf.strings.substr(texts, 0, characters, unit="UTF8_CHAR")


def specs(name, length):
    """{key: tf.TensorSpec} of one text as so many ids, without the batch dimension."""
    return {
        name: tf.TensorSpec((length,), tf.int32),
        f"{name}_present": tf.TensorSpec((), tf.bool),
    }


def first(decoder, raw):
    """One row by a decoder of batches -> (dict as its `decode`, its fault)."""
    rows, faults = decoder.attempt_batch(tf.expand_dims(raw, 0))
    return {key: value[0] for key, value in rows.items()}, faults[0]


class Text:
    """Texts as ids of the most frequent words of the train split.

    Id 0 is padding and id 1 is any word that was not learnt. Call `learn`, or set
    `vocabulary`, before anything is decoded.

    Args:
        name: the manifest's column and the model's input.
        by: `words`, or `characters`, of which a space is one.
        vectors_file: path of a file of word vectors, see `modalities.vectors`: words
            of it that the train split lacks fill up the vocabulary. None: no file.
        length: tokens kept of a text; the rest is cut, and shorter texts are padded.
        vocabulary_size: at most so many ids, padding and unknown included.
        columns: of the manifest, read as one text, see `joined`; the one of the
            input's own name where none is listed.
    """

    is_file = False
    packages = ()
    unknown_id, special_ids = 1, (0,)

    def __init__(
        self,
        name,
        by="words",
        vectors_file=None,
        *,
        length: PositiveInt = 32,
        vocabulary_size: PositiveInt = 10_000,
        columns: tuple[str, ...] = (),
    ):
        self.name = name
        self.by, self.vectors_file = by, vectors_file
        self.length = length
        self.vocabulary_size = vocabulary_size
        self.columns = tuple(columns)
        self.signatures = self.columns or (name,)
        self._vocabulary = None
        self._table = None

    @property
    def specs(self):
        """{key: tf.TensorSpec} of one decoded row, without the batch dimension."""
        return specs(self.name, self.length)

    @property
    def geometry(self):
        """What a branch must know: tokens in a row and ids in the vocabulary.

        With word vectors, the vocabulary itself.
        """
        if self.vectors_file:
            return {"length": self.length, "vocabulary": self.vocabulary}
        return {"length": self.length, "vocabulary_size": len(self.vocabulary)}

    @property
    def resources(self):
        """TensorFlow objects which a SavedModel must track: the look-up table."""
        self._check_learnt()
        return [self._table]

    @property
    def vocabulary(self):
        """Token of each id, a list of str: "", "[UNK]", then the most frequent first.

        Raises:
            RuntimeError: nothing was learnt or loaded yet.
        """
        self._check_learnt()
        return list(self._vocabulary)

    @vocabulary.setter
    def vocabulary(self, tokens: Iterable[str]):
        tokens = list(tokens)
        _check_vocabulary(self.name, tokens, self.vocabulary_size)
        self._vocabulary = tokens
        # A table made of constants travels inside the graph: no asset file to lose
        # between training and serving, and nothing that Keras has to build first.
        with tf.init_scope():
            self._table = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant(tokens), tf.range(len(tokens), dtype=tf.int64)
                ),
                default_value=tokens.index(UNKNOWN),
            )

    def learn(self, texts: Iterable[str], others: Iterable[Counter] = ()):
        """Fills the vocabulary with the most frequent tokens of `texts`.

        Equal counts stand in alphabetical order.

        Args:
            texts: the texts of the train split, str.
            others: what `count` gives of inputs that share the vocabulary.
        """
        counts = sum(others, self.count(texts))
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        if self.vectors_file:
            ranked += vectors.words(self.vectors_file, self.vocabulary_size, but=counts)
        self.vocabulary = [PADDING, UNKNOWN, *ranked][: max(2, self.vocabulary_size)]

    def count(self, texts: Iterable[str]):
        """How often each token stands in texts, a Counter.

        Only tokens which the model can see count, so those after `length` do not.

        Args:
            texts: str.
        """
        counts, texts = Counter(), iter(texts)
        while chunk := list(itertools.islice(texts, LEARN_CHUNK)):
            tokens = self._tokens(tf.constant(chunk, tf.string)).flat_values
            # Counted as bytes first: each different token is decoded once a chunk.
            names, _, times = tf.unique_with_counts(tokens)
            names = [name.decode("utf-8") for name in names.numpy()]
            counts.update(dict(zip(names, times.numpy().tolist(), strict=True)))
        return counts

    def save(self, folder):
        """Writes what was learnt to `<folder>/<name>.txt`, one token a line."""
        text = "\n".join(self.vocabulary)
        (Path(folder) / f"{self.name}.txt").write_text(text, encoding="utf-8")

    def load(self, folder):
        """Reads what `save` wrote."""
        text = (Path(folder) / f"{self.name}.txt").read_text(encoding="utf-8")
        self.vocabulary = text.split("\n")

    def decode(self, raw):
        """One text -> {name: ids, name_present: bool}.

        Args:
            raw: scalar string, UTF-8, or one for each column. Empty or blank: missing.

        Returns:
            Dict as `specs`: ids (length,) int32, 0 after the last token.

        Raises:
            RuntimeError: no vocabulary yet.
        """
        return self.attempt(raw)[0]

    def attempt(self, raw):
        """One text -> (dict as `decode`, fault); a text has no fault: always ""."""
        return first(self, raw)

    def attempt_batch(self, raws):
        """(batch,) texts -> (dict as `decode` with a batch dimension, (batch,) faults).

        With several columns, texts and faults are (batch, columns).

        Raises:
            RuntimeError: no vocabulary yet.
        """
        self._check_learnt()
        tokens = self._tokens(raws)  # (batch, at most length) ragged
        ids = tf.ragged.map_flat_values(self._table.lookup, tokens)
        ids = ids.to_tensor(default_value=0, shape=(None, self.length))
        rows = {
            self.name: tf.ensure_shape(tf.cast(ids, tf.int32), (None, self.length)),
            f"{self.name}_present": tokens.row_lengths() > 0,
        }
        return rows, tf.zeros_like(raws)

    def _tokens(self, raws):
        """(batch,) texts -> (batch, at most `length`) ragged tokens."""
        texts = bounded(joined(raws, self.columns), self.length)
        if self.by == "characters":
            texts = tf.strings.regex_replace(folded(texts), _SPACES, " ")
            tokens = tf.strings.unicode_split(tf.strings.strip(texts), "UTF-8")
        else:
            tokens = tf.strings.split(normalise(texts))
        return tokens[:, : self.length]

    def _check_learnt(self):
        if self._vocabulary is None:
            raise RuntimeError(
                f"The text input `{self.name}` has no vocabulary yet. Call "
                "learn(texts) with the texts of the train split, or set `vocabulary` "
                "to the list of a trained run."
            )


def _check_vocabulary(name, tokens, vocabulary_size):
    """Raises ValueError where `tokens` is no vocabulary of at most so many ids."""
    if tokens[:2] != [PADDING, UNKNOWN]:
        raise ValueError(
            f"The vocabulary of `{name}` must begin with {PADDING!r} (padding) and "
            f"{UNKNOWN!r} (unknown); it begins with {tokens[:2]}."
        )
    if len(set(tokens)) < len(tokens):
        twice = sorted(token for token, n in Counter(tokens).items() if n > 1)
        raise ValueError(f"The vocabulary of `{name}` holds {twice[:3]} twice.")
    if len(tokens) > max(2, vocabulary_size):
        raise ValueError(
            f"The vocabulary of `{name}` has {len(tokens)} entries, more than "
            f"vocabulary_size = {vocabulary_size}. Raise vocabulary_size."
        )
