"""Whatever somebody puts into the folders of a server: it lives, serves the others, says one line of the odd one."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import SimpleITK as sitk
from fuzz_images import mutated, seeds
from monailabel.config import settings
from monailabel.interfaces.utils import app as instances
from study_files import make_socket
from synthetic import SCANS, make_label, make_scan

from diffcl.io import read
from diffcl.resources import app_folder
from lib.server import application as server

Ask = Callable[..., httpx.Response]

DIRECTIONS = " ".join(["(1,0,0)"] * 300)

NRRD = (
    f"NRRD0005\ntype: float\ndimension: 3\nsizes: 4 4 4\nspace: left-posterior-superior\n"
    f"space directions: {DIRECTIONS}\nencoding: raw\nendian: little\n\n"
).encode() + bytes(256)
"""A header over which ITK corrupts its memory."""

MHA = (
    b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_FLOAT\n"
    b"TransformMatrix = inf 0 0 0 inf 0 0 0 inf\nElementDataFile = LOCAL\n"
) + bytes(256)
"""A header over which ITK loops for ever."""


@pytest.fixture
def ask(app: Any, studies: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Sends requests to one server, one after the other."""
    monkeypatch.setattr(settings, "MONAI_LABEL_APP_DIR", str(app_folder()))
    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", str(studies))
    monkeypatch.setitem(instances.apps, f"{app_folder()}{studies}", app)
    transport = httpx.ASGITransport(server.build(), raise_app_exceptions=False)
    client = httpx.AsyncClient(transport=transport, base_url="http://localhost")
    loop = asyncio.new_event_loop()
    yield lambda *asked, **given: loop.run_until_complete(client.request(*asked, **given))
    loop.run_until_complete(client.aclose())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture
def odd(studies: Path, tmp_path: Path) -> Path:
    """The studies, with odd files among the scans and the labels."""
    labels = studies / "labels" / "final"
    labels.mkdir(parents=True)
    rng = np.random.default_rng(11)
    (tmp_path / "whole").mkdir()
    whole = seeds(tmp_path / "whole")
    whole["plain.nii.gz"] = gzip.compress(whole["seed.nii"] + bytes(100 << 20), 1)
    for number in range(12):
        name = list(whole)[number % len(whole)]
        content = whole[name] if name == "plain.nii.gz" else mutated(whole[name], rng)
        (studies / f"mutant{number}.{name.split('.', 1)[1]}").write_bytes(content)
    for name, content in (("crash.nrrd", NRRD), ("loop.mha", MHA)):
        (studies / name).write_bytes(content)
        (labels / f"{SCANS[0]}{Path(name).suffix}").write_bytes(content)
    sitk.WriteImage(make_label(SCANS[1]), labels / f"{SCANS[1]}.nii.gz")
    (labels / f"{SCANS[2]}.nii.gz").write_bytes(whole["plain.nii.gz"])
    sitk.WriteImage(make_scan("oblique"), studies / "line\nbreak.nii.gz")
    sitk.WriteImage(make_scan("oblique"), studies / f"{'x' * 248}.nii.gz")
    os.link(studies / "oblique.nii.gz", os.fsencode(studies) + b"/latin-\xe9.nii.gz")
    for folder in (studies, labels):
        os.mkfifo(folder / "pipe.nii.gz")
        make_socket(folder / "socket.nii")
        (folder / "device.nrrd").symlink_to("/dev/zero")
        (folder / "itself.mha").symlink_to("itself.mha")
        (folder / "nowhere.mha").symlink_to("nowhere else")
        (folder / "folder.nii.gz").mkdir()
    return studies


def one_line(answer: httpx.Response) -> str:
    """The sentence of a refusal."""
    said = answer.json()["detail"]
    assert 400 <= answer.status_code < 500, answer.text
    assert "\n" not in said
    assert str(Path.cwd()) not in said
    return str(said)


def test_odd_files_among_the_scans_and_labels_stop_nothing(odd: Path, ask: Ask) -> None:
    scans = set(ask("GET", "/datastore/?output=all").json()["objects"])
    assert {*SCANS, "crash", "loop", "line\nbreak", "x" * 248} <= scans
    assert not scans & {"pipe", "socket", "device", "itself", "nowhere", "folder"}
    refused = {}
    for image in sorted(scans):
        answer = ask("POST", "/infer/organ", params={"image": image, "output": "json"})
        if answer.status_code != 200:
            refused[image] = one_line(answer)
        for path in ("/datastore/image", "/datastore/image/info", "/study/scan", "/study/picture.png"):
            assert ask("GET", path, params={"image": image}).status_code < 500, (path, image)
        for tag in ("final", "original"):
            assert ask("GET", "/datastore/label", params={"label": image, "tag": tag}).status_code < 500
    assert {"crash", "loop", "mutant7"} <= set(refused)
    assert not refused.keys() & {*SCANS, "line\nbreak", "x" * 248}
    label = odd.parent / "label.nii.gz"
    for image in (*SCANS, "line\nbreak", "x" * 248):
        sitk.WriteImage(make_label(image if image in SCANS else "oblique"), label)
        files = {"label": (label.name, label.read_bytes())}
        answer = ask("PUT", "/datastore/label", params={"image": image}, files=files)
        assert answer.status_code == 200, answer.text
    for path in ("/", "/study/scans", "/info/", "/health", "/metrics"):
        assert ask("GET", path).status_code == 200, path
    assert ask("POST", "/activelearning/first", json={}).status_code == 200
    for kind in ("itself", "pipe", "folder"):
        assert "image" in one_line(ask("POST", "/infer/organ", params={"image": kind}))


def test_a_scan_that_is_still_being_copied_or_has_gone_is_one_line(studies: Path, ask: Ask) -> None:
    whole = (studies / "oblique.nii.gz").read_bytes()
    (studies / "new.nii.gz").write_bytes(whole[: len(whole) // 2])
    infer = ("POST", "/infer/organ?output=json&image=new")
    assert one_line(ask(*infer)).startswith("new: ")
    (studies / "new.nii.gz").write_bytes(whole)
    assert ask(*infer).status_code == 200
    (studies / "new.nii.gz").unlink()
    assert "there is none of that name" in one_line(ask(*infer))


def test_the_server_itself_reads_no_image_file(
    studies: Path, ask: Ask, label_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reads in ("scan_of_file", "scans_of_file", "label_of_file"):
        monkeypatch.delattr(read, reads)
    (studies / "labels" / "original" / "oblique.nii.gz").write_bytes(label_file.read_bytes())
    scan = {"image": "oblique"}
    proposed = {"params": '{"save_label": true, "label_tag": "original"}'}
    assert ask("POST", "/infer/organ", params={**scan, "output": "json"}, data=proposed).status_code == 200
    for _ in range(2):  # the second is compared with the first, and with the proposal
        files = {"label": ("label.nii.gz", label_file.read_bytes())}
        assert ask("PUT", "/datastore/label", params=scan, files=files).status_code == 200
    files = {"file": ("new.nii.gz", (studies / "oblique.nii.gz").read_bytes())}
    assert ask("PUT", "/datastore/", params={"image": "new"}, files=files).status_code == 200
    assert ask("GET", "/study/picture.png", params=scan).status_code < 500
    assert ask("POST", "/activelearning/first", json={}).status_code == 200
