"""Which scans a command line means: files, series, and folders and lists of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from diffcl.errors import UsageError
from diffcl.io.case_files import first_files, first_of, is_case
from diffcl.io.formats import image_suffix, is_scan
from diffcl.recipe import ImageSequence

LISTS: Final = (".txt", ".json")


def listed(named: Sequence[Path], sequences: Sequence[ImageSequence] = ()) -> list[Path]:
    """The scans that are meant, each once, in the order in which they are named.

    - A `.txt` file has a scan on each line.
    - A `.json` file is a datalist as MONAI and the Medical Segmentation Decathlon have it: scans, or objects whose
      `image` is one, in a list or in several lists with names.
    - A folder of image files means all of them; any other folder is a DICOM series.

    Scans in a file are named from its folder on. Where a case has several sequences, it is named by its first image or
    without a number, and its further ones are no scans of their own.

    Args:
        named: Files, folders and lists.
        sequences: Of the task, where a case has several.

    Raises:
        UsageError: If a list cannot be read or lists nothing.
    """
    found: list[Path] = []
    for path in named:
        if path.suffix.lower() in LISTS:
            found += _of_list(path)
        elif path.is_dir() and not (is_case(path) if sequences else is_scan(path)):
            found += sorted(file for file in path.iterdir() if _is_image(file)) or [path]
        else:
            found.append(path)
    if sequences:
        found = first_files(first_of(path) for path in found)
    return list(dict.fromkeys(found))


def _of_list(path: Path) -> list[Path]:
    try:
        text = path.read_text(encoding="utf-8")
        lines = _of_json(json.loads(text)) if path.suffix.lower() == ".json" else text.splitlines()
        found = [path.parent / line.strip() for line in lines if line.strip()]
    except (OSError, ValueError) as error:  # not text, or not JSON
        raise UsageError(
            path, "cannot be read as a list", "Give a text file with a scan on each line, or a JSON datalist"
        ) from error
    if not found:
        raise UsageError(path, "lists no scan", "Name one on each line of a text file, or a JSON datalist")
    return found


def _of_json(content: Any) -> Iterator[str]:
    """Every scan of a datalist; of an object, the `image`, or what is in its lists."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for one in content:
            yield from _of_json(one)
    elif isinstance(content, dict) and "image" in content:
        yield from _of_json(content["image"])
    elif isinstance(content, dict):
        for one in content.values():
            yield from _of_json(one) if isinstance(one, list) else ()


def _is_image(file: Path) -> bool:
    return (
        file.is_file() and not file.name.startswith(".") and image_suffix(file) is not None and is_scan(file)
    )
