"""What is known of an archive's scans and labels on this machine only, and labels that are not final.

FOLDER/images/UID.json          notes on a series: proposals, scores, why it cannot be used
FOLDER/records/UID.json         notes on a segmentation: who stored it, from which proposal, what changed
FOLDER/kept/UID/TAG.nii.gz      a label of a series that is not final
FOLDER/kept/UID/TAG.json        notes on it
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from filelock import FileLock

from diffcl.files import finite, make_folder, write_text
from diffcl.io import read_label, write_image
from diffcl.studies.label_history import LABEL_SUFFIX
from diffcl.studies.names import check_name
from diffcl.studies.notes import readable
from diffcl.studies.proposed import Proposed, keep_proposed, read_proposed


class ArchiveNotes:
    """Notes and labels beside an archive. Several processes may write.

    Args:
        folder: Where they are; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def image_notes(self, uid: str) -> dict[str, Any]:
        """The notes on a series."""
        return _read(self._folder / "images" / f"{uid}.json")

    def note_image(self, uid: str, notes: Mapping[str, Any]) -> None:
        """Add notes on a series."""
        self._add(self._folder / "images" / f"{uid}.json", notes)

    def record(self, uid: str) -> dict[str, Any]:
        """The notes on a segmentation."""
        return _read(self._folder / "records" / f"{uid}.json")

    def note_record(self, uid: str, notes: Mapping[str, Any]) -> None:
        """Add notes on a segmentation."""
        self._add(self._folder / "records" / f"{uid}.json", notes)

    def keep_proposal(self, uid: str, label: sitk.Image, doubt: sitk.Image | None = None) -> None:
        """Keep what was proposed for a series; see `keep_proposed`.

        Raises:
            OutputError: If it cannot be written.
        """
        make_folder(self._folder / "proposals")
        keep_proposed(self._folder / "proposals", uid, label, doubt)

    def proposed(self, uid: str) -> Proposed:
        """What was proposed last for a series."""
        return read_proposed(self._folder / "proposals", uid)

    def proposal(self, uid: str) -> sitk.Image | None:
        """What was proposed last for a series; None for nothing."""
        file = self._folder / "proposals" / f"{uid}{LABEL_SUFFIX}"
        return read_label(file) if file.is_file() else None

    def tags(self, uid: str) -> list[str]:
        """The tags of the labels of a series."""
        files = (self._folder / "kept" / uid).glob(f"[!.]*{LABEL_SUFFIX}")
        return sorted(file.name.removesuffix(LABEL_SUFFIX) for file in files)

    def count_tags(self, uids: Collection[str]) -> dict[str, int]:
        """How many of some series have a label of each tag."""
        files = (self._folder / "kept").glob(f"*/[!.]*{LABEL_SUFFIX}")
        return dict(
            Counter(file.name.removesuffix(LABEL_SUFFIX) for file in files if file.parent.name in uids)
        )

    def label(self, uid: str, tag: str) -> Path | None:
        """The label of a series with a tag; None for none.

        Raises:
            UsageError: If they cannot be names of files.
        """
        file = self._label_file(uid, tag)
        return file if file.is_file() else None

    def label_notes(self, uid: str, tag: str) -> dict[str, Any]:
        """The notes on a label."""
        return _read(self._notes_file(uid, tag))

    def note_label(self, uid: str, tag: str, notes: Mapping[str, Any]) -> None:
        """Add notes on a label."""
        self._add(self._notes_file(uid, tag), notes)

    def keep(self, uid: str, tag: str, label: sitk.Image, notes: Mapping[str, Any]) -> None:
        """Keep a label, in place of one with the same tag.

        Raises:
            UsageError: If they cannot be names of files.
            OutputError: If it cannot be written.
        """
        file = self._label_file(uid, tag)
        make_folder(file.parent)
        write_image(label, file)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._add(self._notes_file(uid, tag), {**notes, "time": now, "name": file.name})

    def remove(self, uid: str, tag: str) -> None:
        """Remove a label and the notes on it."""
        self._label_file(uid, tag).unlink(missing_ok=True)
        self._notes_file(uid, tag).unlink(missing_ok=True)

    def _label_file(self, uid: str, tag: str) -> Path:
        folder = self._folder / "kept" / check_name(uid, "image id")
        return folder / f"{check_name(tag, 'label tag')}{LABEL_SUFFIX}"

    def _notes_file(self, uid: str, tag: str) -> Path:
        return self._label_file(uid, tag).with_name(f"{tag}.json")

    def _add(self, file: Path, content: Mapping[str, Any]) -> None:
        """Add to a file of JSON, which other processes may add to at the same time."""
        make_folder(file.parent)
        with FileLock(self._folder / ".lock"):
            write_text(file, json.dumps(finite({**_read(file), **content}), default=str))


def _read(file: Path) -> dict[str, Any]:
    """What a file of JSON holds; nothing where there is none, or a damaged one."""
    try:
        return readable(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}
