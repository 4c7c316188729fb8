from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from diffcl.web import serving


@pytest.mark.parametrize(("temporary", "stays"), [(True, False), (False, True)])
def test_of_the_settings_of_the_log_none_stay_in_the_temporary_folder(
    temporary: bool, stays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path if temporary else tmp_path / "other"))
    file = tmp_path / "log.json"
    file.write_text(json.dumps({"version": 1}))
    assert serving.log_settings(str(file)) == {"version": 1}
    assert file.exists() == stays


@pytest.mark.parametrize("behind_proxy", [True, False])
def test_headers_of_a_proxy_are_believed_where_there_is_one(
    behind_proxy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(serving, "run_uvicorn", lambda app, **settings: told.update(app=app, **settings))
    (tmp_path / "log.json").write_text("{}")
    serving.serve("lib:app", log_config=str(tmp_path / "log.json"), behind_proxy=behind_proxy, port=8123)
    assert told["app"] == "lib:app"
    assert (told["port"], told["proxy_headers"], told["server_header"]) == (8123, behind_proxy, False)
