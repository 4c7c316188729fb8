"""From templates to answers: what every page has, who looks at it, and what it may load and do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from diffcl.access.roles import Role, User
from diffcl.web.pages.templates import FOLDER, environment

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Nothing inline and nothing from elsewhere."""

SECTIONS: Final = (
    ("", "Project"),
    ("study/scans", "Scans"),
    ("study/quality", "Quality"),
    ("study/training", "Training"),
    ("study/versions", "Versions"),
)
"""Paths and titles of the pages, in the order in which they are listed."""

ASSETS: Final = {"style.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}


def root_of(request: Request) -> str:
    """The prefix at which a proxy shows the server; empty where there is none."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def user_of(request: Request) -> User | None:
    """Who looks; None where nobody has to log in."""
    found: User | None = getattr(request.state, "user", None)
    return found


def may(request: Request, role: Role) -> bool:
    """Whether who looks has a role; where nobody has to log in everybody on this machine has."""
    user = user_of(request)
    return user is None or user.role >= role


def page(
    request: Request, template: str, content: Mapping[str, Any], *, status: int = 200, live: float = 0
) -> HTMLResponse:
    """A page.

    Args:
        request: Who asks for it.
        template: Its file.
        content: What the template needs.
        status: Of the answer.
        live: Seconds after which its parts are asked for again; 0 for never.
    """
    text = (
        environment()
        .get_template(template)
        .render(
            root=root_of(request),
            sections=SECTIONS,
            user=user_of(request),
            may_act=may(request, Role.ADMIN),
            live=live,
            **content,
        )
    )
    return HTMLResponse(text, status, {"Content-Security-Policy": POLICY})


def asset(request: Request) -> Response:
    """A file that all pages share."""
    name = request.path_params["name"]
    if name not in ASSETS:
        return page(
            request, "told.html", {"title": "Not found", "said": "There is no such page."}, status=404
        )
    headers = {"Cache-Control": "max-age=300"}
    return Response((FOLDER / name).read_bytes(), media_type=ASSETS[name], headers=headers)


def told(request: Request, title: str, said: str, status: int) -> HTMLResponse:
    """A page that says one thing."""
    return page(request, "told.html", {"title": title, "said": said}, status=status)


def report_page(text: str) -> Response:
    """The report, which holds its figures and its style."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'"
    return HTMLResponse(text, headers={"Content-Security-Policy": policy})


def svg(text: str) -> Response:
    """A chart. Its colours stand in attributes `style`, which only it itself may have."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    return Response(text, media_type="image/svg+xml", headers={"Content-Security-Policy": policy})
