"""OHIF, and its way to the archive: both served so that they work at any address.

MONAI Label brings OHIF along. Its own routes answer every file in a folder with the start page, drop the query of a
search, and leave the viewer to look for the server on port 8000.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from diffcl.studies.protocol import Studies
from diffcl.web.dicomweb import JSON, is_safe_type, is_visible, only_visible, resource
from diffcl.web.http_errors import refusals

START: Final = "index.html"
SETTINGS: Final = "app-config.js"
STYLES: Final = "app.bundle.css"

FONTS: Final = re.compile(r"<link [^>]*fonts\.g[^>]*>|@import url\(https://fonts\.g[^)]*\);")
"""The lines by which the viewer would load fonts from another site; it has others of its own."""

SERVER_COOKIE: Final = "MONAILABEL_SERVER_URL"
"""Name of the cookie in which OHIF's plug-in looks for the address of the server."""

UPLOADS: Final = "dicomUploadEnabled: true"
"""The setting by which the viewer offers to put files of its user's disk into the archive."""

NO_CONTENT: Final = 204
"""The status of an answer without content."""

NO_CACHE: Final = {"Cache-Control": "no-cache"}

TEXTS: Final = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".webapp": "application/json",
}
"""Suffixes of files in which addresses may stand, and what they are."""

CHUNK: Final = 1 << 20

ADDED: Final = Path(__file__).with_suffix(".js")
"""The script that goes to the end of the viewer's settings."""


class Viewer:
    """OHIF, as browsers ask for it, and the archive that it reads.

    Args:
        folder: The files of OHIF.
        studies: Gives the studies, whose archive it reads.
    """

    def __init__(self, folder: Path, studies: Callable[[], Studies]) -> None:
        self._folder, self._studies = folder, studies
        self._text = lru_cache(maxsize=128)(self._served_text)
        self._policy = lru_cache(maxsize=8)(self._policy_below)

    def router(self) -> APIRouter:
        """The addresses of the viewer and of its way to the archive."""
        made = APIRouter(include_in_schema=False)
        made.add_api_route("/ohif/{path:path}", self.page, methods=["GET"])
        made.add_api_route("/proxy/dicom/{service}/{path:path}", self.archive, methods=["GET"])
        return made

    async def page(self, request: Request, path: str) -> Response:
        """A file of the viewer; its start page for what is none, for these are addresses inside it.

        Raises:
            HTTPException: 404 where MONAI Label was installed without the viewer.
        """
        root = str(request.scope.get("root_path", "")).rstrip("/")
        if START not in self._files:
            raise HTTPException(404, "OHIF: did not come with this MONAI Label")
        name = path if path in self._files else START
        file = self._files[name]
        if file.suffix in TEXTS:
            page = Response(self._text(name, root), media_type=TEXTS[file.suffix])
        else:
            page = FileResponse(file)
        page.headers.update({**NO_CACHE, "Content-Security-Policy": self._policy(root)})
        if name == START and SERVER_COOKIE not in request.cookies:
            address = quote(str(request.base_url), safe="")
            page.set_cookie(SERVER_COOKIE, address, path=f"{root}/ohif/", samesite="lax")
        return page

    def archive(self, request: Request, service: str, path: str) -> Response:
        """The archive's own answer to a viewer, as far as it is about series that the server serves.

        Raises:
            HTTPException: 404 for what is not served, 502 or 503 if the archive fails.
        """
        studies = self._studies()
        asked = resource(path) if service in ("qido", "wado") else None
        with refusals():
            series = studies.visible_series()
        if asked is None or not is_visible(asked, series):
            raise HTTPException(
                404, f"{service[:8]}: not a path of DICOMweb, or of a series that is not served"
            )
        headers = {"accept": request.headers["accept"]} if "accept" in request.headers else {}
        service = "wado" if path.endswith("/metadata") else service
        with refusals():
            answer = studies.pass_on("GET", service, quote(path), request.url.query, headers, b"")
        kind = answer.headers.get("content-type", "")
        if answer.status_code == NO_CONTENT:
            return Response(status_code=NO_CONTENT)
        if not answer.ok or not is_safe_type(kind):
            answer.close()
            raise HTTPException(404 if answer.status_code == 404 else 502, "archive: does not answer that")
        if not asked.listed:
            return StreamingResponse(answer.iter_content(CHUNK), answer.status_code, {"content-type": kind})
        try:
            return Response(only_visible(answer.content, asked, series), answer.status_code, media_type=JSON)
        except ValueError as error:
            raise HTTPException(502, "archive: its answer makes no sense") from error

    @cached_property
    def _files(self) -> dict[str, Path]:
        """The files of the viewer by their paths in it."""
        found = (file for file in self._folder.rglob("*") if file.is_file())
        return {file.relative_to(self._folder).as_posix(): file for file in found}

    def _served_text(self, name: str, root: str) -> str:
        """A file of the viewer as it is served below a prefix, without the fonts of another site."""
        text = self._files[name].read_text(encoding="utf-8")
        if name in (START, STYLES):
            text = FONTS.sub("", text)
        if name == SETTINGS:
            text = text.replace(UPLOADS, UPLOADS.replace("true", "false"))
            text += ADDED.read_text(encoding="utf-8")
        return re.sub(r"""(?<=['"=(])/(?=(?:ohif|proxy)/)""", f"{root}/", text) if root else text

    def _policy_below(self, root: str) -> str:
        """What the viewer's pages may load and do. They make programs out of texts, for its codecs and its colours."""
        scripts = re.findall(r"<script>(.*?)</script>", self._text(START, root), re.DOTALL)
        digests = (b64encode(sha256(script.encode()).digest()).decode() for script in scripts)
        inline = " ".join(f"'sha256-{digest}'" for digest in digests)
        return (
            f"default-src 'self'; script-src 'self' 'unsafe-eval' blob: {inline}; worker-src 'self' blob:; "
            "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
            "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
            "frame-ancestors 'none'"
        )
