"""Published models: every version in its folder, and one line that says which is current.

STORE/NAME/current            the number of the version in use, replaced by rename
STORE/NAME/1/                 weights.safetensors, model.json, card.md
STORE/NAME/2/
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from diffcl.errors import ModelError, UsageError
from diffcl.inference.model import DESCRIPTION, Model, ModelInfo, load_model, read_info
from diffcl.io.atomic import replace_file, replace_folder

CURRENT = "current"


class ModelStore:
    """The models of one or more folders. Where two have the same name, the first folder's counts.

    Args:
        folders: Stores to look into. New versions go into the first.
    """

    def __init__(self, *folders: Path) -> None:
        if not folders:
            raise ValueError("a store needs a folder")
        self.folders = folders

    def names(self) -> list[str]:
        """Names of all models, in alphabetical order."""
        found = set()
        for folder in self.folders:
            if folder.is_dir():
                found |= {entry.name for entry in folder.iterdir() if (entry / CURRENT).is_file()}
        return sorted(found)

    def versions(self, name: str) -> list[int]:
        """Numbers of the versions of a model, oldest first."""
        return sorted(int(entry.name) for entry in self._home(name).iterdir() if _is_version(entry))

    def folder(self, name_or_folder: str | Path) -> Path:
        """Folder of the current version of a model, or the folder itself where one is given.

        Raises:
            UsageError: If there is no model of that name.
            ModelError: If the store's record of the current version is damaged.
        """
        direct = Path(name_or_folder)
        if (direct / DESCRIPTION).is_file():
            return direct
        home = direct if (direct / CURRENT).is_file() else self._home(str(name_or_folder))
        text = (home / CURRENT).read_text(encoding="utf-8").strip()
        folder = home / text
        if not text.isdigit() or not folder.is_dir():
            raise ModelError(home / CURRENT, f"names version {text[:20]!r}, which is not there",
                             "Write the number of a version that is")  # fmt: skip
        return folder

    def info(self, name_or_folder: str | Path) -> ModelInfo:
        """Description of the current version of a model."""
        return read_info(self.folder(name_or_folder))

    def load(self, name_or_folder: str | Path, device: str | torch.device = "cpu") -> Model:
        """Load the current version of a model, or a model folder.

        Raises:
            UsageError: If there is no model of that name.
            ModelError: If the model is damaged.
        """
        return load_model(self.folder(name_or_folder), device)

    def add(self, name: str, fill: Callable[[Path, int], None]) -> Path:
        """Publish a new version: `fill` writes its files into a folder that then moves into place.

        Numbers go on where those of all folders end, so that a number names one version only.

        Args:
            name: Name of the model, new or known.
            fill: Called with an empty folder and the number of the version.

        Returns:
            The folder of the new version, which is current from now on.
        """
        home = self.folders[0] / name
        homes = [folder / name for folder in self.folders if (folder / name).is_dir()]
        numbers = [int(entry.name) for known in homes for entry in known.iterdir() if _is_version(entry)]
        number = max(numbers, default=0) + 1
        home.mkdir(parents=True, exist_ok=True)
        with replace_folder(home / str(number)) as temporary:
            fill(temporary, number)
        self.switch(name, number)
        return home / str(number)

    def switch(self, name: str, version: int) -> None:
        """Make a version of the first store's model the current one, by one rename.

        Raises:
            UsageError: If there is no such version.
        """
        home = self.folders[0] / name
        if not (home / str(version) / DESCRIPTION).is_file():
            raise UsageError(home, f"has no version {version}", "See diffcl models for those there are")
        with replace_file(home / CURRENT) as temporary:
            temporary.write_text(f"{version}\n", encoding="utf-8")

    def _home(self, name: str) -> Path:
        if name in self.names():
            for folder in self.folders:
                if (folder / name / CURRENT).is_file():
                    return folder / name
        known = ", ".join(self.names()) or "none yet"
        raise UsageError(f"model {name}", "there is none of that name", f"Known models: {known}")


def _is_version(entry: Path) -> bool:
    return entry.name.isdigit() and (entry / DESCRIPTION).is_file()
