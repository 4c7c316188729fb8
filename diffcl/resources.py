"""Where the published models and the MONAI Label app lie: in an installed package, or in a checkout."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def models_folder() -> Path:
    """Folder of the models that come with diffcl."""
    return _folder("models", in_checkout="models")


def app_folder() -> Path:
    """Folder of the MONAI Label app, to be given to `monailabel start_server --app`."""
    return _folder("app", in_checkout="apps/diffcl")


def samples_folder() -> Path:
    """Folder of the sample scans; only a checkout has it."""
    return _PACKAGE.parent / "sample-data"


def _folder(name: str, *, in_checkout: str) -> Path:
    installed = _PACKAGE / "shipped" / name
    return installed if installed.is_dir() else _PACKAGE.parent / in_checkout
