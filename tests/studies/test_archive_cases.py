"""Scans of several sequences in a real archive; every test has its own patients there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import pytest
from dicom_forms import describe_series
from orthanc import Orthanc
from synthetic import ORGAN, make_scan, publish_untrained

from diffcl.data.sequences import read_case
from diffcl.errors import ScanError
from diffcl.inference.served_models import ServedModels
from diffcl.io import read_scan
from diffcl.io.dicom.series_write import write_series
from diffcl.io.dicomweb.client import Archive
from diffcl.io.dicomweb.entries import SeriesEntry
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe
from diffcl.studies.archive import ArchiveStudies
from diffcl.studies.archive_cases import companions, scans_of

pytestmark = pytest.mark.usefixtures("always_fresh")

Put = Callable[[str, str], str]

TWO = Recipe.model_validate(
    {
        **ORGAN.model_dump(exclude_unset=True),
        "name": "two",
        "sequences": [{"name": "FLAIR"}, {"name": "T1", "pattern": "t1(?!.*gd)"}],
    }
)


@pytest.fixture
def patient(request: pytest.FixtureRequest) -> str:
    return str(crc32(request.node.nodeid.encode()))


@pytest.fixture
def put(orthanc: Orthanc, patient: str, tmp_path: Path) -> Put:
    """Puts a series with a description into a study; its UID."""

    def run(study: str, description: str) -> str:
        folder = tmp_path / "source" / f"{study}-{description}"
        folder.parent.mkdir(exist_ok=True)
        files = write_series(make_scan("oblique"), folder, name=f"{patient}-{folder.name}")
        uid = describe_series(
            folder,
            SeriesDescription=description,
            PatientID=patient,
            StudyInstanceUID=f"1.2.{patient}.{study}",
        )
        orthanc.add(files)
        return uid

    return run


@pytest.fixture
def studies(orthanc: Orthanc, patient: str, tmp_path: Path) -> ArchiveStudies:
    return ArchiveStudies(Archive(orthanc.url), tmp_path / "here", lambda: [TWO], {"PatientID": patient})


def test_the_series_of_a_study_are_one_scan(studies: ArchiveStudies, put: Put) -> None:
    t1, flair = put("1", "AX T1"), put("1", "AX FLAIR")
    put("1", "AX T1 Gd")
    assert studies.scans() == [flair]
    case = read_case(studies.case_path(flair), TWO.sequences)
    assert case.series is not None
    assert case.series.uid == flair
    assert case.others[0] is not None
    assert {path.name for path in studies.case_path(flair).iterdir()} == {flair, t1}


def test_a_sequence_that_comes_later_joins_its_scan(
    studies: ArchiveStudies, put: Put, tmp_path: Path
) -> None:
    flair = put("1", "FLAIR")
    store = ModelRegistry(tmp_path / "store")
    publish_untrained(store, recipe=TWO)
    models = ServedModels(store)
    state = studies.to_score().scans[flair].state()
    with pytest.raises(ScanError, match="without T1, which the task needs"):
        models.predict("two", studies.case_path(flair))
    put("1", "T1")
    assert studies.to_score().scans[flair].state() != state
    found = models.predict("two", studies.case_path(flair))
    assert found.label.GetSize() == read_scan(studies.scan_path(flair)).image.GetSize()


def entry(uid: str, description: str, study: str = "1", modality: str = "MR") -> SeriesEntry:
    return SeriesEntry(uid, study, modality, 1, "", "", description)


def test_a_task_of_one_sequence_takes_every_series() -> None:
    series = {one.uid: one for one in (entry("1", "FLAIR"), entry("2", "T1"), entry("3", "", "2"))}
    assert list(scans_of(series, [TWO])) == ["1"]
    assert list(scans_of(series, [TWO, ORGAN])) == ["1", "2", "3"]
    assert list(scans_of(series, [])) == ["1", "2", "3"]


def test_series_of_other_studies_are_no_companions() -> None:
    series = [entry("1", "FLAIR"), entry("2", "T1"), entry("3", "T1", "2"), entry("4", "T1 Gd")]
    assert [one.uid for one in companions(series[0], series, [TWO, ORGAN])] == ["2"]
    assert companions(series[1], series, [TWO]) == []
