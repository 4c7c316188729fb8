"""What may not come in: raw requests against the whole application."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_LZMA, ZipFile

import httpx
import pytest
from monailabel.config import settings

EVIL = {"origin": "http://evil.example", "sec-fetch-site": "cross-site"}


Ask = Callable[..., httpx.Response]


def sentence(answer: httpx.Response) -> str:
    """What a refusal says, which is one line without a path of this machine."""
    assert 400 <= answer.status_code < 500, answer.text
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert "\n" not in detail
    assert "/tmp" not in detail
    return detail


def put_session(ask: Ask, *files: tuple[str, bytes], **params: Any) -> httpx.Response:
    """The answer to the files of a session."""
    return ask("PUT", "/session/", params=params, files=[("files", file) for file in files])


def zipped(*members: tuple[str, bytes], method: int = ZIP_LZMA) -> bytes:
    made = io.BytesIO()
    with ZipFile(made, "w", method) as package:
        for name, content in members:
            package.writestr(name, content)
    return made.getvalue()


def test_foreign_pages_change_and_read_nothing(ask: Ask, label_file: Path, app: Any) -> None:
    form = {"params": json.dumps({"save_label": True, "label_tag": "final"})}
    label = {"label": ("a.nii.gz", label_file.read_bytes())}
    for method, path, given in (
        ("POST", "/infer/organ?image=oblique", {"files": {key: (None, text) for key, text in form.items()}}),
        ("POST", "/train/", {}),
        ("POST", "/train/organ", {}),
        ("POST", "/batch/infer/organ", {}),
        ("POST", "/activelearning/first", {}),
        ("PUT", "/datastore/label?image=oblique", {"files": label}),
        ("DELETE", "/datastore/?id=oblique", {}),
        ("GET", "/datastore/image?image=oblique", {}),
        ("GET", "/proxy/dicom/qido/studies", {}),
        ("GET", "/info/", {}),
    ):
        assert ask(method, path, headers=EVIL, **given).status_code == 403
        assert ask(method, path, headers={"host": "evil.example"}, **given).status_code == 421
    assert app.datastore().status()["completed"] == 0


@pytest.mark.parametrize("tag", ["final", "version_2", "mine"])
@pytest.mark.parametrize("path", ["/infer/organ?image=oblique", "/batch/infer/organ"])
def test_no_request_lets_a_model_replace_a_label_of_people(path: str, tag: str, ask: Ask, app: Any) -> None:
    params = {"save_label": True, "label_tag": tag}
    given = {"data": {"params": json.dumps(params)}} if "infer/organ?" in path else {"json": params}
    assert "PUT /datastore/label" in sentence(ask("POST", path, **given))
    assert app.datastore().status()["label_tags"] == {}


def test_an_archive_of_another_kind_is_not_unpacked(ask: Ask, tmp_path: Path) -> None:
    made = io.BytesIO()
    target = tmp_path / "sitecustomize.py"
    with tarfile.open(fileobj=made, mode="w") as package:
        member = tarfile.TarInfo(str(target))
        member.size = 4
        package.addfile(member, io.BytesIO(b"evil"))
    both = io.BytesIO(made.getvalue())
    with ZipFile(both, "a") as package:
        package.writestr("1.dcm", b"one")
    assert "not a ZIP file" in sentence(put_session(ask, ("a.tar", made.getvalue()), uncompress=True))
    assert put_session(ask, ("a.tar", both.getvalue()), uncompress=True).status_code == 200
    assert not target.exists()


@pytest.mark.parametrize("name", ["..", ".", "/", "a" * 300 + ".nii.gz", ".hidden", "a\x07.nii.gz"])
def test_a_session_takes_no_name_that_is_none(name: str, ask: Ask, app: Any) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\ncontent\r\n--x--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = ask("PUT", "/session/", content=body % name.encode(), headers=headers)
    assert "file's name" in sentence(answer)
    assert not list(app.sessions().folder.glob("*"))


def test_a_damaged_archive_leaves_no_session(ask: Ask, app: Any) -> None:
    sound = zipped(("1.dcm", bytes(range(256)) * 9))
    damaged = sound[:50] + bytes(20) + sound[70:]
    assert "1.dcm" not in sentence(put_session(ask, ("a.zip", damaged), uncompress=True))
    assert not list(app.sessions().folder.glob("*"))


def test_a_session_of_several_files_has_no_one_file(ask: Ask) -> None:
    made = put_session(ask, ("1.dcm", b"one"), ("2.dcm", b"two"))
    assert made.status_code == 200, made.text
    name = made.json()["session_id"]
    assert "several files" in sentence(ask("GET", f"/session/{name}", params={"image": True}))
    assert ask("GET", f"/session/{name}").json()["image"] == "series"
    assert ask("DELETE", f"/session/{name}").status_code == 200
    assert ask("GET", f"/session/{name}").status_code == 404


def test_a_session_is_reached_by_its_id_alone(ask: Ask, studies: Path, app: Any) -> None:
    scan = (studies / "oblique.nii.gz").read_bytes()
    told = put_session(ask, ("mine.nii.gz", scan)).json()
    store = app.sessions().folder
    folder = store / told["session_id"]
    assert str(store) not in json.dumps(told)
    for path in (
        store,
        folder,
        folder / "meta.info",
        f"{folder}/../{folder.name}/mine.nii.gz",
        f"{folder}/.",
    ):
        assert "is a path" in sentence(ask("POST", "/infer/organ", params={"image": str(path)}))
    answer = ask("POST", "/infer/organ", params={"session_id": told["session_id"], "output": "json"})
    assert answer.status_code == 200, answer.text
    for params in ({"image": str(folder / "mine.nii.gz")}, {"received": str(folder / "mine.nii.gz")}):
        given = {"data": {"params": json.dumps(params)}}
        assert ask("POST", "/infer/organ", params={"image": "/x"}, **given).status_code == 400


@pytest.mark.parametrize(
    "text",
    ["[1]", "1", "{", '{"a": NaN}', '{"a": 1e999}', '{"a": ' + "9" * 5000 + "}", '{"a": "\\ud800"}',
     '{"a": ' + "[" * 250 + "]" * 250 + "}"],
    ids=["list", "number", "cut", "nan", "infinite", "digits", "half", "deep"],
)  # fmt: skip
def test_params_that_could_not_be_read_back_are_refused(text: str, ask: Ask, label_file: Path) -> None:
    label = {"label": ("a.nii.gz", label_file.read_bytes())}
    where = {"image": "oblique"}
    assert ask("POST", "/infer/organ", params=where, data={"params": text}).status_code == 400
    assert ask("PUT", "/datastore/label", params=where, data={"params": text}, files=label).status_code == 400
    assert ask("PUT", "/datastore/image/info", params=where, data={"info": text}).status_code == 400
    headers = {"content-type": "application/json"}
    for path in ("/train/organ", "/activelearning/first", "/batch/infer/organ"):
        assert ask("POST", path, content=text, headers=headers).status_code in (400, 422)


@pytest.mark.parametrize(
    ("method", "path", "given"),
    [
        ("POST", "/infer/organ", {}),
        ("POST", "/infer/organ?image=%00", {}),
        ("POST", "/infer/organ", {"files": {"file": ("a." + "b" * 300, b"x")}}),
        ("POST", "/infer/organ", {"files": {"file": ("a.bin", b"x")}}),
        ("PUT", "/datastore/image", {"files": {"file": ("a." + "b" * 300, b"x")}}),
        ("PUT", "/datastore/image", {"files": {"file": ("..", b"x")}}),
        ("PUT", "/datastore/label?image=oblique", {"files": {"label": ("a.bin", b"x")}}),
        ("PUT", "/datastore/image/info?image=oblique", {"data": {"info": '{"strategy": "x"}'}}),
        ("PUT", "/datastore/image/info?image=oblique", {"data": {"info": '{"proposal": {}}'}}),
        ("GET", "/logs/?lines=1e20", {}),
        ("GET", "/logs/gpu", {}),
        ("GET", "/session/%00", {}),
        ("GET", "/session/" + "a" * 5000, {}),
        ("GET", "/datastore/label?label=oblique&tag=" + "a" * 5000, {}),
        ("GET", "/datastore/image?image=" + "a" * 5000, {}),
        ("HEAD", "/datastore/image?image=oblique&check_sum=CRC:12", {}),
        ("POST", "/train/organ", {"json": {"bundle_path": "/tmp"}}),
        ("POST", "/train/", {"json": {"organ": {"bundle_path": "/tmp"}}}),
        ("POST", "/train/organ", {"json": {"gpus": [1]}}),
        ("POST", "/train/organ", {"json": {"model": "heart"}}),
        ("POST", "/train/organ?run_sync=true", {}),
        ("POST", "/train/organ", {"json": {"a": "b" * 200_000}}),
        ("POST", "/batch/infer/organ", {"json": {"a": "b" * 200_000}}),
        ("POST", "/batch/infer/organ", {"json": {"bundle_path": "/tmp"}}),
        ("PUT", "/model/organ", {"files": {"file": ("a.zip", b"x")}}),
        ("PUT", "/session/?expiry=" + "9" * 5000, {"files": {"files": ("a.nii", b"x")}}),
    ],
    ids=str,
)
def test_what_nobody_should_send_is_a_sentence(method: str, path: str, given: Any, ask: Ask) -> None:
    answer = ask(method, path, **given)
    if method == "HEAD":
        assert answer.status_code == 400
    else:
        sentence(answer)


@pytest.mark.parametrize("path", ["/ohif/%00", "/ohif/" + "a" * 5000, "/ohif/../../etc/passwd"])
def test_no_path_below_the_viewer_is_a_fault(path: str, ask: Ask) -> None:
    assert ask("GET", path).status_code in (200, 400, 404)


def test_an_unexpected_fault_says_an_id_and_nothing_else(
    ask: Ask, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault() -> None:
        raise KeyError("/home/ann/secret")

    monkeypatch.setattr(app, "info", fault)
    answer = ask("GET", "/info/")
    assert answer.status_code == 500
    assert "error id" in answer.json()["detail"]
    assert "ann" not in answer.text


def test_answers_stay_in_no_cache_and_in_no_frame(ask: Ask) -> None:
    headers = ask("GET", "/info/").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe-eval" in ask("GET", "/ohif/").headers["content-security-policy"]


def test_the_description_of_the_api_needs_nothing_from_elsewhere(ask: Ask) -> None:
    page = ask("GET", "/docs")
    assert "/infer/{model}" in page.text
    assert "http://" not in page.text.replace("http://localhost", "")
    assert "<script" not in page.text


def test_what_the_log_shows_tells_no_paths_and_tracebacks(ask: Ask, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(tmp_path))
    assert ask("GET", "/logs/").status_code == 404
    (tmp_path / "logs").mkdir()
    lines = ["one", f"two {tmp_path}/x", "    | File /home/ann", "three"]
    (tmp_path / "logs" / "app.log").write_text("\n".join(lines))
    assert ask("GET", "/logs/").text == "one\ntwo <server>/x\nthree\n"
    assert ask("GET", "/logs/", params={"lines": 1}).text == "three\n"
