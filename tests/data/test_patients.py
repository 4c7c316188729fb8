from __future__ import annotations

from pathlib import Path

import pytest

from diffcl.data.patients import check_sides, patient_in, patients_in_file
from diffcl.errors import DataError, RecipeError
from diffcl.recipe import load_recipe, parse_recipe


def test_a_file_says_whose_scans_they_are(tmp_path: Path) -> None:
    assert patients_in_file(tmp_path) == {}
    lines = ["scan,patient", "p07_1, p07", "", '"p07, late",p07']
    (tmp_path / "patients.csv").write_text("\n".join(lines), encoding="utf-8-sig")
    assert patients_in_file(tmp_path) == {"p07_1": "p07", "p07, late": "p07"}


@pytest.mark.parametrize("line", ["p07", "p07,", "a,b,c"])
def test_a_line_that_is_none_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text(f"p01,a\n{line}\n")
    with pytest.raises(DataError, match="line 2 is not a scan and its patient"):
        patients_in_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "pattern", "patient"),
    [
        ("p07_1_late", "{patient}_*", "p07"),
        ("heart.p07.1", "heart.{patient}.*", "p07"),
        ("heartxp07x1", "heart.{patient}.*", None),
        ("p07", "{patient}", "p07"),
    ],
)
def test_a_pattern_finds_the_patient_in_a_name(name: str, pattern: str, patient: str | None) -> None:
    assert patient_in(name, pattern) == patient


@pytest.mark.parametrize("pattern", ["*", "{patient}{patient}", "{patient}****"])
def test_a_pattern_without_a_patient_is_refused(pattern: str) -> None:
    content = load_recipe("hippocampus").model_dump(exclude_unset=True) | {"patient": pattern}
    with pytest.raises(RecipeError, match=r"must hold \{patient\} once"):
        parse_recipe(content, "mine.toml")


def test_a_patient_on_both_sides_is_refused() -> None:
    patients = {"p07_1": "p07", "p07_2": "p07"}
    check_sides(["p07_1", "p07_2"], ["p08", "p09"], patients)
    with pytest.raises(DataError, match=r"^p07_2: validates, and p07_1 of the same patient teaches"):
        check_sides(["p07_1"], ["p08", "p07_2"], patients)
