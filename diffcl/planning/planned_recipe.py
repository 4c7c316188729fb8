"""The recipe of a training on given scans."""

from __future__ import annotations

from pathlib import Path

from diffcl.data.cases import Cases
from diffcl.planning.choices import choose
from diffcl.planning.parts import check_wavelets
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
        RecipeError: If the recipe asks for a part of the method that cannot work on these scans.
    """
    if not recipe.open:
        check_wavelets(recipe)
        return recipe
    return choose(recipe, survey(cases.labelled, cases.unlabelled, recipe, cache), minutes)[0]
