"""Arrays kept on disk under a digest of what they came from, and mapped into memory rather than read.

FOLDER/DIGEST/NAME.npy      an array
FOLDER/DIGEST/notes.json    what is known about it; of other versions of this file nothing is read

What was opened once stays readable: nobody changes a file of the cache, and one that is removed meanwhile goes when
nobody holds it any longer.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
import torch
from numpy.lib import format as npy
from numpy.typing import NDArray
from torch import Tensor

from diffcl.errors import ScanError
from diffcl.files import make_folder, remove, remove_leftovers, replace_folder
from diffcl.io.formats import files_of

VERSION = 3
"""Version of the form of the entries; those of another one are never read, and removed when they are old."""

SAFE_SECONDS = 24 * 3600
"""What was used within a day may belong to a training that goes on."""

OLD_SECONDS = 30 * 24 * 3600
"""What was not used for a month is removed."""

LARGEST_BYTES = 20 * 2**30
"""Bytes of all entries together; beyond, those go that were not used for the longest time."""

_ENTRY = re.compile(r"[0-9a-f]{32}(\.npz)?")
_CHUNK = 2**20
_NOT_NEEDED = 4
"""MADV_DONTNEED of Linux."""


class StoredArray:
    """An array in a `.npy` file that is mapped for as long as this object lives, and takes memory while it is used.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such file.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            if npy.read_magic(file) != (1, 0):  # type: ignore[no-untyped-call]
                raise ValueError(f"{path} is of another form than numpy writes")
            self._shape, self._fortran, self._dtype = npy.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
            self._offset = file.tell()
            size = os.fstat(file.fileno()).st_size
        if self._offset + math.prod(self._shape) * self._dtype.itemsize != size:
            raise ValueError(f"{path} is not as long as its header says")
        # Python's own mmap would hold a file open for each array, and a process may open about a thousand.
        self._bytes = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)

    def __call__(self) -> NDArray[Any]:
        """The array. Nothing is to be written to it; what is stays in this process, and not for long."""
        flat = self._bytes.numpy()[self._offset :].view(self._dtype)
        array: NDArray[Any] = flat.reshape(self._shape, order="F" if self._fortran else "C")
        finalize(array, _give_back, self._bytes).atexit = False
        return array


def _give_back(mapped: Tensor) -> None:
    """Give memory back to the system, which reads the file again where somebody looks at it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).madvise(
            ctypes.c_void_p(mapped.data_ptr()), ctypes.c_size_t(mapped.numel()), _NOT_NEEDED
        )


@dataclass(frozen=True)
class Entry:
    """What is kept of one source.

    Attributes:
        arrays: By name.
        notes: Plain values.
    """

    arrays: Mapping[str, StoredArray]
    notes: dict[str, Any]


def digest(kind: str, settings: object, sources: Iterable[Path]) -> str:
    """Names what an entry depends on: its kind, settings that JSON can hold, and the content of files.

    Raises:
        ScanError: If a file cannot be read.
    """
    found = hashlib.sha256(json.dumps([VERSION, kind, settings], sort_keys=True).encode())
    for source in sources:
        found.update(b"|")
        try:
            for part in files_of(source):
                with part.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        found.update(chunk)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ScanError(
                source, f"cannot be read ({why})", "Check the file and its permissions"
            ) from error
    return found.hexdigest()[:32]


def load(folder: Path, key: str) -> Entry | None:
    """What is kept under a digest, used now; None if that is nothing whole."""
    place = folder / key
    try:
        notes = json.loads((place / "notes.json").read_text(encoding="utf-8"))
        arrays = {path.stem: StoredArray(path) for path in place.glob("*.npy")}
        (place / "notes.json").touch()
    except (
        OSError,
        ValueError,
        EOFError,
        RuntimeError,
    ):  # the last is torch's, for a file that has just gone
        return None
    return Entry(arrays, notes)


def keep(folder: Path, key: str, arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, Any]) -> Entry:
    """Keep arrays and notes under a digest.

    Raises:
        OutputError: If they cannot be written.
    """
    make_folder(folder)
    with replace_folder(folder / key) as temporary:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array)
        (temporary / "notes.json").write_text(json.dumps(notes), encoding="utf-8")
        stored = {name: StoredArray(temporary / f"{name}.npy") for name in arrays}
    return Entry(stored, dict(notes))


def prune(folder: Path) -> None:
    """Remove entries that are old or too many, and what killed processes left; a day's work stays."""
    remove_leftovers(folder)
    now, room = time.time(), LARGEST_BYTES
    for used, size, place in sorted(_entries(folder), reverse=True):
        room -= size
        if now - used > OLD_SECONDS or (room < 0 and now - used > SAFE_SECONDS):
            remove(place)


def _entries(folder: Path) -> Iterable[tuple[float, int, Path]]:
    """When each entry was used last, its bytes, and where it is."""
    if not folder.is_dir():
        return
    for place in folder.iterdir():
        if not _ENTRY.fullmatch(place.name):
            continue
        files = [place, *place.rglob("*")]
        with suppress(OSError):  # somebody else removed it
            marks = [file.stat() for file in files]
            yield max(mark.st_mtime for mark in marks), sum(mark.st_size for mark in marks), place
