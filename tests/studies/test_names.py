from __future__ import annotations

import pytest

from diffcl.errors import UsageError
from diffcl.studies.names import check_name


@pytest.mark.parametrize("name", ["case1", "case 1 (copy)", "p07.v2", "Fälle-3", "1.2.840.113619", "x" * 128])
def test_a_harmless_name_is_kept(name: str) -> None:
    assert check_name(name, "image id") == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../evil",
        "a/b",
        "/etc/passwd",
        "a\\b",
        "..",
        "a..b",
        ".hidden",
        " led",
        "new\nline",
        "nul\0",
        "x" * 300,
    ],
)
def test_a_name_that_could_leave_its_folder_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="image id"):
        check_name(name, "image id")
