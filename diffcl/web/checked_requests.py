"""Requests whose forms and JSON are bounded and checked before a handler sees them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import HTTPException
from fastapi.routing import APIRoute
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException as PlainHTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from diffcl.errors import UsageError
from diffcl.files import of_the_disk
from diffcl.json_text import LONGEST, parse_json, parse_object
from diffcl.web.http_errors import sentence_of, status_of

FILES: Final = 5000
"""Files of one request; a series of an examination has fewer images."""

FIELDS: Final = 20
"""Other parts of one request."""

IN_MEMORY: Final = 1 << 16
"""Bytes of each file of a request that stay in memory; with `FILES` that is 330 MB at most."""

OBJECTS: Final = ("params", "info")
"""Fields of forms that hold an object of JSON."""

MultiPartParser.spool_max_size = IN_MEMORY


class CheckedRequest(Request):
    """A request whose parts are bounded. What is beyond is answered 400 or 413."""

    async def json(self) -> Any:
        """The body; see `parse_json`."""
        try:
            return parse_json(await self.body(), "body")
        except UsageError as error:
            raise HTTPException(400, str(error)) from error

    async def form(self, **_: Any) -> FormData:  # type: ignore[override]
        """The fields and files; the fields that hold objects are checked, see `parse_object`."""
        try:
            form = await super().form(max_files=FILES, max_fields=FIELDS, max_part_size=LONGEST)
        except OSError as error:
            found = of_the_disk(error)
            if found is None:
                raise
            raise HTTPException(status_of(found), sentence_of(found)) from error
        except PlainHTTPException as error:
            raise HTTPException(413 if "aximum" in error.detail else 400, f"form: {error.detail}") from error
        try:
            for name in OBJECTS:
                for value in form.getlist(name):
                    if isinstance(value, str):
                        parse_object(value, name)
        except UsageError as error:
            await form.close()
            raise HTTPException(400, str(error)) from error
        return form


class CheckedRoute(APIRoute):
    """A route whose handler gets a `CheckedRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the check."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            return await handle(CheckedRequest(request.scope, request.receive))

        return checked
