"""The pages about models: quality, training and versions, without a server around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from pages import Started, application, ask, project_of
from starlette.exceptions import HTTPException
from study_files import describe_version, empty_scans, keep_training, keep_versions, record

from diffcl.access.roles import Role, User
from diffcl.errors import OutputError
from diffcl.models import ModelRegistry

READER = User("eve", Role.REVIEWER)

FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    empty_scans(tmp_path / "studies", [f"scan{number}" for number in range(5)])
    return tmp_path / "studies"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def test_pages_without_a_model_say_what_to_do(studies: Path, store: Path) -> None:
    app = application(project_of(studies, store))
    assert (
        "There is no model yet. Label some scans, submit them, and train." in ask(app, "/study/quality").text
    )
    assert "No label was made from a proposal yet." in ask(app, "/study/quality").text
    assert "Nothing was trained here yet." in ask(app, "/study/training").text
    assert "There is no model yet." in ask(app, "/study/versions").text


def test_pages_without_a_task_say_so(studies: Path, store: Path) -> None:
    app = application(project_of(studies, store, trainings={}))
    for page in ("quality", "training", "versions"):
        assert "no task that could be trained" in ask(app, f"/study/{page}").text.replace("\n", " ")


def test_proposals_are_judged_by_what_people_made_of_them(studies: Path, store: Path) -> None:
    keep_versions(
        studies, "scan0", [record("2026-01-31", "ann", 0.7, 1), record("2026-02-01", "bob", 0.8, 2)]
    )
    keep_versions(studies, "scan1", [record("2026-02-02", "ann", 0.9, 2), record("2026-02-03", "ann")])
    app = application(project_of(studies, store))
    text = ask(app, "/study/quality").text
    row = '<th scope="row">{}</th><td class="number">{}</td><td class="number">{}</td>'
    assert row.format("1", 1, "0.700") in text
    assert row.format("2", 2, "0.850") in text
    assert row.format("2026-02", 2, "0.850") in text
    assert ask(app, "/study/chart/proposals.svg?theme=light").text.count("<svg") == 1


def test_versions_are_shown_with_their_margin_and_a_forecast_with_its_range(
    studies: Path, store: Path
) -> None:
    for number, (labelled, dice) in enumerate(((2, 0.747), (4, 0.823), (8, 0.852)), start=1):
        describe_version(store, number, labelled, dice)
    app = application(project_of(studies, store))
    text = ask(app, "/study/quality").text
    assert "more labels for 0.90" in text or "0.90 is probably not reached even with 56 more labels" in text
    assert "8 of 10 within" in text
    assert "0.852 ± 0.015" in text  # 1.96 times 0.03 over the root of 15
    assert "Mean Dice on the validation scans; the bars hold the mean" in text
    for chart in ("learning", "versions"):
        assert "<svg" in ask(app, f"/study/chart/{chart}.svg?of=organ&theme=dark").text
    assert "0.852 ± 0.015" in ask(app, "/study/versions").text


def test_versions_that_were_validated_on_other_scans_are_not_compared_silently(
    studies: Path, store: Path
) -> None:
    for number, (labelled, dice) in enumerate(((2, 0.74), (4, 0.82)), start=1):
        describe_version(store, number, labelled, dice)
    app = application(project_of(studies, store))
    assert "Not all versions were validated on the same scans" not in ask(app, "/study/quality").text
    described = json.loads((store / "organ" / "2" / "model.json").read_text())
    described["provenance"]["validation"] = ["v1", "v2", "v3"]
    (store / "organ" / "2" / "model.json").write_text(json.dumps(described))
    app = application(project_of(studies, store))
    assert "Not all versions were validated on the same scans" in ask(app, "/study/quality").text


def test_a_training_at_work_is_shown_live(studies: Path, store: Path) -> None:
    folder = keep_training(
        studies, "training", seconds_left=600, refused={"bad": "bad: not an image. Export it again"}
    )
    app = application(project_of(studies, store))
    with FileLock(folder / "progress.lock"):
        text = ask(app, "/study/training").text
    assert "Step 40 of 100, about 10 minutes left" in text
    assert 'max="100" value="40"' in text
    assert 'data-live="3"' in text
    assert "3 labelled and 1 unlabelled scan; 1 for validation" in text
    assert '<a href="/study/scan?image=bad">bad</a>: not an image. Export it again' in text
    assert "Stop the training" in text
    assert '<th scope="row" class="number">40</th><td class="number">0.700</td>' in text
    assert "<svg" in ask(app, "/study/chart/training.svg?of=organ&theme=light").text


def test_a_training_that_begins_is_shown_before_it_tells_anything(studies: Path, store: Path) -> None:
    text = ask(application(project_of(studies, store, busy=lambda: ["organ"])), "/study/training").text
    assert "<strong>Begins</strong>: its process is being started" in text
    assert "Stop the training" in text
    assert "Train organ" not in text


def test_a_training_that_died_says_so_and_can_be_continued(studies: Path, store: Path) -> None:
    keep_training(studies, "training", seconds_left=600)
    text = ask(application(project_of(studies, store)), "/study/training").text
    assert (
        "<strong>Stopped</strong>: Stopped before its end. Train again with the same options to continue it."
        in text
    )
    assert "minutes left" not in text
    assert "Train organ" in text


def test_a_training_that_failed_tells_why_and_former_ones_how_they_ended(studies: Path, store: Path) -> None:
    folder = keep_training(studies, "failed", message="task organ: no scan with a usable final label")
    (folder / "1").mkdir()
    (folder / "1" / "decision.json").write_text(
        '{"published": true, "reason": "Published: no model.", "version": 1}'
    )
    (folder / "2").mkdir()
    (folder / "2" / "decision.json").write_text("{")
    text = ask(application(project_of(studies, store)), "/study/training").text
    assert "task organ: no scan with a usable final label" in text
    assert '<td class="text long">Published: no model.</td>' in text


def test_who_may_starts_and_stops_a_training(studies: Path, store: Path) -> None:
    started = Started()
    app = application(project_of(studies, store, started), User("eve", Role.ADMIN))
    body = "act=start&task=organ&minutes=30&start_from=scratch&only_approved=yes"
    answer = ask(app, "/study/training", "POST", content=body, headers=FORM)
    assert (answer.status_code, answer.headers["location"]) == (303, "/study/training?said=start")
    assert ask(app, "/study/training", "POST", content="act=stop", headers=FORM).status_code == 303
    options = {"minutes": 30, "start_from": "scratch", "only_approved": True}
    assert started.asked == [("organ", options), ("stop", {})]
    assert "The training begins." in ask(app, "/study/training?said=start").text
    assert "<b>" not in ask(app, "/study/training?said=<b>").text


@pytest.mark.parametrize("minutes", ["9" * 5000, "-1", "1e9", "\u00b2", ""])
def test_minutes_that_are_none_are_no_fault(minutes: str, studies: Path, store: Path) -> None:
    started = Started()
    app = application(project_of(studies, store, started), User("eve", Role.ADMIN))
    answer = ask(app, "/study/training", "POST", data={"act": "start", "task": "organ", "minutes": minutes})
    assert answer.status_code == 303
    assert [options["minutes"] for _, options in started.asked] == [0]


@pytest.mark.parametrize("form", [{}, {"act": "start"}, {"task": ""}, {"task": "heart"}], ids=str)
def test_a_task_that_is_none_is_not_trained(form: dict[str, str], studies: Path, store: Path) -> None:
    started = Started()
    app = application(project_of(studies, store, started), User("eve", Role.ADMIN))
    assert ask(app, "/study/training", "POST", data=form).status_code == 404
    assert started.asked == []


def test_who_may_not_act_is_told_so_and_sees_no_button(studies: Path, store: Path) -> None:
    started = Started()
    describe_version(store, 1, 2, 0.7)
    describe_version(store, 2, 4, 0.6, published=False, reason="Not published: Dice 0.600.")
    app = application(project_of(studies, store, started), READER)
    training, versions = ask(app, "/study/training").text, ask(app, "/study/versions").text
    assert "Starting and stopping takes the role admin; you are reviewer." in training
    assert "Putting another version into use takes the role admin; you are reviewer." in versions
    assert "Train organ" not in training
    assert "Use version" not in versions
    for path, method in (("/study/training", "POST"), ("/study/versions/use", "POST"),
                         ("/study/versions/use?model=organ&version=2", "GET")):  # fmt: skip
        answer = ask(app, path, method, content="act=start&task=organ&model=organ&version=2", headers=FORM)
        assert answer.status_code == 403
        assert "takes the role admin" in answer.text
    assert started.asked == []
    assert ModelRegistry(store).in_use("organ") == "1"


def test_a_folder_that_cannot_be_written_is_told_and_nothing_is_started(studies: Path, store: Path) -> None:
    started = Started()
    why = "studies: cannot be written. What is there can be looked at"
    app = application(project_of(studies, store, started, unwell=lambda: why))
    for path in ("/", "/study/training"):
        assert f"<li>{why}</li>" in ask(app, path).text
    answer = ask(app, "/study/training", "POST", data={"act": "start", "task": "organ"})
    assert (answer.status_code, started.asked) == (507, [])
    assert why in answer.text
    assert ask(app, "/study/training", "POST", data={"act": "stop"}).status_code == 303


def test_a_training_that_cannot_start_is_a_page_that_says_why(studies: Path, store: Path) -> None:
    async def busy(*_: Any) -> None:
        raise HTTPException(429, "training of organ: runs or waits already. Stop it first")

    app = application(project_of(studies, store, start=busy))
    answer = ask(app, "/study/training", "POST", content="act=start&task=organ", headers=FORM)
    assert answer.status_code == 429
    assert "training of organ: runs or waits already. Stop it first" in answer.text


def test_a_version_is_put_into_use_after_a_confirmation(studies: Path, store: Path) -> None:
    describe_version(store, 1, 2, 0.7)
    describe_version(store, 2, 4, 0.8, reason="Published: Dice 0.800, version 1 has 0.700.")
    app = application(project_of(studies, store))
    listed = ask(app, "/study/versions").text
    assert "Published: Dice 0.800, version 1 has 0.700." in listed
    assert "2</a>, in use" in listed
    asked = ask(app, "/study/versions/use?model=organ&version=1").text
    assert "proposals of version 1 (Dice 0.700) instead of version 2 (Dice 0.800)" in asked
    assert ModelRegistry(store).in_use("organ") == "2"
    answer = ask(app, "/study/versions/use", "POST", content="model=organ&version=1", headers=FORM)
    assert answer.headers["location"] == "/study/versions?said=use"
    assert ModelRegistry(store).in_use("organ") == "1"
    assert "1</a>, in use" in ask(app, "/study/versions").text


def test_a_folder_of_models_that_cannot_be_written_is_told(
    studies: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe_version(store, 1, 2, 0.7)
    describe_version(store, 2, 4, 0.8)

    def refuse(*_: object) -> None:
        raise OutputError("store", "is read-only", "Make it writable")

    monkeypatch.setattr(ModelRegistry, "switch", refuse)
    app = application(project_of(studies, store))
    ask(app, "/study/versions")
    answer = ask(app, "/study/versions/use", "POST", content="model=organ&version=1", headers=FORM)
    assert answer.status_code == 409
    assert "store: is read-only. Make it writable" in answer.text


def test_a_version_shows_the_scores_of_each_class(studies: Path, store: Path) -> None:
    describe_version(store, 1, 2, 0.7)
    text = ask(application(project_of(studies, store)), "/study/version?model=organ&version=1").text
    assert "Scores of each class, on the same scans" in text
    assert '<th scope="row">organ_head</th><td class="number">0.700</td><td class="number">0.030</td>' in text
    described = json.loads((store / "organ" / "1" / "model.json").read_text())
    for classes in ({}, None, {"organ_head": 3}):
        described["provenance"]["classes"] = classes
        (store / "organ" / "1" / "model.json").write_text(json.dumps(described))
        answer = ask(application(project_of(studies, store)), "/study/version?model=organ&version=1")
        assert answer.status_code == 200
        assert "Scores of each class" not in answer.text


def test_a_version_shows_its_card_and_a_damaged_one_why(studies: Path, store: Path) -> None:
    folder = describe_version(store, 1, 2, 0.7)
    (folder / "card.md").write_text("# organ <script>")
    (describe_version(store, 2, 4, 0.8) / "model.json").write_text("{")
    app = application(project_of(studies, store))
    ask(app, "/study/versions")
    text = ask(app, "/study/version?model=organ&version=1").text
    assert "# organ &lt;script&gt;" in text
    assert "Copy the whole model folder again" in ask(app, "/study/versions").text
    for wanted in ("model=organ&version=2", "model=organ&version=9", "model=../x&version=1", ""):
        assert ask(app, f"/study/version?{wanted}").status_code == 404
        assert ask(app, f"/study/versions/use?{wanted}").status_code == 404


@pytest.mark.parametrize("name", ["nothing", "training", "learning", "versions"])
def test_a_chart_of_nothing_is_a_404(name: str, studies: Path, store: Path) -> None:
    app = application(project_of(studies, store))
    ask(app, "/")
    assert ask(app, f"/study/chart/{name}.svg?of=nobody&theme=light").status_code == 404
