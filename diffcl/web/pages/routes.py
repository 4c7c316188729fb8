"""The addresses of the pages."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import BaseRoute, Route

from diffcl.web.pages.kept import Kept
from diffcl.web.pages.model_views import ModelViews
from diffcl.web.pages.project import Project, ProjectReader
from diffcl.web.pages.rendering import asset
from diffcl.web.pages.views import Views


def routes(project: Callable[[], Project]) -> list[BaseRoute]:
    """The pages of a project: the first one at `/`, the others, their charts and files below `/study/`.

    Args:
        project: Gives the project once the server runs.
    """
    moment = Kept(ProjectReader(project).read)
    views, models = Views(project, moment), ModelViews(project, moment)
    return [
        Route("/", views.project),
        Route("/study/scans", views.scans),
        Route("/study/scan", views.scan),
        Route("/study/report", views.report),
        Route("/study/picture.png", views.picture),
        Route("/study/quality", models.quality),
        Route("/study/training", models.training),
        Route("/study/training", models.train, methods=["POST"]),
        Route("/study/versions", models.versions),
        Route("/study/version", models.version),
        Route("/study/versions/use", models.ask_to_use),
        Route("/study/versions/use", models.use, methods=["POST"]),
        Route("/study/doubt.png", models.doubt),
        Route("/study/chart/{name}.svg", views.chart),
        Route("/study/{name}", asset),
    ]
