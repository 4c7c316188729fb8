"""Names of scans, people, studies and classes in every script, wherever they stand on the pages and in the report."""

from __future__ import annotations

import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest
from pages import application, ask, in_order, project_of
from study_files import describe_version, empty_scans, keep_training, keep_versions, record

from diffcl.access.roles import Role, User
from diffcl.web.pages.words import without_name

SCAN, WAITING, BROKEN = "סריקה 12", "صورة 3", "סריקה 13"

PEOPLE = ("דנה", "ليلى")


class Loose(HTMLParser):
    """Gathers the texts with letters of scripts from right to left that stand in no element of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.isolated: list[str] = []
        self._inside: list[str] = []

    def handle_starttag(self, tag: str, _: object) -> None:
        self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if any(unicodedata.bidirectional(one) in ("R", "AL") for one in data) and "title" not in self._inside:
            (self.isolated if self._inside[-1] == "bdi" else self.found).append(data)


def loose_in(text: str) -> Loose:
    parser = Loose()
    parser.feed(text)
    return parser


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Scans with names from right to left, and what a server and a training say of them."""
    folder = tmp_path / "studies"
    empty_scans(folder, [SCAN, WAITING, BROKEN])
    records = [record(f"2026-01-0{day}", by, 0.4, 1) for day, by in enumerate(PEOPLE, start=1)]
    keep_versions(folder, SCAN, [{**one, "drawn": f"drawn by {PEOPLE[0]} 5 times"} for one in records])
    message = f"task organ: no scan with a usable final label ({BROKEN}: 2 classes)"
    keep_training(folder, "failed", message=message, refused={BROKEN: f"{BROKEN}: 10.0 mm, like {SCAN}: 3"})
    describe_version(tmp_path / "store", 1, 2, 0.7, reason=f"Published: {SCAN} 0.700, 1 of 2.")
    (tmp_path / "store" / "organ" / "1" / "card.md").write_text(f"{SCAN} 0.7\n")
    return folder


@pytest.mark.parametrize("path", [
    "/", "/study/scans", f"/study/scan?image={quote(SCAN)}", f"/study/scan?image={quote(WAITING)}",
    f"/study/scan?image={quote(BROKEN)}", "/study/quality", "/study/training", "/study/versions",
    "/study/version?model=organ&version=1", "/study/versions/use?model=organ&version=1", "/study/report",
    f"/study/scan?image={quote(SCAN)}%20none",
])  # fmt: skip
def test_names_from_right_to_left_turn_no_sentence_around(path: str, studies: Path) -> None:
    project = project_of(
        studies, studies.parent / "store", upcoming=in_order, failures=lambda: {BROKEN: f"{BROKEN}: is empty"}
    )
    project.studies.set_name(f"מחקר 7 {PEOPLE[1]}")
    about = {
        "model": "organ",
        "version": 1,
        "task": "organ",
        "summary": f"{PEOPLE[0]} 2 ml",
        "warnings": [f"{SCAN} 3"],
    }
    project.studies.note_image(WAITING, {"proposal": about})
    app = application(project, User(f"{PEOPLE[0]} 2", Role.ADMIN))
    ask(app, "/")  # a version is known once the project was read
    answer = ask(app, path)
    assert loose_in(answer.text).found == []
    assert loose_in(answer.text).isolated


@pytest.mark.parametrize(
    "said", ["p7: is empty", "p7.nii.gz: is empty", "my scans/p7.nii.gz: is empty", "is empty"]
)
def test_what_is_said_of_a_scan_does_not_repeat_its_name(said: str) -> None:
    assert without_name(said, "p7") == "is empty"


@pytest.mark.parametrize("said", ["p77: is empty", "label of p7: is empty", "archive pacs: p7: is away"])
def test_what_is_said_of_something_else_stays(said: str) -> None:
    assert without_name(said, "p7") == said


def test_no_page_says_the_name_of_an_unusable_scan_twice(studies: Path) -> None:
    app = application(
        project_of(studies, studies.parent / "store", failures=lambda: {BROKEN: f"{BROKEN}: is empty"})
    )
    for path in ("/", "/study/scans?state=unusable", f"/study/scan?image={quote(BROKEN)}"):
        assert f"{BROKEN}: is empty" not in ask(app, path).text.replace("<bdi>", "").replace("</bdi>", "")
        assert "is empty" in ask(app, path).text
