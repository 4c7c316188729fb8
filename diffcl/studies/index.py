"""The index of a studies folder, in the format of MONAI Label's `datastore_v2.json`: read, merged and written whole.

The server and its children change it at the same time. Every change reads the file under its lock, changes
that, and replaces it, so nobody writes over what another wrote. What the index holds beside the notes is on the disk
as well, so a damaged one costs the notes on some scans at most.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ValidationError, field_validator

from diffcl.errors import OutputError
from diffcl.files import FULL, UNWRITABLE, finite, read_bytes, write_bytes
from diffcl.studies.notes import readable

logger = logging.getLogger(__name__)


class FileEntry(BaseModel):
    """A scan or label in the index.

    Attributes:
        ext: What its file's name has after the id.
        info: Notes on it.
    """

    ext: str = ""
    info: dict[str, Any] = {}


class ScanEntry(BaseModel):
    """A scan and its labels in the index.

    Attributes:
        image: The scan.
        labels: Its labels by their tags.
    """

    image: FileEntry
    labels: dict[str, FileEntry] = {}


class IndexContent(BaseModel):
    """What the index holds.

    Attributes:
        name: Of the studies, for people.
        description: Of the studies, for people.
        images_dir: Folder of the scans, inside the studies.
        labels_dir: Folder of the labels, inside the studies; it has a folder for each tag.
        objects: The scans by their ids.
    """

    name: str = "studies"
    description: str = "Scans and their labels"
    images_dir: str = "."
    labels_dir: str = "labels"
    objects: dict[str, ScanEntry] = {}

    @field_validator("images_dir", "labels_dir")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        if "\0" in value:
            raise ValueError("cannot be a path")
        return value

    def label(self, image_id: str, tag: str) -> FileEntry | None:
        """The entry of a label; None where there is none."""
        entry = self.objects.get(image_id)
        return entry.labels.get(tag) if entry else None

    def tags(self) -> set[str]:
        """The tags of all labels."""
        return {tag for entry in self.objects.values() for tag in entry.labels}


class Index:
    """The index file of a studies folder.

    Args:
        folder: The studies.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "datastore_v2.json"
        self._threads = RLock()
        self._processes = FileLock(folder / ".lock")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else, in this or another process, changes the index meanwhile.

        On a disk that takes nothing now, which has no lock either, other processes change nothing anyway.
        """
        with self._threads, ExitStack() as held:
            try:
                held.enter_context(self._processes)
            except OSError as error:
                if error.errno not in (*FULL, *UNWRITABLE):
                    raise
            yield

    def read(self) -> IndexContent:
        """The index as it is on disk; an empty one where there is none. Only while it is locked.

        A file that cannot be understood is set aside for people to look at. What can be understood of it takes its
        place.
        """
        try:
            return IndexContent.model_validate_json(read_bytes(self.path))
        except FileNotFoundError:
            return IndexContent()
        except ValidationError:
            found = _rescued(self.path)
        except OSError:
            if self.path.is_file():  # it may be read later
                raise
            found = IndexContent()
        damaged = self.path.with_suffix(".damaged")
        logger.error(
            f"{self.path.name}: is damaged; kept as {damaged.name} and rebuilt from the files there are"
        )
        try:
            if damaged.is_dir():
                shutil.rmtree(damaged)
            damaged.unlink(missing_ok=True)
            self.path.replace(damaged)
            self.write(found)
        except (OSError, OutputError) as error:  # later, then: what is on the disk can be seen without it
            logger.error(f"{self.path.name}: cannot be rebuilt now: {error}")
        return found

    def write(self, content: IndexContent) -> None:
        """Replace the index; only while it is locked.

        Raises:
            OutputError: If it cannot be written.
        """
        write_bytes(self.path, encoded(content), durable=True)


def encoded(content: IndexContent) -> bytes:
    """An index as it stands in its file."""
    # Without indentation, which json writes ten times as slowly: a thousand scans are written at every click.
    return (json.dumps(finite(content.model_dump()), default=str) + "\n").encode("utf-8")


def _rescued(path: Path) -> IndexContent:
    """What can be understood of a damaged index: every entry on its own."""
    try:
        found = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError):
        return IndexContent()
    content = IndexContent()
    for key, value in readable(found).items():
        try:
            content = IndexContent.model_validate({**content.model_dump(), key: value})
        except ValidationError:
            logger.error(f"{path.name}: {key} is lost")
    objects = found.get("objects") if isinstance(found, dict) else None
    content.objects = {}
    for image_id, entry in objects.items() if isinstance(objects, dict) else ():
        if readable({image_id: None}) and (known := _rescued_entry(entry)):
            content.objects[image_id] = known
    return content


def _rescued_entry(entry: Any) -> ScanEntry | None:
    """An entry with the notes that can be read; None for what is no entry."""
    try:
        known = ScanEntry.model_validate(entry)
    except (ValidationError, RecursionError):
        return None
    known.image.info = readable(known.image.info)
    for label in known.labels.values():
        label.info = readable(label.info)
    return known
