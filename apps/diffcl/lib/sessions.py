"""Sessions that survive what they find: a stale or foreign folder neither stops the start nor is followed."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, BinaryIO
from uuid import uuid4

from fastapi import File, HTTPException, Query, UploadFile
from fastapi.responses import FileResponse
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.sessions import SessionInfo, Sessions

from diffcl.errors import UsageError
from diffcl.web.uploads import CHUNK, file_name, unpack_zip
from lib.http_errors import refusals

_ID = re.compile(r"[0-9a-zA-Z-]{1,64}")

SERIES = "series"
"""Name of the folder of a session of several files."""


class SafeSessions(Sessions):
    """MONAI Label's sessions, without their traps.

    Their start fails when one folder among them has lost its `meta.info`, they join whatever a client sends as a
    session's id to the folder's path, make up ids that can be guessed, and unpack whatever archive he sends.
    """

    def get_session(
        self, session_id: str, update_ts: bool = True, fetch_cache: bool = True
    ) -> SessionInfo | None:
        """The session of that id; None if there is none or its record is damaged."""
        if not _ID.fullmatch(session_id):
            return None
        try:
            return super().get_session(session_id, update_ts, fetch_cache)
        except (OSError, json.JSONDecodeError, TypeError, AttributeError):
            return None

    def holds(self, path: Path) -> bool:
        """Whether a path is that of the scan of a session: who knows it knows the session's id."""
        session = self.get_session(path.parent.name, update_ts=False)
        return session is not None and session.image == str(path) and path.exists()

    def add_session(
        self, data_file: str, expiry: int = 0, uncompress: bool = False, session_id: str | None = None
    ) -> tuple[str, SessionInfo]:
        """Keep a scan, which is moved away from where it is, for a while.

        Args:
            data_file: The file, or a folder of several.
            expiry: Seconds; at most what the server allows.
            uncompress: Whether the file is a ZIP file to be unpacked.
            session_id: Its id; one that nobody can guess by default.

        Raises:
            HTTPException: 400 for a file that is no ZIP file, or unpacks to what nobody should have.
        """
        source, name = Path(data_file), session_id or str(uuid4())
        folder = Path(self.store_path) / name
        folder.mkdir(mode=0o700, parents=True)
        try:
            if uncompress:
                image = folder / SERIES
                image.mkdir(mode=0o700)
                with refusals():
                    unpack_zip(source, image, source.name)
            else:
                image = folder / source.name
                shutil.move(source, image)
            now = int(time.time())
            about = {"name": name, "path": str(folder), "image": str(image), "meta": {}}
            seconds = min(expiry, self.expiry) if expiry > 0 else self.expiry
            session = SessionInfo({**about, "create_ts": now, "last_access_ts": now, "expiry": seconds})
            self._write_meta_info(name, session)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self[name] = session
        return name, session

    def remove_session(self, session_id: str) -> None:
        """Remove a session and its files."""
        if _ID.fullmatch(session_id):
            super().remove_session(session_id)

    def remove_expired(self) -> int:
        """Remove sessions past their time, and folders without a record that are as old; their number."""
        store = Path(self.store_path)
        removed = 0
        for folder in sorted(store.iterdir()) if store.is_dir() else []:
            if not folder.is_dir():
                continue
            session = self.get_session(folder.name, update_ts=False, fetch_cache=False)
            last, expiry = (
                (session.last_access_ts, session.expiry) if session else (folder.stat().st_mtime, self.expiry)
            )
            if 0 < expiry < time.time() - last:
                self.pop(folder.name, None)
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed


def write_files(files: Sequence[tuple[str | None, BinaryIO]], folder: Path) -> Path:
    """Write the files of a request into a folder: the file, or the folder where there are several.

    Raises:
        UsageError: For a name that cannot be a file's, or that two files have.
    """
    for name, content in files:
        path = folder / file_name(name or "")
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(content, file, CHUNK)
        except FileExistsError as error:
            raise UsageError(path.name, "sent twice", "Give each file a name of its own") from error
    return path if len(files) == 1 else folder


def about(session: SessionInfo) -> dict[str, object]:
    """What a client is told of a session; where it lies is nobody's business."""
    told: dict[str, object] = session.to_json()
    return {**told, "path": "", "image": Path(session.image).name}


async def put_session(
    files: Annotated[list[UploadFile], File()],
    uncompress: bool = False,
    expiry: Annotated[int, Query(ge=0, lt=1 << 31)] = 0,
) -> dict[str, Any]:
    """Keep a scan for a while: a file, the files of a series, or a ZIP file of them.

    Raises:
        HTTPException: 400 for names that are none, and for what is no ZIP file, 422 to unpack several.
    """
    if uncompress and len(files) > 1:
        raise HTTPException(422, "session: several files to unpack. Send one ZIP file")
    with refusals(), TemporaryDirectory(prefix="diffcl-") as folder:
        target = Path(folder) / SERIES
        target.mkdir()
        source = write_files([(one.filename, one.file) for one in files], target)
        name, session = _sessions().add_session(str(source), expiry, uncompress)
    return {"session_id": name, "session_info": about(session)}


async def get_session(session_id: str, update_ts: bool = False, image: bool = False) -> Any:
    """What is known of a session, or its scan.

    Raises:
        HTTPException: 404 where there is none, 422 for the scan of one of several files.
    """
    session = _sessions().get_session(session_id, update_ts=update_ts)
    if session is None:
        raise HTTPException(404, "session: there is none of that id, or it has ended")
    if not image:
        return about(session)
    if not Path(session.image).is_file():
        raise HTTPException(422, "session: of several files. Ask for a session of one")
    return FileResponse(
        session.image, media_type="application/octet-stream", filename=Path(session.image).name
    )


async def delete_session(session_id: str) -> dict[str, Any]:
    """End a session.

    Raises:
        HTTPException: 404 where there is none.
    """
    told = await get_session(session_id)
    _sessions().remove_session(session_id)
    return dict(told)


def _sessions() -> Any:
    """The sessions.

    Raises:
        HTTPException: 406 where the server keeps none.
    """
    sessions = app_instance().sessions()
    if sessions is None:
        raise HTTPException(406, "session: this server keeps none")
    return sessions
