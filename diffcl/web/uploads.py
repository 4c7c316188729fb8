"""Files that clients send: under names of ours, within limits, and gone when the request is answered."""

from __future__ import annotations

import errno
import lzma
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final
from zipfile import BadZipFile, ZipFile, ZipInfo

from diffcl.errors import UsageError

CHUNK: Final = 1 << 20

LONGEST_NAME: Final = 128
"""Bytes of the longest name of a file."""

SUFFIX: Final = re.compile(r"(?:\.seg)?(?:\.[a-z0-9]{1,5}\.gz|\.[a-z0-9]{1,6})$", re.IGNORECASE)
"""The end of a file's name that says what it is, such as `.nii.gz` or `.seg.nrrd`."""


@dataclass(frozen=True)
class ZipLimits:
    """What an archive may unpack to.

    Attributes:
        files: Members.
        size: Bytes of all of them.
        ratio: Times the size of the archive; masks are packed to a hundredth, bombs to a thousandth.
        free: Bytes for which no ratio counts.
    """

    files: int = 20_000
    size: int = 8 << 30
    ratio: int = 200
    free: int = 64 << 20

    def bytes_of(self, archive: Path) -> int:
        """What this archive may unpack to."""
        return min(self.size, max(self.free, self.ratio * archive.stat().st_size))


def suffix_of(name: str | None) -> str:
    r"""The suffix of a file that a client names; empty where it has none that could be one of a scan.

    >>> suffix_of("C:\\scans\\p07.v2.NII.GZ"), suffix_of("label.seg.nrrd"), suffix_of("a." + "b" * 300)
    ('.NII.GZ', '.seg.nrrd', '')
    """
    found = SUFFIX.search(name or "")
    return found[0] if found else ""


def file_name(name: str, kind: str = "file") -> str:
    r"""The last part of a path that a client sends, as the name of a file.

    >>> file_name("C:\\series\\IM 0001.dcm")
    'IM 0001.dcm'

    Raises:
        UsageError: If it cannot be a file's name: `..`, hidden, too long, or not printable.
    """
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    size = len(last.encode("utf-8", "surrogatepass"))
    if not last or size > LONGEST_NAME or last.startswith(".") or not last.isprintable():
        what = f"{last[:40]!r} cannot be a file's name"
        raise UsageError(kind, what, f"Use 1 to {LONGEST_NAME} letters, digits, dashes and dots")
    return last


@contextmanager
def received(content: BinaryIO, name: str | None) -> Iterator[Path]:
    """Give a temporary file with a content and the suffix of its name, that only this user can read.

    Raises:
        UsageError: If the name has no suffix of a scan.
    """
    suffix = suffix_of(name)
    if not suffix:
        raise UsageError("file", "has no name with a suffix such as .nii.gz", "Name it as it is on your disk")
    with tempfile.TemporaryDirectory(prefix="diffcl-") as folder:
        path = Path(folder) / f"received{suffix}"
        with path.open("wb") as file:
            shutil.copyfileobj(content, file, CHUNK)
        yield path


def unpack_zip(archive: Path, folder: Path, where: str, limits: ZipLimits | None = None) -> int:
    """Unpack a ZIP file into an empty folder, without its folders, one member after the other; how many there were.

    Hidden files, and those that macOS adds, are left out.

    Args:
        archive: The file.
        folder: Where to.
        where: What the client calls the file, for errors.
        limits: What it may unpack to; `ZipLimits()` by default.

    Raises:
        UsageError: For a file that is no ZIP or is damaged, a member with a password, a link, a path that leaves its
            folder, two members of one name, or beyond the limits. What was unpacked stays in the folder.
    """
    limits = limits or ZipLimits()
    left, count = limits.bytes_of(archive), 0
    try:
        with ZipFile(archive) as package:
            members = [one for one in package.infolist() if not one.filename.endswith("/")]
            if len(members) > limits.files:
                raise UsageError(where, f"{len(members)} files in it. Send at most {limits.files}")
            for member in members:
                name = _member_name(member, where)
                if name is None:
                    continue
                with package.open(member) as packed, (folder / name).open("xb") as file:
                    left -= _copy(packed, file, left, where)
                count += 1
    except (BadZipFile, lzma.LZMAError, zlib.error, EOFError, NotImplementedError) as error:
        raise UsageError(where, "not a ZIP file, or damaged", "Send the series as one ZIP file") from error
    except FileExistsError as error:
        raise UsageError(where, "two files of one name in it", "Give each a name of its own") from error
    except (
        RuntimeError,
        OSError,
        ValueError,
    ) as error:  # a password; damage that bz2 and zipfile tell in this way
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise UsageError(where, "cannot be unpacked", "Send a ZIP file without a password") from error
    if count == 0:
        raise UsageError(where, "no file in it", "Send the series as one ZIP file")
    return count


def _member_name(member: ZipInfo, where: str) -> str | None:
    """The name under which a member is unpacked; None for one that is left out."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", member.filename):
        raise UsageError(where, "a path in it leaves its folder", "Send the series as one ZIP file")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
        raise UsageError(where, "a link in it", "Send the files themselves")
    if path.parts[:1] == ("__MACOSX",) or path.name.startswith("."):
        return None
    return file_name(path.name, where)


def _copy(source: BinaryIO | object, target: BinaryIO, left: int, where: str) -> int:
    """Copy at most so many bytes; how many there were.

    Raises:
        UsageError: If there are more.
    """
    count = 0
    while piece := source.read(CHUNK):  # type: ignore[union-attr]
        count += len(piece)
        if count > left:
            raise UsageError(
                where, "unpacks to far more than it is", "Send the series packed less, or in parts"
            )
        target.write(piece)
    return count
