"""The recipe of a training on given scans."""

from __future__ import annotations

from pathlib import Path

from diffcl.data.cases import Cases
from diffcl.planning.choices import choose
from diffcl.planning.survey import survey
from diffcl.recipe import Recipe


def planned(
    recipe: Recipe, cases: Cases, *, minutes: float | None = None, cache: Path | None = None
) -> Recipe:
    """A recipe for a training on these scans: the same one where it is settled, else with everything chosen.

    Args:
        recipe: Settled where it says so, or gives the spacing of its grid and does not ask for a plan.
        cases: Labels of validation scans are not looked at.
        minutes: That the training may take.
        cache: Folder of what was measured before.

    Raises:
        DataError: If there is no scan with a label to plan from.
    """
    if not recipe.open:
        return recipe
    return choose(recipe, survey(cases.labelled, cases.unlabelled, recipe, cache), minutes)[0]
