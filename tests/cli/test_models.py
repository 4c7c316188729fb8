"""Versions of models on the command line: what there was, why, and the way back."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
from synthetic import ORGAN_TOML, SCANS, make_label, make_scan, publish_untrained

from diffcl.cli.main import run
from diffcl.models import ModelRegistry
from diffcl.resources import models_folder, samples_folder


@pytest.fixture
def store(tmp_path: Path) -> ModelRegistry:
    """A store with two versions of `organ`."""
    store = ModelRegistry(tmp_path / "store")
    for _ in range(2):
        publish_untrained(store)
    return store


def test_the_history_says_which_version_is_in_use(
    store: ModelRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["models", "history", "organ", "--store", str(store.folders[0])]
    assert run([*words, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(one["version"], one["current"]) for one in listed] == [(1, False), (2, True)]
    assert run(words) == 0
    assert "2 in use" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("words", [["models"], ["models", "history", "organ"]], ids=" ".join)
def test_nobody_waits_for_torch_to_see_what_there_is(store: ModelRegistry, words: list[str]) -> None:
    program = "import sys; from diffcl.cli.main import run; run(sys.argv[1:]); print('torch' in sys.modules)"
    words = [*words, "--store", str(store.folders[0])]
    said = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "False"


def test_a_damaged_version_does_not_hide_the_others(
    store: ModelRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    (store.version_folder("organ", 1) / "model.json").write_text("{")
    assert run(["models", "history", "organ", "--store", str(store.folders[0]), "--json"]) == 0
    said = capsys.readouterr()
    assert [one["version"] for one in json.loads(said.out)] == [2]
    assert "model.json" in said.err


def test_rollback_and_back_again(store: ModelRegistry, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--store", str(store.folders[0])]
    assert run(["models", "rollback", "organ", "1", *place]) == 0
    assert store.info("organ").version == 1
    assert "organ: version 1 is in use, before it was 2" in capsys.readouterr().out
    assert run(["models", *place, "rollback", "organ", "2"]) == 0, (
        "the option counts before the command as well"
    )
    assert store.info("organ").version == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rollback", "organ", "7"], "model organ: has no version 7. Versions: 1, 2"),
        (["rollback", "liver", "1"], "model liver: there is none of that name"),
        (["history", "liver"], "model liver: there is none of that name"),
    ],
)
def test_what_is_not_there_is_said(
    words: list[str], message: str, store: ModelRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["models", *words, "--store", str(store.folders[0])]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_seed_is_gone_back_to_without_being_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    assert run(["models", "rollback", "hippocampus", "2", "--store", str(mine)]) == 0
    assert [path.relative_to(mine).as_posix() for path in mine.rglob("*") if path.is_file()] == [
        "hippocampus/current"
    ]
    assert run(["models", "history", "hippocampus", "--store", str(mine), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["version"] for one in listed if one["current"]] == [2]


def test_a_version_that_is_not_shipped_any_more_is_said_and_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--store", str(tmp_path)]
    assert run(["models", "rollback", "hippocampus", "1", *place]) == 2
    assert capsys.readouterr().err.splitlines() == ["model hippocampus: has no version 1. Versions: 2"]
    current = tmp_path / "hippocampus" / "current"
    current.parent.mkdir()
    current.write_text("1\n")  # by a release that had it
    scan = str(samples_folder() / "images" / "phantom-000.nii.gz")
    assert (
        run(["predict", scan, "--model", "hippocampus", "--out", str(tmp_path / "out.nii.gz"), *place]) == 1
    )
    [line] = capsys.readouterr().err.splitlines()
    assert line == (
        f"{current}: names version '1', which is not there. "
        "Put one into use that is, with diffcl models rollback hippocampus 2"
    )
    assert run(["models", "rollback", "hippocampus", "2", *place]) == 0
    assert ModelRegistry(tmp_path, models_folder()).info("hippocampus").version == 2


def test_a_model_is_tuned_and_published_if_it_is_not_worse(
    store: ModelRegistry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, recipe = tmp_path / "data", tmp_path / "organ.toml"
    for kind in ("images", "labels"):
        (data / kind).mkdir(parents=True)
    for name in SCANS[:3]:
        sitk.WriteImage(make_scan(name), data / "images" / f"{name}.nii.gz")
        sitk.WriteImage(make_label(name), data / "labels" / f"{name}.nii.gz")
    recipe.write_text(ORGAN_TOML)
    place = ["--store", str(store.folders[0])]
    train = ["train", "--recipe", str(recipe), "--data", str(data), "--labelled", "1", "--validation", "1",
             "--out", str(tmp_path / "run"), "--steps", "1", *place]  # fmt: skip
    assert run([*train, "--start-from", "hippocampus"]) == 2
    assert re.search(r"hippocampus: hippocampus \d+ has a CS of another shape", capsys.readouterr().err)
    assert run([*train, "--start-from", "organ"]) == 0
    code = run(["publish", str(tmp_path / "run"), "--name", "organ", "--margin", "0", *place])
    published = store.info("organ").version == 3
    assert code == (0 if published else 1)
    decided = ModelRegistry(*store.folders).info(store.version_folder("organ", 3)).provenance
    assert decided["decision"]["published"] is published
    assert decided["decision"]["compared_with"] == 2
    assert decided["parent"] == {"name": "organ", "version": 2}
