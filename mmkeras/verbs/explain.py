"""Why a row is answered as it is: modalities, words, pixels, sounds, columns.

A row of the run's manifest by its id, or a raw one, with the options of `predict`:
`--text "it purrs" --image cat.jpg --audio meow.wav`. Writes RUN/explanations/<id>.html
and .png.
"""

from mmkeras import verbs
from mmkeras.verbs import predict

TOP = 5


def arguments(parser):
    """Adds the options."""
    parser.add_argument("run_folder", metavar="RUN")
    parser.add_argument("--row", metavar="ID", help="id of a row of the manifest")
    parser.add_argument("--manifest", help="another one, in which the row stands")
    parser.add_argument("--target", help="of several; the first where left out")
    parser.add_argument("--label", help="another label than the one that is told")


def run(options, extra):
    """Explains."""
    if options.row is not None:
        verbs.no_more(extra)
    elif options.manifest:
        raise verbs.UsageError("--manifest needs --row ID, the row in it to explain")
    elif not extra:
        raise verbs.UsageError(
            "nothing to explain: give --row ID, or inputs as `mmkeras predict` takes "
            'them, as --text "it purrs"'
        )
    verbs.quiet()
    from mmkeras import explain, export, run

    trained = run.open_folder(options.run_folder)
    chosen = {"target": options.target, "label": options.label}
    if options.row is not None:
        rows = run.read_rows(trained, options.manifest)
        found = explain.row(trained, rows, options.row, **chosen)
    else:
        columns = predict.one_row(
            extra, export.inputs(trained), trained.recipe.data.columns
        )
        found = explain.raw(trained, columns, **chosen)
    page, picture = map(str, explain.write(trained, found))
    content = {**found.numbers(), "page": page, "picture": picture}
    return verbs.Answer(content, _text(content))


def _text(found):
    head = [f"{found['target']}: {found['told'] or 'none'}"]
    head += [f"{found['what']}: {found['value']:.4f}"]
    if found["error"]:
        head += [found["error"]]
    table = [["every input missing", f"{found['base']:.4f}"]]
    for name, share in found["shapley"].items():
        missing = "" if found["present"][name] else " (missing)"
        table.append([f"{name}{missing}", f"{share:+.4f}"])
    table.append(["together", f"{found['value']:.4f}"])
    blocks = ["\n".join(head), verbs.aligned(table)]
    blocks += map(_fusion, found["fusion"])
    blocks += filter(None, map(_largest, found["parts"].items()))
    return "\n\n".join([*blocks, f"page: {found['page']}"])


def _fusion(one):
    """Who reads whom, a line each."""
    lines = [f"{one['model']} fusion ({one['kind']}), share of what is read:".lstrip()]
    for each in one["readings"]:
        shares = ", ".join(
            f"{name} {100 * each['inputs'][name]:.1f} %"
            for name in one["read"]
            if name in each["inputs"]
        )
        turn = f", round {each['round']}" if each["round"] > 1 else ""
        lines.append(verbs.wrapped(f"{each['who']}{turn}: {shares}"))
    return "\n".join(lines)


def _largest(pair):
    """The words or columns that count most, or why none is told; "" of the others."""
    name, part = pair
    if "left_out" in part:
        return verbs.wrapped(f"{name}: left out, {part['left_out']}")
    key = {"text": "token", "tabular": "column"}.get(part["kind"])
    if not key:
        return ""
    each = [(one[key], one["attribution"]) for one in part[f"{key}s"]]
    ranked = sorted(each, key=lambda one: -abs(one[1]))[:TOP]
    listed = ", ".join(f"{what} {number:+.4f}" for what, number in ranked)
    return verbs.wrapped(f"{name}: {listed}")
