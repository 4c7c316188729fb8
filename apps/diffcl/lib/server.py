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
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Form, HTTPException, Request, UploadFile
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.routing import APIRoute
from monailabel.config import settings
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    login,
    logs,
    model,
    scoring,
    session,
    train,
)
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.exception import MONAILabelException
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.utils import background_executors, stop_background_task, tasks
from starlette.concurrency import run_in_threadpool

from diffcl.version import version
from lib import viewer

Handler = Callable[..., Awaitable[Any]]

QUEUE = 8
"""Inferences that may wait or run, where the setting `queue` says nothing else."""

UNDER_WAY = ("SUBMITTED", "RUNNING")
"""What MONAI Label calls a task that waits or runs."""

RETRY_SECONDS = 5
"""After how long a client that was sent away should come again."""


class OneAtATime:
    """Runs handlers one after the other, each in a thread; sends clients away when too many wait."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(1)
        self._inside = 0

    async def __call__(self, handler: Handler, **arguments: Any) -> Any:
        """Run a handler when its turn has come.

        Raises:
            HTTPException: 503 with Retry-After, if the queue is full.
        """
        limit = int(app_instance().conf.get("queue", QUEUE))
        if self._inside >= limit:
            raise HTTPException(
                503,
                f"inference: {self._inside} requests wait already. Try again in {RETRY_SECONDS} seconds",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self._inside += 1
        if arguments.get("output") is infer.ResultType.dicom_seg:
            handler = dicom_seg
        try:
            async with self._turn:
                return await at_once(handler, **arguments)
        finally:
            self._inside -= 1


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
    background_tasks: BackgroundTasks, model: str, image: str, params: str, **_: Any
) -> FileResponse:
    """Infer a label of a series, as a DICOM segmentation. MONAI Label's own handler knows its own archives only."""
    file: Path = app_instance().infer_seg({**json.loads(params or "{}"), "model": model, "image": image})
    background_tasks.add_task(file.unlink, missing_ok=True)
    return FileResponse(file, media_type="application/dicom", filename=file.name)


async def at_once(handler: Handler, **arguments: Any) -> Any:
    """Run one of MONAI Label's handlers, which block although they are declared async, in a thread."""
    for value in arguments.values():
        if isinstance(value, Request):
            await value.body()  # only this event loop can receive it; the handler finds it kept
    return await run_in_threadpool(lambda: asyncio.run(_call(handler, arguments)))


async def _call(handler: Handler, arguments: dict[str, Any]) -> Any:
    return await handler(**arguments)


def with_signature_of(handler: Handler, runner: Callable[..., Awaitable[Any]]) -> Handler:
    """`runner(handler, ...)` as a handler that FastAPI gives the same arguments.

    Without `functools.wraps`, whose mark FastAPI would follow back to the handler.
    """

    async def run(**arguments: Any) -> Any:
        return await runner(handler, **arguments)

    run.__signature__ = inspect.signature(handler)  # type: ignore[attr-defined]
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


async def not_json(_: Request, error: Exception) -> JSONResponse:
    """Params that cannot be parsed are the client's mistake."""
    return JSONResponse({"detail": f"params: not JSON ({error})"}, 400)


async def refused(_: Request, error: Exception) -> JSONResponse:
    """What MONAI Label itself refuses."""
    return JSONResponse({"detail": getattr(error, "msg", "refused")}, 400)


async def put_model(
    model: str, file: UploadFile, _: Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))]
) -> dict[str, Any]:
    """Take a model, a ZIP of model.json and weights.safetensors, as a new version under the gate."""
    answer: dict[str, Any] = app_instance().accept_model(model, file.file)
    return answer


Annotator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]


def who(request: Request, user: Annotator) -> dict[str, str]:
    """What the server itself knows of who asks: the address, and the name of a user who had to log in."""
    known = {"address": request.client.host if request.client else ""}
    return {**known, "user": user.username} if settings.MONAI_LABEL_AUTH_ENABLE else known


async def put_label(
    background_tasks: BackgroundTasks,
    image: str,
    label: UploadFile,
    known: Annotated[dict[str, str], Depends(who)],
    params: Annotated[str, Form()] = "{}",
    tag: str = "",
) -> dict[str, Any]:
    """Take a label. Its record says who sent it: what the client claims, and what the server knows.

    Raises:
        HTTPException: 400 for params that are none, other 4xx for a label that is refused.
    """
    claimed = json.loads(params or "{}")
    if not isinstance(claimed, dict):
        raise HTTPException(400, "params: not an object of JSON. Send them as Slicer does")
    record = {key: value for key, value in claimed.items() if key not in ("address", "user")} | known
    answer: dict[str, Any] = datastore.save_label(
        background_tasks, image, json.dumps(record), tag, label, known.get("user")
    )
    return answer


async def delete_label(
    id: str,  # noqa: A002
    tag: str,
    known: Annotated[dict[str, str], Depends(who)],
    _: Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))],
) -> dict[str, Any]:
    """Remove a label. The record of the removal says who asked for it."""
    app_instance().datastore().remove_label(id, tag, known)
    return {}


async def to_docs() -> RedirectResponse:
    """The description of the API, for people who open the server's address in a browser."""
    return RedirectResponse("/docs")


def build() -> FastAPI:
    """MONAI Label's API without `/reload`, which would lose the app, and without wildcard CORS."""
    application = FastAPI(title="diffcl", version=version(), lifespan=lifespan)
    origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
    if origins:
        application.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_credentials=True,
            allow_methods=["*"],
            allow_headers=["*"],
        )
    application.add_exception_handler(json.JSONDecodeError, not_json)
    application.add_exception_handler(MONAILabelException, refused)
    modules = [
        info,
        activelearning,
        datastore,
        session,
        logs,
        model,
        batch_infer,
        scoring,
    ]
    if settings.MONAI_LABEL_AUTH_ENABLE:
        modules.append(login)
    add_routes(application, infer.router, OneAtATime())
    # Before MONAI Label's own, which would copy whatever is sent over the model, and do not ask who sends or removes
    # a label.
    application.add_api_route(
        "/model/{model}", with_signature_of(put_model, at_once), methods=["PUT"], tags=["Model"]
    )
    application.add_api_route(
        "/datastore/label", with_signature_of(put_label, at_once), methods=["PUT"], tags=["Datastore"]
    )
    application.add_api_route(
        "/datastore/label", with_signature_of(delete_label, at_once), methods=["DELETE"], tags=["Datastore"]
    )
    add_routes(application, train.router, OncePerTask())
    for module in modules:
        add_routes(application, module.router, at_once)
    application.include_router(viewer.router)
    application.add_api_route("/", to_docs, include_in_schema=False)
    return application


os.environ.setdefault(
    "PYTHONPATH", ""
)  # MONAI Label hands it to its children without asking whether it is set
app = build()
