"""The index of a studies folder, MONAI Label's `datastore_v2.json`: read, merged and written whole.

The server and its children change it at the same time. Every change reads the file under its lock, changes
that, and replaces it, so nobody writes over what another wrote.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

from filelock import FileLock
from monailabel.datastore.local import LocalDatastoreModel
from pydantic import ValidationError

from diffcl.files import finite, write_text

logger = logging.getLogger(__name__)


class Index:
    """The index file of a studies folder.

    Args:
        folder: The studies.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "datastore_v2.json"
        self.lock_path = folder / ".lock"
        self._folder = folder
        self._threads = RLock()
        self._processes = FileLock(self.lock_path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else, in this or another process, changes the index meanwhile."""
        with self._threads, self._processes:
            yield

    def read(self) -> LocalDatastoreModel:
        """The index as it is on disk; an empty one where there is none.

        A file that cannot be understood, cut off by a full disk for example, is set aside for people to look
        at, and an empty index takes its place.
        """
        try:
            model = LocalDatastoreModel.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            model = LocalDatastoreModel(name="studies", description="Scans and their labels", images_dir=".")
        except ValidationError:
            damaged = self.path.with_suffix(".damaged")
            logger.error(
                f"{self.path}: is damaged; kept as {damaged.name} and rebuilt from the files there are"
            )
            self.path.replace(damaged)
            return self.read()
        model.base_path = str(self._folder)
        return model

    def write(self, model: LocalDatastoreModel) -> None:
        """Replace the index; only while it is locked.

        Raises:
            OutputError: If it cannot be written.
        """
        content = finite(model.model_dump(exclude={"base_path"}))
        # Without indentation, which json writes ten times as slowly: a thousand scans are written at every click.
        write_text(self.path, json.dumps(content, default=str) + "\n")
