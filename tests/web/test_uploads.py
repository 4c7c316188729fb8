from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile, ZipInfo

import pytest

from diffcl.errors import UsageError
from diffcl.web.uploads import ZipLimits, file_name, received, suffix_of, unpack_zip


def zipped(path: Path, *members: tuple[str | ZipInfo, bytes], method: int = ZIP_DEFLATED) -> Path:
    """A ZIP file of members."""
    with ZipFile(path, "w", method) as package:
        for name, content in members:
            package.writestr(name, content)
    return path


def unpacked(archive: Path, limits: ZipLimits | None = None) -> dict[str, bytes]:
    """What an archive unpacks to."""
    folder = archive.parent / "out"
    folder.mkdir()
    count = unpack_zip(archive, folder, "series.zip", limits)
    found = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert count == len(found)
    return found


@pytest.mark.parametrize("method", [ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])
def test_members_are_unpacked_without_their_folders(method: int, tmp_path: Path) -> None:
    members = [("a/1.dcm", b"one"), ("b/c/2.dcm", b"two"), ("__MACOSX/._1.dcm", b"x"), ("a/.DS_Store", b"x")]
    archive = zipped(tmp_path / "a.zip", *members, method=method)
    assert unpacked(archive) == {"1.dcm": b"one", "2.dcm": b"two"}


def link() -> ZipInfo:
    made = ZipInfo("1.dcm")
    made.external_attr = (stat.S_IFLNK | 0o777) << 16
    return made


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([("../evil", b"")], "leaves its folder"),
        ([("a/../../evil", b"")], "leaves its folder"),
        ([("/etc/evil", b"")], "leaves its folder"),
        ([("..\\evil", b"")], "leaves its folder"),
        ([("C:\\evil", b"")], "leaves its folder"),
        ([(link(), b"/etc/passwd")], "a link"),
        ([("a/1.dcm", b""), ("b/1.dcm", b"")], "two files of one name"),
        ([("a" * 300, b"")], "cannot be a file's name"),
        ([("a\x07b", b"")], "cannot be a file's name"),
        ([], "no file in it"),
        ([(".hidden", b"")], "no file in it"),
    ],
)
def test_a_member_that_would_not_stay_in_the_folder_is_refused(
    members: list[tuple[str | ZipInfo, bytes]], sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=sentence):
        unpacked(zipped(tmp_path / "a.zip", *members))
    assert [path.name for path in tmp_path.rglob("evil")] == []


def test_an_archive_that_looks_like_two_is_never_unpacked_as_the_other(tmp_path: Path) -> None:
    target = tmp_path / "outside"
    with tarfile.open(tmp_path / "a.tar", "w") as package:
        member = tarfile.TarInfo(str(target))
        member.size = 4
        package.addfile(member, io.BytesIO(b"evil"))
    with ZipFile(tmp_path / "a.tar", "a") as package:
        package.writestr("1.dcm", b"one")
    assert unpacked(tmp_path / "a.tar") == {"1.dcm": b"one"}
    assert not target.exists()


def test_bombs_are_refused_by_what_comes_out_of_them(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("1.dcm", b"\0" * 3_000_000))
    with pytest.raises(UsageError, match="far more than it is"):
        unpacked(archive, ZipLimits(free=1_000_000))
    assert archive.stat().st_size * 200 < 1_000_000


def test_a_header_that_promises_less_than_comes_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("1.dcm", b"\0" * 3_000_000))
    content = archive.read_bytes().replace((3_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    archive.write_bytes(content)
    with pytest.raises(UsageError):
        unpacked(archive)


def test_a_member_without_a_name_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with ZipFile(archive, "w") as package:
        package.writestr("1.dcm", b"one")
        package.filelist[0].filename = ""
    with pytest.raises(UsageError, match="cannot be a file's name"):
        unpacked(archive)


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", *((f"{number}.dcm", b"") for number in range(9)))
    with pytest.raises(UsageError, match="Send at most 8"):
        unpacked(archive, ZipLimits(files=8))


@pytest.mark.parametrize("method", [ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])
def test_every_byte_of_an_archive_may_be_damaged(method: int, tmp_path: Path) -> None:
    sound = zipped(tmp_path / "a.zip", ("1.dcm", bytes(range(256)) * 4), method=method).read_bytes()
    for place in range(0, len(sound), 7):
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "a.zip").write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        with suppress(UsageError):
            unpacked(folder / "a.zip")
        assert {path.name for path in folder.iterdir()} <= {"a.zip", "out"}


def test_a_password_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("1.dcm", b"one"))
    content = bytearray(archive.read_bytes())
    content[6] |= 1
    content[content.index(zipfile.stringCentralDir) + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(UsageError, match="without a password"):
        unpacked(archive)


@pytest.mark.parametrize("name", ["..", ".", "/", "", "a/..", "a\0b", "b" * 300, ".hidden", "a\\", "\ud800"])
def test_what_cannot_be_a_files_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a file's name"):
        file_name(name)


@pytest.mark.parametrize("name", ["a." + "b" * 300, "a\0.nii.gz\0", "a.", None, "", "a.b/c", "." * 300])
def test_a_name_without_a_known_kind_of_suffix_has_none(name: str | None) -> None:
    assert suffix_of(name) == ""
    with pytest.raises(UsageError, match="no name with a suffix"), received(io.BytesIO(), name):
        pass


def test_a_received_file_is_gone_afterwards_and_nobody_else_s() -> None:
    with received(io.BytesIO(b"content"), "/tmp/Slicer-ann/tmp1.nii.gz") as path:
        assert path.read_bytes() == b"content"
        assert path.name.endswith(".nii.gz")
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()
