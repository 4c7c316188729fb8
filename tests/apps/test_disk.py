"""A disk that is full or takes nothing now: what can be looked at is answered, the rest refused in one sentence."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from unreliable_disk import FAILING_DISK

from diffcl.web import operations

Ask = Callable[..., httpx.Response]


@pytest.mark.parametrize(("code", "status"), [(errno.ENOSPC, 507), (errno.EROFS, 503)])
def test_what_reads_is_answered_and_what_writes_is_refused_in_one_sentence(
    code: int, status: int, ask: Ask, studies: Path, label_file: Path
) -> None:
    def put_label() -> httpx.Response:
        file = ("label.nii.gz", io.BytesIO(label_file.read_bytes()))
        return ask("PUT", "/datastore/label", params={"image": "oblique"}, files={"label": file})

    def put_image() -> httpx.Response:
        file = ("new.nii.gz", io.BytesIO((studies / "oblique.nii.gz").read_bytes()))
        return ask("PUT", "/datastore/image", params={"image": "new"}, files={"file": file})

    assert put_label().status_code == 200
    with FAILING_DISK.failing(studies, 0, 10**6, code):
        for path in ("/info/", "/datastore/?output=all", "/datastore/image?image=oblique", "/metrics", "/health",
                     "/datastore/label?label=oblique&tag=final"):  # fmt: skip
            assert ask("GET", path).status_code == 200, path
        assert ask("POST", "/activelearning/random", json={}).json()["id"] in (
            "anisotropic",
            "flipped",
            "straight",
        )
        answer = ask("POST", "/infer/organ?image=straight&output=json")
        assert answer.status_code == 200, answer.text
        for refused in (
            put_label(),
            put_image(),
            ask("PUT", "/datastore/image/info", params={"image": "oblique"}, data={"info": '{"a": 1}'}),
            ask("DELETE", "/datastore/label?id=oblique&tag=final"),
            ask("DELETE", "/datastore/image?id=oblique"),
            ask("GET", "/datastore/dataset"),
        ):
            assert refused.status_code == status, refused.text
            detail = refused.json()["detail"]
            assert detail.startswith("server: cannot be")
            assert detail.endswith("What was asked is not done; tell who runs it")
            assert str(studies) not in detail
    assert ask("GET", "/datastore/label?label=oblique&tag=final").status_code == 200
    assert put_label().json()["version"] == 2


def test_health_says_why_no_label_can_be_kept(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(operations, "LEAST_BYTES", 1 << 62)
        full = ask("GET", "/health")
    with monkeypatch.context() as patch:
        patch.setattr("os.access", _refusing_writes)
        read_only = ask("GET", "/health")
    assert [answer.status_code for answer in (full, read_only)] == [503, 503]
    assert "MiB are free" in full.json()["detail"]
    assert "cannot be written" in read_only.json()["detail"]
    assert ask("GET", "/health").json() == {"live": True, "ready": True}


def _refusing_writes(_: Any, mode: int) -> bool:
    return not mode & 2
