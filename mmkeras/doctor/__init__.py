"""Every row and every file of a manifest looked at: what is refused, what is odd.

Faults refuse rows; oddities are findings, which name lines and what to do about them.
"""

import dataclasses

from mmkeras import manifest
from mmkeras.doctor import cells, contents, media, told
from mmkeras.doctor.finding import Finding

__all__ = ["Finding", "Health", "examine"]


@dataclasses.dataclass(frozen=True)
class Health:
    """What `examine` found.

    Attributes:
        rows: the `manifest.Manifest`, without the rows whose files are faulty.
        findings: `Finding`s about rows that are used all the same.
        measures: see `told.measures`.
        classes: see `told.classes`.
    """

    rows: manifest.Manifest
    findings: tuple
    measures: list
    classes: dict

    @property
    def warnings(self):
        """All that is told of rows that are used, a list of sentences."""
        return [*self.rows.warnings, *map(str, self.findings)]


def examine(recipe, rows):
    """Opens every file of a manifest and looks at all rows.

    Args:
        recipe: a `recipe.Recipe`.
        rows: a `manifest.Manifest` read with `recipe.data`.

    Returns:
        A `Health`.
    """
    facts = {}
    # What a text could lack is known already, without TensorFlow.
    if len(rows) and set(rows.inputs.values()) != {"text"}:
        from mmkeras import progress
        from mmkeras.doctor import opening

        with progress.bar("open", None) as advance:
            facts, faults = opening.opened(recipe, rows, advance)
        rows = rows.reject(faults)
    facts = {name: table.loc[rows.frame.index] for name, table in facts.items()}
    held = {name: contents.told(rows, name) for name in rows.inputs}
    sizes = told.sizes(rows, facts)
    findings = [
        *media.findings(rows, facts, held),
        *media.extremes(rows, sizes),
        *cells.findings(rows, held),
    ]
    measures = told.measures(rows, sizes)
    return Health(rows, tuple(findings), measures, told.classes(rows))
