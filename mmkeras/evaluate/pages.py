"""Metrics on paper: figures, report.html, and the model card of a run."""

import csv
import html

from mmkeras import templates
from mmkeras.evaluate import cards, figures, modelcard, sections, telling


def write(run, there, metrics, rows, seen):
    """Draws the figures, writes report.html and README.md.

    Args:
        run: the `run.Run` that was judged.
        there: a `run.Run` that tells where to write; see `evaluate.place`.
        metrics: {split: metrics}, all that is known.
        rows: the `manifest.Manifest` that was judged.
        seen: {split: `judging.Seen`} of what was judged now.
    """
    split = "test" if "test" in metrics else next(iter(metrics))
    drawn = figures.draw(run, there, split, metrics[split])
    rows = _accounted(run, there, rows)
    mistakes = cards.mistakes(run, seen[split]) if split in seen else ""
    _fill(
        "report.html",
        there.report_html,
        {
            "name": html.escape(run.recipe.name),
            "verdict": html.escape(verdict(metrics[split])),
            "sections": _sections(run, split, metrics, rows, (drawn, mistakes)),
        },
    )
    values = modelcard.values(run, there, metrics, split, sections.told_rows(rows))
    _fill("card.md", there.card, values)


def verdict(judged):
    """What stands first: the verdict on fusion, or the scores of one input."""
    return telling.verdict(judged) or telling.plain(judged)


def _sections(run, split, metrics, rows, made):
    """The body of the report, the most telling first."""
    drawn, mistakes = made
    judged = metrics[split]
    one, files = sections.section, run
    told = html.escape(sections.told_rows(rows))
    recipe, environment = (
        f"<pre>{html.escape(path.read_text(encoding='utf-8'))}</pre>"
        for path in (files.recipe_yaml, files.environment_json)
    )
    curves = sections.pictures(drawn, "curves")
    taken = sections.pictures(drawn, "confusion", "numbers", "roc")
    worth = sections.pictures(drawn, "baselines", "drops")
    return "".join(
        [
            one(f"In short: {split} rows", sections.numbers(judged)),
            one("Did fusion help?", worth, sections.gain(judged)),
            one("Training", curves),
            one("What is taken for what", taken),
            one("Each class", sections.classes(run, judged)),
            one("Parts of the rows", sections.groups(judged)),
            one(
                "Calibration",
                sections.calibration(run),
                sections.pictures(drawn, "reliability"),
            ),
            one(
                "Disturbed rows",
                sections.pictures(drawn, "robustness"),
                sections.disturbed(judged),
            ),
            one("The surest mistakes", mistakes),
            one("Model", sections.diagram(run)),
            one("Scores", sections.scores(metrics)),
            one("Every score", sections.all_scores(judged), folded=True),
            one("Data", f"<p>{told}</p>", sections.data(rows)),
            one("Recipe", recipe, folded=True),
            one("Environment", environment, folded=True),
        ]
    )


def _fill(template, path, values):
    path.write_text(templates.filled(template, values), encoding="utf-8")


def _accounted(run, there, rows):
    """The rows without those that training found unreadable, see rejected.csv."""
    if there is not run or not run.rejected_csv.is_file():
        return rows
    with open(run.rejected_csv, newline="", encoding="utf-8") as file:
        refused = {
            int(row["line"]): (row["column"], row["reason"])
            for row in csv.DictReader(file)
        }
    here = set(rows.frame.index)
    return rows.reject({line: why for line, why in refused.items() if line in here})
