from __future__ import annotations

import os
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from uuid import UUID
from zipfile import ZipFile

import pytest
from fastapi import HTTPException

from diffcl.web.sessions import RECORD, Sessions


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    return Sessions(tmp_path / "sessions", 3600)


def scan(folder: Path) -> str:
    file = folder / "scan.nii.gz"
    file.write_bytes(b"a scan")
    return str(file)


def age(folder: Path) -> None:
    old = time.time() - 7200
    os.utime(folder, (old, old))


def test_a_session_is_found_again_after_a_restart(sessions: Sessions, tmp_path: Path) -> None:
    name, _ = sessions.add_session(scan(tmp_path))
    again = Sessions(sessions.folder, 3600).get_session(name)
    assert again is not None
    assert Path(again.image).read_bytes() == b"a scan"


@pytest.mark.parametrize("record", [None, "", "{", "[]", "{}", '{"name": 1}'])
def test_a_folder_with_a_damaged_record_does_no_harm(sessions: Sessions, record: str | None) -> None:
    folder = sessions.folder / "stale"
    folder.mkdir(parents=True)
    if record is not None:
        (folder / RECORD).write_text(record)
    assert sessions.get_session("stale") is None
    assert sessions.remove_expired() == 0 or not folder.exists()


def test_a_session_whose_scan_is_lost_has_ended(sessions: Sessions, tmp_path: Path) -> None:
    names = [sessions.add_session(scan(tmp_path))[0] for _ in range(2)]
    for name in names:
        (sessions.folder / name / "scan.nii.gz").unlink()
    assert sessions.get_session(names[0]) is None
    assert sessions.remove_expired() == 0
    assert not any((sessions.folder / name).exists() for name in names)


def test_a_session_that_is_asked_for_is_kept_for_longer(sessions: Sessions, tmp_path: Path) -> None:
    name, record = sessions.add_session(scan(tmp_path))
    (sessions.folder / name / RECORD).write_text(replace(record, last_access_ts=1).to_str())
    looked = sessions.get_session(name, update_ts=False)
    asked = sessions.get_session(name)
    assert looked is not None
    assert asked is not None
    assert (looked.last_access_ts, asked.last_access_ts >= record.create_ts) == (1, True)
    assert sessions.remove_expired() == 0


def test_an_old_folder_without_a_record_is_removed(sessions: Sessions) -> None:
    folder = sessions.folder / "stale"
    folder.mkdir(parents=True)
    assert sessions.remove_expired() == 0
    age(folder)
    assert sessions.remove_expired() == 1
    assert not folder.exists()


def test_a_session_past_its_time_is_removed(sessions: Sessions, tmp_path: Path) -> None:
    name, record = sessions.add_session(scan(tmp_path))
    assert sessions.remove_expired() == 0
    old = replace(record, last_access_ts=record.last_access_ts - 7200)
    (sessions.folder / name / RECORD).write_text(old.to_str())
    assert sessions.remove_expired() == 1
    assert sessions.get_session(name) is None


@pytest.mark.parametrize("name", ["..", "../sessions", "/etc", "", "a b"])
def test_an_id_that_is_a_path_is_no_session(sessions: Sessions, name: str, tmp_path: Path) -> None:
    sessions.add_session(scan(tmp_path))
    (tmp_path / RECORD).write_text('{"image": "/etc/passwd"}')
    assert sessions.get_session(name) is None
    sessions.remove_session(name)
    assert sessions.folder.is_dir()


def test_a_zip_file_is_unpacked_inside_the_session(sessions: Sessions, tmp_path: Path) -> None:
    with ZipFile(tmp_path / "series.zip", "w") as archive:
        archive.writestr("series/1.dcm", b"a slice")
    _, session = sessions.add_session(str(tmp_path / "series.zip"), uncompress=True)
    assert (Path(session.image) / "1.dcm").read_bytes() == b"a slice"
    with ZipFile(tmp_path / "series.zip", "a") as archive:
        archive.writestr("../../evil", b"evil")
    with pytest.raises(HTTPException, match="leaves its folder"):
        sessions.add_session(str(tmp_path / "series.zip"), uncompress=True)
    assert not list(tmp_path.parent.rglob("evil"))
    assert len(list(sessions.folder.iterdir())) == 1


def test_another_archive_is_refused(sessions: Sessions, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "series.tar", "w") as archive:
        archive.add(scan(tmp_path), "../../evil")
    with pytest.raises(HTTPException, match="not a ZIP file"):
        sessions.add_session(str(tmp_path / "series.tar"), uncompress=True)


def test_ids_cannot_be_guessed_and_folders_are_the_server_s_alone(sessions: Sessions, tmp_path: Path) -> None:
    name, session = sessions.add_session(scan(tmp_path))
    assert UUID(name).version == 4
    assert Path(session.path).stat().st_mode & 0o077 == 0


def test_only_the_scan_of_a_session_is_its_scan(sessions: Sessions, tmp_path: Path) -> None:
    _, session = sessions.add_session(scan(tmp_path))
    folder = Path(session.path)
    assert sessions.holds(Path(session.image))
    others = (folder, folder.parent, folder / RECORD, folder.parent / "other" / "scan.nii.gz")
    assert not any(sessions.holds(path) for path in others)


def test_a_scan_that_a_link_leads_to_is_no_session_s(sessions: Sessions, tmp_path: Path) -> None:
    name, session = sessions.add_session(scan(tmp_path))
    elsewhere = tmp_path / "elsewhere.nii.gz"
    Path(session.image).rename(elsewhere)
    Path(session.image).symlink_to(elsewhere)
    assert sessions.get_session(name) is None
    sessions.remove_session(name)
    assert elsewhere.read_bytes() == b"a scan"
