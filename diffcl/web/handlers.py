"""Handlers that block although they are declared async: run in threads, at once or one after the other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import APIRouter, FastAPI, HTTPException
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

RETRY_SECONDS: Final = 5
"""Time after which a client that was sent away should come again."""

Handler = Callable[..., Awaitable[Any]]


async def in_a_thread(handler: Handler, arguments: Mapping[str, Any]) -> Any:
    """What a handler answers that blocks although it is declared async."""

    async def call() -> Any:
        return await handler(**arguments)

    return await run_in_threadpool(lambda: asyncio.run(call()))


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
    """Add the routes of a router, their handlers run by `runner`."""
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


class InferenceQueue:
    """Inferences that wait for their turn, one after the other; clients are sent away when too many wait.

    Args:
        limit: Gives how many may wait or run.

    Attributes:
        inside: How many wait or run.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._turn = asyncio.Semaphore(1)
        self.inside = 0

    async def __call__(self, infer: Callable[[], Awaitable[Any]]) -> Any:
        """Run an inference when its turn has come.

        Raises:
            HTTPException: 503 with Retry-After, if the queue is full.
        """
        if self.inside >= self._limit():
            raise HTTPException(
                503,
                f"inference: {self.inside} requests wait already. Try again in {RETRY_SECONDS} seconds",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self.inside += 1
        try:
            async with self._turn:
                return await infer()
        finally:
            self.inside -= 1
