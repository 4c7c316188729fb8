"""The requester: who sent a request, as the server itself knows it, whatever the request says."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request


def requester(request: Request) -> dict[str, str]:
    """The `address` that a request came from, and the name of the `user`, where one had to log in."""
    address = request.client.host if request.client else ""
    user = getattr(request.state, "user", None)
    return {"address": address, "user": user.name} if user else {"address": address}


Requester = Annotated[dict[str, str], Depends(requester)]
"""What a handler declares that asks for the requester."""
