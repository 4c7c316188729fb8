"""Sessions that survive what they find: a stale or foreign folder neither stops the start nor is followed."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from zipfile import is_zipfile

from fastapi import HTTPException
from monailabel.utils.sessions import SessionInfo, Sessions

_ID = re.compile(r"[0-9a-zA-Z-]{1,64}")


class SafeSessions(Sessions):
    """MONAI Label's sessions, without their traps.

    Their start fails when one folder among them has lost its `meta.info`, and they join whatever a client
    sends as a session's id to the folder's path, and unpack whatever archive he sends.
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

    def add_session(
        self, data_file: str, expiry: int = 0, uncompress: bool = False, session_id: str | None = None
    ) -> tuple[str, SessionInfo]:
        """Keep a scan for a while.

        Args:
            data_file: The received file, or the folder of several.
            expiry: Seconds; at most what the server allows.
            uncompress: Whether the file is an archive to be unpacked.
            session_id: Its id; made up by default.

        Raises:
            HTTPException: 422 for an archive that is not ZIP: others may unpack to any place.
        """
        if uncompress and not is_zipfile(data_file):
            raise HTTPException(422, f"{Path(data_file).name}: not a ZIP file. Send the series as one")
        added: tuple[str, SessionInfo] = super().add_session(data_file, expiry, uncompress, session_id)
        return added

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
