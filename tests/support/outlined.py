"""Studies of the synthetic scans, as a training sees them: a folder of scans and the newest label of each."""

from __future__ import annotations

from pathlib import Path

import SimpleITK as sitk
from synthetic import make_label

from diffcl.errors import GoneError


class Outlined:
    """The scans of a folder, of which some have labels.

    Args:
        folder: With the scans.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions: dict[str, list[tuple[str, Path]]] = {}

    def outline(self, name: str, task: str = "organ", label: sitk.Image | None = None) -> Path:
        """Give a scan a new version of its label; the label's file."""
        versions = self.versions.setdefault(name, [])
        file = self.folder / "labels" / f"{name}-{len(versions) + 1}.nii.gz"
        file.parent.mkdir(exist_ok=True)
        sitk.WriteImage(make_label(name) if label is None else label, file)
        versions.append((task, file))
        return file

    def scans(self) -> list[str]:
        """The ids of all scans."""
        return [path.name.removesuffix(".nii.gz") for path in self.folder.glob("*.nii.gz")]

    def labelled(self) -> list[str]:
        """The scans that have a label."""
        return list(self.versions)

    def image_path(self, image_id: str) -> Path:
        """The file of a scan."""
        path = self.folder / f"{image_id}.nii.gz"
        if not path.exists():
            raise GoneError(f"image {image_id}", "is not there any more")
        return path

    def training_label(self, image_id: str, task: str, *, only_approved: bool = False) -> Path | None:  # noqa: ARG002
        """The newest label of a scan if it is of the task."""
        of_task, file = self.versions.get(image_id, [("", Path())])[-1]
        return file if of_task == task else None
