from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import SimpleITK as sitk
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
