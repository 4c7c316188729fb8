"""The ASGI application that `diffcl serve` starts: MONAI Label's own API on a server that stays awake.

MONAI Label's handlers compute inside the event loop, so one inference keeps everybody waiting. Here the same
handlers run in threads: inferences one after the other, with a bounded queue, everything else at once.
Started by MONAI Label as `--uvicorn_app lib.server:app`, with the app's folder as the working directory.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, BackgroundTasks, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.routing import APIRoute
from monailabel.config import settings
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    model,
    scoring,
    train,
)
from monailabel.endpoints.user import auth
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.utils import background_executors, stop_background_task, tasks
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as PlainHTTPException

from diffcl.access.audit import AuditTrail
from diffcl.errors import DiffclError
from diffcl.version import version
from diffcl.web.docs_page import docs_page
from diffcl.web.failures import Failures
from diffcl.web.headers import SecurityHeaders
from diffcl.web.limits import UPLOAD, Limits
from diffcl.web.log_lines import one_line
from diffcl.web.login import LogIn
from diffcl.web.metrics import CONTENT_TYPE, Counted, Metrics, text
from diffcl.web.origins import SameOrigin
from lib import endpoints, login, operations, viewer
from lib.checked import CheckedRoute
from lib.endpoints import Handler
from lib.http_errors import status_of, unknown

QUEUE = 8
"""Inferences that may wait or run, where the setting `queue` says nothing else."""

KINDS = (
    "infer",
    "activelearning",
    "datastore",
    "train",
    "batch",
    "session",
    "model",
    "info",
    "proxy",
    "ohif",
    "auth",
)
"""First parts of the paths that are counted apart."""

PAGES = ("/ohif/", "/docs", "/auth/login")
"""Beginnings of the paths that pages of other sites may link to."""

UNDER_WAY = ("SUBMITTED", "RUNNING")
"""What MONAI Label calls a task that waits or runs."""

RETRY_SECONDS = 5
"""After how long a client that was sent away should come again."""


class OneAtATime:
    """Runs handlers one after the other, each in a thread; sends clients away when too many wait.

    Attributes:
        inside: How many wait or run.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)
        self.inside = 0

    async def __call__(self, handler: Handler, **arguments: Any) -> Any:
        """Run a handler when its turn has come.

        Raises:
            HTTPException: 503 with Retry-After, if the queue is full.
        """
        limit = int(app_instance().conf.get("queue", QUEUE))
        if self.inside >= limit:
            raise HTTPException(
                503,
                f"inference: {self.inside} requests wait already. Try again in {RETRY_SECONDS} seconds",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self.inside += 1
        if arguments.get("output") is infer.ResultType.dicom_seg:
            handler = dicom_seg
        try:
            async with self._turn:
                return await at_once(handler, **arguments)
        finally:
            self.inside -= 1


class OncePerTask:
    """Runs the handlers of trainings, each in a thread; starts no training of a task that has one under way."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def __call__(self, handler: Handler, **arguments: Any) -> Any:
        """Run a handler; of all tasks, which OHIF asks for, those are trained that have no training under way.

        Raises:
            HTTPException: 429, if there is nothing to start.
        """
        if handler not in (train.api_run, train.api_run_model):
            return await at_once(handler, **arguments)
        endpoints.check_task(arguments.get("params"))
        if arguments.pop("run_sync", False):
            raise HTTPException(
                422, "run_sync: a training runs in a process of its own. Ask GET /train/ how it is"
            )
        async with self._turn:
            one = arguments.get("model")
            wanted = [one] if one else list((await run_in_threadpool(app_instance().info))["trainers"])
            busy = [task["request"].get("model") for task in tasks("train") if task["status"] in UNDER_WAY]
            idle = [model for model in wanted if model not in busy]
            if wanted and not idle:
                raise HTTPException(
                    429, f"training of {', '.join(wanted)}: runs or waits already. Stop it first"
                )
            if one:
                return await at_once(handler, **arguments)
            given = arguments.pop("params") or {}
            request = {**arguments, "enqueue": True}
            started = {
                model: await at_once(train.api_run_model, model=model, params=given.get(model), **request)
                for model in idle
            }
            return {model: {"result": task, "detail": None} for model, task in started.items()}


async def dicom_seg(
    background_tasks: BackgroundTasks, model: str, image: str, params: str = "{}", **_: Any
) -> FileResponse:
    """Infer a label of a series, as a DICOM segmentation. MONAI Label's own handler knows its own archives only."""
    file: Path = app_instance().infer_seg({**json.loads(params or "{}"), "model": model, "image": image})
    background_tasks.add_task(file.unlink, missing_ok=True)
    return FileResponse(file, media_type="application/dicom", filename=file.name)


async def at_once(handler: Handler, **arguments: Any) -> Any:
    """Run one of MONAI Label's handlers, which block although they are declared async, in a thread."""
    return operations.tell_task(await run_in_threadpool(lambda: asyncio.run(_call(handler, arguments))))


async def without_path(handler: Handler, **arguments: Any) -> Any:
    """Run a handler; where a scan lies is of use on this machine alone, and those who log in come from elsewhere."""
    found = await at_once(handler, **arguments)
    return {key: value for key, value in found.items() if key != "path"} if isinstance(found, dict) else found


async def known_scoring(handler: Handler, **arguments: Any) -> Any:
    """Run a handler of scorings, of those that there are.

    Raises:
        HTTPException: 404 for another one.
    """
    endpoints.check_task(arguments.get("params"))
    known = (await run_in_threadpool(app_instance().info))["scoring"]
    if arguments.get("method", next(iter(known), "")) not in {"", *known}:
        raise unknown("scoring", arguments["method"], known)
    return await at_once(handler, **arguments)


async def _call(handler: Handler, arguments: dict[str, Any]) -> Any:
    return await handler(**arguments)


def with_signature_of(handler: Handler, runner: Callable[..., Awaitable[Any]]) -> Handler:
    """`runner(handler, ...)` as a handler that FastAPI gives the same arguments.

    Without `functools.wraps`, whose mark FastAPI would follow back to the handler.
    """

    async def run(**arguments: Any) -> Any:
        return await runner(handler, **arguments)

    run.__signature__ = inspect.signature(handler, eval_str=True)  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = handler.__name__, handler.__doc__
    return run


def add_routes(application: FastAPI, router: APIRouter, runner: Callable[..., Awaitable[Any]]) -> None:
    """Add the routes of one of MONAI Label's routers, their handlers run by `runner`."""
    for route in router.routes:
        if isinstance(route, APIRoute):
            application.add_api_route(
                route.path,
                with_signature_of(route.endpoint, runner),
                methods=sorted(route.methods or ()),
                tags=route.tags,
                summary=route.summary,
                deprecated=route.deprecated,
                include_in_schema=route.include_in_schema,
            )


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Build the app and warm it up before the first request is answered; at the end, end what it started."""
    operations.keep_lines()
    instance = app_instance()
    instance.server_mode(True)
    await run_in_threadpool(instance.on_init_complete)
    yield
    await run_in_threadpool(end_tasks)


def end_tasks() -> None:
    """Kill the processes that MONAI Label started, and start none of those that wait."""
    for method, executor in background_executors.items():
        executor.shutdown(wait=False, cancel_futures=True)
        stop_background_task(method)


async def refused(_: Request, error: Exception) -> JSONResponse:
    """What MONAI Label itself refuses."""
    return JSONResponse({"detail": operations.tell(str(getattr(error, "msg", "refused")))}, 400)


async def answered(_: Request, error: Exception) -> JSONResponse:
    """An answer other than success, as a sentence without paths of this machine."""
    status, detail = getattr(error, "status_code", 500), getattr(error, "detail", "")
    told = operations.tell(detail) if isinstance(detail, str) else detail
    return JSONResponse({"detail": told}, status, headers=getattr(error, "headers", None))


async def invalid(_: Request, error: Exception) -> JSONResponse:
    """Parameters that are none, as a sentence that does not repeat them."""
    first: dict[str, Any] = next(iter(getattr(error, "errors", list)()), {})
    where = " ".join(str(part) for part in first.get("loc", ("request",)))
    return JSONResponse({"detail": one_line(f"{where}: {first.get('msg', 'not valid')}")[:300]}, 422)


async def failed(_: Request, error: Exception) -> JSONResponse:
    """An error for people that no handler has turned into an answer."""
    status = status_of(error) if isinstance(error, DiffclError) else 500
    return JSONResponse({"detail": operations.tell(str(error))}, status)


async def to_docs(request: Request) -> RedirectResponse:
    """The description of the API, for people who open the server's address in a browser."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


async def docs(request: Request) -> HTMLResponse:
    """The description of the API, for people."""
    return docs_page(request.app.openapi())


def build() -> FastAPI:
    """MONAI Label's API without `/reload`, which would lose the app, behind checks of who asks and of what is sent."""
    conf = settings.MONAI_LABEL_APP_CONF
    users, audit = login.users(), AuditTrail(Path(conf["audit"])) if "audit" in conf else None
    metrics = Metrics(KINDS)
    application = FastAPI(
        title="diffcl",
        version=version(),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=endpoints.REFUSALS,
    )
    application.router.route_class = CheckedRoute
    for kind, answer in (
        (MONAILabelException, refused),
        (PlainHTTPException, answered),
        (RequestValidationError, invalid),
        (DiffclError, failed),
    ):
        application.add_exception_handler(kind, answer)
    waiting = OneAtATime()
    for method, path, handler in endpoints.ROUTES:
        run = waiting if handler is endpoints.post_infer else at_once
        tag = path.split("/")[1].capitalize()
        kinds = endpoints.FILES.get(handler, ("application/json",))
        told: dict[int | str, Any] = {200: {"content": {kind: {} for kind in kinds}}}
        application.add_api_route(
            path, with_signature_of(handler, run), methods=[method], tags=[tag], responses=told
        )
    add_routes(application, train.router, OncePerTask())
    for module in (activelearning, datastore):
        add_routes(application, module.router, at_once if users is None else without_path)
    add_routes(application, scoring.router, known_scoring)
    for module in (info, model, batch_infer):
        add_routes(application, module.router, at_once)
    application.include_router(viewer.router)
    if users is not None:
        application.include_router(login.router(users))
    application.dependency_overrides[auth.get_current_user] = login.who_asks

    async def measured() -> PlainTextResponse:
        """Numbers for those who run the server, in the form of Prometheus."""
        found = await run_in_threadpool(operations.samples, metrics, waiting.inside)
        return PlainTextResponse(text(found), media_type=CONTENT_TYPE)

    application.add_api_route("/health", operations.health, tags=["Operations"])
    application.add_api_route(
        "/metrics", measured, tags=["Operations"], responses={200: {"content": {"text/plain": {}}}}
    )
    application.add_api_route("/docs", docs, include_in_schema=False)
    application.add_api_route("/", to_docs, include_in_schema=False)

    origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
    application.add_middleware(Limits, upload=int(conf.get("max_upload", UPLOAD)))
    if origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_credentials=True,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    application.add_middleware(LogIn, users=users, audit=audit)
    hosts = [name for name in str(conf.get("allow_host", "")).split(",") if name]
    application.add_middleware(SameOrigin, hosts=hosts, origins=origins, pages=PAGES)
    application.add_middleware(SecurityHeaders)
    application.add_middleware(Failures)
    application.add_middleware(Counted, metrics=metrics)
    return application


os.environ.setdefault(
    "PYTHONPATH", ""
)  # MONAI Label hands it to its children without asking whether it is set
app = build()
