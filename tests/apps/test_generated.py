"""Every operation of the API with values that nobody should send: whatever comes, nothing is a fault."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from monailabel.config import settings
from monailabel.interfaces.utils import app as instances
from monailabel.utils.async_tasks import task as async_task

from diffcl.resources import app_folder
from lib.server import application as server

ODD = ["", "oblique", "organ", "..", "a/b", "-1", "1e20", "9" * 400, "final", "true", "ü\u2028", "%", "a" * 300, "NaN",
       "{}", "original", "\x7f", "*"]  # fmt: skip

BODIES = ["{}", "[]", "null", '"a"', "1", '{"a": {"b": []}}', '{"strategy": "x"}', '{"model": {}}', '{"image": 1}',
          '{"label_info": [{"idx": 1e300}]}', '{"label_info": 3}', '{"save_label": [1]}', '{"networks": {}}',
          '{"steps": -1}', '{"steps": "x", "gpus": ""}', '{"result_extension": 7}', '{"client_id": {"a": 1}}',
          '{"max_workers": "x"}']  # fmt: skip


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def requests_of(
    method: str, path: str, operation: dict[str, Any], label: bytes
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests of an operation, each odd in one value."""
    names = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    known = {"image": "oblique", "id": "oblique", "label": "oblique", "tag": "final", "model": "organ"}
    usual = {name: known[name] for name in names if name in known}
    forms = "multipart" in str(operation.get("requestBody", "")) or "urlencoded" in str(
        operation.get("requestBody", "")
    )
    values = [(name, value) for name in [*names, "PATH"] for value in ODD]
    for name, value in values:
        place = path.replace("{", "").replace("}", "") if name != "PATH" else path.split("{")[0] + httpx.URL(
            "/", params={"a": value}).query.decode()[2:]  # fmt: skip
        yield place, {"params": {**usual, **({name: value} if name != "PATH" else {})}}
    for body, file in itertools.product(BODIES, (b"", b"no scan", label)):
        place = path.split("{")[0] + ("organ" if "{" in path else "")
        if forms:
            files = dict.fromkeys(("file", "label", "files"), ("a.nii.gz", file))
            yield place, {"params": usual, "data": {"params": body, "info": body}, "files": files}
        elif method in ("POST", "PUT") and not file:
            yield place, {"params": usual, "content": body, "headers": {"content-type": "application/json"}}


def test_no_value_makes_a_fault(
    app: Any, studies: Path, label_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(app_folder()))
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(studies))
    monkeypatch.setitem(instances.apps, f"{app_folder()}{studies}", app)
    monkeypatch.setattr(
        async_task, "run_background_task", lambda request, _: {"request": json.dumps(request)}
    )
    monkeypatch.setattr(app._models, "predict", refuse)  # noqa: SLF001
    application = server.build()
    faults: list[str] = []
    count = 0

    async def talk() -> None:
        nonlocal count
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for method, path, operation in operations(application.openapi()):
                for place, given in requests_of(method, path, operation, label_file.read_bytes()):
                    answer = await client.request(method, place, **given)
                    count += 1
                    if answer.status_code >= 500 and answer.status_code != 503:
                        faults.append(f"{method} {place[:60]} {str(given)[:200]} {answer.text[:100]}")

    asyncio.run(talk())
    assert faults == []
    assert count > 1000


def refuse(*_: object, **__: object) -> Any:
    from diffcl.errors import ScanError

    raise ScanError("oblique", "is not predicted here")
