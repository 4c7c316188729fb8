"""The ASGI application that `diffcl serve` starts: MONAI Label's own API on a server that stays awake.

MONAI Label's handlers compute inside the event loop, so one inference keeps everybody waiting. Here the same
handlers run in threads: inferences one after the other, with a bounded queue, everything else at once.
Started by MONAI Label as `--uvicorn_app lib.server.application:app`, with the app's folder as the working directory.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import monailabel.endpoints
from fastapi import BackgroundTasks, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse
from monailabel.config import settings
from monailabel.endpoints import activelearning, batch_infer, datastore, info, model, scoring, train
from monailabel.endpoints.infer import ResultType
from monailabel.endpoints.user import auth
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.utils import background_executors, stop_background_task, tasks
from starlette.concurrency import run_in_threadpool

from diffcl.access.audit import AuditTrail
from diffcl.web import login_routes
from diffcl.web.application import new_application, protected
from diffcl.web.handlers import Handler, RequestQueue, add_routes, answers_of, in_a_thread, with_signature_of
from diffcl.web.http_errors import unknown
from diffcl.web.limits import UPLOAD
from diffcl.web.metrics import CONTENT_TYPE, Metrics, prometheus_text
from diffcl.web.operations import keep_lines
from diffcl.web.options import check_task, comma_separated, infer_options
from diffcl.web.pages.routes import routes
from diffcl.web.viewer import Viewer
from lib.server import endpoints, study_pages
from lib.server.endpoints import operations
from lib.server.users import users, who_asks

QUEUE = 8
"""Inferences that may wait or run, where the setting `queue` says nothing else."""

UPLOADS = 64
"""Uploads, and downloads of all labelled scans, that may wait or run."""

UPLOADS_AT_ONCE = 4
"""How many run: reading a file that somebody has made for that takes up to two minutes, in one of three processes."""

KINDS = ("infer", "activelearning", "datastore", "train", "batch", "session", "model", "info", "proxy", "ohif", "auth",
         "study")  # fmt: skip
"""First parts of the paths that are counted apart."""

OHIF = Path(monailabel.endpoints.__file__).parent / "static" / "ohif"

UNDER_WAY = ("SUBMITTED", "RUNNING")
"""What MONAI Label calls a task that waits or runs."""

PROCESSES = ("train", "batch_infer")
"""Kinds of tasks that run in processes of their own."""


class OncePerTask:
    """Runs the handlers of trainings, each in a thread; starts no training of a task that has one under way."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    @staticmethod
    def busy() -> list[str]:
        """The tasks of which a training waits or runs."""
        return [str(task["request"].get("model")) for task in tasks("train") if task["status"] in UNDER_WAY]

    async def __call__(self, handler: Handler, **arguments: Any) -> Any:
        """Run a handler; of all tasks, which OHIF asks for, those are trained that have no training under way.

        Raises:
            HTTPException: 429, if there is nothing to start.
        """
        if handler not in (train.api_run, train.api_run_model):
            return await at_once(handler, **arguments)
        check_task(arguments.get("params"))
        if arguments.pop("run_sync", False):
            raise HTTPException(
                422, "run_sync: a training runs in a process of its own. Ask GET /train/ how it is"
            )
        async with self._turn:
            one = arguments.get("model")
            wanted = [one] if one else list((await run_in_threadpool(app_instance().info))["trainers"])
            busy = self.busy()
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
    background_tasks: BackgroundTasks, asked: Request, model: str, image: str, params: str = "{}", **_: Any
) -> FileResponse:
    """Infer a label of a series, as a DICOM segmentation. MONAI Label's own handler knows its own archives only."""
    file: Path = app_instance().infer_seg({**infer_options(asked, params), "model": model, "image": image})
    background_tasks.add_task(file.unlink, missing_ok=True)
    return FileResponse(file, media_type="application/dicom", filename=file.name)


async def at_once(handler: Handler, **arguments: Any) -> Any:
    """Run one of MONAI Label's handlers in a thread."""
    return operations.tell_task(await in_a_thread(handler, arguments))


async def without_path(handler: Handler, **arguments: Any) -> Any:
    """Run a handler; where a scan lies is of use on this machine alone, and those who log in come from elsewhere."""
    found = await at_once(handler, **arguments)
    return {key: value for key, value in found.items() if key != "path"} if isinstance(found, dict) else found


async def known_scoring(handler: Handler, **arguments: Any) -> Any:
    """Run a handler of a scoring, if there is one of that name.

    Raises:
        HTTPException: 404 where there is none.
    """
    check_task(arguments.get("params"))
    known = (await run_in_threadpool(app_instance().info))["scoring"]
    if arguments.get("method", next(iter(known), "")) not in {"", *known}:
        raise unknown("scoring", arguments["method"], known)
    return await at_once(handler, **arguments)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Build the app and warm it up before the first request is answered; at the end, end what it started."""
    keep_lines()
    logging.getLogger("monailabel").setLevel(logging.WARNING)  # it writes down params and paths
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
    """The answer to what MONAI Label itself refuses."""
    return JSONResponse({"detail": operations.tell(str(getattr(error, "msg", "refused")))}, 400)


def build() -> FastAPI:
    """MONAI Label's API without `/reload`, which would lose the app, behind checks of who asks and of what is sent."""
    conf = settings.MONAI_LABEL_APP_CONF
    known, metrics = users(), Metrics(KINDS)
    queue = RequestQueue(lambda: int(app_instance().conf.get("queue", QUEUE)))
    uploads = RequestQueue(lambda: UPLOADS, UPLOADS_AT_ONCE, "upload")
    application = new_application(lifespan, operations.tell)
    application.add_exception_handler(MONAILabelException, refused)

    async def in_turn(handler: Handler, **arguments: Any) -> Any:
        """Run the handler of an inference when its turn has come."""
        handler = dicom_seg if arguments.get("output") is ResultType.dicom_seg else handler
        return await queue(partial(at_once, handler, **arguments))

    async def among_uploads(handler: Handler, **arguments: Any) -> Any:
        """Run the handler of what reads or writes many files when its turn has come."""
        return await uploads(partial(at_once, handler, **arguments))

    for method, path, handler in endpoints.ROUTES:
        run = in_turn if handler is endpoints.post_infer else at_once
        run = among_uploads if handler in endpoints.UPLOADS else run
        application.add_api_route(
            path,
            with_signature_of(handler, run),
            methods=[method],
            tags=[path.split("/")[1].capitalize()],
            responses=answers_of(endpoints.FILES.get(handler, ("application/json",))),
        )
    training = OncePerTask()
    add_routes(application, train.router, training)
    for module in (activelearning, datastore):
        add_routes(
            application, module.router, at_once if known is None else without_path, endpoints.DOWNLOADS
        )
    add_routes(application, scoring.router, known_scoring)
    for module in (info, model, batch_infer):
        add_routes(application, module.router, at_once)
    application.include_router(Viewer(OHIF, lambda: app_instance().datastore().studies).router())
    if known is not None:
        application.include_router(login_routes.router(known))
    application.dependency_overrides[auth.get_current_user] = who_asks

    async def measured() -> PlainTextResponse:
        """Numbers for those who run the server, in the form of Prometheus."""
        states = {kind: [str(task["status"]) for task in tasks(kind)] for kind in PROCESSES}
        status = await run_in_threadpool(app_instance().datastore().status)
        found = await run_in_threadpool(operations.samples, metrics, queue.inside, states, status)
        return PlainTextResponse(prometheus_text(found), media_type=CONTENT_TYPE)

    application.add_api_route("/health", operations.health, tags=["Operations"])
    application.add_api_route(
        "/metrics", measured, tags=["Operations"], responses={200: {"content": {"text/plain": {}}}}
    )
    application.router.routes.extend(routes(study_pages.project(training, training.busy)))
    application.add_middleware(
        protected,
        metrics=metrics,
        users=known,
        audit=AuditTrail(Path(conf["audit"])) if "audit" in conf else None,
        hosts=comma_separated(str(conf.get("allow_host", ""))),
        origins=[str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS],
        upload=int(conf.get("max_upload", UPLOAD)),
    )
    return application


os.environ.setdefault(
    "PYTHONPATH", ""
)  # MONAI Label hands it to its children without asking whether it is set
app = build()
