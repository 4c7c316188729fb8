"""Sessions: scans that clients send to be kept for a while, each reached by an id that nobody can guess."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, BinaryIO, Final
from uuid import uuid4

from fastapi import File, HTTPException, Query, UploadFile
from fastapi.responses import FileResponse
from pydantic import TypeAdapter

from diffcl.errors import OutputError, UsageError
from diffcl.files import remove, write_text
from diffcl.web.http_errors import refusals
from diffcl.web.uploads import CHUNK, file_name, unpack_zip

RECORD: Final = "meta.info"
"""Name of a session's record in its folder."""

SERIES: Final = "series"
"""Name of the folder of a session of several files."""

_ID: Final = re.compile(r"[0-9a-zA-Z-]{1,64}")


@dataclass(frozen=True)
class Session:
    """The record of a session.

    Attributes:
        name: Its id.
        path: Its folder.
        image: Its file, or the folder of its files.
        meta: Nothing; other readers of the record expect it.
        create_ts: When it began, in seconds since 1970.
        last_access_ts: When it was last asked for.
        expiry: Seconds after which it ends if nobody asks for it; 0 for never.
    """

    name: str
    path: str
    image: str
    meta: dict[str, Any] = field(default_factory=dict)
    create_ts: int = 0
    last_access_ts: int = 0
    expiry: int = 0

    def to_json(self) -> dict[str, Any]:
        """The record as an object of JSON."""
        return asdict(self)

    def to_str(self) -> str:
        """The record as it is kept, one line of JSON."""
        return json.dumps(self.to_json())

    def told(self) -> dict[str, Any]:
        """What a client is told; where it lies is nobody's business."""
        return {**self.to_json(), "path": "", "image": Path(self.image).name}


class Sessions:
    """Sessions in a folder. A stale or foreign folder among them neither stops anything nor is followed.

    Args:
        folder: Where they are kept.
        expiry: Seconds for which one is kept, at most.
    """

    def __init__(self, folder: Path, expiry: int) -> None:
        self.folder, self.expiry = folder, expiry

    def get_session(self, session_id: str, update_ts: bool = True) -> Session | None:
        """The session of that id; None if there is none, or its record or scan is lost.

        Args:
            session_id: The id.
            update_ts: Whether it was asked for, and so is kept for longer.
        """
        if not _ID.fullmatch(session_id):
            return None
        try:
            record = (self.folder / session_id / RECORD).read_bytes()
            session: Session = TypeAdapter(Session).validate_json(record)
            inside = Path(os.path.realpath(self.folder)) / session_id
            if not Path(os.path.realpath(session.image)).is_relative_to(inside):
                return None
            if not Path(session.image).exists():
                self.remove_session(session_id)
                return None
            if update_ts:
                session = replace(session, last_access_ts=int(time.time()))
                self._write(session_id, session)
        except (OSError, OutputError, ValueError):
            return None
        return session

    def holds(self, path: Path) -> bool:
        """Whether a path is that of the scan of a session: who knows it knows the session's id."""
        session = self.get_session(path.parent.name, update_ts=False)
        return session is not None and session.image == str(path) and path.exists()

    def add_session(
        self, data_file: str, expiry: int = 0, uncompress: bool = False, session_id: str | None = None
    ) -> tuple[str, Session]:
        """Keep a scan, which is moved away from where it is, for a while.

        Args:
            data_file: The file, or a folder of several.
            expiry: Seconds; at most what the server allows.
            uncompress: Whether the file is a ZIP file to be unpacked.
            session_id: Its id; one that nobody can guess by default.

        Returns:
            The id and the record.

        Raises:
            HTTPException: 400 for a file that is no ZIP file, or unpacks to what nobody should have.
        """
        source, name = Path(data_file), session_id or str(uuid4())
        folder = self.folder / name
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
            now, seconds = int(time.time()), min(expiry, self.expiry) if expiry > 0 else self.expiry
            session = Session(name, str(folder), str(image), {}, now, now, seconds)
            self._write(name, session)
        except BaseException:
            remove(folder)
            raise
        return name, session

    def remove_session(self, session_id: str) -> None:
        """Remove a session and its files."""
        if _ID.fullmatch(session_id):
            remove(self.folder / session_id)

    def remove_expired(self) -> int:
        """Remove sessions past their time, and folders without a record that are as old; their number."""
        removed = 0
        for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else []:
            if not folder.is_dir():
                continue
            session = self.get_session(folder.name, update_ts=False)
            if session is None and not folder.is_dir():
                continue
            last, expiry = (
                (session.last_access_ts, session.expiry) if session else (folder.stat().st_mtime, self.expiry)
            )
            if 0 < expiry < time.time() - last:
                remove(folder)
                removed += 1
        return removed

    def _write(self, name: str, session: Session) -> None:
        write_text(self.folder / name / RECORD, session.to_str())


class SessionHandlers:
    """What clients ask of sessions.

    Args:
        sessions: Gives the sessions; None where the server keeps none.
    """

    def __init__(self, sessions: Callable[[], Sessions | None]) -> None:
        self._given = sessions

    async def put_session(
        self,
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
            name, session = self._sessions().add_session(str(source), expiry, uncompress)
        return {"session_id": name, "session_info": session.told()}

    async def get_session(self, session_id: str, update_ts: bool = False, image: bool = False) -> Any:
        """What is known of a session, or its scan.

        Raises:
            HTTPException: 404 where there is none, 422 for the scan of one of several files.
        """
        session = self._sessions().get_session(session_id, update_ts=update_ts)
        if session is None:
            raise HTTPException(404, "session: there is none of that id, or it has ended")
        if not image:
            return session.told()
        if not Path(session.image).is_file():
            raise HTTPException(422, "session: of several files. Ask for a session of one")
        return FileResponse(
            session.image, media_type="application/octet-stream", filename=Path(session.image).name
        )

    async def delete_session(self, session_id: str) -> dict[str, Any]:
        """End a session.

        Raises:
            HTTPException: 404 where there is none.
        """
        told = await self.get_session(session_id)
        self._sessions().remove_session(session_id)
        return dict(told)

    def _sessions(self) -> Sessions:
        """The sessions.

        Raises:
            HTTPException: 406 where the server keeps none.
        """
        sessions = self._given()
        if sessions is None:
            raise HTTPException(406, "session: this server keeps none")
        return sessions


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
