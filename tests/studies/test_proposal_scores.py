from __future__ import annotations

from pathlib import Path

import pytest
from study_files import empty_scans, keep_versions, record
from synthetic import ORGAN

from diffcl.studies.folder import FolderStudies
from diffcl.studies.proposal_scores import proposal_scores


def test_the_newest_label_of_a_proposal_tests_it(tmp_path: Path) -> None:
    folder = tmp_path / "studies"
    empty_scans(folder, ["a", "b", "c", "d", "e"])
    keep_versions(folder, "a", [record("2026-01-30", "ann", 0.6), record("2026-01-31", "bob", 0.7)])
    keep_versions(folder, "b", [record("2026-01-31", "ann", 0.8, version=2)])
    keep_versions(folder, "c", [record("2026-01-31", "ann")])
    keep_versions(folder, "d", [{**record("2026-01-31", "ann", 0.9), "drawn": "slices 3 to 7 of 20"}])
    flagged = {"segmentationMeta": {"status": "flagged"}}
    keep_versions(folder, "e", [{**record("2026-01-31", "ann", 0.9), **flagged}])
    found = proposal_scores(FolderStudies(folder, lambda: [ORGAN]), "organ")
    assert {version: set(scans) for version, scans in found.items()} == {1: {"a"}, 2: {"b"}}
    assert found[1]["a"] == pytest.approx(0.7)
    assert found[2]["b"] == pytest.approx(0.8)
    assert proposal_scores(FolderStudies(folder, lambda: [ORGAN]), "other") == {}
