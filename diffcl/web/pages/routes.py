"""The addresses of the pages."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import BaseRoute, Route

from diffcl.web.pages.project import Project
from diffcl.web.pages.rendering import asset
from diffcl.web.pages.views import Views


def routes(project: Callable[[], Project]) -> list[BaseRoute]:
    """The pages of a project: the first one at `/`, the others, their charts and files below `/study/`.

    Args:
        project: Gives the project once the server runs.
    """
    views = Views(project)
    return [
        Route("/", views.project),
        Route("/study/scans", views.scans),
        Route("/study/scan", views.scan),
        Route("/study/chart/{name}.svg", views.chart),
        Route("/study/{name}", asset),
    ]
