"""What a fusion reads of a row: the weights of its attention, or of its modalities.

Weights tell what was read, not what the answer hangs on (Jain and Wallace 2019, arXiv
1902.10186): that is what Shapley values tell.
"""

import itertools

import numpy as np

from mmkeras import fusion
from mmkeras.explain import places

SUM = "fused vector"
# What the vectors of a fusion's own are called, many and one.
OWN = {"attention": ("queries", "query"), "bottleneck": ("latents", "latent")}


def of_fusion(one, decoders, kinds):
    """The weights of one network's fusion.

    Args:
        one: an `opened.Opened`.
        decoders: {input: decoder}.
        kinds: {input: modality}.

    Returns:
        {"kind": of the fusion, "read": names of all who are read, "readings": a list},
        or None where a fusion has no weights, as `concat`. Of each reading: "who"
        reads, an input, vectors of the fusion's own, or the fused vector; in which
        "round", from 1; "inputs", {who is read: share}, which add up to 1. Where tokens
        are read also "asking", their labels; "tokens", a list of {"input", "token",
        "weight"}, which add up to 1; and "scores", (asking, tokens) float32, each row
        of which does. Heads are averaged.
        Tokens that a fusion does not see, as padding, get exactly 0 and are left out;
        of a missing input only its learned token is there.
    """
    fuse = one.layer("fusion")
    kind = next(kind for kind, made in fusion.FUSIONS.items() if type(fuse) is made)
    if kind not in READ:
        return None
    readings = READ[kind](one, kind, decoders, kinds)
    # As the recipe orders the inputs; a fusion takes them by the alphabet.
    named = [name for each in readings for name in (each["who"], *each["inputs"])]
    order = list(dict.fromkeys([*decoders, *named]))
    readings.sort(key=lambda each: (each["round"], order.index(each["who"])))
    read = {name for each in readings for name in each["inputs"]}
    return {
        "kind": kind,
        "read": [name for name in order if name in read],
        "readings": readings,
    }


def _weighted(one, kind, decoders, kinds):
    weights = one.layer("fusion").weights_by_name()
    return [{"who": SUM, "round": 1, "inputs": weights}]


def _gated(one, kind, decoders, kinds):
    corridors, _ = one.fused()
    gates = one.layer("fusion").gates(corridors)
    shares = {name: float(gate[0]) for name, gate in gates.items()}
    return [{"who": SUM, "round": 1, "inputs": shares}]


def _attended(one, kind, decoders, kinds):
    """A reading for each who asks in a round: inputs, and the fusion's own vectors."""
    readers = one.layer("fusion").readers()
    corridors, scores = one.fused([reader.attend for reader in readers])
    tokens = {
        name: _visible(one, decoders[name], kinds[name], corridor)
        for name, corridor in corridors.items()
    }
    found, last = {}, max(reader.turn for reader in readers)
    for reader, heads in zip(readers, scores, strict=True):
        tokens[None] = _own(kind, reader.own)
        asking, asked = (
            [token for name in side for token in tokens[name]]
            for side in (reader.asking, reader.asked)
        )
        seen = np.ix_([token[2] for token in asking], [token[2] for token in asked])
        read = heads.mean(axis=0)[seen]
        rows, columns = ([t[:2] for t in side if t[2]] for side in (asking, asked))
        for who, group in itertools.groupby(enumerate(rows), lambda row: row[1][0]):
            if kind == "bottleneck" and reader.turn == last and who not in corridors:
                continue  # nothing reads the latents after the last round
            at = [each for each, _ in group]
            part = [rows[each][1] for each in at], columns, read[at]
            found.setdefault((reader.turn + 1, who), []).append(part)
    return [_reading(*key, parts) for key, parts in found.items()]


def _visible(one, decoder, kind, corridor):
    """(input, label, whether it is seen) of each token, the missing one's first."""
    mask = corridor["mask"][0].numpy().tolist()
    labels = ["missing", *places.PLACES[kind](one, decoder, len(mask) - 1)]
    return [(decoder.name, *pair) for pair in zip(labels, mask, strict=True)]


def _own(kind, count):
    """As `_visible`, of the vectors of a fusion's own."""
    if not count:
        return []
    many, each = OWN[kind]
    return [(f"{count} {many}", f"{each} {at}", True) for at in range(1, count + 1)]


def _reading(turn, who, parts):
    """One of `of_fusion`'s readings.

    Args:
        turn: the round.
        who: asks.
        parts: (labels of who asks, [(input, label)] of what is asked, scores) of each
            attention in which it asks: latents do in that of every input, and are the
            mean of what they hear (eq. 9 of arXiv 2107.00135).
    """
    merged = {}
    for _, columns, scores in parts:
        for at, (name, label) in enumerate(columns):
            # A word may stand twice in a text, latents in every part.
            place = sum(name == other for other, _ in columns[:at])
            share = scores[:, at] / len(parts)
            _, before = merged.get((name, place), (label, 0.0))
            merged[name, place] = label, before + share
    scores = np.stack([column for _, column in merged.values()], axis=1)
    weights = scores.mean(axis=0).tolist()
    tokens = [
        {"input": name, "token": label, "weight": weight}
        for ((name, _), (label, _)), weight in zip(merged.items(), weights, strict=True)
    ]
    inputs = dict.fromkeys([token["input"] for token in tokens], 0.0)
    for token in tokens:
        inputs[token["input"]] += token["weight"]
    return {
        "who": who,
        "round": turn,
        "inputs": inputs,
        "asking": parts[0][0],
        "tokens": tokens,
        "scores": scores,
    }


READ = {
    "weighted": _weighted,
    "gated": _gated,
    "attention": _attended,
    "cross_attention": _attended,
    "bottleneck": _attended,
}
