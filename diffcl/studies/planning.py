"""The plan of a training on studies: what a recipe leaves open, chosen from the scans that are there."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from diffcl.data.cases import LabelledCase, UnlabelledCase
from diffcl.errors import ArchiveDownError, DataError, DiffclError, OutputError
from diffcl.planning.choices import choose
from diffcl.planning.survey import survey
from diffcl.recipe import Recipe
from diffcl.studies.protocol import Studies


def planned_recipe(
    studies: Studies,
    recipe: Recipe,
    cache: Path,
    *,
    minutes: float | None = None,
    only_approved: bool = False,
) -> Recipe:
    """A recipe for a training on the scans of the studies: the same one where it is settled.

    Where there is no label to plan from it stays as it is, and the training will say what is missing.

    Args:
        studies: The scans.
        recipe: The task.
        cache: Folder of what was measured before.
        minutes: That the training may take.
        only_approved: Whether only approved labels teach.

    Raises:
        ArchiveDownError: If the archive does not answer.
        OutputError: If something cannot be kept.
    """
    if not recipe.open:
        return recipe
    labelled, unlabelled = [], []
    for image in sorted(studies.scans()):
        try:
            path = studies.case_path(image) if recipe.sequences else studies.image_path(image)
            label = studies.training_label(image, recipe.name, only_approved=only_approved)
        except (ArchiveDownError, OutputError):
            raise
        except DiffclError:
            continue
        if label is None:
            unlabelled.append(UnlabelledCase(image, path))
        else:
            labelled.append(LabelledCase(image, path, label))
    with suppress(DataError):
        recipe, _ = choose(recipe, survey(labelled, unlabelled, recipe, cache), minutes)
    return recipe
