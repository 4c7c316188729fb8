"""A model that comes through the API: a new version under the gate, or a sentence."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from diffcl.data.cases import LabelledCase
from diffcl.errors import ModelError
from diffcl.files import not_written
from diffcl.models import ModelRegistry
from diffcl.models.metadata import read_info
from diffcl.publishing.acceptance import accepted
from diffcl.publishing.trial import try_package
from diffcl.recipe import Recipe


def accept_upload(
    archive: BinaryIO,
    name: str,
    recipe: Recipe,
    store: ModelRegistry,
    cases: Sequence[LabelledCase],
    cache: Path,
    margin: float,
) -> dict[str, Any]:
    """Check an uploaded model and let the gate decide about it.

    Args:
        archive: A ZIP file, see `diffcl.models.archive`; only processes of their own open it and compute with it.
        name: Of the model.
        recipe: Its task; the classes and the sequences must be the same.
        store: Where it goes.
        cases: Scans that both models are validated on; none where too few are labelled.
        cache: Folder in which these are kept prepared.
        margin: How much lower its mean Dice may be than that of the model in use, 0..1.

    Returns:
        The number of the version and the decision.

    Raises:
        ModelError: If it is no model of ours, one of another task, or one that does not get through its trial
            prediction or its validation, see `diffcl.publishing.trial` and `diffcl.publishing.acceptance`; nothing is
            kept of it.
        OutputError: If the disk is full.
    """
    where = f"model {name}"
    used = [store.info(name).profile] if name in store.names() else []
    with TemporaryDirectory() as temporary:
        package, folder = Path(temporary) / "package.zip", Path(temporary) / "model"
        folder.mkdir()
        archive.seek(0)
        try:
            with package.open("wb") as file:
                shutil.copyfileobj(archive, file)
        except OSError as error:
            raise not_written(package, error) from error
        try_package(package, folder, where, used)
        info = read_info(folder)
        own, wanted = ([entry.name for entry in one.labels] for one in (info.recipe, recipe))
        if own != wanted:
            raise ModelError(where, f"segments {', '.join(own)}"[:200], f"This task has {', '.join(wanted)}")
        takes = info.recipe.sequences_in_words
        if takes != recipe.sequences_in_words:
            raise ModelError(where, f"takes {takes}"[:200], f"This task takes {recipe.sequences_in_words}")
        return accepted(folder, name, recipe, store, cases, cache, margin)
