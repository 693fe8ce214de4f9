"""Evaluate: run folder + rows it has not seen -> metrics and a report.

    python pipelines/evaluate.py runs/digits
    python pipelines/evaluate.py runs/digits --manifest other.csv

A few seconds. Prints the accuracy, each modality alone and whether fusion helped.
"""

import argparse

from mmkeras import evaluate, run

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("run")
parser.add_argument("--split", default="test", choices=["train", "valid", "test"])
parser.add_argument("--manifest", help="other rows, with the recipe's columns")


def main(arguments=None):
    """Reads top to bottom: run, rows, judge."""
    options = parser.parse_args(arguments)

    # 1. The run: recipe, vocabulary, labels and weights, from its folder alone.
    trained = run.open_folder(options.run)

    # 2. The rows: of the recipe's manifest, or of another one.
    rows = run.read_rows(trained, options.manifest)

    # 3. Judge. Rows with a label that the run does not know are refused, not guessed.
    metrics = evaluate.report(trained, rows, splits=(options.split,))
    scores = metrics[options.split]
    print(f"{options.split}: {scores['rows']} rows, {evaluate.plain(scores)}")
    for name, alone in scores.get("baselines", {}).items():
        print(f"  {name}: {evaluate.plain(alone)}")
    print(evaluate.verdict(scores))


if __name__ == "__main__":
    main()
