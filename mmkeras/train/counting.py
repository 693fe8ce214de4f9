"""What each train row counts, and how often it comes: by its class, as told."""

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight


def counted(recipe, train, known):
    """The weights of the train rows.

    Args:
        recipe: a `recipe.Recipe`.
        train: the train rows, a DataFrame of texts.
        known: {target: (rows,) float32}, 0 where its cell is empty, else 1.

    Returns:
        {target: (rows,) float32}. Classes are weighed by rows / (classes * rows of the
        class), so that all count the same together (scikit-learn's "balanced").
    """
    found = dict(known)
    column = recipe.data.weight
    if column and column in train:
        own = [float(cell) if cell else 1.0 for cell in train[column]]
        found = {name: each * np.float32(own) for name, each in found.items()}
    if recipe.train.class_weight == "balanced":
        for name, choice in recipe.data.targets.items():
            told = train[name].to_numpy() != ""
            if choice["kind"] == "classification" and told.any():
                cells = train[name].to_numpy(dtype=str)[told]
                weights = compute_sample_weight("balanced", cells)
                found[name] = found[name].copy()
                found[name][told] *= weights.astype("float32")
    return found


def drawn(recipe, train):
    """The rows that make up an epoch where rare classes come more often.

    Args:
        recipe: a `recipe.Recipe`.
        train: the train rows, a DataFrame of texts.

    Returns:
        (draws,) int64, numbers of rows: each at least once, those of every class as
        often as those of the commonest, none of a class more than once more than
        another of it. A class is the labels of all classifications together. None where
        every row comes once.
    """
    if recipe.train.oversample == "none":
        return None
    chosen = recipe.data.targets.items()
    names = [name for name, choice in chosen if choice["kind"] == "classification"]
    classes = train.groupby(names).ngroup().to_numpy()
    most = np.bincount(classes).max()
    rng, found = np.random.default_rng(recipe.train.seed), []
    for each in range(classes.max() + 1):
        found.append(np.resize(rng.permutation(np.flatnonzero(classes == each)), most))
    return np.concatenate(found).astype("int64")
