from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException

from lib.infers import batch


def test_a_scan_that_cannot_be_used_stops_no_other(app: Any, studies: Path) -> None:
    (studies / "flipped.nii.gz").write_bytes(b"no scan")
    result = app.batch_infer({"model": "organ", "images": "all"})
    assert app.datastore().status()["label_tags"] == {"original": 3}
    assert "flipped: " in result["flipped"]["error"]
    assert [image for image, answer in result.items() if "error" in answer] == ["flipped"]


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, TypeError])
def test_a_scan_on_which_a_library_fails_stops_no_other(
    kind: type[Exception], app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infer(request: dict[str, Any], _: Any) -> dict[str, Any]:
        if request["image"] == "flipped":
            raise kind("inside a filter")
        return {"label": request["image"]}

    monkeypatch.setattr(app, "infer", infer)
    result = app.batch_infer({"model": "organ", "images": "all"})
    assert result["flipped"] == {"error": f"flipped: could not be used ({kind.__name__}); see the log"}
    assert [result[name] for name in ("oblique", "straight")] == [{"label": "oblique"}, {"label": "straight"}]


def test_an_archive_that_does_not_answer_ends_the_batch(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def infer(*_: Any) -> Any:
        raise HTTPException(503, "archive: does not answer")

    monkeypatch.setattr(app, "infer", infer)
    with pytest.raises(HTTPException, match="does not answer"):
        app.batch_infer({"model": "organ", "images": "all"})


def test_a_batch_in_a_child_process_ends_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(batch, "end_with_the_server", lambda: ended.append(True))
    for server, times in ((None, 0), (str(os.getpid()), 0), ("1", 1)):
        if server:
            monkeypatch.setenv(batch.SERVER, server)
        result = batch.CpuBatchInfer()({"images": ["oblique"]}, None, lambda *_: {"label": "oblique"})
        assert result == {"oblique": {"label": "oblique"}}
        assert len(ended) == times
