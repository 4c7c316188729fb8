"""Every accepted label of a scan, kept as a numbered version.

    STUDIES/history/ID/1.nii.gz     the label
    STUDIES/history/ID/1.json       who, when, from which proposal, what changed
    STUDIES/history/ID/2.json       a version without a label: it was removed

The record is written last, so a version without one was never accepted.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from diffcl.errors import UsageError
from diffcl.io.atomic import replace_file, write_text

LABEL_SUFFIX = ".nii.gz"


class History:
    """The versions of all labels of a studies folder.

    Args:
        folder: Where they are kept; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def versions(self, image_id: str) -> list[dict[str, Any]]:
        """The records of a scan's versions, oldest first."""
        return [record for number in self._numbers(image_id) if (record := self.record(image_id, number))]

    def newest(self, image_id: str) -> dict[str, Any]:
        """The record of a scan's newest version; empty where there is none."""
        records = (self.record(image_id, number) for number in reversed(self._numbers(image_id)))
        return next((record for record in records if record), {})

    def label(self, image_id: str, version: int) -> Path:
        """The label file of a version.

        Raises:
            UsageError: If there is no such version, or it records a removal.
        """
        path = self._folder / image_id / f"{version}{LABEL_SUFFIX}"
        if not self.record(image_id, version) or not path.is_file():
            known = ", ".join(str(record["version"]) for record in self.versions(image_id)) or "none"
            raise UsageError(f"label of {image_id}", f"has no version {version}", f"Versions: {known}")
        return path

    def add(self, image_id: str, label: Path | None, record: dict[str, Any]) -> dict[str, Any]:
        """Keep a version.

        Args:
            image_id: The scan.
            label: Its label; None records that the label was removed.
            record: What is known about it.

        Returns:
            The record with its number.

        Raises:
            OutputError: If it cannot be written.
        """
        folder = self._folder / image_id
        folder.mkdir(parents=True, exist_ok=True)
        number = max(self._numbers(image_id), default=0) + 1
        record = {**record, "version": number, "removed": label is None}
        if label is not None:
            with replace_file(folder / f"{number}{LABEL_SUFFIX}") as temporary:
                shutil.copyfile(label, temporary)
        write_text(folder / f"{number}.json", json.dumps(record, indent=2) + "\n")
        return record

    def _numbers(self, image_id: str) -> list[int]:
        folder = self._folder / image_id
        records = folder.glob("*.json") if folder.is_dir() else ()
        return sorted(int(path.stem) for path in records if path.stem.isdigit())

    def record(self, image_id: str, number: int) -> dict[str, Any]:
        """The record of a version; empty where there is none."""
        path = self._folder / image_id / f"{number}.json"
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return record
