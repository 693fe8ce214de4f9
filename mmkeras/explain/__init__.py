"""Why a row is answered as it is: inputs, fusion, words, pixels, sounds, columns."""

import dataclasses
import difflib

import numpy as np
import tensorflow as tf

from mmkeras import export
from mmkeras.explain import attention, pages, parts, shapley
from mmkeras.explain.probing import Probe
from mmkeras.explain.question import NoSuchError, Question
from mmkeras.families import nearest
from mmkeras.manifest import ManifestError

__all__ = ["Explanation", "NoSuchError", "raw", "row", "write"]
ASKED = "asked"  # the id of a row that stands in no manifest


@dataclasses.dataclass(frozen=True)
class Explanation:
    """All about one answer, as plain numbers.

    Attributes:
        id: of the row.
        target: what is answered.
        told: the answer as text.
        label: the label that is explained, "" of a regression.
        what: the number that is explained, in words; see `question.Question`.
        value: it.
        base: the same with every input missing.
        probabilities: {label: probability or cosine}, {} of a regression.
        shapley: {input: what it adds}; they add up to value - base.
        present: {input: whether the row has it}.
        error: what was wrong with a file or a number; such an input is missing.
        fusion: what the fusion reads, see `attention.of_fusion`, with "model", the name
            of a run of an ensemble, else ""; [] where the fusion has no weights.
        parts: {input: what its modality tells}, see `parts`; of those present.
    """

    id: str
    target: str
    told: str
    label: str
    what: str
    value: float
    base: float
    probabilities: dict
    shapley: dict
    present: dict
    error: str
    fusion: list
    parts: dict

    def numbers(self):
        """What JSON takes: all but the maps, pictures and waves."""
        return _without_arrays(vars(self))


def row(run, rows, identity, *, target=None, label=None):
    """Explains a row of a manifest.

    Args:
        run: a `run.Run`.
        rows: a `manifest.Manifest` with the recipe's columns.
        identity: the row's id.
        target: of several targets; the first where None.
        label: another label than the one that is told.

    Returns:
        An `Explanation`.

    Raises:
        ManifestError: no row has this id; names the nearest. Or it was refused; says
            why.
        NoSuchError: no such target or label.
    """
    found = rows.frame[rows.frame[rows.id] == identity].head(1)
    if not len(found):
        for refused in rows.rejected:
            if refused.id == identity:
                raise ManifestError(f"{rows.path.name}: {refused}")
        raise ManifestError(
            f"{rows.path.name} has no row `{identity}`. The nearest of its "
            f"{len(rows)} ids: {', '.join(_near(identity, rows.ids))}"
        )
    one = dataclasses.replace(rows, frame=found, rejected=(), warnings=())
    columns = export.raw_columns(run, one)
    return raw(run, columns, identity=identity, target=target, label=label)


def raw(run, columns, *, identity=ASKED, target=None, label=None):
    """Explains one raw row.

    Args:
        run: a `run.Run`.
        columns: {served name: [bytes]}, "" is missing; see `export.saved_model`.
        identity: what the row is called.
        target: of several targets; the first where None.
        label: another label than the one that is told.

    Returns:
        An `Explanation`.

    Raises:
        NoSuchError: no such target or label.
        ValueError: the columns are not those of one row.
    """
    columns = _one_row(run, columns)
    target = target or next(iter(run.tasks))
    if target not in run.tasks:
        hint = nearest(target, run.tasks)
        raise NoSuchError(
            f"the run has no target `{target}`{hint}. Targets: {', '.join(run.tasks)}"
        )
    given, error = _decoded(run, columns)
    outputs = run.model(given, training=False)
    question = Question(target, run.tasks[target], outputs[target], label)
    probe = Probe(run.model, given, question)
    shares, base, value = shapley.of_modalities(probe, list(run.decoders))
    present = {name: bool(given[f"{name}_present"][0]) for name in run.decoders}
    return Explanation(
        id=identity,
        target=target,
        told=question.told,
        label=question.label,
        what=question.what,
        value=value,
        base=base,
        probabilities=question.probabilities,
        shapley=shares,
        present=present,
        error=error,
        fusion=_fusion(run, probe),
        parts=_parts(run, probe, columns, present),
    )


def write(run, explanation):
    """Writes `RUN/explanations/<id>.html` and `.png`.

    Returns:
        (path of the page, path of the picture).
    """
    return pages.write(run, explanation)


def _near(identity, ids):
    """Up to three ids, the first ones where none is near."""
    return difflib.get_close_matches(identity, ids, n=3, cutoff=0.5) or ids[:3]


def _without_arrays(value):
    if isinstance(value, dict):
        return {
            key: _without_arrays(each)
            for key, each in value.items()
            if not isinstance(each, np.ndarray) and each is not None
        }
    return [*map(_without_arrays, value)] if isinstance(value, list) else value


def _kinds(run):
    """{input: modality}."""
    return {name: choice["kind"] for name, choice in run.recipe.data.inputs.items()}


def _fusion(run, probe):
    names = [""]
    if len(probe.models) > 1:
        names = list(run.read_json(run.members_json))
        if len(names) != len(probe.models):  # an ensemble of ensembles
            names = [f"model {at}" for at in range(1, len(probe.models) + 1)]
    each = [attention.of_fusion(one, run.decoders, _kinds(run)) for one in probe.models]
    return [
        {"model": name, **found}
        for name, found in zip(names, each, strict=True)
        if found
    ]


def _parts(run, probe, columns, present):
    kinds = _kinds(run)
    return {
        name: parts.PARTS[kinds[name]](probe, decoder, columns)
        for name, decoder in run.decoders.items()
        if present[name]
    }


def _one_row(run, columns):
    """The columns as {served name: [bytes]}; one that is not given is missing."""
    known = [key for each in run.decoders.values() for key in each.signatures]
    for name in columns:
        if name not in known:
            hint = nearest(name, known)
            raise ValueError(
                f"the run takes no `{name}`{hint}. Expected: {', '.join(known)}"
            )
    row = {}
    for key in known:
        cells = columns.get(key, [b""])
        if isinstance(cells, str | bytes):
            cells = [cells]
        if len(cells) != 1 or not isinstance(cells[0], str | bytes):
            raise ValueError(
                f"`{key}`: expected the text or the bytes of one row, as "
                f'{{"{key}": [b"..."]}}. Got {cells!r:.80}'
            )
        row[key] = [_bytes(cells[0])]
    return row


def _bytes(cell):
    return cell.encode("utf-8") if isinstance(cell, str) else cell


def _decoded(run, columns):
    """({key: (1, ...)}, what was wrong)."""
    tensors, faults = {}, []
    for name, decoder in run.decoders.items():
        own = [tf.constant(columns[key], tf.string) for key in decoder.signatures]
        if decoder.is_file:  # one row, without the loop over a batch
            row, fault = decoder.attempt(own[0][0])
            decoded = {key: tensor[None] for key, tensor in row.items()}
        else:
            raw = tf.stack(own, axis=1) if len(own) > 1 else own[0]
            decoded, fault = decoder.attempt_batch(raw)
        tensors |= decoded
        reasons = filter(None, np.ravel(fault.numpy()).tolist())
        faults += [f"{name}: {reason.decode()}." for reason in reasons]
    return tensors, " ".join(faults)
