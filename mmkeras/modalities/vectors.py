"""Files of word vectors, as GloVe, word2vec and fastText write them in text form.

One word a line and its numbers, separated by spaces, the most frequent word first; a
first line of two numbers, words and size, may stand before (word2vec, fastText).
"""

from pathlib import Path

import numpy as np


def words(path, most, but=()):
    """The first words of a file.

    Args:
        path: of the file, UTF-8.
        most: how many at most.
        but: words that are left out.

    Returns:
        A list of str, in the order of the file.

    Raises:
        FileNotFoundError: no such file.
    """
    found = {}
    for word, _ in _lines(path):
        if len(found) >= most:
            break
        if word not in but:
            found[word] = True  # once, however often it stands in the file
    return list(found)


def table(path, vocabulary):
    """The vectors of those words of a vocabulary that a file has.

    Args:
        path: of the file, UTF-8.
        vocabulary: a list of str.

    Returns:
        ({word: (size,) float32 array}, size).

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line that is no word vector; names the line.
    """
    wanted, found, size = set(vocabulary), {}, None
    for number, (word, rest) in enumerate(_lines(path), start=1):
        if size is None:
            size = len(rest.split(" "))
        if word not in wanted or word in found:
            continue
        try:
            vector = np.array(rest.split(" "), "float32")
        except ValueError:
            vector = np.array([])
        if len(vector) != size or not np.isfinite(vector).all():
            raise ValueError(
                f"{path}, vector {number}, of `{word}`: expected {size} numbers "
                f"separated by spaces, found `{rest[:60]}`"
            )
        found[word] = vector
    if size is None:
        raise ValueError(f"{path} holds no word vectors")
    return found, size


def _lines(path):
    """(word, the rest of its line) of each line."""
    if not path or not Path(path).is_file():
        raise FileNotFoundError(
            f"no word vectors at `{path}`. Expected a text file as GloVe's: a word and "
            "its numbers on each line"
        )
    with open(path, encoding="utf-8", newline="\n", errors="replace") as file:
        for number, line in enumerate(file):
            word, _, rest = line.strip(" \r\n").partition(" ")
            counts = number == 0 and word.isdigit() and rest.isdigit()
            if rest and not counts:
                yield word.lower(), rest
