"""How often each class or label is true, told, and both; what follows from that."""

from mmkeras.scores.resampling import divided


def by_class(names, true, told):
    """Precision, recall and F1 of each, by scikit-learn; 0 where nothing is divided.

    Args:
        names: of the classes or labels.
        true: (rows, names) bool.
        told: (rows, names) bool.

    Returns:
        {name: {"precision", "recall", "f1", "rows": how many have it}}.
    """
    from sklearn import metrics

    each = metrics.precision_recall_fscore_support(
        true, told, labels=range(len(names)), zero_division=0
    )
    return {
        name: {
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "rows": int(rows),
        }
        for name, precision, recall, f1, rows in zip(names, *each, strict=True)
    }


def redrawn_by_class(names, true, told, counts):
    """The same of rows drawn, {"per_class.<name>.<score>": (draws,)}.

    A draw without rows that have the class cannot have its recall, nor one without rows
    told it the precision: nan.

    Args:
        names: see `by_class`, as are `true` and `told`.
        true: (rows, names).
        told: (rows, names).
        counts: (draws, rows), how often each row counts.
    """
    found = {}
    for score, (part, whole) in fractions(*sums(true, told, counts)).items():
        values = divided(part, whole)
        for place, name in enumerate(names):
            found[f"per_class.{name}.{score}"] = values[:, place]
    return found


def sums(true, told, counts):
    """(rows that have a class, that are told it, both), (draws, classes) each."""
    return tuple(counts @ one.astype("float64") for one in (true, told, true & told))


def fractions(rows, calls, hits):
    """{score: (its numerator, its denominator)} of sums."""
    return {
        "precision": (hits, calls),
        "recall": (hits, rows),
        "f1": (2 * hits, rows + calls),
    }
