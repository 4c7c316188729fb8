"""The studies in a real archive; every test has its own patients there."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Semaphore
from typing import Any
from zipfile import ZipFile
from zlib import crc32

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomweb_client import DICOMwebClient
from orthanc import Orthanc
from synthetic import ORGAN, make_label, make_scan, publish_untrained, same_place

from diffcl.active_learning.scorer import Scorer
from diffcl.active_learning.scores import ScoreBook
from diffcl.active_learning.worker import Looker
from diffcl.data.cases import LabelledCase
from diffcl.errors import (
    ArchiveDownError,
    DiffclError,
    GoneError,
    NotFoundError,
    ReadOnlyError,
    ScanError,
    UsageError,
)
from diffcl.inference.served_models import ServedModels
from diffcl.io import read_label, read_scan
from diffcl.io.dicom.seg_write import write_annotation, write_probability_seg, write_seg
from diffcl.io.dicom.series_write import write_series
from diffcl.io.dicomweb.client import Archive
from diffcl.io.dicomweb.entries import SeriesEntry
from diffcl.labels import Code
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe
from diffcl.studies import archive as archive_module
from diffcl.studies import archive_contents as contents
from diffcl.studies import downloads
from diffcl.studies.archive import ArchiveStudies
from diffcl.studies.archive_contents import ArchiveContents, View
from diffcl.studies.review import review_of
from diffcl.studies.training_cases import training_cases

OTHER = ORGAN.model_copy(update={"name": "other", "labels": tuple(
    one.model_copy(update={"name": f"other_{one.name}", "type": Code(value=f"1{one.value}", meaning="Other")})
    for one in ORGAN.labels
)})  # fmt: skip
"""A task whose classes nobody serves."""

pytestmark = pytest.mark.usefixtures("always_fresh")

Put = Callable[..., str]
Open = Callable[..., ArchiveStudies]


@pytest.fixture
def patients(request: pytest.FixtureRequest) -> str:
    """Beginning of the numbers of a test's patients."""
    return str(crc32(request.node.nodeid.encode()))


@pytest.fixture
def put(orthanc: Orthanc, patients: str, tmp_path: Path) -> Put:
    """Puts the scan of a name into the archive; its SeriesInstanceUID."""

    def run(name: str, images: slice = slice(None), **more: Any) -> str:
        (tmp_path / "source").mkdir(exist_ok=True)
        files = scan_of(patients, name, tmp_path / "source" / name, **more)
        orthanc.add(files[images])
        return read_scan(files[0].parent).series.uid

    return run


@pytest.fixture
def open_store(orthanc: Orthanc, patients: str, tmp_path: Path) -> Open:
    """Opens the test's part of the archive, as a server of its own with its own folder."""

    def run(
        folder: str = "here",
        url: str = orthanc.url,
        modality: str | None = None,
        tasks: tuple[Recipe, ...] = (ORGAN,),
        **more: Any,
    ) -> ArchiveStudies:
        filters = {"PatientID": patients} | ({"Modality": modality} if modality else {})
        return ArchiveStudies(Archive(url), tmp_path / folder, lambda: tasks, filters, **more)

    return run


@pytest.fixture
def store(open_store: Open) -> ArchiveStudies:
    return open_store()


@pytest.fixture
def label_file(tmp_path: Path) -> Callable[[sitk.Image], Path]:
    """Writes a label as a viewer sends it."""

    def write(label: sitk.Image) -> Path:
        path = tmp_path / "label.nii.gz"
        sitk.WriteImage(label, path)
        return path

    return write


def scan_of(patient: str, name: str, folder: Path, **more: Any) -> tuple[Path, ...]:
    """The scan of a name as the series of a patient."""
    files = write_series(make_scan(name), folder, name=f"{patient}-{name}", **more)
    for file in files:
        one = pydicom.dcmread(file)
        one.PatientID = patient
        one.save_as(file)
    return files


def save(store: ArchiveStudies, uid: str, file: Path, tag: str = "final") -> dict[str, Any]:
    store.save_label(uid, file, tag, {"client_id": "ann"})
    return store.label_notes(uid, tag)


def voxels(path: str | Path) -> np.ndarray:
    return sitk.GetArrayFromImage(read_label(Path(path)))


def refusal(action: Callable[[], Any]) -> DiffclError:
    """The refusal of an action, in one line."""
    with pytest.raises(DiffclError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return caught.value


class TestScans:
    def test_mr_and_ct_are_there(self, store: ArchiveStudies, put: Put) -> None:
        mr, ct = put("oblique"), put("flipped", modality="CT")
        assert store.scans() == sorted([mr, ct])
        assert {store.image_notes(uid)["Modality"] for uid in (mr, ct)} == {"MR", "CT"}
        assert store.status() == {
            "total": 2,
            "completed": 0,
            "label_tags": {},
            "tasks": {},
            "partly_drawn": {},
        }

    def test_whose_a_series_is_stands_in_its_headers(
        self, store: ArchiveStudies, put: Put, patients: str
    ) -> None:
        uid = put("oblique")
        assert store.patients([uid]) == {uid: patients}

    def test_a_filter_leaves_some_out(self, open_store: Open, put: Put) -> None:
        put("oblique")
        ct = put("flipped", modality="CT")
        assert open_store(modality="CT").scans() == [ct]

    def test_nothing_is_downloaded_before_it_is_needed(
        self, store: ArchiveStudies, put: Put, tmp_path: Path
    ) -> None:
        put("oblique")
        assert store.waiting() == store.scans()
        assert store.content()["objects"]
        assert not (tmp_path / "here").exists()

    @pytest.mark.parametrize("name", ["oblique", "flipped", "anisotropic"])
    def test_the_file_of_a_series_has_its_voxels_in_their_place(
        self, store: ArchiveStudies, put: Put, tmp_path: Path, name: str
    ) -> None:
        uid = put(name)
        source = read_scan(tmp_path / "source" / name).image
        file = Path(store.image_path(uid))
        got = sitk.ReadImage(file)
        assert file.name == store.image_notes(uid)["name"]
        assert same_place(got, source)
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(got), sitk.GetArrayViewFromImage(source))

    def test_a_series_is_downloaded_once_and_again_when_it_has_grown(
        self, store: ArchiveStudies, put: Put
    ) -> None:
        uid = put("oblique", slice(0, 9))
        first = Path(store.image_path(uid)).stat()
        assert Path(store.image_path(uid)).stat().st_ino == first.st_ino
        put("oblique")
        assert sitk.ReadImage(store.image_path(uid)).GetDepth() == 13

    def test_a_series_of_which_fewer_images_come_than_announced_is_downloaded_twice_only(
        self, store: ArchiveStudies, put: Put, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uid = put("oblique")
        search, download = Archive.search, Archive.download
        downloads_of: list[str] = []

        def more(*given: Any) -> list[SeriesEntry]:
            return [replace(entry, images=(entry.images or 0) + announced_more) for entry in search(*given)]

        def counted(self: Archive, study: str, series: str, folder: Path) -> int:
            downloads_of.append(series)
            return download(self, study, series, folder)

        monkeypatch.setattr(Archive, "search", more)
        monkeypatch.setattr(Archive, "download", counted)
        announced_more = 3
        files = {sitk.ReadImage(store.image_path(uid)).GetDepth() for _ in range(5)}
        assert (files, downloads_of) == ({13}, [uid] * 2)
        announced_more = 4
        store.scan_path(uid)
        assert downloads_of == [uid] * 3

    def test_an_unknown_series_is_said(self, store: ArchiveStudies) -> None:
        assert isinstance(refusal(lambda: store.image_path("1.2.3")), NotFoundError)
        assert isinstance(refusal(lambda: store.image_notes("../1.2.3")), NotFoundError)

    def test_a_series_deleted_meanwhile_is_said(
        self, store: ArchiveStudies, put: Put, orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        uid = put("oblique")
        monkeypatch.setattr(contents, "FRESH_SECONDS", 60)
        assert store.scans() == [uid]
        orthanc.delete_series(uid)
        refused = refusal(lambda: store.image_path(uid))
        assert isinstance(refused, GoneError)
        assert "is not there any more" in str(refused)
        store.refresh()
        assert store.scans() == []

    def test_a_series_that_cannot_be_used_does_not_wait_until_it_has_grown(
        self, store: ArchiveStudies, put: Put
    ) -> None:
        uid = put("oblique", slice(0, 1))
        with pytest.raises(ScanError, match=r"only one voxel thin|one image"):
            store.image_path(uid)
        assert store.waiting() == []
        assert store.scans() == [uid]
        put("oblique")
        assert store.waiting() == [uid]

    def test_what_is_kept_stays_within_bounds(
        self, open_store: Open, put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = open_store(cache_bytes=40_000)
        monkeypatch.setattr(downloads, "HELD_SECONDS", -1)
        uids = [put(name) for name in ("oblique", "flipped", "anisotropic")]
        (tmp_path / "here/series").mkdir(parents=True)
        (tmp_path / "here/series/.left-by-a-kill").mkdir()
        for uid in uids:
            assert Path(store.image_path(uid)).is_file()
        kept = sorted(path.name for path in (tmp_path / "here/series").iterdir())
        assert uids[-1] in kept
        assert uids[0] not in kept
        assert not [name for name in kept if name.startswith(".")]

    def test_what_was_just_used_is_not_taken_away(self, open_store: Open, put: Put) -> None:
        store = open_store(cache_bytes=0)
        files = [Path(store.image_path(put(name))) for name in ("oblique", "flipped")]
        assert all(file.is_file() for file in files)


class TestLabels:
    def test_a_label_is_valid_the_moment_it_is_stored(
        self, store: ArchiveStudies, put: Put, label_file: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(contents, "FRESH_SECONDS", 60)
        first, second = put("oblique"), put("flipped")
        info = save(store, first, label_file(make_label("oblique")))
        assert (info["version"], info["task"], info["client_id"]) == (1, "organ", "ann")
        assert store.labelled() == [first]
        assert store.waiting() == [second]
        assert store.status() == {
            "total": 2,
            "completed": 1,
            "label_tags": {"final": 1},
            "tasks": {"organ": 1},
            "partly_drawn": {},
        }
        file = store.label_path(first, "final")
        assert same_place(sitk.ReadImage(file), sitk.ReadImage(store.image_path(first)))
        np.testing.assert_array_equal(voxels(file), sitk.GetArrayFromImage(make_label("oblique")))

    def test_a_partly_drawn_label_stays_so(
        self, store: ArchiveStudies, put: Put, label_file: Any, open_store: Open, tmp_path: Path
    ) -> None:
        """Its unknown voxels are a segment in the archive, which another server reads as such."""
        uid, image = put("oblique"), make_label("oblique")
        values = sitk.GetArrayFromImage(image)
        values[[0, 1, 2, 3, 5, 7]] = 255
        part = sitk.GetImageFromArray(values)
        part.CopyInformation(image)
        store.save_label(uid, label_file(part), "final", {"client_id": "ann"})
        told = "drawn on 7 of 13 axial slices"
        assert store.status()["partly_drawn"] == {uid: told}
        for one in (store, open_store("other")):
            np.testing.assert_array_equal(voxels(one.label_path(uid, "final")), values)
            assert one.label_notes(uid, "final")["label_info"][-1] == {"name": "unknown", "idx": 255}
            assert one.tasks_of(uid) == ["organ"]
        assert open_store("other").status()["partly_drawn"] == {uid: "drawn in part"}, (
            "nobody wrote it down there"
        )
        found = training_cases(store, ORGAN, 0.0, tmp_path / "organ")
        assert [scan.drawn for scan in found.scans.labelled] == [told]

    def test_damaged_notes_are_none(
        self, store: ArchiveStudies, put: Put, label_file: Any, tmp_path: Path
    ) -> None:
        uid = put("oblique")
        save(store, uid, label_file(make_label("oblique")))
        store.note_image(uid, {"score": 1})
        for folder in ("images", "records"):
            (notes,) = (tmp_path / "here" / folder).glob("*.json")
            notes.write_bytes(notes.read_bytes()[:5])
        assert "score" not in store.image_notes(uid)
        assert store.label_notes(uid, "final")["task"] == "organ"
        store.note_image(uid, {"score": 2})
        assert store.image_notes(uid)["score"] == 2

    def test_another_server_sees_it(
        self, store: ArchiveStudies, open_store: Open, put: Put, label_file: Any
    ) -> None:
        uid = put("oblique")
        other = open_store("there")
        assert other.labelled() == []
        save(store, uid, label_file(make_label("oblique")))
        assert other.labelled() == [uid]
        assert other.label_notes(uid, "final")["task"] == "organ"
        np.testing.assert_array_equal(
            voxels(other.label_path(uid, "final")), voxels(store.label_path(uid, "final"))
        )

    def test_the_newest_counts_and_older_ones_stay(
        self, store: ArchiveStudies, put: Put, label_file: Any, orthanc: Orthanc
    ) -> None:
        uid = put("oblique")
        one = save(store, uid, label_file(make_label("oblique")))
        two = save(store, uid, label_file(make_label("oblique") * 0))
        marked = int((sitk.GetArrayFromImage(make_label("oblique")) > 0).sum())
        assert (two["version"], two["changed_voxels"]) == (2, marked)
        assert voxels(store.label_path(uid, "final")).max() == 0
        assert [kept["title"] for kept in two["versions"]] == ["Label 1: organ", "Label 2: organ"]
        for version in (one, two):
            assert orthanc.find("Series", SeriesInstanceUID=version["SeriesInstanceUID"])
        orthanc.delete_series(two["SeriesInstanceUID"])
        assert store.label_notes(uid, "final")["SeriesInstanceUID"] == one["SeriesInstanceUID"]
        assert voxels(store.label_path(uid, "final")).max() == 2

    def test_labels_that_two_servers_store_at_once_both_stay(
        self,
        store: ArchiveStudies,
        open_store: Open,
        put: Put,
        label_file: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        uid, other = put("oblique"), open_store("there")
        assert store.scans() == other.scans() == [uid]
        monkeypatch.setattr(contents, "FRESH_SECONDS", 60)
        assert other.label_notes(uid, "final") == {}
        save(store, uid, label_file(make_label("oblique")))
        save(other, uid, label_file(make_label("oblique") * 0))
        store.refresh()
        info = store.label_notes(uid, "final")
        assert [one["title"] for one in info["versions"]] == ["Label 1: organ", "Label 1: organ"]
        assert voxels(store.label_path(uid, "final")).max() == 0

    def test_a_clock_that_goes_ahead_does_not_hide_a_newer_label(
        self, store: ArchiveStudies, put: Put, label_file: Any, tmp_path: Path, orthanc: Orthanc
    ) -> None:
        uid = put("oblique")
        source = read_scan(tmp_path / "source/oblique")
        write_annotation(make_like(source, "oblique"), source.series, ORGAN.labels, tmp_path / "seg.dcm")
        ahead = hd.seg.segread(tmp_path / "seg.dcm")
        then = datetime.now() + timedelta(hours=2)
        ahead.ContentDate, ahead.ContentTime = f"{then:%Y%m%d}", f"{then:%H%M%S}"
        ahead.save_as(tmp_path / "seg.dcm")
        orthanc.add([tmp_path / "seg.dcm"])
        assert save(store, uid, label_file(make_label("oblique") * 0))["version"] == 2
        assert voxels(store.label_path(uid, "final")).max() == 0

    @pytest.mark.parametrize(
        ("date", "time", "offset"),
        [("20260102", "", None), ("20990102", "", "+0000"), ("20260102", "030405", "+1400"), ("", "", None)],
        ids=["a date without a time", "the same, in the future", "another zone", "no date"],
    )
    def test_whatever_date_a_label_has_the_one_stored_after_it_counts(
        self, date: str, time: str, offset: str | None, store: ArchiveStudies, put: Put, label_file: Any,
        tmp_path: Path, orthanc: Orthanc,
    ) -> None:  # fmt: skip
        uid = put("oblique")
        source = read_scan(tmp_path / "source/oblique")
        write_annotation(make_like(source, "oblique"), source.series, ORGAN.labels, tmp_path / "seg.dcm")
        former = pydicom.dcmread(tmp_path / "seg.dcm")
        former.ContentDate, former.ContentTime = date, time
        if offset:
            former.TimezoneOffsetFromUTC = offset
        former.save_as(tmp_path / "seg.dcm")
        orthanc.add([tmp_path / "seg.dcm"])
        assert save(store, uid, label_file(make_label("oblique") * 0))["version"] == 2
        assert voxels(store.label_path(uid, "final")).max() == 0

    def test_of_two_labels_the_later_counts_whatever_the_clocks_of_their_makers_show(
        self, store: ArchiveStudies, put: Put, tmp_path: Path, orthanc: Orthanc
    ) -> None:
        uid = put("oblique")
        source = read_scan(tmp_path / "source/oblique")
        for clock, offset, factor in (("120000", "+0900", 1), ("110000", "-0500", 0)):
            file = tmp_path / f"{offset}.dcm"
            label = make_like(source, "oblique") * factor
            write_annotation(label, source.series, ORGAN.labels, file)
            header = pydicom.dcmread(file)
            header.ContentDate, header.ContentTime, header.TimezoneOffsetFromUTC = "20260102", clock, offset
            header.save_as(file)
            orthanc.add([file])
        assert voxels(store.label_path(uid, "final")).max() == 0
        times = [one["time"] for one in store.label_notes(uid, "final")["versions"]]
        assert times == ["2026-01-02T03:00:00+00:00", "2026-01-02T16:00:00+00:00"]

    def test_a_label_says_the_offset_of_its_dates(
        self, store: ArchiveStudies, put: Put, label_file: Any, orthanc: Orthanc
    ) -> None:
        info = save(store, put("oblique"), label_file(make_label("oblique")))
        (found,) = orthanc.find("Instance", SOPInstanceUID=info["SOPInstanceUID"])
        tags = orthanc.ask("get", f"/instances/{found}/simplified-tags")
        assert tags["TimezoneOffsetFromUTC"] == f"{datetime.now().astimezone():%z}"

    def test_an_empty_label_can_be_stored(
        self, store: ArchiveStudies, open_store: Open, put: Put, label_file: Any
    ) -> None:
        uid = put("oblique")
        save(store, uid, label_file(make_label("oblique") * 0))
        assert voxels(open_store("there").label_path(uid, "final")).max() == 0

    def test_what_a_label_began_as_is_written_down(
        self, store: ArchiveStudies, put: Put, label_file: Any, orthanc: Orthanc
    ) -> None:
        uid = put("oblique")
        about = {"model": "organ", "version": 3, "task": "organ", "marked": False}
        store.keep_proposal(uid, make_label("oblique"), about)
        info = save(store, uid, label_file(make_label("oblique") * 0))
        assert {key: info["started_from"][key] for key in about} == about
        assert info["started_from"]["changes"]["organ_head"]["removed"] == 120
        (found,) = orthanc.find("Instance", SOPInstanceUID=info["SOPInstanceUID"])
        segments = orthanc.ask("get", f"/instances/{found}/simplified-tags")["SegmentSequence"]
        assert {one["SegmentAlgorithmType"] for one in segments} == {"SEMIAUTOMATIC"}
        assert {one["SegmentAlgorithmName"] for one in segments} == {"organ"}

    @pytest.mark.parametrize("kind", ["by a model", "probabilities", "of another task"])
    def test_other_segmentations_are_no_labels(
        self, store: ArchiveStudies, put: Put, orthanc: Orthanc, tmp_path: Path, kind: str
    ) -> None:
        uid = put("oblique")
        source = read_scan(tmp_path / "source/oblique")
        label, file = make_like(source, "oblique"), tmp_path / "seg.dcm"
        model = {"model_name": "organ", "model_version": 1}
        if kind == "by a model":
            write_seg(label, source.series, ORGAN.labels, file, **model)
        elif kind == "probabilities":
            likely = [sitk.Cast(label == value, sitk.sitkFloat32) for value in (1, 2)]
            write_probability_seg(likely, source.series, ORGAN.labels, file, **model)
        else:
            write_annotation(label, source.series, OTHER.labels, file)
        orthanc.add([file])
        assert store.labelled() == []
        assert store.scans() == [uid]

    def test_a_label_deleted_in_the_archive_is_gone(
        self, store: ArchiveStudies, put: Put, orthanc: Orthanc, label_file: Any
    ) -> None:
        uid = put("oblique")
        info = save(store, uid, label_file(make_label("oblique")))
        orthanc.delete_series(info["SeriesInstanceUID"])
        assert store.waiting() == [uid]
        assert store.label_path(uid, "final") is None
        assert store.label_notes(uid, "final") == {}

    def test_a_label_that_is_refused_changes_nothing(
        self, store: ArchiveStudies, put: Put, label_file: Any, tmp_path: Path
    ) -> None:
        uid = put("oblique")
        assert "not classes of a task" in str(
            refusal(lambda: save(store, uid, label_file(make_label("oblique") * 7)))
        )
        (tmp_path / "bytes.nii.gz").write_bytes(b"random")
        assert isinstance(refusal(lambda: save(store, uid, tmp_path / "bytes.nii.gz")), ScanError)
        assert isinstance(
            refusal(lambda: save(store, uid, label_file(make_label("oblique")), "../evil")), UsageError
        )
        assert isinstance(
            refusal(lambda: save(store, "1.2.3", label_file(make_label("oblique")))), NotFoundError
        )
        assert store.labelled() == []

    def test_proposals_are_kept_beside(self, store: ArchiveStudies, put: Put, label_file: Any) -> None:
        uid = put("oblique")
        save(store, uid, label_file(make_label("oblique")), "original")
        assert store.labelled() == []
        assert store.content()["objects"][uid]["labels"]["original"]["info"]["client_id"] == "ann"
        assert store.status()["label_tags"] == {"original": 1}
        store.note_label(uid, "original", {"seen": True})
        assert store.label_notes(uid, "original")["seen"]
        assert voxels(store.label_path(uid, "original")).max() == 2
        store.remove_label(uid, "original")
        assert store.tags(uid) == []
        assert isinstance(refusal(lambda: store.remove_label(uid, "original")), NotFoundError)

    def test_a_training_gets_the_label_of_its_task_only(
        self, store: ArchiveStudies, put: Put, label_file: Any
    ) -> None:
        labelled, waiting = put("oblique"), put("flipped")
        save(store, labelled, label_file(make_label("oblique")))
        label = store.training_label(labelled, "organ")
        assert label == store.label_path(labelled, "final")
        assert store.training_label(labelled, "other") is None
        assert store.training_label(waiting, "organ") is None

    def test_a_training_finds_its_cases(
        self, store: ArchiveStudies, put: Put, label_file: Any, tmp_path: Path
    ) -> None:
        uids = {name: put(name) for name in ("oblique", "flipped")}
        put("anisotropic", slice(0, 1))
        save(store, uids["oblique"], label_file(make_label("oblique")))
        found = training_cases(store, ORGAN, 0.2, tmp_path / "prepared")
        assert [case.name for case in found.cases.labelled] == [uids["oblique"]]
        assert isinstance(found.cases.labelled[0], LabelledCase)
        assert [case.name for case in found.cases.unlabelled] == [uids["flipped"]]
        assert len(found.refused) == 1

    def test_a_series_deleted_meanwhile_is_left_out_of_a_training(
        self,
        store: ArchiveStudies,
        put: Put,
        label_file: Any,
        orthanc: Orthanc,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        kept, deleted = put("oblique"), put("flipped")
        save(store, kept, label_file(make_label("oblique")))
        monkeypatch.setattr(contents, "FRESH_SECONDS", 60)
        assert len(store.scans()) == 2
        orthanc.delete_series(deleted)
        found = training_cases(store, ORGAN, 0.2, tmp_path / "prepared")
        assert [case.name for case in found.cases.labelled] == [kept]
        assert found.refused.keys() == {deleted}
        assert f"series {deleted} is not there any more" in found.refused[deleted]
        assert "\n" not in found.refused[deleted]

    def test_everything_can_be_taken_along(self, store: ArchiveStudies, put: Put, label_file: Any) -> None:
        assert isinstance(refusal(lambda: store.export()), NotFoundError)
        uid = put("oblique")
        save(store, uid, label_file(make_label("oblique")))
        with ZipFile(store.export()) as packed:
            assert packed.namelist() == [f"image/{uid}.nrrd", f"label/{uid}.nii.gz"]


class TestTwoTasks:
    """Two organs on the same series: those of `ORGAN` and of `OTHER`, which lies beside it."""

    NAMES = ("organ_head", "organ_tail", "other_organ_head", "other_organ_tail")

    @pytest.fixture
    def both(self, open_store: Open) -> ArchiveStudies:
        return open_store(tasks=(ORGAN, OTHER))

    def together(self) -> sitk.Image:
        """Values 1 to 4 of both."""
        grid, organ = make_label("oblique"), sitk.GetArrayFromImage(make_label("oblique"))
        values = np.where(organ == 0, np.array([0, 3, 4])[organ[:, ::-1]], organ).astype(np.uint8)
        image = sitk.GetImageFromArray(values)
        image.CopyInformation(grid)
        return image

    def check(self, store: ArchiveStudies, uid: str) -> None:
        wanted = sitk.GetArrayFromImage(self.together())
        for task, values in (("organ", [0, 1, 2, 0, 0]), ("other", [0, 0, 0, 1, 2])):
            assert np.array_equal(voxels(store.training_label(uid, task)), np.array(values)[wanted])
            assert store.label_path(uid, f"final.{task}") == store.training_label(uid, task)
        assert np.array_equal(voxels(store.label_path(uid, "final")), wanted)
        assert [one["name"] for one in store.label_notes(uid, "final")["label_info"]] == list(self.NAMES)
        assert sorted(store.tasks_of(uid)) == ["organ", "other"]
        assert store.status()["tasks"] == {"organ": 1, "other": 1}

    def test_a_label_of_both_is_stored_as_one_of_each(
        self, both: ArchiveStudies, put: Put, label_file: Any
    ) -> None:
        uid = put("oblique")
        info = [{"name": name, "idx": number} for number, name in enumerate(self.NAMES, start=1)]
        stored = both.save_label(uid, label_file(self.together()), "final", {"label_info": info})["stored"]
        assert stored == {"organ": 1, "other": 2}
        self.check(both, uid)
        assert both.label_notes(uid, "final.organ")["version"] == 1
        again = both.save_label(uid, label_file(make_label("oblique")), "final", {"label_info": info[:2]})
        assert (again["task"], again["changed_voxels"]) == ("organ", 0)
        self.check(both, uid)

    def test_a_review_of_the_map_is_one_of_every_label_in_it(
        self, both: ArchiveStudies, put: Put, label_file: Any
    ) -> None:
        uid = put("oblique")
        info = [{"name": name, "idx": number} for number, name in enumerate(self.NAMES, start=1)]
        both.save_label(uid, label_file(self.together()), "final", {"label_info": info})
        for tag, status, told in (
            ("final.other", "approved", "submitted"),
            ("final.organ", "flagged", "flagged"),
            ("final", "approved", "approved"),
        ):
            both.note_label(uid, tag, {"segmentationMeta": {"status": status}})
            assert review_of(both.label_notes(uid, "final")).status == told
        assert both.to_review() == []

    def test_a_segmentation_of_both_by_other_software_is_taken_apart(
        self, both: ArchiveStudies, put: Put, orthanc: Orthanc, tmp_path: Path
    ) -> None:
        uid = put("oblique")
        source = read_scan(tmp_path / "source/oblique")
        names = [*ORGAN.labels, *(one.model_copy(update={"value": one.value + 2}) for one in OTHER.labels)]
        image = self.together()
        image.CopyInformation(source.image)
        write_annotation(image, source.series, names, tmp_path / "seg.dcm")
        orthanc.add([tmp_path / "seg.dcm"])
        self.check(both, uid)


class TestScores:
    def test_series_are_scored_and_not_kept(self, store: ArchiveStudies, put: Put, tmp_path: Path) -> None:
        uids = {put("oblique"), put("flipped")}
        models = ModelRegistry(tmp_path / "models")
        publish_untrained(models)
        book = ScoreBook(tmp_path / "scores")
        scorer = Scorer(
            ServedModels(models),
            "organ",
            store.to_score,
            book,
            look=Looker(),
        )
        assert scorer.update() == 2
        known = book.known(uids)
        assert known is not None
        assert known.entries.keys() == uids
        assert scorer.update() == 0
        assert [file for file in (tmp_path / "here").rglob("*") if file.is_file()] == []

    def test_a_series_that_is_here_already_is_not_fetched_again(
        self, store: ArchiveStudies, put: Put
    ) -> None:
        uid = put("oblique")
        here = store.scan_path(uid)
        with store.to_score().scans[uid].lent() as folder:
            assert folder == here
        assert here.is_dir()

    def test_a_series_is_scored_again_when_it_has_grown_and_not_when_it_is_gone(
        self, store: ArchiveStudies, put: Put, orthanc: Orthanc
    ) -> None:
        uid = put("oblique", slice(0, 9))
        scorable = store.to_score().scans[uid]
        before = scorable.state()
        put("oblique")
        assert scorable.state() != before
        orthanc.delete_series(uid)
        with pytest.raises(GoneError):
            scorable.state()

    def test_a_large_archive_is_not_read_through(
        self, store: ArchiveStudies, put: Put, label_file: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        labelled = put("oblique")
        save(store, labelled, label_file(make_label("oblique")))
        put("flipped")
        put("anisotropic")
        monkeypatch.setattr(archive_module, "SAMPLE", 1)
        assert len(store.to_score().scans) == 2
        assert labelled in store.to_score().scans


def test_nothing_is_left_behind_or_named_after_the_patient(
    store: ArchiveStudies,
    put: Put,
    label_file: Any,
    patients: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    uid = put("oblique")
    save(store, uid, label_file(make_label("oblique")))
    told = json.dumps([store.content(), store.image_notes(uid)]) + caplog.text
    for path in (tmp_path / "here").rglob("*"):
        told += str(path.relative_to(tmp_path / "here"))
        assert path.name == ".lock" or not path.name.startswith(".")
        if path.suffix == ".json":
            told += path.read_text()
    assert patients not in told
    assert "Phantom" not in told


class TestAnArchiveThatFails:
    @pytest.fixture
    def own(self, tmp_path: Path, open_store: Open) -> Iterator[tuple[Orthanc, ArchiveStudies]]:
        """An archive for this test alone."""
        archive = Orthanc(tmp_path / "own archive")
        archive.start()
        yield archive, open_store("own", archive.url)
        archive.kill()

    @pytest.fixture
    def holding(
        self, own: Any, patients: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Orthanc, ArchiveStudies, str]:
        """It with one series, by a server that soon loses patience."""
        monkeypatch.setattr("diffcl.io.dicomweb.client.PATIENCE_SECONDS", 0.1)
        archive, store = own
        archive.add(scan_of(patients, "oblique", tmp_path / "series"))
        (uid,) = store.scans()
        return archive, store, uid

    def test_every_question_is_refused_in_one_line_and_answered_once_it_is_back(
        self, holding: Any, label_file: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive, store, uid = holding
        monkeypatch.setattr(contents, "FRESH_SECONDS", 60)
        assert store.scans() == [uid]
        archive.kill()
        label = label_file(make_label("oblique"))
        for action in (lambda: store.image_path(uid), lambda: save(store, uid, label)):
            assert isinstance(refusal(action), ArchiveDownError)
        monkeypatch.setattr(contents, "FRESH_SECONDS", 0)
        store.refresh()
        for action in (store.scans, store.status, store.waiting):
            assert isinstance(refusal(action), ArchiveDownError)
        assert "does not answer" in str(refusal(store.scans))
        archive.start()
        assert save(store, uid, label)["version"] == 1

    def test_one_killed_while_it_sends_a_series_leaves_nothing_behind(
        self, holding: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive, store, uid = holding
        send = DICOMwebClient.iter_series

        def until_killed(*given: Any, **more: Any) -> Iterator[Any]:
            yield next(send(*given, **more))
            archive.kill()
            yield from send(*given, **more)

        with monkeypatch.context() as killing:
            killing.setattr(DICOMwebClient, "iter_series", until_killed)
            refused = refusal(lambda: store.image_path(uid))
        assert isinstance(refused, ArchiveDownError)
        assert "does not answer" in str(refused)
        assert [file for file in (tmp_path / "own").rglob("*") if file.is_file()] == []
        archive.start()
        assert sitk.ReadImage(store.image_path(uid)).GetDepth() == 13

    def test_one_killed_while_a_label_is_submitted_takes_it_once_it_is_back(
        self, holding: Any, label_file: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        archive, store, uid = holding
        label, send = label_file(make_label("oblique")), Archive.store

        def killed(*given: Any) -> None:
            archive.kill()
            send(*given)

        with monkeypatch.context() as killing:
            killing.setattr(Archive, "store", killed)
            assert isinstance(refusal(lambda: save(store, uid, label)), ArchiveDownError)
        archive.start()
        store.refresh()
        assert store.labelled() == []
        assert save(store, uid, label)["version"] == 1

    def test_those_who_wait_are_told_at_once(self, own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        archive, store = own
        archive.kill()
        monkeypatch.setattr(contents, "FRESH_SECONDS", 60)
        monkeypatch.setattr("diffcl.io.dicomweb.client.PATIENCE_SECONDS", 0.1)
        told = refusal(store.scans)
        monkeypatch.setattr(ArchiveContents, "_ask", lambda _: pytest.fail("the archive is asked again"))
        assert str(refusal(store.scans)) == str(told)
        assert isinstance(told, ArchiveDownError)


class TestAnArchiveThatIsSilent:
    @pytest.fixture
    def silent(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArchiveStudies]:
        """An archive that accepts connections and never answers."""
        monkeypatch.setattr("diffcl.io.dicomweb.session.READ_SECONDS", 0.5)
        monkeypatch.setattr("diffcl.io.dicomweb.client.PATIENCE_SECONDS", 0.1)
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/dicom-web"
            yield ArchiveStudies(Archive(url), tmp_path / "silent", lambda: [ORGAN])

    def test_after_the_first_failure_nobody_waits_but_the_one_who_asks_again(
        self, silent: ArchiveStudies, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, ask, told = list[View](), ArchiveContents._ask, Semaphore(0)  # noqa: SLF001

        def watched(found: ArchiveContents) -> View:
            asked.append(View())
            for _ in range(7 if len(asked) == 2 else 0):
                assert told.acquire(timeout=60), "somebody else waits too"
            return ask(found)

        def refused(_: int = 0) -> None:
            assert "too slow" in str(refusal(silent.status))
            told.release()

        monkeypatch.setattr(ArchiveContents, "_ask", watched)
        monkeypatch.setattr(contents, "FRESH_SECONDS", 60)
        for _ in range(4):
            refused()
        assert len(asked) == 1
        for _ in range(4):
            told.acquire()
        silent.refresh()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(refused, range(8)))
        assert len(asked) == 2

    def test_what_it_had_is_known_until_it_has_failed(
        self, silent: ArchiveStudies, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked, answered = Event(), Event()
        monkeypatch.setattr(ArchiveContents, "_ask", lambda _: View())
        assert silent.scans() == []

        def slow(_: ArchiveContents) -> View:
            asked.set()
            assert answered.wait(60)
            return View()

        monkeypatch.setattr(ArchiveContents, "_ask", slow)
        with ThreadPoolExecutor(1) as thread:
            first = thread.submit(silent.scans)
            assert asked.wait(60)
            assert silent.scans() == []
            assert not first.done()
            answered.set()

    def test_what_was_just_stored_is_waited_for(
        self, silent: ArchiveStudies, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ArchiveContents, "_ask", lambda _: View())
        assert silent.scans() == []
        entry = SeriesEntry("1.2", "1", "MR", 1, "", "")
        monkeypatch.setattr(ArchiveContents, "_ask", lambda _: time.sleep(0.2) or View({"1.2": entry}))
        silent.refresh()
        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(lambda _: silent.scans(), range(2))) == [["1.2"], ["1.2"]]


@pytest.mark.parametrize(
    "action",
    [
        lambda store: store.add_image("x", Path("x.nii.gz"), {}),
        lambda store: store.remove_image("x"),
        lambda store: store.remove_label("x", "final"),
        lambda store: store.set_name("x"),
        lambda store: store.set_description("x"),
    ],
    ids=["add", "remove", "remove label", "name", "description"],
)
def test_what_belongs_into_the_archive_is_not_done_here(store: ArchiveStudies, action: Any) -> None:
    assert isinstance(refusal(lambda: action(store)), ReadOnlyError)


def make_like(source: Any, name: str) -> sitk.Image:
    """The label of a scan on the exact grid of its series."""
    label = make_label(name)
    label.CopyInformation(source.image)
    return label


def test_notes_that_cannot_be_read_back_are_refused(store: ArchiveStudies, put: Put, tmp_path: Path) -> None:
    uid = put("oblique")
    for notes in ({"a": "\ud800"}, {"strategy": "x"}, {"a": "x" * 70_000}):
        assert isinstance(refusal(lambda notes=notes: store.note_image(uid, notes)), UsageError)
    store.note_image(uid, {"seen": True})
    (file,) = (tmp_path / "here/images").glob("*.json")
    file.write_text(json.dumps({"seen": True, "strategy": "x", "bad": "\ud800"}))
    assert store.image_notes(uid)["seen"]
    assert not {"strategy", "bad"} & store.image_notes(uid).keys()


def test_it_is_called_by_its_address(store: ArchiveStudies) -> None:
    assert store.name().startswith("http://127.0.0.1")
    assert "archive 127.0.0.1" in store.description()
