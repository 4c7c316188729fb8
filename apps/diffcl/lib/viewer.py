"""OHIF, which MONAI Label brings along, and its way to the archive: both served so that they work.

MONAI Label's own routes answer every file in a folder with the start page, drop the query of a search, and leave the
viewer to look for the server on port 8000. Its viewer cannot submit what it shows; `viewer.js` adds that.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import monailabel.endpoints
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from monailabel.interfaces.utils.app import app_instance

from diffcl.web.dicomweb import JSON, resource, safe_type, visible, without_others
from lib.http_errors import refusals

START, SETTINGS, STYLES = "index.html", "app-config.js", "app.bundle.css"

OHIF = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"

ADDED = Path(__file__).with_suffix(".js")
"""Goes to the end of the viewer's settings."""

FONTS = re.compile(r"<link [^>]*fonts\.g[^>]*>|@import url\(https://fonts\.g[^)]*\);")
"""Where the viewer asks another house for its letters; it has others."""

SERVER_COOKIE = "MONAILABEL_SERVER_URL"
"""Where OHIF's plug-in looks for the address of the server."""

UPLOADS = "dicomUploadEnabled: true"
"""By which the viewer offers to put files of its user's disk into the archive."""

NOTHING = 204
"""The status of an answer without content."""

FRESH = {"Cache-Control": "no-cache"}

TEXTS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".webapp": "application/json"}
"""Suffixes of files in which addresses may stand, and what they are."""

CHUNK = 1 << 20

router = APIRouter(include_in_schema=False)


@router.get("/ohif/{path:path}")
async def ohif(request: Request, path: str) -> Response:
    """A file of the viewer; its start page for what is none, for these are addresses inside it.

    Raises:
        HTTPException: 404 where MONAI Label was installed without the viewer.
    """
    root = str(request.scope.get("root_path", "")).rstrip("/")
    files = viewer_files()
    if START not in files:
        raise HTTPException(404, "OHIF: did not come with this MONAI Label")
    name = path if path in files else START
    if files[name].suffix in TEXTS:
        page = Response(served_text(name, root), media_type=TEXTS[files[name].suffix])
    else:
        page = FileResponse(files[name])
    page.headers.update({**FRESH, "Content-Security-Policy": policy(root)})
    if name == START and SERVER_COOKIE not in request.cookies:
        address = quote(str(request.base_url), safe="")
        page.set_cookie(SERVER_COOKIE, address, path=f"{root}/ohif/", samesite="lax")
    return page


@lru_cache
def viewer_files() -> dict[str, Path]:
    """The files of the viewer by their paths in it."""
    return {file.relative_to(OHIF).as_posix(): file for file in OHIF.rglob("*") if file.is_file()}


@lru_cache(maxsize=128)
def served_text(name: str, root: str) -> str:
    """A file of the viewer as it is served below a prefix, without the letters of another house."""
    text = viewer_files()[name].read_text(encoding="utf-8")
    if name in (START, STYLES):
        text = FONTS.sub("", text)
    if name == SETTINGS:
        text = text.replace(UPLOADS, UPLOADS.replace("true", "false"))
        text += ADDED.read_text(encoding="utf-8")
    return re.sub(r"""(?<=['"=(])/(?=(?:ohif|proxy)/)""", f"{root}/", text) if root else text


@lru_cache
def policy(root: str) -> str:
    """What the viewer's pages may load and do. They make programs out of texts, for its codecs and its colours."""
    scripts = re.findall(r"<script>(.*?)</script>", served_text(START, root), re.DOTALL)
    digests = (b64encode(sha256(script.encode()).digest()).decode() for script in scripts)
    inline = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'self'; script-src 'self' 'unsafe-eval' blob: {inline}; worker-src 'self' blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'none'"
    )


@router.get("/proxy/dicom/{service}/{path:path}")
def archive(request: Request, service: str, path: str) -> Response:
    """The archive's own answer to a viewer, as far as it is about series that the server serves.

    Raises:
        HTTPException: 404 for what is not served, 502 or 503 if the archive fails.
    """
    studies = app_instance().datastore().studies
    asked = resource(path) if service in ("qido", "wado") else None
    with refusals():
        series = studies.visible_series()
    if asked is None or not visible(asked, series):
        raise HTTPException(404, f"{service[:8]}: not a path of DICOMweb, or of a series that is not served")
    headers = {"accept": request.headers["accept"]} if "accept" in request.headers else {}
    service = "wado" if path.endswith("/metadata") else service
    with refusals():
        answer = studies.pass_on("GET", service, quote(path), request.url.query, headers, b"")
    kind = answer.headers.get("content-type", "")
    if answer.status_code == NOTHING:
        return Response(status_code=NOTHING)
    if not answer.ok or not safe_type(kind):
        answer.close()
        raise HTTPException(404 if answer.status_code == 404 else 502, "archive: does not answer that")
    if not asked.listed:
        return StreamingResponse(answer.iter_content(CHUNK), answer.status_code, {"content-type": kind})
    try:
        return Response(without_others(answer.content, asked, series), answer.status_code, media_type=JSON)
    except ValueError as error:
        raise HTTPException(502, "archive: its answer makes no sense") from error
