from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
from monailabel.config import settings
from monailabel.interfaces.utils import app as instances
from monailabel.utils.async_tasks import task
from monailabel.utils.async_tasks import utils as async_tasks
from synthetic import SCANS, make_label

from diffcl.resources import app_folder
from lib.server import application as server

Talk = Callable[[httpx.AsyncClient], Awaitable[Any]]


@pytest.fixture
def ask(app: Any, studies: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Talk], Any]:
    """Lets a conversation with the server take place; the app stands where MONAI Label looks for it."""
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(app_folder()))
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(studies))
    monkeypatch.setitem(instances.apps, f"{app_folder()}{studies}", app)

    def run(talk: Talk) -> Any:
        async def main() -> Any:
            transport = httpx.ASGITransport(server.build())
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await talk(client)

        return asyncio.run(main())

    return run


class Gate:
    """Holds predictions back until it is opened."""

    def __init__(self, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()
        predict = app._models.predict  # noqa: SLF001

        def wait(*args: Any, **kwargs: Any) -> Any:
            self.entered.release()
            assert self.open.wait(60)
            return predict(*args, **kwargs)

        monkeypatch.setattr(app._models, "predict", wait)  # noqa: SLF001


@pytest.fixture
def gate(app: Any, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(app, monkeypatch)


def test_it_answers_as_monai_label_does(ask: Callable[[Talk], Any]) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.get("/info/"),
            await client.post("/infer/organ", params={"image": "oblique", "output": "json"}),
            await client.post("/activelearning/first", json={}),
            await client.get("/datastore/", params={"output": "all"}),
            await client.get("/train/"),
            await client.get("/auth/"),
        ]

    info, answer, sample, studies, training, auth = ask(talk)
    assert info.json()["name"] == "diffcl"
    assert answer.json()["version"] == 1, answer.text
    assert sample.json()["id"] == "anisotropic"
    assert set(studies.json()["objects"]) == {"anisotropic", "flipped", "oblique", "straight"}
    assert (training.status_code, auth.status_code) == (404, 404)


def test_others_are_answered_while_an_inference_runs(ask: Callable[[Talk], Any], gate: Gate) -> None:
    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        inference = asyncio.create_task(
            client.post("/infer/organ", params={"image": "oblique", "output": "json"})
        )
        await asyncio.to_thread(gate.entered.acquire)
        for path in ("/info/", "/datastore/"):
            assert (await client.get(path)).status_code == 200
        assert (await client.post("/activelearning/random", json={})).json()["id"]
        assert not inference.done()
        gate.open.set()
        return await inference

    assert ask(talk).status_code == 200


def test_a_full_queue_sends_clients_away_for_a_while(
    ask: Callable[[Talk], Any], gate: Gate, app: Any
) -> None:
    app.conf["queue"] = "2"

    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        request = {"image": "oblique", "output": "json"}
        inferences = [asyncio.create_task(client.post("/infer/organ", params=request)) for _ in range(5)]
        await asyncio.to_thread(gate.entered.acquire)
        gate.open.set()
        return await asyncio.gather(*inferences)

    answers = ask(talk)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503]
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert int(refused.headers["Retry-After"]) > 0
    assert "wait already" in refused.json()["detail"]


def test_refusals_reach_the_client_as_a_sentence(ask: Callable[[Talk], Any]) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [
            await client.post("/infer/heart", params={"image": "oblique"}),
            await client.post("/infer/organ", params={"image": "nobody"}),
            await client.post("/infer/organ", params={"image": "oblique"}, data={"params": "{"}),
            await client.post(
                "/infer/organ", params={"image": "oblique"}, data={"params": '{"image": "/etc/passwd"}'}
            ),
            await client.post("/activelearning/magic", json={}),
            await client.put("/model/organ", files={"file": ("model.pt", b"pickle")}),
            await client.delete("/model/organ"),
            await client.post("/train/heart", json={}),
            await client.put(
                "/datastore/label",
                params={"image": "oblique", "tag": "../evil"},
                files={"label": ("a.nii.gz", b"")},
            ),
        ]

    answers = ask(talk)
    assert [answer.status_code for answer in answers] == [404, 404, 400, 400, 404, 422, 404, 404, 400]
    for answer in answers:
        assert "\n" not in answer.json()["detail"]


@pytest.fixture
def started(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The trainings that MONAI Label would start, of two tasks; none is."""
    started: list[dict[str, Any]] = []

    def start(request: dict[str, Any], _: str) -> dict[str, Any]:
        started.append({"id": str(len(started)), "status": "SUBMITTED", "request": request})
        return started[-1]

    monkeypatch.setattr(task, "run_background_task", start)
    monkeypatch.setitem(async_tasks.background_tasks, "train", started)
    app._trainers["liver"] = app._trainers["organ"]  # noqa: SLF001
    return started


def test_impatient_clicks_on_train_start_one_training_a_task(
    ask: Callable[[Talk], Any], started: list[dict[str, Any]]
) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(client.post("/train/", json={"liver": {"steps": 3}}) for _ in range(5)))

    answers = ask(talk)
    assert sorted(answer.status_code for answer in answers) == [200, 429, 429, 429, 429]
    told = next(answer.json() for answer in answers if answer.status_code == 200)
    assert {name: answer["result"]["id"] for name, answer in told.items()} == {"organ": "0", "liver": "1"}
    assert [task["request"]["model"] for task in started] == ["organ", "liver"]
    assert [task["request"].get("steps") for task in started] == [None, 3]
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["detail"] == "training of organ, liver: runs or waits already. Stop it first"


def test_a_training_that_runs_keeps_back_only_its_own_task(
    ask: Callable[[Talk], Any], started: list[dict[str, Any]]
) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        answers = [await client.post("/train/organ", json={})]
        started[0]["status"] = "RUNNING"
        answers += [await client.post("/train/organ", params={"enqueue": True}), await client.post("/train/")]
        started[0]["status"] = "STOPPED"
        return [*answers, await client.post("/train/organ"), await client.get("/train/")]

    assert [answer.status_code for answer in ask(talk)] == [200, 429, 200, 200, 200]
    assert [task["request"]["model"] for task in started] == ["organ", "liver", "organ"]


def test_the_end_of_the_server_ends_trainings_that_run_or_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = ThreadPoolExecutor(1)
    process = subprocess.Popen(["sleep", "60"])
    executor.submit(process.wait)
    waiting = executor.submit(print, "must not be")
    running = {"id": "1", "status": "RUNNING"}
    monkeypatch.setitem(async_tasks.background_executors, "train", executor)
    monkeypatch.setitem(async_tasks.background_processes, "train", {"1": process})
    monkeypatch.setitem(async_tasks.background_tasks, "train", [running])
    server.end_tasks()
    assert process.wait(20) == -signal.SIGKILL
    assert running["status"] == "STOPPED"
    assert waiting.cancelled()


def test_a_label_is_submitted_as_slicer_does(ask: Callable[[Talk], Any], label_file: Path, app: Any) -> None:
    info = [{"name": "organ_tail", "idx": 1}, {"name": "organ_head", "idx": 2}]

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        return await client.put(
            "/datastore/label",
            params={"image": "oblique"},
            data={"params": json.dumps({"label_info": info, "client_id": "user-1"})},
            files={"label": ("/tmp/Slicer-ann/tmpabc.nii.gz", label_file.read_bytes())},
        )

    answer = ask(talk)
    assert answer.json() == {
        "image": "oblique",
        "label": "oblique",
        "version": 1,
        "remark": "Values were renumbered by the names of the segments.",
    }
    assert app.datastore().get_labeled_images() == ["oblique"]


def sender(ask: Callable[[Talk], Any], app: Any, label_file: Path, params: object) -> dict[str, Any]:
    """What the record of a label that is submitted with some params says of who sent it."""

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        return await client.put(
            "/datastore/label",
            params={"image": "oblique"},
            data={"params": json.dumps(params)},
            files={"label": ("label.nii.gz", label_file.read_bytes())},
        )

    answer = ask(talk)
    assert answer.status_code == 200, answer.text
    info = app.datastore().studies.history.newest("oblique")
    assert info["version"] == answer.json()["version"]
    return {key: info[key] for key in ("client_id", "user", "address") if key in info}


def test_a_label_says_who_sent_it_as_far_as_the_server_knows(
    ask: Callable[[Talk], Any], label_file: Path, app: Any
) -> None:
    here = {"address": "127.0.0.1"}
    slicer, ohif = {"client_id": "ann"}, dict[str, Any]()
    assert sender(ask, app, label_file, ohif) == here
    assert sender(ask, app, label_file, slicer) == {**slicer, **here}
    assert sender(ask, app, label_file, {"user": "eve", "address": "10.0.0.1"}) == here


def test_the_removal_of_a_label_says_who_asked_for_it(
    ask: Callable[[Talk], Any], label_file: Path, app: Any
) -> None:
    sender(ask, app, label_file, {"client_id": "ann"})

    async def remove(client: httpx.AsyncClient) -> list[int]:
        where = {"id": "oblique", "tag": "final"}
        return [(await client.delete("/datastore/label", params=where)).status_code for _ in range(2)]

    assert ask(remove) == [200, 404]
    record = app.datastore().studies.history.newest("oblique")
    assert (record["removed"], record["address"]) == (True, "127.0.0.1")


def test_params_of_a_label_that_are_no_object_are_refused(
    ask: Callable[[Talk], Any], label_file: Path
) -> None:
    async def talk(client: httpx.AsyncClient) -> list[httpx.Response]:
        where, files = {"image": "oblique"}, {"label": ("label.nii.gz", label_file.read_bytes())}
        texts = ("[1]", "{")
        return [
            await client.put("/datastore/label", params=where, data={"params": text}, files=files)
            for text in texts
        ]

    assert [answer.status_code for answer in ask(talk)] == [400, 400]


@pytest.mark.parametrize(
    ("names", "value", "sentence"),
    [
        (["organ_head", "organ_tail"], {1: 1, 2: 2}, ""),
        (["organ_tail", "organ_head"], {1: 2, 2: 1}, "Values were renumbered by the names of the segments."),
        (["background_", "organ_head", "organ_tail"], {2: 1, 3: 2}, "Values were renumbered"),
        (["organ_head", "organ_tail", "Segment_3"], {1: 1, 2: 2}, ""),
        (["organ_head", "organ_tail", "check_here"], {1: 1, 2: 2}, ""),
        (
            ["organ_head", "Segment_2"],
            None,
            "segments 'Segment_2' are not known. Known names: organ_head, organ_tail",
        ),
        (["organ_head"], None, "value 2 has no name in label_info. Name every segment"),
    ],
    ids=["in order", "reordered", "empty one before", "empty one behind", "empty mark", "renamed", "unnamed"],
)
def test_segments_are_understood_as_slicer_sends_them(
    names: list[str], value: dict[int, int] | None, sentence: str, ask: Callable[[Talk], Any], app: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    expected = sitk.GetArrayFromImage(make_label("oblique"))
    sent = expected.copy()
    for as_sent, meant in (value or {}).items():
        sent[expected == meant] = as_sent
    image = sitk.GetImageFromArray(sent)
    image.CopyInformation(make_label("oblique"))
    sitk.WriteImage(image, tmp_path / "label.nii.gz")
    info = [{"name": name, "idx": index} for index, name in enumerate(names, start=1)]

    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        return await client.put(
            "/datastore/label",
            params={"image": "oblique"},
            data={"params": json.dumps({"label_info": info, "client_id": "user-1"})},
            files={"label": ("/tmp/Slicer-ann/tmpabc.nii.gz", (tmp_path / "label.nii.gz").read_bytes())},
        )

    answer = ask(talk)
    if value is None:
        assert answer.status_code == 422
        assert sentence in answer.json()["detail"]
        assert app.datastore().get_labeled_images() == []
    else:
        assert sentence in answer.json().get("remark", "")
        kept = sitk.ReadImage(app.datastore().get_label_uri("oblique", "final"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(kept), expected)


def test_twenty_people_work_at_once(ask: Callable[[Talk], Any], app: Any, tmp_path: Path) -> None:
    app.conf["queue"] = "20"
    labels = {}
    for name in SCANS:
        sitk.WriteImage(make_label(name), tmp_path / f"{name}.nii.gz")
        labels[name] = (tmp_path / f"{name}.nii.gz").read_bytes()

    async def work(client: httpx.AsyncClient, number: int) -> list[httpx.Response]:
        scan, who = SCANS[number % len(SCANS)], f"user{number}"
        return [
            await client.get("/info/"),
            await client.post("/activelearning/uncertain_diverse", json={"client_id": who}),
            await client.post("/infer/organ", params={"image": scan, "output": "json"}),
            await client.put(
                "/datastore/label",
                params={"image": scan},
                data={"params": json.dumps({"client_id": who})},
                files={"label": ("label.nii.gz", labels[scan])},
            ),
            await client.get("/datastore/", params={"output": "all"}),
        ]

    async def talk(client: httpx.AsyncClient) -> list[list[httpx.Response]]:
        return await asyncio.gather(*(work(client, number) for number in range(20)))

    answers = ask(talk)
    assert {answer.status_code for each in answers for answer in each} == {200}
    versions = [record for name in SCANS for record in app.datastore().studies.history.versions(name)]
    assert {record["client_id"] for record in versions} == {f"user{number}" for number in range(20)}
    assert sorted(app.datastore().get_labeled_images()) == SCANS
    for name in SCANS:
        kept = sitk.ReadImage(app.datastore().get_label_uri(name, "final"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(kept), sitk.GetArrayFromImage(make_label(name)))
        assert app.datastore().get_image_info(name)["proposal"]["version"] == 1


def test_no_page_of_another_site_may_use_it(ask: Callable[[Talk], Any]) -> None:
    async def talk(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/info/", headers={"Origin": "http://evil.example"})

    assert not [name for name in ask(talk).headers if name.startswith("access-control")]


def test_a_site_that_is_named_may_use_it(ask: Callable[[Talk], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MONAI_LABEL_CORS_ORIGINS", ["http://viewer.example:3000/"])

    async def talk(client: httpx.AsyncClient) -> list[str | None]:
        origins = ("http://viewer.example:3000", "http://evil.example")
        answers = [await client.get("/info/", headers={"Origin": origin}) for origin in origins]
        return [answer.headers.get("access-control-allow-origin") for answer in answers]

    assert ask(talk) == ["http://viewer.example:3000", None]


def test_the_app_cannot_be_reloaded_from_outside(ask: Callable[[Talk], Any]) -> None:
    async def talk(client: httpx.AsyncClient) -> tuple[int, int]:
        return (await client.post("/reload")).status_code, (await client.get("/")).status_code

    assert ask(talk) == (404, 200)
