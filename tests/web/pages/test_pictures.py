from __future__ import annotations

import threading
import time
from pathlib import Path

from pages import application, ask, project_of
from synthetic import make_label, make_studies

from diffcl.errors import ScanError
from diffcl.studies.pictures import Picture
from diffcl.web.pages.pictures import WAITING, Pictures


def picture(size: int = 10) -> Picture:
    return Picture(b"x" * size, {}, {}, has_doubt=False, colors={})


def test_a_picture_is_made_once_and_again_when_it_changes() -> None:
    drawn: list[str] = []

    def draw(image: str, task: str) -> Picture:
        drawn.append(f"{image} {task}")
        return picture()

    pictures = Pictures(draw)
    assert pictures.kept("a") is None
    for mark in ("1", "1", "2"):
        assert isinstance(pictures.get("a", mark, "organ", wait=5), Picture)
    assert drawn == ["a organ", "a organ"]
    assert isinstance(pictures.kept("a"), Picture)


def test_nobody_waits_for_a_picture_and_the_queue_is_bounded() -> None:
    begin, drawn = threading.Event(), list[str]()

    def draw(image: str, _: str) -> Picture:
        assert begin.wait(5)
        drawn.append(image)
        return picture()

    pictures = Pictures(draw)
    for number in range(WAITING + 5):
        assert pictures.get(str(number), "1", wait=0.01) is None
    begin.set()
    while len(drawn) < WAITING:
        time.sleep(0.01)
    assert pictures.get(str(WAITING + 4), "1", wait=5) is not None
    assert len(drawn) <= WAITING + 1


def test_what_cannot_be_drawn_says_why_and_the_next_one_is_drawn() -> None:
    def draw(image: str, _: str) -> Picture:
        if image == "bad":
            raise ScanError("bad", "not an image", "Export it again")
        return picture()

    pictures = Pictures(draw)
    assert pictures.get("bad", "1", wait=5) == "bad: not an image. Export it again"
    assert isinstance(pictures.get("good", "1", wait=5), Picture)


def test_no_more_is_kept_than_there_is_room_for() -> None:
    pictures = Pictures(lambda *_: picture(100), room=250)
    for name in "abc":
        pictures.get(name, "1", wait=5)
    assert pictures.kept("a") is None
    assert pictures.kept("c") is not None


def test_the_page_of_a_scan_shows_its_picture_and_volumes(tmp_path: Path) -> None:
    studies = make_studies(tmp_path / "studies")
    (studies / "flipped.nii.gz").write_bytes(b"nothing")
    project = project_of(studies, tmp_path / "store")
    about = {
        "model": "organ",
        "version": 3,
        "task": "organ",
        "summary": "organ_head 0.10 ml",
        "warnings": ["Cut off"],
    }
    project.studies.keep_proposal("straight", make_label("straight"), about)
    app = application(project)
    while "The picture is being made." in (text := ask(app, "/study/scan?image=straight").text):
        time.sleep(0.05)
    assert "with the outline of the proposal" in text
    assert 'organ_head</th><td class="number">0.12</td>' in text  # 120 voxels of 1 mm
    assert "By organ version 3: organ_head 0.10 ml." in text
    assert "Cut off" in text
    answer = ask(app, "/study/picture.png?image=straight")
    assert answer.headers["content-type"] == "image/png"
    while "The picture is being made." in (text := ask(app, "/study/scan?image=flipped").text):
        time.sleep(0.05)
    assert "It cannot be shown:" in text
    assert ask(app, "/study/picture.png?image=flipped").status_code == 404
