"""Handlers that block although they are declared async: run in threads, at once or one after the other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
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


def answers_of(kinds: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """How the description of the API tells of what a handler answers."""
    return {200: {"content": {kind: {} for kind in kinds}}}


def add_routes(
    application: FastAPI,
    router: APIRouter,
    runner: Callable[..., Awaitable[Any]],
    kinds: Mapping[Handler, Sequence[str]] | None = None,
) -> None:
    """Add the routes of a router, their handlers run by `runner`; but none that the application has already.

    Args:
        application: Gets them.
        router: Has them.
        runner: Runs a handler with its arguments.
        kinds: Of the handlers that answer other than JSON, what they answer.
    """
    own = [route for route in application.routes if isinstance(route, APIRoute)]
    known = {(route.path, method) for route in own for method in route.methods or ()}
    for route in router.routes:
        if (
            isinstance(route, APIRoute)
            and not {(route.path, method) for method in route.methods or ()} <= known
        ):
            application.add_api_route(
                route.path,
                with_signature_of(route.endpoint, runner),
                methods=sorted(route.methods or ()),
                tags=route.tags,
                summary=route.summary,
                responses=answers_of((kinds or {}).get(route.endpoint, ("application/json",))),
                deprecated=route.deprecated,
                include_in_schema=route.include_in_schema,
            )


class RequestQueue:
    """Requests of a kind that wait for their turn without a thread; clients are sent away when too many wait.

    Handlers run in threads, of which there are few: what takes long must not hold all of them.

    Args:
        limit: Gives how many may wait or run.
        at_once: How many run.
        what: They are, for people.

    Attributes:
        inside: How many wait or run.
    """

    def __init__(self, limit: Callable[[], int], at_once: int = 1, what: str = "inference") -> None:
        self._limit = limit
        self._turn = asyncio.Semaphore(at_once)
        self._what = what
        self.inside = 0

    async def __call__(self, answer: Callable[[], Awaitable[Any]]) -> Any:
        """Answer a request when its turn has come.

        Raises:
            HTTPException: 503 with Retry-After, if the queue is full.
        """
        if self.inside >= self._limit():
            raise HTTPException(
                503,
                f"{self._what}: {self.inside} requests wait already. Try again in {RETRY_SECONDS} seconds",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self.inside += 1
        try:
            async with self._turn:
                return await answer()
        finally:
            self.inside -= 1
