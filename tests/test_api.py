"""The public API is what its page says, costs nothing to import, and old names still lead somewhere."""

from __future__ import annotations

import doctest
import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from synthetic import make_scan, make_studies, publish_untrained

import diffcl
from diffcl.errors import ModelError, UsageError
from diffcl.geometry import voxels
from diffcl.models import ModelRegistry
from diffcl.models.profile import Profile
from diffcl.resources import models_folder, samples_folder

ROOT = samples_folder().parent
PAGE = ROOT / "docs" / "python.md"


def test_all_is_what_the_page_documents() -> None:
    page = PAGE.read_text(encoding="utf-8")
    listed = set(re.findall(r"`diffcl\.(\w+)`", page[page.index("## All names") :]))
    assert listed == set(diffcl.__all__)
    assert sorted(diffcl.__all__) == diffcl.__all__
    assert set(re.findall(r"diffcl\.([A-Za-z_]\w*)[(.: ]", page)) - {"errors"} <= set(diffcl.__all__)


def test_all_can_be_asked_for_and_nothing_else() -> None:
    for name in diffcl.__all__:
        assert getattr(diffcl, name) is not None
        assert name in dir(diffcl)
    with pytest.raises(AttributeError, match="has no attribute 'segment_me'"):
        _ = diffcl.segment_me


def test_every_public_name_says_what_it_is() -> None:
    assert not [name for name in diffcl.__all__ if name[0] != "_" and not getattr(diffcl, name).__doc__]


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder beside the sample data, as the page says."""
    (tmp_path / "sample-data").symlink_to(samples_folder(), target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    page = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    assert len(page.examples) > 30
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(page, out=said.append).failed == 0, "".join(said)


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, json, diffcl; print(json.dumps([name for name in sys.modules if '.' not in name]))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert not {"torch", "numpy", "SimpleITK", "monai", "pydicom", "pydantic", "nibabel"} & set(loaded)


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, json, diffcl.cli.main; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    heavy = {"torch", "numpy", "SimpleITK", "monai", "pydicom", "pydantic", "nibabel"}
    assert not (heavy | {"ssl", "filelock", "cryptography"}) & set(loaded)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seed": 2**70}, "seed: 1180591620717411303424 is none. Give a whole number"),
        ({"seed": -1}, "seed: -1 is none"),
        ({"engine": "foo"}, "engine foo: there is none of that name"),
        ({"networks": "foo"}, "networks foo: there are none of that name. Known: ensemble, cs, ds"),
    ],
    ids=["huge seed", "negative seed", "engine", "networks"],
)
def test_what_is_no_choice_is_refused_before_anything_is_read(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=said):
        diffcl.predict("nowhere.nii.gz", "no-model", **given)
    with pytest.raises(UsageError, match=said):
        diffcl.predict_files("nowhere.nii.gz", "no-model", tmp_path / "out", **given)


def test_predicting_loads_nothing_of_training_or_of_other_results() -> None:
    code = "import sys, json, diffcl.inference.pipeline; print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    costly = {
        "monai",
        "torchvision",
        "matplotlib",
        "pandas",
        "highdicom",
        "onnxruntime",
        "distributed",
        "skimage",
    }
    assert not costly & set(loaded)


def test_what_could_be_imported_in_0_1_still_can() -> None:
    from diffcl.inference import Model, ModelInfo, ModelStore, Prediction, Predictor, Report, load_model
    from diffcl.io import Scan, is_scan, read_label, read_scan, scan_name, write_image
    from diffcl.training import Parent, Plan, Progress, train

    folder = ModelStore(models_folder()).folder("hippocampus")
    assert load_model(folder).info.name == "hippocampus"
    assert Predictor(load_model(folder), "torch").engine.name == "torch"
    every = (Model, ModelInfo, Prediction, Report, Scan, is_scan, read_label, read_scan, scan_name, write_image,
             Parent, Plan, Progress, train)  # fmt: skip
    assert all(every)


def test_what_has_moved_says_where_to() -> None:
    with pytest.raises(ImportError, match=r"has moved. Use diffcl\.publishing\.publish"):
        from diffcl.training import publish  # noqa: F401


@pytest.fixture
def store(tmp_path: Path) -> Path:
    publish_untrained(ModelRegistry(tmp_path / "store"))
    return tmp_path / "store"


def test_files_become_files_and_one_bad_scan_stops_none(store: Path, tmp_path: Path) -> None:
    scans = sorted(make_studies(tmp_path / "scans").glob("*.nii.gz"))[:2]
    bad = tmp_path / "scans" / "bad.nii.gz"
    bad.write_bytes(b"not an image")
    told: list[tuple[str, int, int]] = []
    outcomes = diffcl.predict_files(
        [scans[0], str(bad), scans[1]],
        "organ",
        tmp_path / "labels",
        uncertainty=tmp_path / "doubt",
        store=store,
        on_outcome=lambda outcome, done, total: told.append((outcome.job.scan.name, done, total)),
    )
    assert [outcome.report is None for outcome in outcomes] == [False, True, False]
    assert "bad.nii.gz" in outcomes[1].error
    assert told == [(scans[0].name, 1, 3), ("bad.nii.gz", 2, 3), (scans[1].name, 3, 3)]
    model = diffcl.load_model("organ", store=store)
    for scan in scans:
        label = sitk.ReadImage(tmp_path / "labels" / scan.name)
        assert (voxels(label) == diffcl.predict(scan, model).label_array()).all()
        assert (tmp_path / "doubt" / scan.name).exists()


def test_a_fault_of_the_program_in_one_scan_stops_no_other(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scans = sorted(make_studies(tmp_path / "scans").glob("*.nii.gz"))[:2]
    real = diffcl.read_scan

    def broken(path: Path, **options: object) -> diffcl.Scan:
        if path == scans[0]:
            raise KeyError("an oversight")
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("diffcl.data.sequences.read_scan", broken)
    outcomes = diffcl.predict_files(scans, "organ", tmp_path / "labels", store=store)
    assert [outcome.report is None for outcome in outcomes] == [True, False]
    assert outcomes[0].error == f"{scans[0]}: could not be used (KeyError); see the log"
    assert "an oversight" in caplog.text


def test_files_are_segmented_by_the_version_that_is_in_use_now(store: Path, tmp_path: Path) -> None:
    [scan, *_] = make_studies(tmp_path / "scans").glob("*.nii.gz")
    versions = []
    for _ in range(2):
        [outcome] = diffcl.predict_files(scan, "organ", tmp_path / "labels", store=store)
        assert outcome.report is not None
        versions.append(outcome.report.version)
        publish_untrained(ModelRegistry(store))
    assert versions == [1, 2]


def test_a_loaded_model_serves_files_as_well(store: Path, tmp_path: Path) -> None:
    [scan, *_] = make_studies(tmp_path / "scans").glob("*.nii.gz")
    model = diffcl.load_model("organ", store=store)
    [outcome] = diffcl.predict_files(scan, model, report=tmp_path / "report.json")
    assert outcome.report is not None
    assert outcome.report.model == "organ"
    assert (tmp_path / "report.json").exists()


def test_wrong_use_is_said_in_one_line(store: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no result is wanted"):
        diffcl.predict_files(["a.nii.gz"], "organ", store=store)
    with pytest.raises(UsageError, match="device abacus: there is none of that name"):
        diffcl.load_model("organ", device="abacus", store=store)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"there is none of that name\. Known models: cardiac, hippocampus"):
        diffcl.load_model("liver", store=tmp_path)
    unpublished = replace(diffcl.load_model("organ", store=store), folder=None)
    with pytest.raises(ModelError, match="in memory alone"):
        diffcl.predict_files(["a.nii.gz"], unpublished, tmp_path / "labels")


def test_what_speaks_against_a_scan_is_logged_before_it_is_segmented(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scan = diffcl.read_scan(make_scan("oblique"), name="p07")
    model = diffcl.load_model("organ", store=store)
    with caplog.at_level(logging.WARNING, "diffcl"):
        diffcl.predict(scan, model)
    assert not caplog.messages
    profile = Profile(ranges={"brightness": (5.0, 6.0)}, modality="MR")
    unlike = replace(model, info=model.info.model_copy(update={"profile": profile}))
    seen: list[list[str]] = []
    with caplog.at_level(logging.WARNING, "diffcl"):
        diffcl.predict(scan, unlike, on_progress=lambda done, total: seen.append(list(caplog.messages)))
    assert len(caplog.messages) == 1
    assert "p07: The scan's brightness is" in caplog.messages[0]
    assert seen[-2] == caplog.messages, "it was said before the last window"
