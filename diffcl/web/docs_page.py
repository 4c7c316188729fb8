"""The description of an API as one page without a script, so that it needs nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from starlette.responses import HTMLResponse

STYLE: Final = (
    "body{font:1rem sans-serif;margin:2rem;max-width:60rem}summary{cursor:pointer}pre{overflow:auto}"
)

METHODS: Final = ("get", "head", "post", "put", "delete")


def docs_page(schema: Mapping[str, Any]) -> HTMLResponse:
    """The operations of an OpenAPI document, each with its parameters and answers."""
    parts = [f"<h1>{escape(schema['info']['title'])} {escape(schema['info']['version'])}</h1>"]
    for path, operations in sorted(schema["paths"].items()):
        for method in METHODS:
            if method in operations:
                parts.append(_operation(method, path, operations[method]))
    page = f"<!doctype html><html lang=en><title>API</title><style>{STYLE}</style>{''.join(parts)}</html>"
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
    return HTMLResponse(page, headers={"Content-Security-Policy": policy})


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    text = operation.get("description") or operation.get("summary", "")
    details = {key: operation[key] for key in ("parameters", "requestBody", "responses") if key in operation}
    return (
        f"<details><summary><b>{method.upper()}</b> {escape(path)} {escape(text.split(chr(10))[0])}</summary>"
        f"<p>{escape(text)}</p><pre>{escape(json.dumps(details, indent=2))}</pre></details>"
    )
