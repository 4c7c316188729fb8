from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import SimpleITK as sitk
from synthetic import ORGAN, SCANS, make_label, make_scan

from diffcl.errors import DataError, DiffclError, NotFoundError, OutputError, ScanError, UsageError
from diffcl.geometry import Geometry, voxels
from diffcl.io import read_label, write_image
from diffcl.studies import folder_contents, proposed
from diffcl.studies.folder import FolderStudies
from diffcl.studies.index import Index
from diffcl.studies.label_history import History, restore_label

Store = FolderStudies
SLICER = {
    "label_info": [{"name": "organ_head", "idx": 1}, {"name": "organ_tail", "idx": 2}],
    "client_id": "ann",
}


@pytest.fixture
def open_store(studies: Path) -> Callable[[], Store]:
    """Opens the studies, as a new start of the server does."""
    return lambda: FolderStudies(studies, lambda: [ORGAN])


@pytest.fixture
def store(open_store: Callable[[], Store]) -> Store:
    return open_store()


def changed(label: Path, folder: Path) -> Path:
    """A copy of a label with one more voxel of class 1."""
    image = read_label(label)
    image[0, 0, 0] = 1
    write_image(image, folder / "changed.nii.gz")
    return folder / "changed.nii.gz"


def final(studies: Path, image: str) -> np.ndarray:
    return voxels(read_label(studies / "labels/final" / f"{image}.nii.gz"))


def leftovers(studies: Path) -> list[str]:
    return [path.name for path in studies.rglob(".*") if path.name != ".lock"]


def refusal(action: Callable[[], Any]) -> DiffclError:
    """The refusal of an action, in one line."""
    with pytest.raises(DiffclError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return caught.value


class TestReading:
    def test_a_start_removes_what_a_killed_server_left_half_written(
        self, store: Store, open_store: Callable[[], Store], studies: Path
    ) -> None:
        for folder in (studies, studies / "labels/final", studies / "history"):
            folder.mkdir(exist_ok=True)
            half = folder / f".{32 * '0'}.nii.gz"
            half.write_bytes(b"half")
            os.utime(half, times=(0, 0))
        assert len(leftovers(studies)) == 3
        assert open_store().scans() == store.scans()
        assert not leftovers(studies)

    def test_scans_of_the_folder_are_listed(self, store: Store) -> None:
        assert store.scans() == SCANS
        assert store.status() == {
            "total": 4,
            "completed": 0,
            "label_tags": {},
            "tasks": {},
            "partly_drawn": {},
        }

    def test_scans_that_come_and_go_by_hand_are_seen_at_once(self, store: Store, studies: Path) -> None:
        (studies / "oblique.nii.gz").rename(studies / "renamed.nii.gz")
        (studies / "flipped.nii.gz").unlink()
        assert store.scans() == ["anisotropic", "renamed", "straight"]
        with pytest.raises(NotFoundError, match="image flipped: not there"):
            store.image_path("flipped")

    def test_temporary_and_other_files_are_no_scans(self, store: Store, studies: Path) -> None:
        for name in (".half.nii.gz", "notes.txt", "._oblique.nii.gz", "model.pt"):
            (studies / name).write_bytes(b"")
        (studies / "folder.nii.gz").mkdir()
        assert store.scans() == SCANS

    def test_a_label_put_there_by_hand_is_seen(self, store: Store, studies: Path, label_file: Path) -> None:
        label_file.rename(studies / "labels/final/oblique.nii.gz")
        assert store.labelled() == ["oblique"]
        assert store.label_path("oblique", "final") == (studies / "labels/final/oblique.nii.gz").resolve()

    def test_a_scan_that_returns_has_its_label_again(
        self, store: Store, studies: Path, label_file: Path
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        (studies / "oblique.nii.gz").rename(studies / "away")
        assert "oblique" not in store.scans()
        (studies / "away").rename(studies / "oblique.nii.gz")
        assert store.labelled() == ["oblique"]
        assert store.label_notes("oblique", "final")["client_id"] == "ann"

    def test_another_scan_of_that_name_does_not_get_its_label(
        self, store: Store, studies: Path, label_file: Path, open_store: Callable[[], Store], tmp_path: Path
    ) -> None:
        for name, uploaded in (("oblique", False), ("straight", True)):
            sitk.WriteImage(make_label(name), label_file)
            store.save_label(name, label_file, "final", SLICER)
            (studies / f"{name}.nii.gz").rename(tmp_path / f"{name}.nii.gz")
            (studies / "labels/final" / f"{name}.nii.gz").unlink()
            assert name not in store.scans()
            if uploaded:
                store.add_image(name, tmp_path / f"{name}.nii.gz", {})
            else:
                (tmp_path / f"{name}.nii.gz").rename(studies / f"{name}.nii.gz")
            for now in (store, open_store()):
                assert name in now.scans()
                assert now.labelled() == []
        assert len(store.history.versions("oblique")) == 1

    def test_folders_of_labels_that_are_removed_come_back(
        self, store: Store, studies: Path, label_file: Path
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        shutil.rmtree(studies / "labels")
        assert store.scans() == SCANS
        assert store.labelled() == []
        store.save_label("oblique", label_file, "final", SLICER)
        assert store.labelled() == ["oblique"]

    def test_without_labels_there_is_no_archive(self, store: Store) -> None:
        assert isinstance(refusal(store.export), NotFoundError)

    def test_everything_can_be_taken_along_in_one_file(
        self, store: Store, studies: Path, label_file: Path
    ) -> None:
        for name in ("oblique", "straight"):
            sitk.WriteImage(make_label(name), label_file)
            store.save_label(name, label_file, "final", SLICER)
        for limit, number in ((None, 2), (1, 1), (5, 2), (-1, 2)):
            with ZipFile(store.export(limit)) as packed:
                names = packed.namelist()
            assert len(names) == 2 * number + 1
            assert {"image/oblique.nii.gz", "label/oblique.nii.gz", "metadata.json"} <= set(names)
        assert [path.name for path in studies.glob("*.zip")] == ["dataset.zip"]

    def test_two_files_of_one_name_are_one_scan(self, store: Store, studies: Path) -> None:
        sitk.WriteImage(make_scan("oblique"), studies / "oblique.nrrd")
        assert store.scans() == SCANS
        assert store.image_path("oblique").name.endswith("oblique.nii.gz")


class TestSubmittedLabels:
    def test_a_label_is_kept_with_who_when_and_what(
        self, store: Store, studies: Path, label_file: Path
    ) -> None:
        store.note_image("oblique", {"proposal": {"model": "organ", "version": 4}})
        store.save_label("oblique", label_file, "final", SLICER)
        np.testing.assert_array_equal(final(studies, "oblique"), voxels(read_label(label_file)))
        info = store.label_notes("oblique", "final")
        assert info["client_id"] == "ann"
        assert info["version"] == 1
        assert info["started_from"] == {"model": "organ", "version": 4}
        assert info["time"].startswith("20")
        assert store.status() == {
            "total": 4,
            "completed": 1,
            "label_tags": {"final": 1},
            "tasks": {"organ": 1},
            "partly_drawn": {},
        }

    @pytest.mark.parametrize("name", SCANS)
    def test_a_label_has_exactly_the_grid_of_its_scan(self, name: str, store: Store, tmp_path: Path) -> None:
        sitk.WriteImage(make_label(name), tmp_path / "sent.nrrd")
        store.save_label(name, tmp_path / "sent.nrrd", "final", SLICER)
        label = Geometry.of(sitk.ReadImage(store.label_path(name, "final")))
        scan = Geometry.of(sitk.ReadImage(store.image_path(name)))
        assert label.size == scan.size
        np.testing.assert_allclose(label.origin, scan.origin, atol=1e-5)
        np.testing.assert_allclose(label.direction, scan.direction, atol=1e-6)
        np.testing.assert_allclose(label.spacing, scan.spacing, rtol=1e-6)

    def test_the_format_sent_leaves_no_second_file(
        self, store: Store, studies: Path, label_file: Path
    ) -> None:
        sitk.WriteImage(sitk.ReadImage(label_file), studies / "labels/final/oblique.nrrd")
        store.save_label("oblique", label_file, "final", SLICER)
        assert [path.name for path in (studies / "labels/final").iterdir()] == ["oblique.nii.gz"]

    @pytest.mark.parametrize(
        "content", [b"", b"random bytes" * 100, None], ids=["empty", "random", "truncated"]
    )
    def test_a_bad_file_is_refused_and_the_old_label_stays(
        self, content: bytes | None, store: Store, studies: Path, label_file: Path, tmp_path: Path
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        bad = tmp_path / "bad.nii.gz"
        bad.write_bytes(label_file.read_bytes()[:-40] if content is None else content)
        caught = refusal(lambda: store.save_label("oblique", bad, "final", SLICER))
        assert str(caught).startswith("label of oblique: ")
        np.testing.assert_array_equal(final(studies, "oblique"), voxels(read_label(label_file)))
        assert len(store.history.versions("oblique")) == 1
        assert leftovers(studies) == []

    def test_a_label_of_another_scan_is_refused(self, store: Store, label_file: Path) -> None:
        caught = refusal(lambda: store.save_label("flipped", label_file, "final", SLICER))
        assert isinstance(caught, DataError)
        assert "reaches beyond" in str(caught)

    def test_an_unknown_scan_is_a_404_that_lists_the_known(self, store: Store, label_file: Path) -> None:
        caught = refusal(lambda: store.save_label("nobody", label_file, "final", SLICER))
        assert isinstance(caught, NotFoundError)
        assert "anisotropic, flipped, oblique, straight" in str(caught)

    @pytest.mark.parametrize(
        "tag", ["../../evil", "/tmp/evil", "a/b", "..", ".hidden", "new\nline", "x" * 300]
    )
    def test_a_tag_that_leaves_the_folder_is_refused(
        self, tag: str, store: Store, studies: Path, label_file: Path
    ) -> None:
        before = sorted(studies.parent.rglob("*"))
        refusal(lambda: store.save_label("oblique", label_file, tag, SLICER))
        assert sorted(studies.parent.rglob("*")) == before

    def test_a_path_is_not_the_id_of_a_scan(self, store: Store, studies: Path, label_file: Path) -> None:
        for image in (
            str(studies / "oblique.nii.gz"),
            "oblique.nii.gz",
            "./oblique",
            "../my studies/oblique",
        ):
            assert isinstance(
                refusal(lambda image=image: store.save_label(image, label_file, "final", SLICER)),
                NotFoundError,
            )
            assert isinstance(refusal(lambda image=image: store.remove_image(image)), NotFoundError)
            with pytest.raises(NotFoundError, match="not there"):
                store.image_path(image)

    def test_no_id_but_that_of_a_scan_has_older_versions(
        self, store: Store, studies: Path, label_file: Path, tmp_path: Path
    ) -> None:
        for file in (label_file, changed(label_file, tmp_path)):
            store.save_label("oblique", file, "final", SLICER)
        assert store.label_path("oblique", "version_1") is not None
        for image in ("../history/oblique", f"{studies}/history/oblique", "./oblique", "a" * 5000):
            assert store.label_path(image, "version_1") is None
            assert store.label_notes(image, "version_1") == {}

    def test_a_tag_that_leaves_the_folder_names_no_label(self, store: Store, label_file: Path) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        for tag in ("../../datastore_v2", "..", "/etc", "final/../final"):
            assert store.label_path("oblique", tag) is None
            assert isinstance(refusal(lambda tag=tag: store.remove_label("oblique", tag)), NotFoundError)

    def test_a_label_for_a_scan_that_was_just_removed_by_hand_is_refused(
        self, store: Store, studies: Path, label_file: Path
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        (studies / "oblique.nii.gz").unlink()
        caught = refusal(lambda: store.save_label("oblique", label_file, "final", SLICER))
        assert isinstance(caught, NotFoundError)
        assert (studies / "labels/final/oblique.nii.gz").is_file()
        assert len(store.history.versions("oblique")) == 1

    def test_a_label_of_part_of_the_scan_is_put_where_it_lies(
        self, store: Store, studies: Path, label_file: Path, tmp_path: Path
    ) -> None:
        whole = sitk.ReadImage(label_file)
        sitk.WriteImage(whole[2:15, 3:18, 1:12], tmp_path / "part.nii.gz")
        store.save_label("oblique", tmp_path / "part.nii.gz", "final", SLICER)
        np.testing.assert_array_equal(final(studies, "oblique"), voxels(whole))
        assert "resampled" not in store.label_notes("oblique", "final")["remark"]

    def test_a_proposal_is_no_version(self, store: Store, label_file: Path) -> None:
        store.save_label("oblique", label_file, "original", {"model": "organ", "params": {"label_names": {}}})
        assert store.history.versions("oblique") == []
        assert store.labelled() == []
        assert store.label_notes("oblique", "original")["params"] == {"label_names": {}}

    def test_a_full_disk_leaves_the_old_label(
        self, store: Store, studies: Path, label_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("diffcl.studies.label_history.shutil.copyfile", full)
        caught = refusal(lambda: store.save_label("oblique", changed(label_file, tmp_path), "final", SLICER))
        assert "No space left" in str(caught)
        np.testing.assert_array_equal(final(studies, "oblique"), voxels(read_label(label_file)))
        assert leftovers(studies) == []


class TestVersions:
    def test_every_accepted_label_is_kept(self, store: Store, label_file: Path, tmp_path: Path) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        store.save_label("oblique", changed(label_file, tmp_path), "final", SLICER)
        records = store.history.versions("oblique")
        assert [record["version"] for record in records] == [1, 2]
        assert [record["changed_voxels"] for record in records] == [None, 1]
        np.testing.assert_array_equal(
            voxels(read_label(store.history.label("oblique", 1))), voxels(read_label(label_file))
        )

    def test_an_older_version_can_be_restored(
        self, store: Store, studies: Path, label_file: Path, tmp_path: Path
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        store.save_label("oblique", changed(label_file, tmp_path), "final", SLICER)
        store.restore_label("oblique", 1)
        np.testing.assert_array_equal(final(studies, "oblique"), voxels(read_label(label_file)))
        info = store.label_notes("oblique", "final")
        assert (info["version"], info["restored_from"], info["changed_voxels"]) == (3, 1, 1)

    def test_what_is_restored_outside_the_server_is_seen_at_once(
        self, store: Store, studies: Path, label_file: Path, tmp_path: Path
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        store.save_label("oblique", changed(label_file, tmp_path), "final", SLICER)
        assert store.label_notes("oblique", "final")["version"] == 2
        restore_label(studies, "oblique", 1)
        np.testing.assert_array_equal(final(studies, "oblique"), voxels(read_label(label_file)))
        info = store.label_notes("oblique", "final")
        assert (info["version"], info["restored_from"]) == (3, 1)
        store.save_label("oblique", changed(label_file, tmp_path), "final", SLICER)
        assert store.label_notes("oblique", "final")["version"] == 4

    def test_what_is_restored_while_no_server_runs_is_found_at_the_start(
        self, store: Store, studies: Path, label_file: Path, open_store: Callable[[], Store]
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        store.remove_label("oblique", "final")
        restore_label(studies, "oblique", 1)
        assert open_store().label_notes("oblique", "final")["restored_from"] == 1

    def test_a_version_that_is_not_there_is_named(self, store: Store, label_file: Path) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        assert "has no version 7. Versions: 1" in str(refusal(lambda: store.restore_label("oblique", 7)))

    def test_a_removed_label_stays_among_the_versions(
        self, store: Store, label_file: Path, open_store: Callable[[], Store]
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        store.remove_label("oblique", "final")
        for again in (store, open_store()):
            assert again.labelled() == []
        store.restore_label("oblique", 1)
        assert store.labelled() == ["oblique"]

    def test_a_removed_scan_leaves_its_versions(self, store: Store, studies: Path, label_file: Path) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        store.remove_image("oblique")
        assert not (studies / "oblique.nii.gz").exists()
        assert "oblique" not in store.scans()
        assert store.history.label("oblique", 1).is_file()

    def test_a_label_removed_by_hand_does_not_come_back(
        self, store: Store, studies: Path, label_file: Path, open_store: Callable[[], Store]
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        (studies / "labels/final/oblique.nii.gz").unlink()
        assert open_store().labelled() == []

    def test_what_is_not_there_cannot_be_removed(self, store: Store) -> None:
        assert isinstance(refusal(lambda: store.remove_label("oblique", "final")), NotFoundError)
        assert isinstance(refusal(lambda: store.remove_image("nobody")), NotFoundError)


class TestUploadedScans:
    def test_a_scan_is_added_under_its_name(self, store: Store, studies: Path, tmp_path: Path) -> None:
        sitk.WriteImage(make_scan("oblique"), tmp_path / "new scan.nrrd")
        assert store.add_image("", tmp_path / "new scan.nrrd", {"client_id": "ann"}) == "new scan"
        assert store.image_path("new scan") == (studies / "new scan.nrrd").resolve()
        assert store.image_notes("new scan")["client_id"] == "ann"

    def test_a_scan_uploaded_again_keeps_its_labels(
        self, store: Store, label_file: Path, tmp_path: Path
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        store.note_image("oblique", {"score": 0.5})
        sitk.WriteImage(make_scan("oblique"), tmp_path / "again.nrrd")
        store.add_image("oblique", tmp_path / "again.nrrd", {})
        assert store.labelled() == ["oblique"]
        assert store.image_notes("oblique")["score"] == 0.5
        assert store.scans() == SCANS
        assert store.image_path("oblique").name.endswith("oblique.nrrd")

    def test_another_scan_under_a_labelled_name_is_refused(
        self, store: Store, label_file: Path, tmp_path: Path
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        sitk.WriteImage(make_scan("flipped"), tmp_path / "other.nii.gz")
        caught = refusal(lambda: store.add_image("oblique", tmp_path / "other.nii.gz", {}))
        assert "another grid" in str(caught)

    def test_what_is_no_scan_is_refused(self, store: Store, tmp_path: Path) -> None:
        for name in ("text.nii.gz", "text.txt", "text"):
            (tmp_path / name).write_text("no scan")
            assert isinstance(
                refusal(lambda name=name: store.add_image("new", tmp_path / name, {})), ScanError
            )
        assert store.scans() == SCANS

    @pytest.mark.parametrize("image", ["../evil", "/tmp/evil", "a/b", "..", "new\nline", "x" * 300])
    def test_an_id_that_leaves_the_folder_is_refused(
        self, image: str, store: Store, studies: Path, tmp_path: Path
    ) -> None:
        sitk.WriteImage(make_scan("oblique"), tmp_path / "new.nii.gz")
        before = sorted(studies.parent.rglob("*"))
        refusal(lambda: store.add_image(image, tmp_path / "new.nii.gz", {}))
        assert sorted(studies.parent.rglob("*")) == before


class TestIndex:
    def test_another_process_loses_nothing(
        self, store: Store, label_file: Path, open_store: Callable[[], Store]
    ) -> None:
        child = open_store()
        assert child.scans()
        store.save_label("oblique", label_file, "final", SLICER)
        child.note_image("straight", {"score": 0.25})
        child.note_image("oblique", {"score": 0.75})
        assert store.label_notes("oblique", "final")["client_id"] == "ann"
        assert store.image_notes("straight")["score"] == 0.25
        assert store.image_notes("oblique")["score"] == 0.75

    @pytest.mark.parametrize("left", [0, 1, 300])
    def test_a_truncated_index_is_rebuilt_from_what_is_there(
        self, left: int, store: Store, studies: Path, label_file: Path, open_store: Callable[[], Store]
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        index = studies / "datastore_v2.json"
        index.write_bytes(index.read_bytes()[:left])
        for again in (store, open_store()):
            assert again.scans() == SCANS
            assert again.labelled() == ["oblique"]
            assert again.label_notes("oblique", "final")["client_id"] == "ann"

    def test_a_lost_index_is_rebuilt_at_once_however_many_labels_there_are(
        self,
        studies: Path,
        open_store: Callable[[], Store],
        label_file: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for number in range(30):
            os.link(studies / "oblique.nii.gz", studies / f"case{number}.nii.gz")
            History(studies / "history").add(f"case{number}", label_file, {})
        written, write = [], Index.write
        monkeypatch.setattr(Index, "write", lambda *given: (written.append(given), write(*given)))
        store = open_store()
        assert len(store.labelled()) == 30
        assert len(written) < 5

    def test_of_two_processes_the_newer_version_is_the_label(
        self, store: Store, studies: Path, label_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        newer = changed(label_file, tmp_path)
        store.save_label("oblique", newer, "final", SLICER)
        add = store.history.add

        def overtaken(*given: Any) -> dict[str, Any]:
            record = add(*given)
            monkeypatch.undo()
            restore_label(studies, "oblique", 1)
            return record

        monkeypatch.setattr(store.history, "add", overtaken)
        assert store.save_label("oblique", label_file, "final", SLICER)["version"] == 2
        assert store.label_notes("oblique", "final")["version"] == 3
        np.testing.assert_array_equal(final(studies, "oblique"), voxels(read_label(newer)))

    def test_nobody_writes_over_the_record_of_a_version(self, store: Store, label_file: Path) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        store.note_label("oblique", "final", {"dice": 0.5, "version": "../9", "client_id": "eve"})
        info = store.label_notes("oblique", "final")
        assert (info["dice"], info["version"], info["client_id"]) == (0.5, 1, "ann")

    def test_an_index_of_monai_label_is_understood(
        self, studies: Path, open_store: Callable[[], Store]
    ) -> None:
        content = {
            "name": "old", "description": "", "images_dir": ".", "labels_dir": "labels",
            "objects": {
                "oblique": {"image": {"ext": ".nii.gz", "info": {"kept": 1}}, "labels": {}},
                "../../evil": {"image": {"ext": ".nii.gz", "info": {}}, "labels": {}},
            },
        }  # fmt: skip
        (studies / "datastore_v2.json").write_text(json.dumps(content))
        store = open_store()
        assert store.scans() == SCANS
        assert store.image_notes("oblique")["kept"] == 1
        assert store.name() == "old"

    def test_notes_that_cannot_be_read_back_are_refused(self, store: Store, label_file: Path) -> None:
        deep: Any = 1
        for _ in range(250):
            deep = [deep]
        bad: list[Any] = [
            {"a": "\ud800"},
            {"a": deep},
            {"a": "x" * 70_000},
            {"strategy": "x"},
            ["a"],
            "a",
            None,
        ]
        store.save_label("oblique", label_file, "final", SLICER)
        for notes in bad:
            for action in (
                lambda notes=notes: store.note_image("oblique", notes),
                lambda notes=notes: store.note_label("oblique", "final", notes),
                lambda notes=notes: store.save_label("oblique", label_file, "final", notes),
                lambda notes=notes: store.add_image("oblique", store.image_path("oblique"), notes),
            ):
                assert isinstance(refusal(action), UsageError)
        assert len(store.history.versions("oblique")) == 1
        assert not {"a", "strategy"} & store.image_notes("oblique").keys()

    def test_a_start_survives_whatever_the_folder_holds(
        self, store: Store, studies: Path, label_file: Path, open_store: Callable[[], Store]
    ) -> None:
        store.save_label("oblique", label_file, "final", SLICER)
        deep = "[" * 5000 + "]" * 5000
        history = studies / "history/oblique"
        for number, content in enumerate(
            ["[]", '{"version": "x"}', '{"version": 4, "removed": false, "a": "\\ud800"}', deep, "{", "null"],
            2,
        ):
            (history / f"{number}.json").write_text(content)
        (history / "8.json").mkdir()
        (history / "\u00b2.json").write_text("{}")
        (studies / "history/flipped").write_text("no folder")
        (studies / os.fsdecode(b"sch\xe4del.nii.gz")).write_bytes(b"x")
        (studies / "labels" / os.fsdecode(b"t\xe4g")).mkdir()
        (studies / "loop.nii.gz").symlink_to(studies / "loop.nii.gz")
        (studies / "empty.nii.gz").write_bytes(b"")
        (studies / "labels/final/empty.nii.gz").write_bytes(b"")
        (studies / "datastore_v2.json").write_text(deep)
        again = open_store()
        assert again.scans() == sorted([*SCANS, "empty"])
        assert json.dumps(again.content(), ensure_ascii=False).encode("utf-8")
        again.save_label("oblique", label_file, "final", SLICER)
        assert again.label_notes("oblique", "final")["client_id"] == "ann"
        assert open_store().labelled() == again.labelled() == ["empty", "oblique"]

    def test_a_strategy_that_is_no_object_is_not_told(self, store: Store, studies: Path) -> None:
        index = json.loads((studies / "datastore_v2.json").read_text())
        index["objects"]["oblique"]["image"]["info"]["strategy"] = "x"
        (studies / "datastore_v2.json").write_text(json.dumps(index))
        assert "strategy" not in store.image_notes("oblique")

    def test_a_damaged_former_label_does_not_stop_a_new_one(
        self, store: Store, studies: Path, label_file: Path
    ) -> None:
        (studies / "labels/final/oblique.nii.gz").write_bytes(b"damaged")
        record = store.save_label("oblique", label_file, "final", SLICER)
        assert (record["version"], record["changed_voxels"]) == (1, None)

    def test_numbers_that_are_not_finite_do_not_reach_the_viewers(
        self, store: Store, label_file: Path
    ) -> None:
        store.note_image("oblique", {"score": float("nan")})
        store.save_label("oblique", label_file, "final", {**SLICER, "area": float("inf")})
        store.note_label("oblique", "final", {"score": float("nan")})
        assert json.dumps(store.content(), allow_nan=False)

    def test_what_is_unknown_has_no_info_to_update(self, store: Store) -> None:
        assert isinstance(refusal(lambda: store.note_image("nobody", {})), NotFoundError)
        assert isinstance(refusal(lambda: store.note_label("oblique", "final", {})), NotFoundError)

    def test_name_and_description_are_kept(self, store: Store, open_store: Callable[[], Store]) -> None:
        store.set_name("trial 7")
        store.set_description("Scans of 2026")
        assert (open_store().name(), open_store().description()) == ("trial 7", "Scans of 2026")

    def test_many_at_once_lose_nothing(self, store: Store, label_file: Path) -> None:
        def work(number: int) -> int:
            store.note_image("straight", {f"key{number}": number})
            store.save_label("oblique", label_file, "final", {**SLICER, "client_id": str(number)})
            return len(store.scans())

        with ThreadPoolExecutor(10) as pool:
            assert set(pool.map(work, range(20))) == {4}
        assert {store.image_notes("straight")[f"key{number}"] for number in range(20)} == set(range(20))
        assert {record["client_id"] for record in store.history.versions("oblique")} == set(
            map(str, range(20))
        )


class TestKilledAtAnyMoment:
    """A kill is a write that never happens: every `os.replace` of a submission is made the last one."""

    @pytest.fixture
    def kill(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
        real = os.replace

        def at(moment: int) -> None:
            done = 0

            def replace(source: object, target: object) -> None:
                nonlocal done
                if done == moment:
                    raise KeyboardInterrupt
                done += 1
                real(source, target)

            monkeypatch.setattr(os, "replace", replace)

        yield at
        monkeypatch.undo()

    @pytest.mark.parametrize("moment", range(6))
    @pytest.mark.parametrize("first", [True, False], ids=["first label", "second label"])
    def test_the_start_after_it_finds_the_old_or_the_new_label_whole(
        self, moment: int, first: bool, studies: Path, label_file: Path, tmp_path: Path,
        open_store: Callable[[], Store], kill: Callable[[int], None], monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        old, new = changed(label_file, tmp_path), label_file
        if not first:
            open_store().save_label("oblique", old, "final", {**SLICER, "client_id": "old"})
        store = open_store()
        store.scans()
        kill(moment)
        try:
            store.save_label("oblique", new, "final", {**SLICER, "client_id": "new"})
            killed = False
        except KeyboardInterrupt:
            killed = True
        monkeypatch.undo()
        again = open_store()
        labelled = again.labelled() == ["oblique"]
        assert labelled or (killed and first)
        if labelled:
            who = again.label_notes("oblique", "final")["client_id"]
            assert who == "new" or (killed and not first)
            expected = new if who == "new" else old
            np.testing.assert_array_equal(final(studies, "oblique"), voxels(read_label(expected)))
            newest = History(studies / "history").newest("oblique")
            assert newest["client_id"] == who
        assert len(json.loads((studies / "datastore_v2.json").read_text())["objects"]) == 4


class TestProposals:
    ABOUT = {"model": "organ", "version": 4, "task": "organ", "marked": False}  # noqa: RUF012  read only

    def test_what_was_changed_in_the_proposal_is_kept_with_the_label(
        self, store: Store, label_file: Path, tmp_path: Path, open_store: Callable[[], Store]
    ) -> None:
        store.keep_proposal("oblique", read_label(label_file), self.ABOUT)
        open_store().save_label("oblique", changed(label_file, tmp_path), "final", SLICER)
        began = store.history.newest("oblique")["started_from"]
        assert {key: began[key] for key in self.ABOUT} == self.ABOUT
        voxels_of_head = int((voxels(read_label(label_file)) == 1).sum())
        assert began["changes"] == {
            "organ_head": {
                "added": 1, "removed": 0, "dice": round(2 * voxels_of_head / (2 * voxels_of_head + 1), 4),
            },
            "organ_tail": {"added": 0, "removed": 0, "dice": 1.0},
        }  # fmt: skip

    def test_a_proposal_for_what_the_scan_was_before_counts_no_more(
        self, store: Store, label_file: Path
    ) -> None:
        store.keep_proposal("oblique", make_label("flipped"), self.ABOUT)
        store.save_label("oblique", label_file, "final", SLICER)
        assert store.history.newest("oblique")["started_from"] == self.ABOUT

    @pytest.mark.parametrize("junk", ["text", ["list"], {"model": 1}, 7])
    def test_what_a_client_writes_in_its_place_stops_nothing(
        self, junk: Any, store: Store, label_file: Path
    ) -> None:
        store.note_image("oblique", {"proposal": junk})
        store.save_label("oblique", label_file, "final", SLICER)
        assert store.labelled() == ["oblique"]

    @pytest.mark.parametrize("writer", [(proposed, "write_image"), (folder_contents, "encoded")])
    def test_a_full_disk_costs_the_proposal_only(
        self, writer: tuple[Any, str], store: Store, label_file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OutputError("proposals", "cannot be written (No space left on device)")

        with monkeypatch.context() as patch:
            patch.setattr(*writer, full)
            store.keep_proposal("oblique", read_label(label_file), self.ABOUT)
        store.save_label("oblique", label_file, "final", SLICER)
        assert store.history.newest("oblique")["started_from"] is None

    def test_a_removed_scan_leaves_no_proposal(self, store: Store, studies: Path, label_file: Path) -> None:
        store.keep_proposal("oblique", read_label(label_file), self.ABOUT)
        store.remove_image("oblique")
        assert list((studies / "proposals").iterdir()) == []
