"""Random changes of words."""

import tensorflow as tf

from mmkeras.augment.seeds import uniform

UNKNOWN, PADDING = 1, 0  # ids of `modalities.text`


def drop_words(tensors, name, options, seeds, words=(UNKNOWN, (PADDING,))):
    """Turns words into the unknown word, each with this chance; padding stays."""
    ids, (unknown, specials) = tensors[name], words  # (batch, length)
    dropped = uniform(seeds, ids.shape[1]) < options.word_dropout
    for special in specials:
        dropped &= ids != special
    return {**tensors, name: tf.where(dropped, unknown, ids)}


def swap_words(tensors, name, options, seeds, words=(UNKNOWN, (PADDING,))):
    """Lets neighbours change places, each pair with this chance; padding stays.

    A row's pairs begin at its first or at its second word, and no word moves further
    than by one place.
    """
    ids = tensors[name]  # (batch, length)
    length = ids.shape[1]
    drawn = uniform(seeds, length + 1)
    begin = tf.cast(drawn[:, :1] < 0.5, tf.int32)  # (batch, 1)
    places = tf.range(length)[None, :]
    partners = tf.bitwise.bitwise_xor(places + begin, 1) - begin  # (batch, length)
    inside = (partners >= 0) & (partners < length)
    partners = tf.where(inside, partners, places)
    first = tf.minimum(places, partners)
    chance = tf.gather(drawn[:, 1:], first, batch_dims=1)
    others = tf.gather(ids, partners, batch_dims=1)
    swapped = chance < options.word_swap
    for special in words[1]:
        swapped &= (ids != special) & (others != special)
    return {**tensors, name: tf.where(swapped, others, ids)}
