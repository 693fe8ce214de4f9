"""The mean of the weights that the last epochs ended with, where it is better.

A soup of weights on one path of training: Wortsman et al. 2022, arXiv 2203.05482; of
the last epochs' weights: Izmailov et al. 2018, arXiv 1803.05407.
"""

import numpy as np
from keras import ops


def mean(states):
    """The mean of the weights of several checkpoints, a list of arrays.

    Args:
        states: `checkpoints.State`s of one fit, the oldest first.

    Returns:
        As many arrays as the model has variables: float ones as the mean, taken in
        float64 and rounded once; what counts, as seeds do, as in the last.
    """
    return [_mean(each) for each in zip(*_weights(states), strict=True)]


def _weights(states):
    return [state.arrays["model"] for state in states]


def _mean(each):
    last = np.asarray(each[-1])
    if last.dtype.kind != "f":
        return last
    return np.mean(each, axis=0, dtype="float64").astype(last.dtype)


def tasted(model, states, held_out):
    """Puts the mean into a model where its validation loss is the lower one.

    Args:
        model: that was fitted, with the weights that it would keep.
        states: see `mean`, two or more.
        held_out: {"validation_data", "validation_steps"}, as `fit` takes them.

    Returns:
        {"epochs": whose weights they are, counted from 1; "val_loss": of the mean;
        "val_loss_without": of the weights that were in the model; "kept": which of both
        is in it now}.
    """
    before = [ops.convert_to_numpy(variable) for variable in model.variables]
    without = _loss(model, held_out)
    _assign(model, mean(states))
    found = _loss(model, held_out)
    kept = bool(found < without)  # one that is no number is not kept
    if not kept:
        _assign(model, before)
    return {
        # A checkpoint tells the epoch that comes next, from 0.
        "epochs": [state.meta["epoch"] for state in states],
        "val_loss": found,
        "val_loss_without": without,
        "kept": kept,
    }


def told(title, found):
    """What `tasted` found, for people."""
    epochs = ", ".join(map(str, found["epochs"]))
    return (
        f"{title}: mean of the weights after epochs {epochs}: validation loss "
        f"{found['val_loss']:.4g} against {found['val_loss_without']:.4g} of the best "
        f"epoch, {'taken' if found['kept'] else 'not taken'}"
    )


def _loss(model, held_out):
    data, steps = held_out["validation_data"], held_out["validation_steps"]
    return model.evaluate(data, steps=steps, verbose=0, return_dict=True)["loss"]


def _assign(model, values):
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
