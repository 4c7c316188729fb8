"""MONAI Label's datastore: every method asks the studies, every error is a status with the same sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException
from monailabel.interfaces.datastore import Datastore
from synthetic import ORGAN, SCANS

from diffcl.errors import (
    ArchiveDownError,
    ArchiveError,
    DataError,
    DiffclError,
    GoneError,
    NotFoundError,
    OutputError,
    ReadOnlyError,
    ScanError,
    UsageError,
)
from diffcl.io.dicomweb.client import Archive
from diffcl.studies.archive import ArchiveStudies
from diffcl.studies.folder import FolderStudies
from diffcl.web.http_errors import refusals
from lib.datastores.datastore import StudiesDatastore

ACTIONS: dict[str, tuple[Any, ...]] = {
    "name": (), "set_name": ("x",), "description": (), "set_description": ("x",), "datalist": (),
    "list_images": (), "get_labeled_images": (), "get_unlabeled_images": (), "get_labels_by_image_id": ("x",),
    "get_label_by_image_id": ("x", "final"), "get_image": ("x",), "get_image_uri": ("x",), "get_image_info": ("x",),
    "update_image_info": ("x", {}), "add_image": ("x", "x.nii.gz", {}), "remove_image": ("x",),
    "get_label": ("x", "final"), "get_label_uri": ("x", "final"), "get_label_info": ("x", "final"),
    "update_label_info": ("x", "final", {}), "save_label": ("x", "x.nii.gz", "final", {}),
    "remove_label": ("x", "final"), "get_dataset_archive": (None,), "refresh": (), "status": (), "json": (),
}  # fmt: skip


class Failing:
    """Studies of which every question fails."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> Any:
            raise ArchiveDownError("archive", "does not answer", "Try again later")

        return fail


@pytest.fixture
def store(studies: Path) -> StudiesDatastore:
    return StudiesDatastore(FolderStudies(studies, lambda: [ORGAN]))


def test_every_method_of_the_interface_is_there() -> None:
    asked = {
        name for name, _ in inspect.getmembers(Datastore, inspect.isfunction) if not name.startswith("_")
    }
    assert asked == ACTIONS.keys()
    assert StudiesDatastore.__abstractmethods__ == frozenset()


@pytest.mark.parametrize("name", ACTIONS)
def test_an_error_of_the_studies_is_a_status_with_its_sentence(name: str) -> None:
    store = StudiesDatastore(Failing())  # type: ignore[arg-type]
    with pytest.raises(HTTPException, match=r"archive: does not answer\. Try again later") as caught:
        getattr(store, name)(*ACTIONS[name])
    assert caught.value.status_code == 503


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError, 400), (NotFoundError, 404), (GoneError, 404), (ReadOnlyError, 405), (ScanError, 422),
        (DataError, 422), (OutputError, 422), (DiffclError, 422), (ArchiveError, 502), (ArchiveDownError, 503),
    ],
)  # fmt: skip
def test_errors_have_their_status(error: type[DiffclError], status: int) -> None:
    with pytest.raises(HTTPException) as caught, refusals():
        raise error("here", "is wrong")
    assert (caught.value.status_code, caught.value.detail) == (status, "here: is wrong")


def test_a_label_goes_the_whole_way(store: StudiesDatastore, label_file: Path) -> None:
    assert store.list_images() == store.get_unlabeled_images() == SCANS
    assert store.get_label_uri("oblique", "final") == ""
    saved = store.save_label("oblique", str(label_file), "final", {"client_id": "ann"})
    assert saved == "oblique"
    assert saved.record["version"] == 1
    assert store.get_labeled_images() == ["oblique"]
    assert store.get_labels_by_image_id("oblique") == {"final": "oblique"}
    assert store.get_label_by_image_id("oblique", "final") == "oblique"
    assert store.get_label_by_image_id("oblique", "other") == ""
    (pair,) = store.datalist()
    assert pair == {"image": store.get_image_uri("oblique"), "label": store.get_label_uri("oblique", "final")}
    assert store.get_label("oblique", "final").read() == Path(pair["label"]).read_bytes()
    assert store.get_image("oblique").read() == Path(pair["image"]).read_bytes()
    assert Path(store.get_dataset_archive(None)).is_file()
    assert store.json()["objects"]["oblique"]["labels"]["final"]["info"]["client_id"] == "ann"


def test_the_answer_to_a_label_is_about_that_label(store: StudiesDatastore, label_file: Path) -> None:
    first = store.save_label("oblique", str(label_file), "final", {"client_id": "ann"})
    store.save_label("oblique", str(label_file), "final", {"client_id": "bob"})
    assert (first.record["version"], first.record["client_id"]) == (1, "ann")


def test_both_kinds_of_studies_answer_what_they_cannot_do(
    store: StudiesDatastore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Archive, "search", lambda *_: [])
    archive = StudiesDatastore(ArchiveStudies(Archive("http://127.0.0.1:9/x"), tmp_path / "kept", list))
    statuses = []
    for action in (
        lambda: archive.add_image("x", "x.nii.gz", {}),
        lambda: archive.set_name("x"),
        lambda: store.studies.series("oblique"),
        lambda: store.studies.pass_on("GET", "qido", "studies", "", {}, b""),
    ):
        with pytest.raises(HTTPException) as caught, refusals():
            action()
        statuses.append(caught.value.status_code)
    assert statuses == [405, 405, 422, 404]
