from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import SimpleITK as sitk
from synthetic import ORGAN, SCANS, publish_untrained

from diffcl.inference import Predictor
from diffcl.inference.served_models import ServedModels
from diffcl.io import read_scan
from diffcl.models import ModelRegistry, load_model


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
    assert ServedModels(store, new=changed).recipes() == {"organ": changed}
    assert ServedModels(store, new=changed).untrained() == {}


@pytest.mark.parametrize("version", [1, 2])
def test_a_rollback_answers_the_next_request(version: int, store: ModelRegistry, studies: Path) -> None:
    publish_untrained(store)
    models = ServedModels(store)
    models.predict("organ", studies / "oblique.nii.gz")
    store.switch("organ", version)
    assert models.predict("organ", studies / "oblique.nii.gz").report.version == version
