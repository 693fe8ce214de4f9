"""The worst mistakes of a model, as cards of a page."""

import html

import numpy as np

from mmkeras import templates, transcode
from mmkeras.evaluate.judging import FUSION
from mmkeras.plots import judged as drawn

MOST = 8  # cards of a page
# Bytes of a sound in a page, before it is written as text; a longer one is cut.
SOUND_BYTES = 150_000
TEXT = 600  # characters shown
PROBABLE = 4  # classes shown


def mistakes(run, seen):
    """HTML of the surest mistakes of each target; "" where there is none.

    Pictures and sounds are as the model gets them.

    Args:
        run: a `run.Run`.
        seen: a `judging.Seen`.
    """
    each = max(1, MOST // len(run.tasks))
    found = ""
    for target, task in seen.tasks[FUSION].items():
        truth, known = seen.truths[target]
        outputs = seen.outputs[FUSION][target]
        wrong = np.where(known, task.wrongness(truth, outputs), 0)
        worst = np.argsort(-wrong, kind="stable")[:each]
        for at in worst[wrong[worst] > 0]:
            found += _card(run, seen, int(at), target, task)
    return f'<div class="cards">{found}</div>' if found else ""


def _card(run, seen, at, target, task):
    row = seen.rows.frame.iloc[at]
    output = seen.outputs[FUSION][target][at : at + 1]
    told = task.decode(output)[0]
    told = f"{told:.4g}" if isinstance(told, float) else told or "(none)"
    name = f"{target}: " if len(run.tasks) > 1 else ""
    tensors = {key: tensor.numpy()[0] for key, tensor in seen.loaded.take([at]).items()}
    media = "".join(
        _media(run.recipe.data.inputs[each]["kind"], decoder, seen.rows, at, tensors)
        for each, decoder in run.decoders.items()
    )
    return (
        f'<article class="card"><h3>{html.escape(name)}told {html.escape(told)}, '
        f"true {html.escape(row[target] or '(none)')}</h3>\n"
        f"{_bars(task, output)}{media}"
        f"<p class=note>row {html.escape(str(row[seen.rows.id]))}</p></article>\n"
    )


def _bars(task, output):
    """The most probable classes; "" of a task without probabilities."""
    if not task.has_probabilities:
        return ""
    shares = np.asarray(task.calibrated(output))[0]
    lines = ""
    for place in np.argsort(-shares, kind="stable")[:PROBABLE]:
        label, share = html.escape(task.labels[place]), float(shares[place])
        lines += (
            f'<div>{label}</div><div class="bar"><i style="width:{100 * share:.1f}%">'
            f"</i></div><div>{share:.3f}</div>"
        )
    return f'<div class="bars">{lines}</div>\n'


def _media(kind, decoder, rows, at, tensors):
    """What one input of a row is, to be seen, heard or read."""
    name, label = decoder.name, html.escape(decoder.name)
    if not tensors[f"{name}_present"]:
        return f"<p class=note>{label}: missing</p>\n"
    if kind == "image":
        source = templates.embedded("image/png", drawn.picture(tensors[name]))
        return f'<img class="seen" alt="{label}" src="{source}">\n'
    if kind == "audio":
        samples = tensors[name][: int(tensors[f"{name}_samples"])]
        return _sound(label, samples, decoder.rate_hz)
    cells = rows.frame.iloc[at][list(rows.columns(name))]
    told = "; ".join(
        f"{column}: {cell}" if len(cells) > 1 else cell
        for column, cell in cells.items()
        if cell
    )
    cut = told[:TEXT] + "…" * (len(told) > TEXT)
    return f"<p>{html.escape(cut)}</p>\n"


def _sound(label, samples, rate_hz):
    """A player and a spectrogram; of a long sound, of its beginning."""
    most = SOUND_BYTES // 2
    note = ""
    if len(samples) > most:
        note = f"<p class=note>the first {most / rate_hz:.1f} s</p>"
        samples = samples[:most]
    levels = (samples.clip(-1, 1) * 32767).astype("<i2")
    heard = templates.embedded("audio/wav", transcode.wav_bytes(levels, rate_hz))
    seen = templates.embedded("image/jpeg", drawn.spectrogram(samples, rate_hz))
    return (
        f'<audio controls preload="metadata" aria-label="{label}" '
        f'src="{heard}"></audio>\n'
        f'<img class="sound" alt="{label}, spectrogram" src="{seen}">{note}\n'
    )
