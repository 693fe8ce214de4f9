"""Several runs on the same rows: which is better, and how sure that is."""

import numpy as np

from mmkeras.evaluate import gains, judging, telling

SHOWN = 5  # ids named where rows differ


class NotComparableError(ValueError):
    """Runs that were asked about other rows or labels; the message says which."""


def compare(runs, manifests, split, *, log=print):
    """Judges runs on the same rows, drawn together (a paired bootstrap).

    Args:
        runs: {name: `run.Run`}, two or more; the first is what all are compared with.
        manifests: {name: `manifest.Manifest`} as each run reads it.
        split: name of the split.
        log: called with one line where rows had to be left out.

    Returns:
        {"split", "rows", "targets": {target: {"score": name of the first score,
        "runs": {name: {"score", "interval", and of all but the first "difference": its
        score minus the first one's, "difference_interval", of a classification
        "mcnemar": {"only_first", "only_this": rows that one of both tells right, "p":
        exact, two-sided (McNemar 1947, doi 10.1007/BF02295996)}}}}}}.

    Raises:
        NotComparableError: rows, targets or labels differ; says which.
    """
    first = next(iter(runs))
    for name in list(runs)[1:]:
        _require_same_targets(runs, first, name)
    asked = {name: manifests[name].split(split) for name in runs}
    _require_comparable(asked, split)  # before anything is decoded
    parts = {
        name: judging.readable(run, asked[name], log)[:2] for name, run in runs.items()
    }
    # Of what one run cannot read, another may have no use.
    _require_comparable({name: rows for name, (rows, _) in parts.items()}, split)
    rows = parts[first][0]
    outputs = {
        name: judging.predict(run.model, parts[name][1], len(rows))
        for name, run in runs.items()
    }
    truths = judging.truths(runs[first].tasks, rows)
    return {
        "split": split,
        "rows": len(rows),
        "targets": {
            target: _of_target(
                {n: (run.tasks[target], outputs[n][target]) for n, run in runs.items()},
                *truths[target],
            )
            for target in runs[first].tasks
            if truths[target][1].any()
        },
    }


def _of_target(asked, truth, known):
    asked = {name: (task, each[known]) for name, (task, each) in asked.items()}
    truth, first = truth[known], next(iter(asked))
    task = asked[first][0]
    compared = gains.paired(asked, truth, task.draws)
    found = {}
    for name, (own, outputs) in asked.items():
        found[name] = gains.scored(own, truth, outputs)
        if name == first:
            continue
        other = compared[name]
        if other["difference"] is not None:
            found[name]["difference"] = -other["difference"]
            low, high = other["interval"]
            found[name]["difference_interval"] = [-high, -low]
        if hasattr(own, "called"):
            right = [
                np.argmax(truth, -1) == each.called(out)
                for each, out in (asked[first], (own, outputs))
            ]
            found[name]["mcnemar"] = mcnemar(*right)
    return {"score": gains.first_score(task, truth, asked[first][1])[0], "runs": found}


def mcnemar(first, second):
    """Whether two models err equally often, by the rows that only one tells right.

    Args:
        first: (rows,) bool, told right.
        second: the same, of another model.

    Returns:
        {"only_first", "only_this", "p": chance of so uneven a split of these rows}.
    """
    from scipy import stats

    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(stats.binomtest(one, one + other).pvalue) if one + other else 1.0
    return {"only_first": one, "only_this": other, "p": p}


def _require_same_targets(runs, first, name):
    """Refuses runs that answer something else, or name it otherwise."""
    given = [run.recipe.data.targets for run in (runs[first], runs[name])]
    kinds = [{key: each["kind"] for key, each in one.items()} for one in given]
    if kinds[0] != kinds[1]:
        raise NotComparableError(
            f"{first} answers {kinds[0]}, {name} answers {kinds[1]}: compare runs with "
            "the same targets"
        )
    for target, kind in kinds[0].items():
        one, other = (runs[each].labels[target] for each in (first, name))
        if kind != "regression" and one != other:
            only = sorted(set(one) ^ set(other))[:SHOWN]
            raise NotComparableError(
                f"the labels of `{target}` differ between {first} and {name}: only one "
                f"of them knows {', '.join(map(repr, only))}. Train both on the same "
                "train rows"
            )


def _require_comparable(rows, split):
    """Refuses {run: rows} that are not the same ones, or none."""
    (first, one), *others = rows.items()
    if not len(one):
        raise NotComparableError(f"{one.path.name} has no usable row in {split}")
    for name, other in others:
        _require_same_rows({first: one, name: other}, split)


def _require_same_rows(parts, split):
    """Refuses rows or cells of targets that differ; names the first of them."""
    (first, one), (name, other) = parts.items()
    known = {first: set(one.ids), name: set(other.ids)}
    only = {
        first: [each for each in one.ids if each not in known[name]],
        name: [each for each in other.ids if each not in known[first]],
    }
    for who, ids in only.items():
        if ids:
            listed = ", ".join(ids[:SHOWN]) + ", ..." * (len(ids) > SHOWN)
            raise NotComparableError(
                f"{first} and {name} were not asked the same {split} rows: {len(ids)} "
                f"stand only among those of {who}: {listed}. Give both the same rows "
                "with --manifest, or a split column"
            )
    if one.ids != other.ids:
        raise NotComparableError(
            f"{first} and {name} have the same {split} rows in another order"
        )
    for target in one.targets:
        cells = zip(one.ids, one.frame[target], other.frame[target], strict=True)
        differ = [each for each in cells if each[1] != each[2]]
        if differ:
            identity, this, that = differ[0]
            raise NotComparableError(
                f"`{target}` differs in {len(differ)} rows between {first} and {name}: "
                f"row {identity} is `{this}` and `{that}`"
            )


def tables(found):
    """What `compare` found as rows of text, a table a target."""
    return [_table(found, *each) for each in found["targets"].items()]


def _table(found, target, compared):
    score = compared["score"]
    several = f", {target}" * (len(found["targets"]) > 1)
    head = [f"{found['split']}, {found['rows']} rows{several}", telling.title(score)]
    tested = any("mcnemar" in one for one in compared["runs"].values())
    lines = [[*head, "95 % interval", "difference", "95 % interval"]]
    lines[0] += ["only first", "only this", "p"] if tested else []
    for name, one in compared["runs"].items():
        own = "" if one["score"] is None else telling.amount(score, one["score"])
        cells = [name, own, telling.between(score, one["interval"]), "", ""]
        if "difference" in one:
            cells[3] = telling.by(score, one["difference"])
            cells[4] = telling.changes(score, one["difference_interval"])
        if tested:
            test = one.get("mcnemar", {})
            cells += [str(test.get(key, "")) for key in ("only_first", "only_this")]
            cells.append(f"{test['p']:.3f}" if test else "")
        lines.append(cells)
    return lines
