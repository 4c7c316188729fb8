"""Models that are sent to the server."""

from __future__ import annotations

import io
from typing import Any
from zipfile import ZipFile

import requests


def put(server: Any, content: bytes, model: str = "organ") -> requests.Response:
    return requests.put(f"{server.url}/model/{model}", files={"file": ("model.zip", content)}, timeout=60)


def test_a_model_that_is_sent_is_a_version_and_anything_else_is_refused(server: Any) -> None:
    folder = server.store.folder("organ")
    before = server.store.versions("organ")
    package = io.BytesIO()
    with ZipFile(package, "w") as made:
        for name in ("model.json", "weights.safetensors"):
            made.write(folder / name, f"mine/{name}")
    answer = put(server, package.getvalue())
    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] == before[-1] + 1
    for content, model, status in ((b"\x80\x04K\x07.", "organ", 422), (package.getvalue(), "heart", 404)):
        refused = put(server, content, model)
        assert refused.status_code == status
        assert refused.json()["detail"].startswith(f"model {model}: ")
    assert server.store.versions("organ") == [*before, before[-1] + 1]
