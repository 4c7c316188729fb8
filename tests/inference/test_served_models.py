from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import SimpleITK as sitk
from synthetic import CROPS, ORGAN, SCANS, publish_untrained

from diffcl.data.sequences import read_case
from diffcl.inference import Prediction, Predictor
from diffcl.inference.served_models import ServedModels
from diffcl.io import Scan, read_scan
from diffcl.io.isolated import read_in_children
from diffcl.models import ModelRegistry, load_model
from diffcl.recipe import ImageSequence


def test_every_answer_is_by_one_version_while_versions_switch(store: ModelRegistry, studies: Path) -> None:
    publish_untrained(store)
    wanted = {
        (version, name): sitk.Hash(
            Predictor(load_model(store.version_folder("organ", version)))(
                read_scan(studies / f"{name}.nii.gz"), networks="cs"
            ).label
        )
        for version in (1, 2)
        for name in SCANS
    }
    models = ServedModels(store)
    models._cache.get = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001  every answer is a new one
    answers: list[tuple[tuple[int, str], Any]] = []

    def ask(name: str) -> None:
        for _ in range(6):
            found = models.predict("organ", studies / f"{name}.nii.gz", networks="cs")
            answers.append(((found.report.version, name), sitk.Hash(found.label)))

    clients = [Thread(target=ask, args=(name,)) for name in SCANS]
    for client in clients:
        client.start()
    number = 0
    while any(client.is_alive() for client in clients):
        number += 1
        store.switch("organ", number % 2 + 1)
        clients[number % len(clients)].join(0.01)
    assert len(answers) == 6 * len(SCANS)
    assert {version for (version, _), _ in answers} == {1, 2}
    assert all(wanted[question] == label for question, label in answers)


def test_a_recipe_that_is_given_counts_before_that_of_the_model(store: ModelRegistry) -> None:
    assert ServedModels(store).recipes() == {"organ": ORGAN}
    changed = ORGAN.changed(training={"seed": 7})
    assert ServedModels(store, new=[changed]).recipes() == {"organ": changed}
    assert ServedModels(store, new=[changed]).untrained() == {}


@pytest.mark.parametrize("version", [1, 2])
def test_a_rollback_answers_the_next_request(version: int, store: ModelRegistry, studies: Path) -> None:
    publish_untrained(store)
    models = ServedModels(store)
    models.predict("organ", studies / "oblique.nii.gz")
    store.switch("organ", version)
    assert models.predict("organ", studies / "oblique.nii.gz").report.version == version


def test_a_scan_unlike_those_of_the_training_is_logged_and_told_of_while_it_is_predicted(
    store: ModelRegistry, studies: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publish_untrained(store, CROPS)
    models, seen = ServedModels(store), list[tuple[dict[str, Any], int]]()
    predict = Predictor.__call__

    def watched(self: Predictor, scan: Scan, **given: Any) -> Prediction:
        tell = given.pop("on_progress")

        def look(done: int, windows: int) -> None:
            tell(done, windows)
            seen.append((models.under_way() or {}, len(caplog.messages)))

        return predict(self, scan, **given, on_progress=look)

    monkeypatch.setattr(Predictor, "__call__", watched)
    with caplog.at_level(logging.WARNING, "diffcl"):
        found = models.predict("organ", studies / "oblique.nii.gz", networks="cs")
    assert models.under_way() is None
    [message] = caplog.messages
    assert message == f"oblique: {found.report.warnings[0]}"
    assert "the model was trained on 5 to 6" in message
    windows = len(seen) - 1
    assert [told["windows_done"] for told, _ in seen] == list(range(windows + 1))
    told, messages = seen[-2]
    assert (told["model"], told["image"], told["windows"], messages) == ("organ", "oblique", windows, 1)
    assert told["warnings"] == found.report.warnings
    json.dumps(told, allow_nan=False)


def test_nothing_is_under_way_after_a_failure(
    store: ModelRegistry, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Prediction:
        raise MemoryError

    monkeypatch.setattr(Predictor, "__call__", fail)
    models = ServedModels(store)
    with pytest.raises(MemoryError):
        models.predict("organ", studies / "oblique.nii.gz")
    assert models.under_way() is None


def test_a_scan_that_a_child_reads_gets_the_same_label(store: ModelRegistry, studies: Path) -> None:
    scan = studies / "oblique.nii.gz"
    here = ServedModels(store).predict("organ", scan, networks="cs").label
    read_in_children()
    there = ServedModels(store).predict("organ", scan, networks="cs").label
    assert sitk.Hash(there) == sitk.Hash(here)


def test_a_scan_that_takes_long_to_read_holds_up_no_other(
    store: ModelRegistry, studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = Event(), Event()

    def slow_for_one(path: Path, sequences: Sequence[ImageSequence]) -> Scan:
        if path.name.startswith("straight"):
            reading.set()
            assert go_on.wait(60)
        return read_case(path, sequences)

    monkeypatch.setattr("diffcl.inference.served_models.read_case", slow_for_one)
    models = ServedModels(store)
    slow = Thread(target=models.predict, args=("organ", studies / "straight.nii.gz"))
    slow.start()
    assert reading.wait(60)
    assert models.predict("organ", studies / "oblique.nii.gz").label.GetSize() == (17, 21, 13)
    assert slow.is_alive()
    go_on.set()
    slow.join()
