"""Logging in to the whole application, as 3D Slicer, browsers and strangers do."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from monailabel.config import settings
from monailabel.interfaces.utils import app as instances

from diffcl.access import passwords
from diffcl.access.audit import read_audit
from diffcl.access.roles import Role
from diffcl.access.users import UserFile
from diffcl.resources import app_folder
from lib.server import application as server

WORD = "correct horse battery"

Ask = Callable[..., httpx.Response]


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UserFile:
    """One user of each role, all with one password."""
    monkeypatch.setattr(passwords, "COST", (1 << 10, 8, 1))
    file = UserFile(tmp_path / "users.json")
    for role in Role:
        file.add(role.word, role, WORD)
    return file


@pytest.fixture
def build(app: Any, studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Builds the application with settings."""
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(app_folder()))
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(studies))
    monkeypatch.setitem(instances.apps, f"{app_folder()}{studies}", app)

    def made(**conf: str) -> Any:
        monkeypatch.setattr(settings, "MONAI_LABEL_APP_CONF", {"audit": str(tmp_path / "audit"), **conf})
        return server.build()

    return made


def sender(application: Any, address: str = "127.0.0.1", root: str = "") -> Ask:
    """Sends one request to an application, from an address."""

    def send(method: str, path: str, token: str | None = None, **given: Any) -> httpx.Response:
        async def talk() -> httpx.Response:
            transport = httpx.ASGITransport(application, client=(address, 1), root_path=root)
            headers = {**({"Authorization": f"bearer {token}"} if token else {}), **given.pop("headers", {})}
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, headers=headers, **given)

        return asyncio.run(talk())

    return send


@pytest.fixture
def ask(build: Callable[..., Any], users: UserFile) -> Ask:
    """Sends one request to a server with users."""
    return sender(build(users=str(users.path)))


def token_of(ask: Ask, name: str, word: str = WORD) -> str:
    form = {"username": name, "password": word, "grant_type": "password"}
    answer = ask("POST", "/auth/token", data=form)
    assert answer.json()["token_type"] == "bearer"
    return str(answer.json()["access_token"])


def test_slicer_logs_in_as_it_does_to_monai_label(ask: Ask) -> None:
    assert ask("GET", "/auth/").json()["enabled"] is True
    assert ask("GET", "/auth/token/valid").status_code == 401
    token = token_of(ask, "annotator")
    told = ask("GET", "/auth/token/valid", token).json()
    assert (told["username"], told["roles"]) == ("annotator", ["annotator"])
    assert ask("GET", "/info/", token).json()["name"] == "diffcl"


def test_without_users_there_is_no_log_in_and_only_this_machine_is_answered(
    build: Callable[..., Any],
) -> None:
    application = build()
    assert sender(application)("GET", "/auth/").status_code == 404
    assert sender(application)("GET", "/info/").status_code == 200
    answer = sender(application, "10.0.0.9")("GET", "/info/")
    assert answer.status_code == 403
    assert "diffcl serve --users" in answer.json()["detail"]


@pytest.mark.parametrize("word", ["wrong", "", "é", "a" * 1000])
def test_a_wrong_password_is_a_401_in_one_sentence(word: str, ask: Ask) -> None:
    for name in ("annotator", "nobody"):
        answer = ask("POST", "/auth/token", data={"username": name, "password": word})
        assert answer.status_code in (401, 422)
        assert "users.json" not in answer.text


def test_whoever_guesses_is_sent_away_for_a_while(ask: Ask) -> None:
    form = {"username": "annotator", "password": "wrong"}
    answers = [ask("POST", "/auth/token", data=form) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0


def test_many_log_ins_at_once_hold_up_nobody_who_is_in(
    build: Callable[..., Any], users: UserFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = build(users=str(users.path))
    token = token_of(sender(application), "reader")
    running, most, leave, lock = 0, 0, threading.Event(), threading.Lock()

    def slow(*_: object) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert leave.wait(60)
        with lock:
            running -= 1

    monkeypatch.setattr("diffcl.access.tokens.LocalUsers.log_in", slow)

    async def talk() -> tuple[int, list[int]]:
        transport = httpx.ASGITransport(application)
        form = {"username": "annotator", "password": WORD}
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            asks = [asyncio.create_task(client.post("/auth/token", data=form)) for _ in range(100)]
            await asyncio.sleep(0.2)
            told = await client.get("/auth/token/valid", headers={"Authorization": f"bearer {token}"})
            leave.set()
            return told.status_code, [one.status_code for one in await asyncio.gather(*asks)]

    status, others = asyncio.run(talk())
    assert status == 200
    assert most <= 2
    assert others.count(503) > 50


def test_nothing_is_answered_to_who_has_not_logged_in(ask: Ask) -> None:
    paths = [
        "/info/",
        "/docs",
        "/openapi.json",
        "/ohif/",
        "/proxy/dicom/qido/studies",
        "/logs/",
        "/nowhere",
        "/",
        "/study/scans",
        "/study/style.css",
    ]
    paths += [
        "/datastore/?output=all",
        "/datastore/image?image=oblique",
        "/session/a",
        "/train/",
        "/model/organ",
    ]
    for path in paths:
        for headers in (
            {},
            {"Authorization": "bearer x.y.z"},
            {"Authorization": "Basic YTpi"},
            {"Cookie": "diffcl_session=x"},
        ):
            answer = ask("GET", path, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"


def test_a_browser_is_told_on_a_page_what_it_may_not_do(ask: Ask) -> None:
    page = {"Accept": "text/html"}
    refused = ask("POST", "/study/training", token_of(ask, "reviewer"), headers=page, data={"act": "stop"})
    assert refused.status_code == 403
    assert refused.headers["content-type"].startswith("text/html")
    assert "may not do this, which takes the role admin" in refused.text
    foreign = ask(
        "POST", "/study/training", token_of(ask, "admin"), headers={**page, "Origin": "https://evil.example"}
    )
    assert foreign.status_code == 403
    assert "a page of another site asks" in foreign.text
    assert (
        ask("POST", "/study/training", token_of(ask, "reviewer")).headers["content-type"]
        == "application/json"
    )


LEAST = {
    ("GET", "/info/"): Role.READER,
    ("POST", "/infer/organ"): Role.READER,
    ("GET", "/datastore/"): Role.READER,
    ("GET", "/docs"): Role.READER,
    ("GET", "/"): Role.READER,
    ("GET", "/study/scan?image=oblique"): Role.READER,
    ("POST", "/activelearning/first"): Role.ANNOTATOR,
    ("PUT", "/datastore/label?image=oblique"): Role.ANNOTATOR,
    ("PUT", "/datastore/image?image=new"): Role.ANNOTATOR,
    ("PUT", "/datastore/image/info?image=oblique"): Role.ANNOTATOR,
    ("GET", "/datastore/dataset"): Role.ANNOTATOR,
    ("PUT", "/datastore/updatelabelinfo?label=oblique&tag=final"): Role.REVIEWER,
    ("PUT", "/datastore/label?image=oblique&tag=version_2"): Role.REVIEWER,
    ("DELETE", "/datastore/label?id=oblique&tag=version_2"): Role.REVIEWER,
    ("DELETE", "/datastore/label?id=oblique&tag=final"): Role.ADMIN,
    ("DELETE", "/datastore/image?id=oblique"): Role.ADMIN,
    ("DELETE", "/datastore/?id=oblique"): Role.ADMIN,
    ("POST", "/train/heart"): Role.ADMIN,
    ("DELETE", "/train/"): Role.ADMIN,
    ("POST", "/batch/infer/heart"): Role.ADMIN,
    ("PUT", "/model/organ"): Role.ADMIN,
    ("DELETE", "/model/organ"): Role.ADMIN,
    ("GET", "/logs/"): Role.ADMIN,
    ("PATCH", "/nowhere"): Role.ADMIN,
}


def test_each_role_may_do_what_it_may_and_nothing_else(ask: Ask) -> None:
    tokens = {role: token_of(ask, role.word) for role in Role}
    for (method, path), least in LEAST.items():
        for role, token in tokens.items():
            status = ask(method, path, token).status_code
            assert (status == 403) == (role < least), (method, path, role, status)


@pytest.mark.parametrize("output", ["json", "dicom_seg"])
@pytest.mark.parametrize("said", [True, "true", 1], ids=repr)
def test_a_reader_asks_models_and_keeps_no_label(output: str, said: object, ask: Ask, app: Any) -> None:
    path, form = f"/infer/organ?image=oblique&output={output}", {"params": json.dumps({"save_label": said})}
    answer = ask("POST", path, token_of(ask, "reader"), data=form)
    assert answer.status_code == 403
    assert "takes the role annotator" in answer.json()["detail"]
    assert app.datastore().get_labels_by_image_id("oblique") == {}


def test_who_may_not_judge_submits_no_label_that_is_judged_already(
    ask: Ask, label_file: Path, app: Any
) -> None:
    form = {"params": json.dumps({"segmentationMeta": {"status": "approved", "approvedBy": "reviewer"}})}
    for name, status in (("annotator", 403), ("reviewer", 200)):
        files = {"label": ("label.nii.gz", label_file.read_bytes())}
        answer = ask("PUT", "/datastore/label?image=oblique", token_of(ask, name), data=form, files=files)
        assert answer.status_code == status
    assert "takes the role reviewer" in ask(
        "PUT", "/datastore/label?image=oblique", token_of(ask, "annotator"), data=form, files=files
    ).json()["detail"]  # fmt: skip
    assert len(app.datastore().studies.history.versions("oblique")) == 1


def test_a_label_says_who_was_logged_in_whatever_the_client_claims(
    ask: Ask, app: Any, label_file: Path
) -> None:
    claimed = {"client_id": "user-xyz", "user": "eve"}
    answer = ask(
        "PUT", "/datastore/label?image=oblique", token_of(ask, "annotator"),
        data={"params": json.dumps(claimed)}, files={"label": ("a.nii.gz", label_file.read_bytes())},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    record = app.datastore().studies.history.newest("oblique")
    assert (record["user"], record["client_id"]) == ("annotator", "user-xyz")
    ask("DELETE", "/datastore/label?id=oblique&tag=final", token_of(ask, "admin"))
    record = app.datastore().studies.history.newest("oblique")
    assert (record["removed"], record["user"], record["address"]) == (True, "admin", "127.0.0.1")


def test_a_browser_is_shown_where_to_log_in_and_comes_back(ask: Ask) -> None:
    page = {"accept": "text/html,*/*"}
    sent = ask("GET", "/ohif/viewer?StudyInstanceUIDs=1.2", headers=page)
    assert (sent.status_code, sent.headers["location"]) == (
        303, "/auth/login?next=%2Fohif%2Fviewer%3FStudyInstanceUIDs%3D1.2",
    )  # fmt: skip
    shown = ask("GET", sent.headers["location"])
    assert 'value="/ohif/viewer?StudyInstanceUIDs=1.2"' in shown.text
    assert "<script" not in shown.text
    form = {"username": "annotator", "password": WORD, "next": "/ohif/viewer?StudyInstanceUIDs=1.2"}
    entered = ask("POST", "/auth/login", data=form, headers={"origin": "http://localhost"})
    assert (entered.status_code, entered.headers["location"]) == (303, form["next"])
    cookie = entered.headers["set-cookie"]
    for word in ("HttpOnly", "SameSite=strict", "Path=/"):
        assert word in cookie
    held = {"cookie": cookie.partition(";")[0]}
    assert ask("GET", "/ohif/", headers=held).status_code == 200
    assert ask(
        "POST", "/activelearning/first", headers={**held, "origin": "http://localhost"}, json={}
    ).json()["id"]
    assert (
        ask("POST", "/activelearning/first", headers={**held, "origin": "http://evil.example"}).status_code
        == 403
    )
    out = ask("POST", "/auth/logout", headers={**held, "origin": "http://localhost"})
    assert 'diffcl_session=""' in out.headers["set-cookie"]


def test_logging_in_leads_to_no_other_site(ask: Ask) -> None:
    for wanted in (
        "//evil.example",
        "https://evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/a\r\nb: c",
    ):
        form = {"username": "annotator", "password": WORD, "next": wanted}
        assert ask("POST", "/auth/login", data=form).headers["location"] == "/"
    assert ask("GET", '/auth/login?next=/"><script>').text.count("<script") == 0
    assert ask("POST", "/auth/login", data={"username": "annotator", "password": "wrong"}).status_code == 401


def test_the_audit_trail_says_who_did_what_with_which_scan(
    ask: Ask, tmp_path: Path, label_file: Path
) -> None:
    token, files = token_of(ask, "annotator"), {"label": ("a.nii.gz", label_file.read_bytes())}
    params = {"params": json.dumps({"patient": "Miller^Ann"})}
    ask("PUT", "/datastore/label?image=oblique", token, data=params, files=files)
    ask("GET", "/datastore/image?image=straight", token)
    ask("DELETE", "/datastore/?id=oblique", token)
    ask("GET", "/info/", token)
    ask("GET", "/proxy/dicom/qido/studies?PatientName=Miller", token)
    ask("PUT", "/datastore/label?image=oblique", files=files)
    found = [(one.user, one.action, one.scan, one.status) for one in read_audit(tmp_path / "audit")]
    assert found == [
        ("", "POST /auth/token", "", 200),
        ("annotator", "PUT /datastore/label", "oblique", 200),
        ("annotator", "GET /datastore/image", "straight", 200),
        ("annotator", "DELETE /datastore/", "oblique", 403),
        ("", "PUT /datastore/label", "oblique", 401),
    ]
    assert "Miller" not in (tmp_path / "audit" / "audit.jsonl").read_text()


def test_health_and_numbers_are_told_to_those_who_run_it(
    ask: Ask, build: Callable[..., Any], users: UserFile
) -> None:
    assert ask("GET", "/health").json() == {"live": True, "ready": True}
    answer = ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    for line in (
        "diffcl_scans 4",
        "diffcl_inferences_waiting 0",
        'diffcl_requests_total{method="GET",kind="other",status="200"} 1',
    ):
        assert line in answer.text.splitlines()
    assert "oblique" not in answer.text
    away = sender(build(users=str(users.path)), "10.0.0.9")
    assert away("GET", "/metrics").status_code == 401
    assert away("GET", "/health").status_code == 200


def test_a_damaged_file_of_users_lets_nobody_in_and_says_nothing(ask: Ask, users: UserFile) -> None:
    token = token_of(ask, "admin")
    users.path.write_text("{")
    for answer in (
        ask("GET", "/info/", token),
        ask("POST", "/auth/token", data={"username": "a", "password": WORD}),
    ):
        assert answer.status_code == 503
        assert "users.json" not in answer.text


def test_below_a_prefix_everything_stays_below_it(build: Callable[..., Any], users: UserFile) -> None:
    ask = sender(build(users=str(users.path)), root="/diffcl")
    page = {"accept": "text/html"}
    assert ask("GET", "/diffcl/docs", headers=page).headers["location"] == "/diffcl/auth/login?next=%2Fdocs"
    form = {"username": "annotator", "password": WORD, "next": "/docs"}
    entered = ask("POST", "/diffcl/auth/login", data=form)
    assert entered.headers["location"] == "/diffcl/docs"
    assert "Path=/diffcl" in entered.headers["set-cookie"]
    token = entered.headers["set-cookie"].split("=")[1].partition(";")[0]
    assert ask("GET", "/diffcl/docs", token).status_code == 200
    assert 'href="/diffcl/study/style.css"' in ask("GET", "/diffcl/", token).text
    viewer = ask("GET", "/diffcl/ohif/", token)
    assert viewer.status_code == 200
    assert '"/ohif/' not in viewer.text
    assert '"/diffcl/ohif/app-config.js"' in viewer.text
    config = ask("GET", "/diffcl/ohif/app-config.js", token).text
    assert "routerBasename: '/diffcl/ohif/'" in config
    assert "qidoRoot: '/diffcl/proxy/dicom/qido'" in config


def test_a_provider_s_token_lets_in(build: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from diffcl.access.oidc import OidcUsers
    from diffcl.access.roles import User

    monkeypatch.setattr(settings, "MONAI_LABEL_AUTH_ENABLE", True)
    known = {"good": User("ann", Role.ADMIN), "plain": User("bob", Role.READER)}
    monkeypatch.setattr(OidcUsers, "user", lambda _, token: known.get(token))
    ask = sender(build())
    assert ask("GET", "/auth/").json()["enabled"] is True
    assert [ask("GET", "/info/", token).status_code for token in ("good", "plain", "bad")] == [200, 200, 401]
    assert [ask("DELETE", "/train/", token).status_code for token in ("good", "plain")] == [200, 403]


def test_no_answer_tells_where_something_lies(ask: Ask, studies: Path, tmp_path: Path) -> None:
    token = token_of(ask, "admin")
    paths = [
        "/info/",
        "/datastore/",
        "/datastore/?output=all",
        "/datastore/?output=train",
        "/openapi.json",
        "/train/",
    ]
    paths += [
        "/datastore/image/info?image=oblique",
        "/datastore/image?image=nobody",
        "/model/organ",
        "/logs/",
    ]
    answers = [ask("GET", path, token) for path in paths]
    answers.append(ask("POST", "/activelearning/first", token, json={}))
    answers.append(ask("POST", "/infer/organ?image=oblique&output=json", token))
    answers.append(
        ask("PUT", "/datastore/label?image=oblique", token, files={"label": ("a.nii.gz", b"no scan")})
    )
    answers.append(ask("PUT", "/session/", token, files={"files": ("a.nii.gz", b"no scan")}))
    assert answers[-1].status_code == answers[-4].status_code == 200
    for answer in answers:
        for place in (tmp_path, studies, Path.home(), app_folder(), "/tmp/"):
            assert str(place) not in answer.text, answer.url


def test_every_operation_is_described_with_its_refusals(ask: Ask) -> None:
    described = ask("GET", "/openapi.json", token_of(ask, "reader")).json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            for code in ("4XX", "422", "5XX"):
                schema = operation["responses"][code]["content"]["application/json"]["schema"]
                assert schema["$ref"].endswith("/Refusal"), (method, path)
    for method, path, kind in (
        ("post", "/infer/{model}", "multipart/form-data"),
        ("get", "/datastore/image", "application/octet-stream"),
        ("get", "/datastore/label", "application/octet-stream"),
        ("get", "/datastore/dataset", "application/zip"),
        ("get", "/logs/", "text/plain"),
        ("get", "/session/{session_id}", "application/octet-stream"),
        ("get", "/metrics", "text/plain"),
    ):
        assert kind in described["paths"][path][method]["responses"]["200"]["content"], path
