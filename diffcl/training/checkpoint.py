"""Checkpoints from which a killed run continues to the same result."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import torch

from diffcl.errors import DataError
from diffcl.files import replace_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    with replace_file(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(errno.EIO, "not all of it could be written") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a state; nothing but tensors and plain values is ever unpickled.

    Raises:
        DataError: If there is none or it is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(path, "no such checkpoint", "Start the run without --resume") from error
    except Exception as error:
        raise DataError(path, "is damaged", "Delete it and start the run again") from error
    return state
