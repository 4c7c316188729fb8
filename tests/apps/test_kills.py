"""Processes that are killed at every moment that matters: nothing half-written is served, nothing is lost."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import killable
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from synthetic import ORGAN, SCANS, make_label

from diffcl.models import ModelRegistry
from diffcl.studies.folder import FolderStudies
from diffcl.studies.progress import Progress
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.journal import read_journal
from lib.datastores.datastore import StudiesDatastore

REQUEST = {"steps": 3, "validation_share": 0.3, "margin": 1.0}

Work = Callable[..., None]


@pytest.fixture(scope="module")
def processes() -> Any:
    """Makes processes that have imported what takes long."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["diffcl.publishing.gate", "monailabel.datastore.local"])
    return context


def run(processes: Any, work: Work, *arguments: Any) -> int:
    """Do some work in a process of its own; its exit code."""
    process = processes.Process(target=work, args=arguments)
    process.start()
    process.join(120)
    return int(process.exitcode)


@pytest.fixture
def labelled(studies: Path, tmp_path: Path) -> Path:
    """The studies, all scans labelled."""
    store = StudiesDatastore(FolderStudies(studies, lambda: [ORGAN]))
    for name in SCANS:
        sitk.WriteImage(make_label(name), tmp_path / "label.nii.gz")
        store.save_label(name, str(tmp_path / "label.nii.gz"), "final", {})
    return studies


MOMENTS = [
    "before training/current.txt",
    "before current/cases.json",
    "before current/recipe.json",
    "after current/recipe.json",
    "before current/checkpoint.pt",
    "after current/checkpoint.pt",
    "before current/best.pt",
    "after current/best.pt",
    "before weights.safetensors",
    "before model.json",
    "before organ/2",
    "after organ/2",
    "after organ/current",
    "before training/1",
]
"""In the order in which a training comes to them."""


def test_a_training_that_is_killed_again_and_again_ends_as_if_it_had_not_been(
    processes: Any, labelled: Path, store: ModelRegistry, tmp_path: Path
) -> None:
    home, folder = store.folders[0], tmp_path / "training"
    progress = Progress(folder)
    for moment in MOMENTS:
        code = run(processes, killable.train, labelled, home, folder, REQUEST, moment)
        assert code == -signal.SIGKILL, moment
        told = progress.read()
        assert told["status"] == "stopped", moment
        assert told["total_epochs"] > 0, moment
        assert "total_time" in told, moment
        served = store.load("organ").info
        assert served.version == (2 if moment in MOMENTS[-2:] else 1), moment
    assert run(processes, killable.train, labelled, home, folder, REQUEST) == 0
    assert progress.read()["status"] == "done"
    assert (progress.read()["epoch"], progress.read()["version"]) == (3, 2)
    assert store.versions("organ") == [1, 2]
    assert store.info("organ").provenance["parent"] == {"name": "organ", "version": 1}
    assert not [path for path in home.rglob(".*") if path.name != ".lock"]
    store.switch("organ", 1)
    assert run(processes, killable.train, labelled, home, tmp_path / "unharmed", REQUEST) == 0
    killed, whole = folder / "1", tmp_path / "unharmed" / "1"
    assert read_journal(killed / "journal.jsonl") == read_journal(whole / "journal.jsonl")
    weights, wanted = (load_checkpoint(one / "best.pt")["cs"] for one in (killed, whole))
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    "place", ["oblique/2.nii.gz", "oblique/2.json", "final/oblique.nii.gz", "datastore_v2.json"]
)
def test_a_label_is_there_wholly_or_not_at_all_when_the_server_is_killed(
    place: str, processes: Any, labelled: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.nii.gz"
    sitk.WriteImage(make_label("oblique") * 0 + 1, mine)
    expected = {1: make_label("oblique"), 2: sitk.ReadImage(mine)}
    for when in ("before", "after"):
        code = run(processes, killable.save_label, labelled, "oblique", mine, f"{when} {place}")
        assert code == -signal.SIGKILL
        json.loads((labelled / "datastore_v2.json").read_text())
        store = StudiesDatastore(FolderStudies(labelled, lambda: [ORGAN]))
        assert store.get_labeled_images() == SCANS
        version = store.get_label_info("oblique", "final")["version"]
        newest = store.studies.history.newest("oblique")["version"]
        assert version == newest
        found = sitk.ReadImage(store.get_label_uri("oblique", "final"))
        np.testing.assert_array_equal(
            sitk.GetArrayViewFromImage(found), sitk.GetArrayViewFromImage(expected[min(version, 2)])
        )
