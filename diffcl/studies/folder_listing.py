"""The scan and label files of a folder, by their names."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffcl.io.case_files import FIRST, first_files
from diffcl.io.formats import scan_name
from diffcl.json_text import unreadable

logger = logging.getLogger(__name__)

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Formats of scans: those that are one file."""

LABEL_SUFFIXES = (*SUFFIXES, ".seg.nrrd")
"""Formats of labels: the same, and 3D Slicer's own."""


class FolderListing:
    """Lists folders again and again; the log says once of each file that is left out."""

    def __init__(self) -> None:
        self._skipped: set[str] = set()

    def scans(self, folder: Path, known: Mapping[str, str], *, several: bool = False) -> dict[str, str]:
        """Id and suffix of every scan of a folder.

        Args:
            folder: Where they are.
            known: Id and suffix of those that were there before.
            several: Whether a scan may have several images; its suffix then begins with the number of the first.
        """
        found = self._files(folder, known, SUFFIXES)
        return _cases(found) if several else found

    def labels(self, folder: Path, known: Mapping[str, str]) -> dict[str, str]:
        """Id and suffix of every label of a folder; see `scans`. A link is none: clients read and replace labels."""
        return self._files(folder, known, LABEL_SUFFIXES, links=False)

    def tags(self, folder: Path) -> list[str]:
        """Names of the folders of labels in a folder."""
        return [
            entry.name
            for entry in _entries(folder)
            if entry.is_dir() and not entry.name.startswith(".") and self._has_a_name(folder, entry.name)
        ]

    def _files(
        self, folder: Path, known: Mapping[str, str], suffixes: Sequence[str], *, links: bool = True
    ) -> dict[str, str]:
        """Id and suffix of every scan or label file of a folder.

        Of files that differ in the suffix only, the known one counts, or the first of `suffixes`.
        """
        found: dict[str, list[str]] = {}
        for entry in _entries(folder):
            name = scan_name(Path(entry.name))
            if entry.name.startswith(".") or entry.name[len(name) :].lower() not in suffixes:
                continue
            if entry.is_symlink() and not links:
                self._leave_out(folder, entry.name, "it is a link. Copy the label")
            elif _is_file(entry) and self._has_a_name(folder, entry.name):
                found.setdefault(name, []).append(entry.name[len(name) :])
        order = {suffix: rank for rank, suffix in enumerate(suffixes)}
        chosen = {
            name: known[name]
            if known.get(name) in endings
            else min(endings, key=lambda ending: order[ending.lower()])
            for name, endings in found.items()
        }
        for name, endings in found.items():
            for ending in {*endings} - {chosen[name]}:
                why = f"{name}{chosen[name]} has the same name. Keep one of them, or rename one"
                self._leave_out(folder, f"{name}{ending}", why)
        return chosen

    def _has_a_name(self, folder: Path, name: str) -> bool:
        """Whether the name of a file can be told to a viewer."""
        what = unreadable(name)
        if what:
            self._leave_out(folder, name, "its name is not UTF-8. Rename it")
        return not what

    def _leave_out(self, folder: Path, name: str, why: str) -> None:
        """Say once why a file is left out."""
        if (shown := f"{folder.name}/{name}") not in self._skipped:
            self._skipped.add(shown)
            logger.warning(f"{folder.name}/{name!r}: is left out, for {why}")


def _cases(images: Mapping[str, str]) -> dict[str, str]:
    """Id and suffix of scans of several images, of which the first one alone is listed, with its number in the suffix.

    >>> _cases({"p1_0000": ".nii.gz", "p1_0001": ".nrrd", "p2": ".nii"})
    {'p1': '_0000.nii.gz', 'p2': '.nii'}
    """
    paths = [Path(name) for name in images]
    found = {}
    for path in first_files(paths):
        case = path.name.removesuffix(FIRST)
        found[case] = f"{path.name[len(case) :]}{images[path.name]}"
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing where there is none."""
    return list(os.scandir(folder)) if folder.is_dir() else []


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link to itself, or a disk that fails
        return False
