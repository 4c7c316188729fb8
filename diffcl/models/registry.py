"""Published models: every version in its folder, and one line that says which is in use.

STORE/NAME/current            the number of the version in use, replaced by rename
STORE/NAME/1/                 weights.safetensors, model.json, card.md, doubt.png, cs.onnx, ds.onnx
STORE/NAME/1/                 and judged.safetensors, the weights before the validation scans taught, where they did
STORE/NAME/2/                 a version is never changed; one that was not published is there as well
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from diffcl.errors import ModelError, UsageError
from diffcl.files import not_written, replace_folder, write_text
from diffcl.models.metadata import DESCRIPTION, ModelInfo, read_info

if TYPE_CHECKING:
    import torch

    from diffcl.models.weights import Model

CURRENT = "current"


class ModelRegistry:
    """The models of one or more folders.

    Where several hold a model of the same name, its versions are those of all of them, and the first folder's say
    counts: what is in use, and which version has a number that occurs twice.

    Args:
        folders: Stores to look into. Only the first is ever written to.
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
        """Numbers of the versions of a model, oldest first.

        Raises:
            UsageError: If there is no model of that name.
        """
        self._using(name)
        return self._numbers(name)

    def version_folder(self, name: str, version: int) -> Path:
        """Folder of a version.

        Raises:
            UsageError: If there is none.
        """
        for home in self._homes(name):
            if _is_version(home / str(version)):
                return home / str(version)
        known = ", ".join(str(number) for number in self.versions(name))
        raise UsageError(f"model {name}", f"has no version {version}", f"Versions: {known}")

    def folder(self, name_or_folder: str | Path) -> Path:
        """Folder of the version of a model that is in use, or the folder itself where one is given.

        A name of a known model is that model, even where the working directory has a folder of that name.

        Raises:
            UsageError: If there is no model of that name.
            ModelError: If the store's record of the version in use is damaged.
        """
        direct = Path(name_or_folder)
        if self._home(str(name_or_folder)) is None:
            if (direct / DESCRIPTION).is_file():
                return direct
            if (direct / CURRENT).is_file():
                return ModelRegistry(direct.parent).folder(direct.name)
        name = str(name_or_folder)
        number = self.in_use(name)
        places = (home / number for home in (self._using(name), *self._homes(name)))
        folder = next((place for place in places if _is_version(place)), None)
        if folder is None:
            newest = self._numbers(name)[-1:]
            say = f"diffcl models rollback {name} {newest[0]}" if newest else "diffcl publish"
            raise ModelError(self._using(name) / CURRENT, f"names version {number[:20]!r}, which is not there",
                             f"Put one into use that is, with {say}")  # fmt: skip
        return folder

    def in_use(self, name: str) -> str:
        """Number of the version that is to be in use, as it is recorded; there may be none such.

        Raises:
            UsageError: If there is no model of that name.
        """
        return (self._using(name) / CURRENT).read_text(encoding="utf-8").strip()

    def info(self, name_or_folder: str | Path) -> ModelInfo:
        """Description of the version of a model that is in use."""
        return read_info(self.folder(name_or_folder))

    def load(self, name_or_folder: str | Path, device: str | torch.device = "cpu") -> Model:
        """Load the version of a model that is in use, or a model folder.

        Raises:
            UsageError: If there is no model of that name.
            ModelError: If the model is damaged.
        """
        from diffcl.models.weights import load_model

        return load_model(self.folder(name_or_folder), device)

    def add(self, name: str, fill: Callable[[Path, int], None], *, use: bool = True) -> Path:
        """Add a new version: `fill` writes its files into a folder that then moves into place.

        Numbers go on where those of all folders end, so that a number names one version only.

        Args:
            name: Name of the model, new or known.
            fill: Called with an empty folder and the number of the version.
            use: Whether it is in use from now on.

        Returns:
            The folder of the new version.

        Raises:
            OutputError: If it cannot be written.
        """
        home = self._own_home(name)
        try:
            with FileLock(home / ".lock"):
                for entry in home.iterdir():
                    if entry.name.startswith(".") and entry.is_dir():  # a kill left it
                        shutil.rmtree(entry, ignore_errors=True)
                number = max(self._numbers(name), default=0) + 1
                with replace_folder(home / str(number), durable=True) as temporary:
                    fill(temporary, number)
                if use:
                    self.switch(name, number)
        except OSError as error:
            raise not_written(home, error) from error
        return home / str(number)

    def switch(self, name: str, version: int) -> None:
        """Put a version into use, by one rename; those of the other folders can be as well.

        Raises:
            UsageError: If there is no such version.
            OutputError: If the choice cannot be written.
        """
        self.version_folder(name, version)
        write_text(self._own_home(name) / CURRENT, f"{version}\n", durable=True)

    def _own_home(self, name: str) -> Path:
        home = self.folders[0] / name
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise not_written(home, error) from error
        return home

    def _homes(self, name: str) -> list[Path]:
        return [folder / name for folder in self.folders if (folder / name).is_dir()]

    def _numbers(self, name: str) -> list[int]:
        entries = (entry for home in self._homes(name) for entry in home.iterdir())
        return sorted({int(entry.name) for entry in entries if _is_version(entry)})

    def _using(self, name: str) -> Path:
        """The first folder of a model that says which version is in use."""
        home = self._home(name)
        if home is None:
            known = ", ".join(self.names()) or "none yet"
            raise UsageError(f"model {name}", "there is none of that name", f"Known models: {known}")
        return home

    def _home(self, name: str) -> Path | None:
        """The same; None for the name of no model."""
        if not name or Path(name).name != name:
            return None
        return next((home for home in self._homes(name) if (home / CURRENT).is_file()), None)


def _is_version(entry: Path) -> bool:
    return entry.name.isascii() and entry.name.isdigit() and (entry / DESCRIPTION).is_file()
