"""The studies that the settings of MONAI Label describe."""

from __future__ import annotations

import io
import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from monailabel.config import Settings
from synthetic import ORGAN

from diffcl.studies import archive_contents
from lib.datastores import studies
from lib.datastores.studies import open_studies


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[requests.PreparedRequest]:
    """What is sent to an archive that has one MR series."""
    sent: list[requests.PreparedRequest] = []
    one = {"0020000D": {"vr": "UI", "Value": ["1.1"]}, "0020000E": {"vr": "UI", "Value": ["1.2"]}}

    def answer(_: Any, request: requests.PreparedRequest, **__: Any) -> requests.Response:
        sent.append(request)
        response = requests.Response()
        response.status_code = 200
        response.headers["Content-Type"] = "application/dicom+json"
        response.raw = io.BytesIO(json.dumps([one] if "Modality=MR" in str(request.url) else []).encode())
        return response

    monkeypatch.setattr("requests.adapters.HTTPAdapter.send", answer)
    return sent


@pytest.mark.parametrize("prefix", ["DATASTORE", "DICOMWEB"])
def test_the_settings_of_monai_label_reach_the_archive(
    sent: list[requests.PreparedRequest], prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        f"MONAI_LABEL_{prefix}_USERNAME": "ann",
        f"MONAI_LABEL_{prefix}_PASSWORD": "s@cret",
        f"MONAI_LABEL_{prefix}_CACHE_PATH": str(tmp_path / "kept"),
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": '{"Modality": "MR", "PatientID": "TRIAL-*"}',
        "MONAI_LABEL_QIDO_PREFIX": "find",
        "MONAI_LABEL_STOW_PREFIX": "put",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(studies, "settings", Settings())
    monkeypatch.setattr(archive_contents, "FRESH_SECONDS", 60)
    store = open_studies("http://archive.example/dicom-web", tmp_path, lambda: [ORGAN])
    assert store.scans() == ["1.2"]
    store.note_image("1.2", {"seen": True})
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    store.pass_on("POST", "stow", "studies", "", {}, b"")
    mr, seg, _ = (parse_qs(urlsplit(request.url).query) for request in sent)
    assert (mr["Modality"], mr["PatientID"]) == (["MR"], ["TRIAL-*"])
    assert (seg["Modality"], seg["PatientID"]) == (["SEG"], ["TRIAL-*"])
    paths = [urlsplit(request.url).path for request in sent]
    assert paths == ["/dicom-web/find/series", "/dicom-web/find/series", "/dicom-web/put/studies"]
    basic = b64encode(b"ann:s@cret").decode()
    assert {request.headers["Authorization"] for request in sent} == {f"Basic {basic}"}


def test_a_token_takes_the_place_of_a_password(
    sent: list[requests.PreparedRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"DATASTORE_API_KEY": "t0ken", "DICOMWEB_USERNAME": "ann"}.items():
        monkeypatch.setattr(studies.settings, f"MONAI_LABEL_{name}", value)
    open_studies("http://archive.example/dicom-web", tmp_path, lambda: [ORGAN]).scans()
    assert {request.headers["Authorization"] for request in sent} == {"Bearer t0ken"}
