"""A model as one file that somebody sends: a ZIP with the weights and their description, opened with suspicion."""

from __future__ import annotations

import errno
import lzma
import zlib
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile, ZipInfo

import torch
from safetensors import SafetensorError, safe_open

from diffcl.errors import ModelError
from diffcl.files import not_written
from diffcl.models.metadata import DESCRIPTION, DOUBT_PICTURE, JUDGED_WEIGHTS, WEIGHTS, read_info
from diffcl.models.onnx.network import FILES
from diffcl.models.weights import Model, load_model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter

LARGEST = {WEIGHTS: 2 * 1024**3, DESCRIPTION: 1024**2, "card.md": 1024**2}
"""Bytes that each file of a model may have; the first two files must be there."""

NEXT_STEP = f"Send a ZIP of {WEIGHTS} and {DESCRIPTION} as diffcl publish writes them"

_CHUNK = 1024**2

_LEFT_OUT = {*FILES.values(), DOUBT_PICTURE, JUDGED_WEIGHTS}
"""Files of a model that are written anew from its weights and scores, and the weights that judged it elsewhere."""


def open_package(archive: BinaryIO, folder: Path, where: str) -> Model:
    """Unpack a model into an empty folder and load it.

    Nothing but the files of a model is ever unpacked, under their own names; no pickle is opened. Networks are
    not built before their shapes are known to be those of the weights.

    Args:
        archive: The ZIP file.
        folder: Where to.
        where: Named in errors.

    Raises:
        ModelError: If it is anything but a whole model of ours with finite weights.
    """
    try:
        with ZipFile(archive) as package:
            for member in _members(package, where):
                _unpack(package, member, folder / PurePosixPath(member.filename).name, where)
    except (
        BadZipFile,
        NotImplementedError,
        EOFError,
        RuntimeError,
        ValueError,
        lzma.LZMAError,
        zlib.error,
    ) as error:
        raise ModelError(where, f"is no ZIP file that can be read ({error})", NEXT_STEP) from error
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # of the disk; bz2 and zipfile tell damage with these
            raise not_written(folder, error) from error
        raise ModelError(where, f"is no ZIP file that can be read ({error})", NEXT_STEP) from error
    _check_shapes(folder, where)
    model = load_model(folder)
    for network in (model.cs, model.ds):
        if not all(torch.isfinite(weight).all() for weight in network.state_dict().values()):
            raise ModelError(where, "has weights that are not finite", "Train it again")
    return model


def _members(package: ZipFile, where: str) -> list[ZipInfo]:
    """The files of a package, all of them those of a model, perhaps in one folder."""
    members = [member for member in package.infolist() if not member.filename.endswith("/")]
    paths = [PurePosixPath(member.filename) for member in members]
    for path, member in zip(paths, members, strict=True):
        outside = path.is_absolute() or ".." in path.parts or "\\" in member.filename
        if outside or path.name not in {*LARGEST, *_LEFT_OUT} or len(path.parts) > 2:
            raise ModelError(where, f"holds {member.filename[:60]!r}, which is no part of a model", NEXT_STEP)
        if member.flag_bits & 1:
            raise ModelError(where, "is encrypted", NEXT_STEP)
    names = [path.name for path in paths]
    for name in (WEIGHTS, DESCRIPTION):
        if names.count(name) != 1:
            raise ModelError(where, f"holds {names.count(name)} files {name}", NEXT_STEP)
    return [member for member, name in zip(members, names, strict=True) if name not in _LEFT_OUT]


def _unpack(package: ZipFile, member: ZipInfo, place: Path, where: str) -> None:
    room = LARGEST[place.name]
    with package.open(member) as source, place.open("wb") as target:
        while chunk := source.read(_CHUNK):
            room -= len(chunk)
            if room < 0:
                raise ModelError(where, f"{place.name} is larger than {LARGEST[place.name]} bytes", NEXT_STEP)
            target.write(chunk)


def _check_shapes(folder: Path, where: str) -> None:
    """Refuse a description of networks that are larger than the weights, before they are built."""
    recipe = read_info(folder).recipe
    with torch.device("meta"):
        networks = ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe)
    wanted = sum(weight.numel() for network in networks for weight in network.state_dict().values())
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            found = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118  it is no dictionary
    except SafetensorError as error:
        raise ModelError(where, f"{WEIGHTS} is damaged ({error})", NEXT_STEP) from error
    if wanted != found:
        raise ModelError(where, f"{WEIGHTS} has {found} numbers, {DESCRIPTION} describes {wanted}", NEXT_STEP)
