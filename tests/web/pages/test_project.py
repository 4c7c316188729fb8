"""The first page, the list of scans and the page of a scan, without a server around them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pages import application, ask, in_order, large_project, project_of
from study_files import empty_scans, keep_versions, record

from diffcl.access.roles import Role, User
from diffcl.errors import ArchiveDownError
from diffcl.studies.folder import FolderStudies
from diffcl.web.pages.kept import Kept
from diffcl.web.pages.project import Project

LONG = "x" * 100

STRANGE = ("case 1 <b>&amp;", "山田の画像", "снимок", LONG)


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    return tmp_path / "studies"


@pytest.fixture
def get(studies: Path, tmp_path: Path) -> Callable[..., httpx.Response]:
    """Asks for a page of the studies; with other parts of the project and for another user where that is said."""

    def asked(path: str, user: User | None = None, **other: Any) -> httpx.Response:
        return ask(application(project_of(studies, tmp_path / "store", **other), user), path)

    return asked


def test_a_project_without_scans_says_how_they_come(get: Callable[..., httpx.Response]) -> None:
    answer = get("/")
    assert answer.status_code == 200
    assert "No scan yet. Put NIfTI, NRRD or MetaImage files into the folder of the studies" in answer.text


def test_a_project_without_labels_says_how_to_begin(
    get: Callable[..., httpx.Response], studies: Path
) -> None:
    empty_scans(studies, [f"p{number}" for number in range(6)])
    text = get("/").text
    assert "6 scans, no label yet: open 3D Slicer with this address" in text
    assert "<code>http://localhost</code>" in text


def test_the_counts_are_those_of_the_scans(studies: Path) -> None:
    empty_scans(studies, ["a", "b", "c", "d", "e", "f"])
    for name, review in (("a", None), ("b", "approved"), ("c", "flagged")):
        keep_versions(studies, name, [record("2026-01-31", "ann"), record("2026-02-01", "bob")])
        if review:
            (studies / "history" / name / "2.review.json").write_text(
                f'{{"segmentationMeta": {{"status": "{review}"}}}}'
            )
    project = project_of(studies, studies.parent / "store", failures=lambda: {"d": "d: not an image"})
    project.studies.note_image("e", {"proposal": {"model": "organ", "version": 3, "task": "organ"}})
    text = ask(application(project), "/").text
    for count, state in (
        (1, "waiting"),
        (1, "proposed"),
        (1, "submitted"),
        (1, "approved"),
        (1, "flagged"),
        (1, "unusable"),
    ):
        assert f'?state={state}"><strong>{count}</strong>' in text
    assert (
        "3 scans of 6 have a label. 2 of them were reviewed: 1 approved, 1 flagged. 1 scan cannot be used."
        in text
    )
    assert '<td>3</td><td class="who">bob 3</td>' in text
    listed = ask(application(project), "/study/scans?state=unusable").text
    assert "unusable</span><br>not an image</td>" in listed
    assert "1 scan." in listed


def test_next_scans_are_told_with_reason_and_doubt(get: Callable[..., httpx.Response], studies: Path) -> None:
    empty_scans(studies, ["a", "b"])
    text = get("/", upcoming=in_order).text
    assert 'href="/study/scan?image=a">a</a></th>' in text
    assert '<td class="text">Stands for the most doubtful scans, by organ version 3</td>' in text
    assert '<td class="number">25 %</td><td class="number">40 %</td>' in text


@pytest.mark.parametrize("name", STRANGE)
def test_every_name_is_shown_and_none_is_markup(
    name: str, get: Callable[..., httpx.Response], studies: Path
) -> None:
    empty_scans(studies, [name])
    keep_versions(studies, name, [record("2026-01-31", f"<script>{name}", 0.8)])
    for path in ("/", "/study/scans"):
        text = get(path).text
        assert "<script>" not in text
        assert "<b>" not in text
    app = application(project_of(studies, studies.parent / "store"))
    answer = ask(app, "/study/scan", params={"image": name})
    assert answer.status_code == 200
    assert "Dice 0.800 with the proposal of organ version 1; 7 voxels unlike the label before" in answer.text
    assert ask(app, "/study/chart/days.svg", params={"theme": "dark"}).text.startswith("<?xml")


def test_pages_say_how_much_of_a_label_is_drawn(get: Callable[..., httpx.Response], studies: Path) -> None:
    empty_scans(studies, ["a"])
    told = "drawn on 5 of 40 axial slices"
    keep_versions(studies, "a", [{**record("2026-01-31", "ann"), "drawn": told}])
    assert "1 label is partly drawn" in get("/").text
    assert f"<br>{told}</td>" in get("/study/scans").text
    text = ask(
        application(project_of(studies, studies.parent / "store")), "/study/scan", params={"image": "a"}
    ).text
    assert f"{told}; 7 voxels unlike the label before" in text


def test_the_history_of_a_scan_says_whose_labels_agree_and_who_reviewed_them(studies: Path) -> None:
    empty_scans(studies, ["a"])
    agreement = {"with_version": 1, "with_author": "ann", "classes": {"organ_head": {"dice": 0.8}}}
    review = {"status": "flagged", "approvedBy": "carol", "comment": "the tail is missing"}
    second = {**record("2026-02-01", "bob"), "agreement": agreement, "segmentationMeta": review}
    keep_versions(studies, "a", [record("2026-01-31", "ann"), second])
    text = ask(application(project_of(studies, studies.parent / "store")), "/study/scan?image=a").text
    assert "Dice 0.800 with version 1 by ann" in text
    assert "flagged</span> by carol<br>the tail is missing</td>" in text


def test_a_scan_that_is_not_there_is_a_page_that_says_so(
    get: Callable[..., httpx.Response], studies: Path
) -> None:
    empty_scans(studies, ["a"])
    answer = get("/study/scan?image=../../etc/passwd")
    assert answer.status_code == 404
    assert "There is no scan ../../etc/passwd, or not any more." in answer.text


def test_an_archive_that_is_away_is_told_and_the_rest_is_there(
    studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> dict[str, Any]:
        raise ArchiveDownError("archive http://pacs:8042", "does not answer", "Try again later")

    monkeypatch.setattr(FolderStudies, "content", away)
    monkeypatch.setattr(FolderStudies, "visible_series", away)
    app = application(project_of(studies, studies.parent / "store", has_viewer=True))
    for path in ("/", "/study/scans"):
        answer = ask(app, path)
        assert answer.status_code == 200
        assert '<div class="note" role="alert">' in answer.text
        assert answer.text.count("archive http://pacs:8042: does not answer. Try again later") == 1
        assert "The scans cannot be listed now." in answer.text
        assert "0 scans" not in answer.text
    answer = ask(app, "/study/scan?image=a")
    assert answer.status_code == 503
    assert "does not answer" in answer.text
    assert "Not found" not in answer.text


def test_a_folder_that_cannot_be_written_is_shown(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_scans(studies, ["a"])
    project = project_of(studies, studies.parent / "store")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("diffcl.files.uuid4", full)
    assert "1 scan, no label yet" in ask(application(project), "/").text


def test_long_lists_come_in_pages(get: Callable[..., httpx.Response], studies: Path) -> None:
    empty_scans(studies, [f"scan-{number:03}" for number in range(120)])
    first, last = get("/study/scans").text, get("/study/scans?page=3").text
    assert "120 scans, page 1 of 3." in first
    assert "scan-049<" in first
    assert "scan-050<" not in first
    assert "scan-119<" in last
    for page in ("99", "-1", "x", "9" * 30, "²"):
        assert get(f"/study/scans?page={page}").status_code == 200
    assert "1 scan." in get("/study/scans?q=N-119").text
    assert "No scan is like that." in get("/study/scans?q=nothing&state=flagged").text


def test_pages_load_nothing_from_elsewhere_and_run_nothing_inline(
    get: Callable[..., httpx.Response], studies: Path
) -> None:
    empty_scans(studies, ["a"])
    answer = get("/", user=User("ann", Role.READER))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for forbidden in ("style=", "onclick", "https://", "<style", "<script>"):
        assert forbidden not in answer.text
    assert "ann, reader" in answer.text
    assert 'action="/auth/logout"' in answer.text


def test_addresses_stand_below_the_prefix_of_a_proxy(studies: Path) -> None:
    empty_scans(studies, ["a"])
    app = application(project_of(studies, studies.parent / "store"))
    text = ask(app, "/diffcl/", root="/diffcl").text
    assert 'href="/diffcl/study/style.css"' in text
    assert 'href="/diffcl/study/scan?image=a"' in text


def test_a_thousand_scans_make_a_small_page(tmp_path: Path) -> None:
    project: Project = large_project(tmp_path, scans=200, labels=1000, versions=5)
    text = ask(application(project), "/").text
    assert "100 scans of 200 have a label" in text
    assert len(text.encode()) < 30_000
    assert len(ask(application(project), "/study/chart/days.svg?theme=light").content) < 100_000


def test_what_takes_long_keeps_nobody_waiting() -> None:
    values = iter(range(10))

    def slow() -> int:
        time.sleep(0.2)
        return next(values)

    kept = Kept(slow, fresh=0.01)
    assert kept.now(wait=0.01) is None
    assert kept.now(wait=2) == 0
    kept.forget()
    assert kept.now(wait=0) == 0
    assert kept.late
    assert kept.now(wait=2) == 1
    assert not kept.late


def test_a_value_that_is_made_anew_at_little_cost_is_fresh_although_the_first_one_cost_much() -> None:
    values = iter(range(10))

    def dear_at_first() -> int:
        value, begin = next(values), time.thread_time()
        while value == 0 and time.thread_time() - begin < 0.2:
            pass
        return value

    kept = Kept(dear_at_first, fresh=0.01)
    assert kept.now(wait=20) == 0
    time.sleep(0.02)
    assert kept.now(wait=20) == 1


def test_a_page_that_may_show_what_was_asks_again_soon(
    get: Callable[..., httpx.Response], studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_scans(studies, ["a"])
    assert 'data-live="2"' in get("/").text
    monkeypatch.setattr(Kept, "late", True)
    assert 'data-live="0.5"' in get("/").text
    assert 'data-live="0.5"' in get("/study/scan?image=a").text


def test_a_fault_is_told_to_whoever_asks_and_the_next_one_tries_again() -> None:
    outcomes = iter((ValueError("a fault"), 7))

    def make() -> int:
        found = next(outcomes)
        if isinstance(found, Exception):
            raise found
        return found

    kept = Kept(make, fresh=0)
    with pytest.raises(ValueError, match="a fault"):
        kept.now(wait=2)
    kept.forget()
    assert kept.now(wait=2) == 7
