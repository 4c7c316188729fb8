from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from synthetic import ORGAN, SCANS, make_scan, publish_untrained

from diffcl.active_learning.worker import Looker
from diffcl.inference.served_models import ServedModels
from diffcl.models import ModelRegistry
from lib import scorer
from lib.datastore import StudyDatastore
from lib.scorer import LookingProcess, Scorer
from lib.scores import ScoreBook


class Eye:
    """Looks at scans in this process and remembers at which."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.before: Callable[[], object] = lambda: None
        self._look = Looker()

    def __call__(self, question: dict[str, Any]) -> dict[str, Any]:
        self.seen.append(Path(question["scan"]).name.removesuffix(".nii.gz"))
        self.before()
        return self._look(question)


@pytest.fixture
def eye() -> Eye:
    return Eye()


@pytest.fixture
def datastore(studies: Path) -> StudyDatastore:
    return StudyDatastore(studies, lambda: [ORGAN])


@pytest.fixture
def open_scorer(
    store: ModelRegistry, studies: Path, datastore: StudyDatastore, eye: Eye
) -> Callable[[], Scorer]:
    """Makes a scorer, as a start of the server does."""
    return lambda: Scorer(
        ServedModels(store), "organ", lambda: datastore, ScoreBook(studies / "scores"), look=eye
    )


@pytest.fixture
def scoring(open_scorer: Callable[[], Scorer]) -> Scorer:
    return open_scorer()


def test_every_scan_is_looked_at_once(scoring: Scorer, eye: Eye) -> None:
    assert [scoring.update() for _ in range(10)] == [4] + 9 * [0]
    assert sorted(eye.seen) == SCANS
    known = scoring.book.known(SCANS)
    assert known is not None
    assert all(0 <= (known.entries[name].doubt or -1) <= 1 for name in SCANS)


def test_a_restart_looks_at_nothing_again(open_scorer: Callable[[], Scorer], eye: Eye) -> None:
    open_scorer().update()
    assert open_scorer().update() == 0
    assert len(eye.seen) == 4


def test_labelled_scans_come_first(
    scoring: Scorer, eye: Eye, datastore: StudyDatastore, label_file: Path
) -> None:
    datastore.save_label("oblique", str(label_file), "final", {})
    scoring.update()
    assert eye.seen[0] == "oblique"


def test_a_new_version_looks_at_all_again(scoring: Scorer, store: ModelRegistry) -> None:
    scoring.update()
    publish_untrained(store)
    assert scoring.update() == 4
    known = scoring.book.known(SCANS)
    assert known is not None
    assert known.edition.version == 2


def test_a_version_published_meanwhile_ends_the_round(
    scoring: Scorer, eye: Eye, store: ModelRegistry
) -> None:
    eye.before = lambda: publish_untrained(store) if len(eye.seen) == 2 else None
    assert scoring.update() == 2
    assert scoring.update() == 4


def test_only_a_scan_that_changed_is_looked_at_again(scoring: Scorer, eye: Eye, studies: Path) -> None:
    scoring.update()
    sitk.WriteImage(make_scan("flipped") + 1, studies / "flipped.nii.gz")
    assert scoring.update() == 1
    assert eye.seen[4:] == ["flipped"]


def test_a_scan_that_changes_while_it_is_looked_at_is_looked_at_again(
    scoring: Scorer, eye: Eye, studies: Path
) -> None:
    eye.before = lambda: os.utime(studies / f"{eye.seen[-1]}.nii.gz", (1, 1)) if len(eye.seen) == 1 else None
    assert scoring.update() == 4
    assert scoring.update() == 1


def test_an_unreadable_scan_is_tried_once_and_stops_nothing(scoring: Scorer, studies: Path) -> None:
    (studies / "oblique.nii.gz").write_bytes(b"no scan")
    assert [scoring.update(), scoring.update()] == [4, 0]
    known = scoring.book.known(SCANS)
    assert known is not None
    assert set(known.entries) == {"anisotropic", "flipped", "straight"}


def test_a_scan_that_vanishes_stops_nothing(scoring: Scorer, eye: Eye, studies: Path) -> None:
    eye.before = lambda: (studies / "oblique.nii.gz").unlink(missing_ok=True)
    scoring.update()
    scoring.update()
    known = scoring.book.known(["anisotropic", "flipped", "straight"])
    assert known is not None
    assert len(known.entries) == 3


def test_without_a_model_scans_are_described(datastore: StudyDatastore, tmp_path: Path, eye: Eye) -> None:
    store = ModelRegistry(tmp_path / "none")
    models = ServedModels(store, ["organ"], new=ORGAN)
    scoring = Scorer(models, "organ", lambda: datastore, ScoreBook(tmp_path / "scores"), look=eye)
    assert scoring.update() == 4
    known = scoring.book.known(SCANS)
    assert known is not None
    assert known.edition.version == 0
    publish_untrained(store)
    assert scoring.update() == 4


def test_it_steps_aside_for_a_request(scoring: Scorer, eye: Eye) -> None:
    thread = threading.Thread(target=scoring.update)
    with scoring.steps_aside():
        thread.start()
        time.sleep(0.2)
        assert eye.seen == []
    thread.join(20)
    assert len(eye.seen) == 4


def test_it_runs_until_it_is_stopped(scoring: Scorer, eye: Eye, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(scorer, "LOOK_SECONDS", 0.01)
    scoring.start()
    deadline = time.monotonic() + 20
    while len(eye.seen) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    scoring.stop()
    assert sorted(eye.seen) == SCANS


def test_a_damaged_model_scores_nothing(scoring: Scorer, store: ModelRegistry) -> None:
    (store.folder("organ") / "model.json").write_text("{")
    assert scoring.update() == 0


def test_a_process_that_dies_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys\nfor line in sys.stdin:\n    exec(line[1:-2])\n    print('{\"fine\": 1}', flush=True)"
    )
    popen = scorer.subprocess.Popen
    monkeypatch.setattr(
        scorer.subprocess, "Popen", lambda command, **kwargs: popen([sys.executable, "-c", program], **kwargs)
    )
    look = LookingProcess()
    monkeypatch.setattr(scorer.json, "dumps", lambda text: f'"{text}"')
    assert look("pass") == {"fine": 1}  # type: ignore[arg-type]
    assert "has ended" in look("sys.exit()")["error"]  # type: ignore[arg-type]
    assert look("pass") == {"fine": 1}  # type: ignore[arg-type]
    look.close()
