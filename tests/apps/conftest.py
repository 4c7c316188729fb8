"""The app with a tiny untrained model and synthetic scans."""

from __future__ import annotations

import asyncio
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import label_file, store, studies

from diffcl.models import ModelRegistry
from diffcl.resources import app_folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # monailabel and what it imports use deprecated modules
    import monailabel.endpoints.infer
    import monailabel.interfaces.app  # noqa: F401
    from monailabel.config import settings
    from monailabel.interfaces.utils import app as instances
    from monailabel.utils.others.class_utils import get_class_of_subclass_from_file

    from lib.server import application as server


__all__ = ["app", "ask", "label_file", "store", "studies", "temporary"]


@pytest.fixture
def app(studies: Path, store: ModelRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The app as MONAI Label finds and builds it."""
    monkeypatch.setattr(settings, "MONAI_LABEL_SESSION_PATH", str(tmp_path / "sessions"))
    found = get_class_of_subclass_from_file("main", str(app_folder() / "main.py"), "MONAILabelApp")
    conf = {"store": str(store.folders[0]), "models": "organ"}
    return found(app_dir=str(app_folder()), studies=str(studies), conf=conf)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files; nothing may be left in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert [file for file in folder.rglob("*") if file.is_file()] == []


@pytest.fixture
def ask(
    app: Any, studies: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., httpx.Response]:
    """Sends one request to the server, whose app predicts nothing."""
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(app_folder()))
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(studies))
    monkeypatch.setitem(instances.apps, f"{app_folder()}{studies}", app)
    assert temporary.is_dir()

    def send(method: str, path: str, **given: Any) -> httpx.Response:
        async def talk() -> httpx.Response:
            transport = httpx.ASGITransport(server.build(), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **given)

        return asyncio.run(talk())

    return send
