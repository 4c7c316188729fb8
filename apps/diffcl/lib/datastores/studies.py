"""The studies that are served: those in a folder, or in the archive that MONAI Label's settings describe."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from monailabel.config import settings

from diffcl.io.dicomweb.client import Archive
from diffcl.io.dicomweb.session import Credentials
from diffcl.recipe import Recipe
from diffcl.studies.archive import ArchiveStudies
from diffcl.studies.folder import FolderStudies
from diffcl.studies.protocol import Studies

NO_FILTER = {"Modality": "CT"}
"""MONAI Label's own default, which hides MR; taken for none."""


def open_studies(
    place: str, work: Path, tasks: Callable[[], Sequence[Recipe]], versions: int | None = None
) -> Studies:
    """The studies in a folder, or in an archive, of which nothing is asked yet.

    Args:
        place: The folder, or the address of the archive.
        work: For an archive, the folder below which things are kept where no setting names another.
        tasks: Gives the recipes whose classes labels may hold.
        versions: How many versions of each label are kept in a folder; None for all.

    Raises:
        UsageError: If the address is none.
        OutputError: If the folder cannot be made.
    """
    if not place.startswith(("http://", "https://")):
        return FolderStudies(Path(place), tasks, versions)
    credentials = Credentials(
        settings.MONAI_LABEL_DATASTORE_USERNAME or settings.MONAI_LABEL_DICOMWEB_USERNAME,
        settings.MONAI_LABEL_DATASTORE_PASSWORD or settings.MONAI_LABEL_DICOMWEB_PASSWORD,
        settings.MONAI_LABEL_DATASTORE_API_KEY,
    )
    prefixes = {
        "qido": settings.MONAI_LABEL_QIDO_PREFIX,
        "wado": settings.MONAI_LABEL_WADO_PREFIX,
        "stow": settings.MONAI_LABEL_STOW_PREFIX,
    }
    archive = Archive(place, credentials, {name: path for name, path in prefixes.items() if path})
    folder = settings.MONAI_LABEL_DATASTORE_CACHE_PATH or settings.MONAI_LABEL_DICOMWEB_CACHE_PATH
    name = re.sub(r"[^\w.-]+", "_", archive.url.partition("://")[2])
    filters = settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER
    if filters == NO_FILTER:
        filters = {}
    return ArchiveStudies(archive, Path(folder or work / "archive") / name, tasks, filters)
