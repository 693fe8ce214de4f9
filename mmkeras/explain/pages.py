"""An explanation on paper: one page that needs no network, and one picture."""

import hashlib
import html
import io
import re

import numpy as np
import tensorflow as tf

from mmkeras import templates
from mmkeras.explain import readings
from mmkeras.plots import explained

MOST_PROBABLE = 5
TINY = 160  # pixels a side below which each is shown as a square


def write(run, explanation):
    """Writes `RUN/explanations/<id>.html` and `.png`; see `stem` for the name.

    Args:
        run: a `run.Run`.
        explanation: an `explain.Explanation`.

    Returns:
        (path of the page, path of the picture).
    """
    folder = run.folder / "explanations"
    folder.mkdir(exist_ok=True)
    name = stem(explanation.id)
    if len(run.tasks) > 1:
        name += f".{stem(explanation.target)}"
    page, picture = folder / f"{name}.html", folder / f"{name}.png"
    values = _values(run.recipe.name, explanation)
    text = templates.filled("explanation.html", values)
    page.write_text(text, encoding="utf-8")
    explained.side_by_side(
        picture,
        explanation.what,
        explanation.shapley,
        explanation.parts,
        explanation.fusion,
    )
    return page, picture


def stem(identity):
    """A row's id as the name of a file; a hash tells those apart that look alike then.

    >>> stem("cat-001"), stem("a/b")
    ('cat-001', 'a_b-c14cddc0')
    """
    name = re.sub(r"[^\w.-]", "_", identity)[:80]
    if name == identity and not name.startswith("."):
        return name
    digest = hashlib.sha256(identity.encode("utf-8")).hexdigest()[:8]
    return f"{name.lstrip('.')}-{digest}"


def _values(name, told):
    explain = f"{told.what}: {told.value:.4f}"
    answer = f"{told.target}: {told.told or 'none'}"
    parts = "\n".join(
        f"<h2>{html.escape(name)}</h2>\n{PAGES[part['kind']](part)}"
        for name, part in told.parts.items()
    )
    return {
        "name": html.escape(name),
        "id": html.escape(told.id),
        "told": f"<b>{html.escape(answer)}</b><br>{html.escape(explain)}",
        "error": f'<p class="error">{html.escape(told.error)}</p>' * bool(told.error),
        "probabilities": _probabilities(told.probabilities),
        "what": html.escape(told.what),
        "shares": _signed(
            {
                name if told.present[name] else f"{name} (missing)": share
                for name, share in told.shapley.items()
            }
        ),
        "sum": f"{told.base:.4f} with every modality missing "
        f"{told.value - told.base:+.4f} = {told.value:.4f}",
        "fusion": readings.section(told.fusion, told.parts, _figure),
        "parts": parts,
    }


def _probabilities(each):
    first = list(each.items())[:MOST_PROBABLE]
    if not first:
        return ""
    cells = "".join(
        f'{_label(name)}<div class="bar"><i style="width:{100 * max(share, 0):.1f}%">'
        f"</i></div><div>{share:.4f}</div>\n"
        for name, share in first
    )
    return f'<div class="bars">{cells}</div>'


def _signed(numbers):
    """Bars to the right of the middle for what is above zero, else to the left."""
    most = max([abs(number) for number in numbers.values()] + [1e-30])
    cells = ""
    for name, number in numbers.items():
        width = 50 * abs(number) / most
        left, sign = (50, "for") if number >= 0 else (50 - width, "against")
        style = f"margin-left:{left:.1f}%;width:{width:.1f}%"
        bar = f'<div class="bar"><i class="{sign}" style="{style}"></i></div>'
        cells += f"{_label(name)}{bar}<div>{number:+.4f}</div>\n"
    return cells


def _label(name):
    return f"<div>{html.escape(name)}</div>"


def _text(part):
    sent = f"<p>{html.escape(part['text'])}</p>\n"
    if "left_out" in part:
        return sent + _left_out(part)
    most = max([abs(each["attribution"]) for each in part["tokens"]] + [1e-30])
    spans = ""
    for each in part["tokens"]:
        number = each["attribution"]
        sign = "for" if number >= 0 else "against"
        shade = f"rgb(var(--{sign}) / {0.6 * abs(number) / most:.2f})"
        spans += (
            f'<span style="background:{shade}">{html.escape(_visible(each["token"]))}'
            f"<small>{number:+.2g}</small></span>\n"
        )
    note = _path_note(part, "word vectors of zeros")
    legend = '<p class="legend"><span class="for">for</span>'
    legend += '<span class="against">against</span></p>'
    return f'{sent}<div class="tokens">{spans}</div>{legend}<p class="note">{note}</p>'


def _visible(token):
    """A character that is a space has to be seen."""
    return token.replace(" ", "\N{OPEN BOX}")


def _path_note(part, baseline):
    return (
        f"Integrated gradients in {part['steps']} steps: {part['start']:.4f} from "
        f"{baseline}, {part['end']:.4f} as it is; the parts miss the difference by "
        f"{abs(part['gap']):.1g}."
    )


def _image(part):
    pixels = part["pixels"]
    figures = _figure(pixels, "as the model sees it")
    note = ""
    if "left_out" in part:
        note = _left_out(part)
    else:
        blue = "blue speaks for the answer"
        if not part["map"].any():
            blue = "no place speaks for the answer: all channels count against it"
        figures += _figure(explained.tinted(pixels, part["map"]), blue)
        note = f'<p class="note">{_looked_at(part["looked_at"])}</p>'
    tiny = " tiny" if len(pixels) < TINY else ""
    return f'<div class="pictures{tiny}">{figures}</div>{note}'


def _looked_at(models):
    """How a map was found, in words."""
    names = {"grad_cam": "Grad-CAM", "gradient_x_tokens": "Gradient times token"}
    each = [
        f"{names[one['method']]} on {one['grid'][0]} x {one['grid'][1]} places of "
        f"{html.escape(one['layer'])}"
        for one in models
    ]
    if len(each) == 1:
        return f"{each[0]}."
    return f"The mean of {len(each)} maps, each scaled to 1: {', '.join(each)}."


def _figure(pixels, caption):
    coded = tf.io.encode_png(np.round(pixels * 255).clip(0, 255).astype("uint8"))
    source = templates.embedded("image/png", coded.numpy())
    caption = html.escape(caption)
    return (
        f'<figure><img alt="{caption}" src="{source}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def _audio(part):
    wave = tf.audio.encode_wav(part["wave"][:, None], part["rate_hz"]).numpy()
    drawn = io.BytesIO()
    explained.sound(drawn, part)
    picture = templates.embedded("image/png", drawn.getvalue())
    alt = "waveform, spectrogram and saliency"
    note = "left_out" in part and _left_out(part)
    note = note or (
        '<p class="note">Gradient times distance from the mean of the clip, over '
        f"{part['features']}: blue speaks for the answer, orange against it.</p>"
    )
    return (
        f'<audio controls src="{templates.embedded("audio/wav", wave)}"></audio>\n'
        f'<img class="figure" alt="{alt}" src="{picture}">\n{note}'
    )


def _tabular(part):
    cells = {
        f"{each['column']} {each['cell'] or '(empty)'}": each["attribution"]
        for each in part["columns"]
    }
    note = _path_note(part, "medians and word vectors of zeros")
    return f'<div class="bars">{_signed(cells)}</div><p class="note">{note}</p>'


def _left_out(part):
    return f'<p class="note">Left out: {html.escape(part["left_out"])}.</p>'


PAGES = {"text": _text, "image": _image, "audio": _audio, "tabular": _tabular}
