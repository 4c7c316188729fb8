"""Everything that a viewer asks of the server, through MONAI Label's own client."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from monailabel.client import MONAILabelClient
from synthetic import SCANS, make_label, publish_untrained, same_place

from diffcl.inference import Predictor
from diffcl.io import read_scan
from diffcl.models import load_model
from diffcl.studies.progress import Progress

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning"
)  # MONAI Label's client leaves sockets open

SLICER = {"result_extension": ".nrrd", "result_dtype": "uint8"}


def infer(
    client: MONAILabelClient, model: str, image: str, **params: Any
) -> tuple[sitk.Image, dict[str, Any]]:
    """Image and params of an answer."""
    file, found = client.infer(model, image, params, session_id=params.pop("session_id", None))
    answer = sitk.ReadImage(file)
    Path(file).unlink()
    return answer, found


def refused(action: Callable[[], Any]) -> str:
    """What the user of a viewer reads when an action is refused."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  the client raises a bare subclass of Exception
        action()
    message = str(caught.value.msg)
    assert "Status: 4" in message
    return message


def test_the_viewers_find_what_they_need(client: MONAILabelClient) -> None:
    info = client.info()
    assert info["labels"] == ["organ_head", "organ_tail"]
    assert set(info["models"]) == {"organ", "organ_uncertainty", "organ_clicks", "organ_complete"}
    assert info["datastore"]["total"] == len(SCANS)


@pytest.mark.parametrize("name", SCANS)
def test_an_answer_lies_exactly_on_its_scan(name: str, client: MONAILabelClient, server: Any) -> None:
    scan = sitk.ReadImage(server.studies / f"{name}.nii.gz")
    label, params = infer(client, "organ", name, **SLICER)
    doubt, _ = infer(client, "organ_uncertainty", name, **SLICER)
    assert same_place(label, scan)
    assert same_place(doubt, scan)
    assert set(np.unique(sitk.GetArrayViewFromImage(label))) <= {0, 1, 2}
    assert params["label_names"] == {"organ_head": 1, "organ_tail": 2}
    assert params["report"]["case"] == name


def test_the_server_and_the_library_give_the_same_label(client: MONAILabelClient, server: Any) -> None:
    label, params = infer(client, "organ", "oblique")
    model = load_model(server.store.folder("organ"))
    expected = Predictor(model)(read_scan(server.studies / "oblique.nii.gz"))
    assert params["version"] == model.info.version
    np.testing.assert_array_equal(
        sitk.GetArrayViewFromImage(label), sitk.GetArrayViewFromImage(expected.label)
    )


def test_a_new_version_answers_without_a_restart(client: MONAILabelClient, server: Any) -> None:
    before = infer(client, "organ", "oblique")[1]["version"]
    publish_untrained(server.store)
    assert infer(client, "organ", "oblique")[1]["version"] == before + 1


def test_a_round_of_annotation(client: MONAILabelClient, server: Any, tmp_path: Path) -> None:
    sample = client.next_sample("random", {})
    assert Path(sample["path"]) == server.studies / f"{sample['id']}.nii.gz"
    infer(client, "organ", sample["id"], **SLICER)
    sitk.WriteImage(make_label(sample["id"]), tmp_path / "label.nii.gz")
    names = [{"name": "organ_head", "idx": 1}, {"name": "organ_tail", "idx": 2}]
    answer = client.save_label(sample["id"], str(tmp_path / "label.nii.gz"), params={"label_info": names})
    assert answer["version"] == 1
    assert client.info()["datastore"]["completed"] == 1
    saved = client.download_label(sample["id"], "final")
    assert same_place(sitk.ReadImage(saved), sitk.ReadImage(sample["path"]))
    Path(saved).unlink()
    record = client.datastore()["objects"][sample["id"]]["labels"]["final"]["info"]
    assert record["started_from"]["model"] == "organ"
    assert record["client_id"] == "ann"
    assert client.next_sample("first", {})["id"] != sample["id"]


def test_twenty_clients_at_once_all_get_what_they_ask_for(server: Any, tmp_path: Path) -> None:
    """Everybody is shown a scan, asks for an outline and submits one; who is sent away comes back when told to."""

    def work(person: int) -> tuple[str, int]:
        own = MONAILabelClient(server.url, client_id=f"person {person}")
        image = own.next_sample("uncertain_diverse", {})["id"]
        while (
            answer := requests.post(f"{server.url}/infer/organ", params={"image": image}, timeout=60)
        ).status_code != 200:
            assert (answer.status_code, int(answer.headers["Retry-After"]) > 0) == (503, True)
            time.sleep(0.1)
        image = SCANS[person % len(SCANS)]
        label = tmp_path / f"{person}.nii.gz"
        sitk.WriteImage(make_label(image), label)
        names = [{"name": "organ_head", "idx": 1}, {"name": "organ_tail", "idx": 2}]
        own.save_label(image, str(label), tag=f"of-{person}", params={"label_info": names})
        return image, person

    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(work, range(20)))
    objects = server.client.datastore()["objects"]
    for image, person in done:
        assert objects[image]["labels"][f"of-{person}"]["info"]["client_id"] == f"person {person}"
        removal = {"id": image, "tag": f"of-{person}"}
        assert requests.delete(f"{server.url}/datastore/label", params=removal, timeout=60).ok


def test_a_scan_of_the_users_own_goes_through_a_session(client: MONAILabelClient, scan: Path) -> None:
    session = client.create_session(str(scan))["session_id"]
    assert client.get_session(session)["name"] == session
    label, params = infer(client, "organ", "mine", session_id=session, **SLICER)
    assert same_place(label, sitk.ReadImage(scan))
    assert params["report"]["case"] == "mine"
    client.remove_session(session)
    with pytest.raises(Exception, match="there is none of that id"):
        client.get_session(session)


def test_a_scan_can_be_uploaded_and_removed(client: MONAILabelClient, server: Any, scan: Path) -> None:
    assert client.upload_image(str(scan), "uploaded")["image"] == "uploaded"
    assert "uploaded" in client.datastore()["objects"]
    label, _ = infer(client, "organ", "uploaded")
    assert same_place(label, sitk.ReadImage(scan))
    assert requests.delete(f"{server.url}/datastore/", params={"id": "uploaded"}, timeout=30).ok
    assert "uploaded" not in client.datastore()["objects"]


class TestRefusals:
    def test_an_unknown_model(self, client: MONAILabelClient) -> None:
        assert "Known: organ, organ_clicks, organ_complete, organ_uncertainty" in refused(
            lambda: client.infer("heart", "oblique", {})
        )

    def test_an_unknown_scan(self, client: MONAILabelClient) -> None:
        assert "anisotropic, flipped, oblique, straight" in refused(
            lambda: client.infer("organ", "nobody", {})
        )

    @pytest.mark.parametrize("image", ["/etc/passwd", "../../secret.nii.gz"])
    def test_a_path_for_a_scan(self, image: str, client: MONAILabelClient) -> None:
        assert "is a path" in refused(lambda: client.infer("organ", image, {}))
        assert "hold an image" in refused(lambda: client.infer("organ", "oblique", {"image": image}))

    @pytest.mark.parametrize("params", [{"networks": "both"}, {"seed": "many"}, {"result_dtype": "object"}])
    def test_an_impossible_option(self, params: dict[str, Any], client: MONAILabelClient) -> None:
        assert f"option {next(iter(params))}" in refused(lambda: client.infer("organ", "oblique", params))

    def test_an_uploaded_file_that_is_no_scan(self, client: MONAILabelClient, tmp_path: Path) -> None:
        (tmp_path / "text.nii.gz").write_text("no scan")
        assert "not a NIfTI file" in refused(
            lambda: client.infer("organ", "text", {}, file=str(tmp_path / "text.nii.gz"))
        )
        assert "not a NIfTI file" in refused(
            lambda: client.upload_image(str(tmp_path / "text.nii.gz"), "text")
        )
        session = client.create_session(str(tmp_path / "text.nii.gz"))["session_id"]
        assert "not a NIfTI file" in refused(lambda: client.infer("organ", "", {}, session_id=session))

    def test_a_label_that_is_none(self, client: MONAILabelClient, tmp_path: Path) -> None:
        before = client.datastore()["objects"]["flipped"]["labels"]
        (tmp_path / "label.nii.gz").write_bytes(b"random bytes")
        assert "label of flipped" in refused(
            lambda: client.save_label("flipped", str(tmp_path / "label.nii.gz"))
        )
        assert client.datastore()["objects"]["flipped"]["labels"] == before

    def test_names_that_leave_the_studies(self, client: MONAILabelClient, server: Any, scan: Path) -> None:
        before = sorted(server.studies.parent.glob("*"))
        assert "image id" in refused(lambda: client.upload_image(str(scan), "../evil"))
        assert "label tag" in refused(lambda: client.save_label("oblique", str(scan), tag="../../evil"))
        assert sorted(server.studies.parent.glob("*")) == before


def children(server: Any) -> dict[int, str]:
    """Process id and command line of the processes that a server started."""
    threads = Path(f"/proc/{server.process.pid}/task").iterdir()
    found = [child for thread in threads for child in (thread / "children").read_text().split()]
    return {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in found}


def test_scans_are_scored_by_a_process_of_the_lowest_priority(client: MONAILabelClient, server: Any) -> None:
    # The process gets what nobody else wants, which on a busy machine is little; and the first scan that it has
    # looked at may be one that another test was handed, so that the answer is one without a score.
    answer: dict[str, Any] = {}

    def scored() -> bool:
        answer.update(client.next_sample("uncertain", {}))
        return "score" in answer

    wait_for(scored, seconds=900)
    (worker,) = (
        child for child, command in children(server).items() if "diffcl.active_learning.worker" in command
    )
    assert os.getpriority(os.PRIO_PROCESS, worker) == 19
    sessions = Path(f"/proc/{worker}/autogroup")
    assert not sessions.exists() or sessions.read_text().split()[-2:] == ["nice", "19"]
    assert 0 <= answer["score"] <= 1
    assert answer["model"] == "organ"
    assert f"by organ version {answer['version']}" in answer["reason"]
    assert list((server.studies / "scores" / "organ").glob("*/*.json"))


def test_monai_labels_own_integration_tests_pass(server: Any, tmp_path: Path) -> None:
    folder = tmp_path / "tests/data/dataset/local/spleen"
    folder.mkdir(parents=True)
    (folder / "spleen_3.nii.gz").write_bytes((server.studies / "oblique.nii.gz").read_bytes())
    port = str(urlparse(server.url).port)
    tests = [f"tests.integration.radiology.{name}" for name in ("test_info", "test_session")]
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "unittest", *tests],
        cwd=tmp_path, env={**os.environ, "MONAILABEL_SERVER_PORT": port}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "Ran 2 tests" in found.stderr


def wait_for(done: Callable[[], bool], seconds: float = 180) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)


def test_a_new_organ_is_learned_while_the_server_answers(
    tmp_path_factory: pytest.TempPathFactory, start_server: Any, tmp_path: Path
) -> None:
    running = start_server(tmp_path_factory.mktemp("new organ"), trained=False)
    client = running.client
    assert client.info()["labels"] == ["organ_head", "organ_tail"]
    assert "no model yet" in refused(lambda: client.infer("organ", "oblique", {}))

    def progress(key: str) -> Any:
        return client.info()["train_stats"]["organ"].get(key)

    client.train_start("organ", {})
    wait_for(lambda: client.train_status()["status"] == "ERROR")
    why = "task organ: no scan with a usable final label. Label one and submit it"
    assert (progress("status"), progress("message")) == ("failed", why)
    assert client.train_status()["details"][-1].endswith(why)

    for name in SCANS[:-1]:
        sitk.WriteImage(make_label(name), tmp_path / "label.nii.gz")
        client.save_label(name, str(tmp_path / "label.nii.gz"))
    assert "Known: organ" in refused(lambda: client.train_start("heart", {}))
    client.train_start("organ", {"steps": 100_000})
    wait_for(lambda: (progress("epoch") or 0) > 10)
    assert progress("status") == "training"
    assert client.next_sample("first", {})["id"] == SCANS[-1]
    assert "runs or waits already" in refused(lambda: client.train_start("organ", {}))
    client.train_stop()
    wait_for(lambda: progress("status") == "stopped")
    assert progress("total_time")

    client.train_start("organ", {"steps": 8})
    wait_for(lambda: client.train_status()["status"] == "DONE")
    assert (progress("status"), progress("epoch")) == ("done", 8)
    label, params = infer(client, "organ", "oblique", **SLICER)
    assert same_place(label, sitk.ReadImage(running.studies / "oblique.nii.gz"))
    assert (params["model"], params["version"]) == ("organ", 1)
    assert set(running.store.info("organ").provenance["labelled"]) == set(SCANS[:-1])


def start_again(server: Any) -> None:
    """Start a server that was killed as it was started before."""
    environment = {**os.environ, "MONAI_LABEL_SESSION_PATH": str(server.studies.parent / "sessions")}
    with server.log.open("ab") as log:
        server.process = subprocess.Popen(
            server.process.args,
            cwd=server.studies.parent,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def answers() -> bool:
        try:
            return requests.get(f"{server.url}/info/", timeout=10).ok
        except requests.ConnectionError:
            return False

    wait_for(answers)


def test_a_round_goes_on_after_the_server_was_killed_in_it(
    tmp_path_factory: pytest.TempPathFactory, start_server: Any, tmp_path: Path
) -> None:
    running = start_server(tmp_path_factory.mktemp("killed"))
    client = running.client
    told = Progress(running.studies / "training" / "organ")
    labels = {name: str(tmp_path / f"{name}.nii.gz") for name in SCANS[:-1]}
    for name, label in labels.items():
        assert infer(client, "organ", name)[1]["version"] == 1
        sitk.WriteImage(make_label(name), label)
        client.save_label(name, label)
    request = {"steps": 48, "margin": 1.0}
    client.train_start("organ", request)
    wait_for((running.studies / "training" / "organ" / "current" / "checkpoint.pt").exists)
    (child,) = (child for child, command in children(running).items() if "\0train\0" in command)
    assert os.getpriority(os.PRIO_PROCESS, child) == 10

    # Everything is answered while inferences and the training compute; benchmarks/server.py says how soon.
    stop, answered, seeds = threading.Event(), threading.Semaphore(0), itertools.count()

    def compute() -> None:
        mine = running.client
        while not stop.is_set():
            infer(mine, "organ", "oblique", seed=next(seeds))
            answered.release()

    worker = threading.Thread(target=compute)
    worker.start()
    for _ in range(5):
        client.info()
        client.next_sample("uncertain_diverse", {})
        client.save_label("oblique", labels["oblique"], tag="original")
        assert client.train_status()["status"] == "RUNNING"
    assert answered.acquire(timeout=60)
    stop.set()
    worker.join()
    assert told.read()["status"] == "training"

    running.process.kill()
    running.process.wait()
    # What makes it stopped is that the child is gone.
    wait_for(lambda: told.read()["status"] == "stopped", seconds=20)
    begun = told.read()["epoch"]
    start_again(running)
    assert client.info()["train_stats"]["organ"]["status"] == "stopped"
    client.train_start("organ", request)
    wait_for(lambda: client.train_status()["status"] in ("DONE", "ERROR"))
    assert client.train_status()["status"] == "DONE"
    assert "A run that was stopped is continued." in running.log.read_text()
    assert (told.read()["status"], told.read()["epoch"]) == ("done", 48)
    assert begun < 48
    assert running.store.info("organ").provenance["parent"] == {"name": "organ", "version": 1}
    assert infer(client, "organ", "oblique")[1]["version"] == 2
    assert client.next_sample("uncertain_diverse", {})["id"] == SCANS[-1]


def test_the_stock_command_serves_the_app_from_any_folder(
    tmp_path_factory: pytest.TempPathFactory, start_server: Any
) -> None:
    folder = tmp_path_factory.mktemp("stock server")
    elsewhere = folder / "else where"
    elsewhere.mkdir()
    stale = folder / "sessions" / "stale"
    stale.mkdir(parents=True)
    running = start_server(folder, cwd=elsewhere, stock=True)
    label, params = infer(running.client, "organ", "oblique", **SLICER)
    assert same_place(label, sitk.ReadImage(running.studies / "oblique.nii.gz"))
    assert params["version"] == 1
    assert "Known: organ" in refused(lambda: running.client.infer("heart", "oblique", {}))
    assert json.loads((running.studies / "datastore_v2.json").read_text())["objects"]
