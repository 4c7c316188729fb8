from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from failing import fail_on
from synthetic import ORGAN, make_scan, publish_untrained

from diffcl.active_learning import describe, score
from diffcl.active_learning.worker import answer
from diffcl.io import read_scan
from diffcl.models import ModelRegistry, load_model


def ask(*questions: dict[str, Any]) -> list[dict[str, Any]]:
    answers = io.StringIO()
    answer(io.StringIO("".join(json.dumps(question) + "\n" for question in questions)), answers)
    return [json.loads(line) for line in answers.getvalue().splitlines()]


def test_it_answers_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "oblique.nii.gz"
    sitk.WriteImage(make_scan("oblique"), path)
    (tmp_path / "bad.nii.gz").write_bytes(b"no scan")
    folder = publish_untrained(ModelRegistry(tmp_path / "store"))
    looked, bad, described, missing = ask(
        {"scan": str(path), "model": str(folder), "device": "cpu"},
        {"scan": str(tmp_path / "bad.nii.gz"), "model": str(folder), "device": "cpu"},
        {"scan": str(path), "recipe": ORGAN.model_dump(mode="json")},
        {"scan": str(path), "model": str(tmp_path / "none"), "device": "cpu"},
    )
    scan = read_scan(path)
    assert looked == json.loads(score(scan, load_model(folder)).model_dump_json())
    assert described == json.loads(describe(scan, ORGAN).model_dump_json())
    assert "bad.nii.gz" in bad["error"]
    assert "none" in missing["error"]


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, TypeError])
def test_a_scan_on_which_a_library_fails_does_not_stop_the_next(
    kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on("odd.nii.gz", kind, monkeypatch)
    path = tmp_path / "oblique.nii.gz"
    sitk.WriteImage(make_scan("oblique"), path)
    recipe = ORGAN.model_dump(mode="json")
    odd, sound = ask(
        {"scan": str(tmp_path / "odd.nii.gz"), "recipe": recipe}, {"scan": str(path), "recipe": recipe}
    )
    assert odd == {"error": f"odd.nii.gz: could not be used ({kind.__name__}); see the log"}
    assert "features" in sound
