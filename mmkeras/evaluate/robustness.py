"""What a model is worth on rows that are disturbed, harder and harder."""

import dataclasses
import functools

import numpy as np

from mmkeras.evaluate import asking, disturbing, gains

ROWS = 500
UNITS = {
    "missing": "% of the rows lack it",
    "typing errors": "% of the letters",
    "noise on sounds": "signal to noise, dB",
    "blur": "sigma, % of the side",
    "noise on pictures": "sigma, % of the range",
    "JPEG": "quality",
    "gradient step on pixels": "1/255",
    "gradient step on samples": "1/1000 of full scale",
}


def curves(run, seen, most=ROWS):
    """The first score of each target against the strength of each disturbance.

    Args:
        run: a `run.Run`.
        seen: a `judging.Seen`.
        most: rows that are disturbed; of more, a seeded sample.

    Returns:
        ({target: {disturbance: {"unit", "inputs": {input: [{"strength", "score",
        "interval"}]}}}}, how many rows).
    """
    seen = _sampled(seen, most)
    asked = asking.Asked(run.model, run.decoders)
    changes = {}
    for name, decoder in run.decoders.items():
        for what, each in _of_input(run, seen, asked, name, decoder).items():
            changes |= {(what, name, strength): one for strength, one in each.items()}
    made = asking.changed(asked, seen.loaded, len(seen.rows), changes)
    found = {}
    for target, task in run.tasks.items():
        truth, known = seen.truths[target]
        if not known.any():
            continue
        found[target] = {}
        for (what, name, strength), outputs in made.items():
            point = gains.scored(task, truth[known], outputs[target][known])
            curve = found[target].setdefault(what, {"unit": UNITS[what], "inputs": {}})
            points = curve["inputs"].setdefault(name, [])
            points.append({"strength": strength, **point})
    return found, len(seen.rows)


def _sampled(seen, most):
    """At most so many of the rows, in their order."""
    count = len(seen.rows)
    if count <= most:
        return seen
    kept = np.zeros(count, bool)
    kept[np.random.default_rng(0).permutation(count)[:most]] = True
    rows = dataclasses.replace(seen.rows, frame=seen.rows.frame[kept])
    truths = {
        target: (truth[kept], known[kept])
        for target, (truth, known) in seen.truths.items()
    }
    return dataclasses.replace(
        seen, rows=rows, loaded=seen.loaded.keep(kept), truths=truths, outputs={}
    )


def _of_input(run, seen, asked, name, decoder):
    """{disturbance: {strength: `Change`}} of an input."""
    kind, cells = run.recipe.data.inputs[name]["kind"], seen.rows.cells(name)
    loss = functools.partial(_loss, run.tasks, seen.truths)
    found = {}
    if len(run.decoders) > 1:
        found["missing"] = disturbing.missing(name)
    if kind == "text":
        found["typing errors"] = disturbing.typing_errors(name, decoder, cells)
    if kind == "image":
        found["blur"] = disturbing.blur(name)
        found["noise on pictures"] = disturbing.pixel_noise(name)
        found["JPEG"] = disturbing.jpeg(name, decoder, cells)
        steps = disturbing.gradient_steps(name, asked, loss, kind)
        found["gradient step on pixels"] = steps
    if kind == "audio":
        found["noise on sounds"] = disturbing.sound_noise(name)
        steps = disturbing.gradient_steps(name, asked, loss, kind)
        found["gradient step on samples"] = steps
    return found


def _loss(tasks, truths, outputs, numbers):
    """What training would count of each row, all targets together, (batch,)."""
    total = 0.0
    for target, task in tasks.items():
        truth, known = (each[numbers] for each in truths[target])
        each = task.loss().call(truth.astype("float32"), outputs[target])
        total = total + each * known.astype("float32")
    return total
