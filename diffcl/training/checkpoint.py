"""Checkpoints from which a killed run continues to the same result."""

from __future__ import annotations

import errno
import io
import pickle
from pathlib import Path
from typing import Any

import torch

from diffcl.errors import DataError
from diffcl.files import replace_file

_DAMAGED = (
    RuntimeError, pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError, OSError,
)  # fmt: skip
"""What torch raises over damaged bytes; they are in memory by then, so it is no error of the disk."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    with replace_file(path) as temporary:
        try:
            with temporary.open("wb") as file:
                torch.save(state, file)
        except RuntimeError as error:  # what torch makes of a full disk
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise OSError(errno.EIO, "not all of it could be written") from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a state; nothing but tensors and plain values is ever unpickled.

    Raises:
        DataError: If there is none, it cannot be read, or it is damaged.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(path, "no such checkpoint", "Start the run without --resume") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(path, f"cannot be read ({reason})", "Check the disk and who may read it") from error
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        raise DataError(path, "is damaged", "Delete it and start the run again") from error
    return state
