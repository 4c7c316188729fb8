"""OHIF, which MONAI Label brings along, and its way to the archive: both served so that they work.

MONAI Label's own routes answer every file in a folder with the start page, drop the query of a search, and leave the
viewer to look for the server on port 8000. Its viewer cannot submit what it shows; `viewer.js` adds that.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import monailabel.endpoints
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from starlette.concurrency import run_in_threadpool

START, SETTINGS, STYLES = "index.html", "app-config.js", "app.bundle.css"

OHIF = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"

ADDED = Path(__file__).with_suffix(".js")
"""Goes to the end of the viewer's settings."""

FONTS = re.compile(r"<link [^>]*fonts\.g[^>]*>|@import url\(https://fonts\.g[^)]*\);")
"""Where the viewer asks another house for its letters; it has others."""

SERVER_COOKIE = "MONAILABEL_SERVER_URL"
"""Where OHIF's plug-in looks for the address of the server."""

RESOURCES = ("studies", "series", "instances")
"""Beginnings of the paths of DICOMweb; an archive may have an interface of its own beside it."""

FRESH = {"Cache-Control": "no-cache"}

PASSED_ON = ("accept", "content-type")

KEPT = ("content-type", "warning")

CHUNK = 1 << 20

Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]

router = APIRouter(include_in_schema=False)


@router.get("/ohif/{path:path}")
async def ohif(request: Request, path: str, _: Reader) -> Response:
    """A file of the viewer; its start page for what is none, for these are addresses inside it.

    Raises:
        HTTPException: 404 where MONAI Label was installed without the viewer.
    """
    file = (OHIF / path).resolve()
    if path == SETTINGS and file.is_file():
        return Response(file.read_text() + ADDED.read_text(), media_type="text/javascript", headers=FRESH)
    if path == STYLES and file.is_file():
        return Response(FONTS.sub("", file.read_text()), media_type="text/css")
    if file.is_relative_to(OHIF.resolve()) and file.is_file() and file.name != START:
        return FileResponse(file)
    if not (OHIF / START).is_file():
        raise HTTPException(404, "OHIF: did not come with this MONAI Label")
    page = Response(FONTS.sub("", (OHIF / START).read_text()), media_type="text/html", headers=FRESH)
    if SERVER_COOKIE not in request.cookies:
        page.set_cookie(SERVER_COOKIE, quote(str(request.base_url), safe=""), path="/ohif/", samesite="lax")
    return page


@router.api_route("/proxy/dicom/{service}/{path:path}", methods=["GET", "POST"])
async def archive(request: Request, service: str, path: str, _: Reader) -> Response:
    """The archive's own answer to a viewer.

    Raises:
        HTTPException: 404 for what is no DICOMweb, 502 or 503 if the archive fails.
    """
    pass_on = getattr(
        app_instance().datastore(), "pass_on", None
    )  # its class is another one once lib is reloaded
    if pass_on is None:
        raise HTTPException(404, "studies: a folder of files. OHIF needs a DICOM archive, see docs/dicom.md")
    parts = path.split("/")
    if service not in ("qido", "wado", "stow") or parts[0] not in RESOURCES or ".." in parts:
        raise HTTPException(404, f"{service[:8]}: not a path of DICOMweb")
    body = await request.body()
    headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    service = "wado" if parts[-1] == "metadata" else "stow" if request.method == "POST" else service
    query = request.url.query
    answer = await run_in_threadpool(pass_on, request.method, service, quote(path), query, headers, body)
    found = {name: answer.headers[name] for name in KEPT if name in answer.headers}
    return StreamingResponse(answer.iter_content(CHUNK), answer.status_code, found)
