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

TEXTS = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".webapp": "application/json"}
"""Suffixes of files in which addresses may stand, and what they are."""

CHUNK = 1 << 20

Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]

router = APIRouter(include_in_schema=False)


@router.get("/ohif/{path:path}")
async def ohif(request: Request, path: str, _: Reader) -> Response:
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
