from __future__ import annotations

import json
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from diffcl.studies.index import FileEntry, Index, IndexContent, ScanEntry


def add_images(folder: Path, prefix: str, number: int) -> None:
    """Adds images to the index, one change each."""
    for count in range(number):
        index = Index(folder)
        with index.locked():
            content = index.read()
            content.objects[f"{prefix}{count}"] = ScanEntry(image=FileEntry(ext=".nii.gz"))
            index.write(content)


def nested(depth: int) -> Any:
    """A list in a list, so many deep."""
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    context = get_context("fork")
    children = [context.Process(target=add_images, args=(tmp_path, name, 30)) for name in "ab"]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert len(Index(tmp_path).read().objects) == 60


def test_what_cannot_be_read_at_all_is_set_aside(tmp_path: Path) -> None:
    index = Index(tmp_path)
    add_images(tmp_path, "a", 3)
    content = index.path.read_bytes()
    index.path.write_bytes(content[: len(content) // 2])
    assert index.read().objects == {}
    assert (tmp_path / "datastore_v2.damaged").read_bytes() == content[: len(content) // 2]
    assert Index(tmp_path).read() == index.read()


@pytest.mark.parametrize("poison", ["\ud800", nested(250)], ids=["half a character", "nested 250 deep"])
def test_a_poisoned_note_costs_no_other(tmp_path: Path, poison: Any) -> None:
    index = Index(tmp_path)
    scans = {
        "bad": {"image": {"ext": ".nii.gz", "info": {"x": poison, "seen": 1}}},
        "good": {"image": {"ext": ".nrrd", "info": {"seen": 2}}, "labels": {"final": {"ext": ".nii.gz"}}},
        "\ud801": {"image": {"ext": ".nii.gz"}},
        "no entry": 7,
    }
    index.path.write_text(json.dumps({"name": "trial", "description": poison, "objects": scans}))
    found = index.read()
    assert found.name == "trial"
    assert {name: entry.image.info for name, entry in found.objects.items()} == {
        "bad": {"seen": 1},
        "good": {"seen": 2},
    }
    assert found.objects["good"].labels.keys() == {"final"}
    assert index.read() == found
    assert (tmp_path / "datastore_v2.damaged").is_file()


@pytest.mark.parametrize(
    "content", ["[]", "7", "null", "{", '{"objects": 3}', '{"images_dir": "a\\u0000b"}', None]
)
def test_whatever_lies_in_its_place_gives_an_index(tmp_path: Path, content: str | None) -> None:
    index = Index(tmp_path)
    (tmp_path / "datastore_v2.damaged").mkdir()
    if content is None:
        index.path.mkdir()
    else:
        index.path.write_text(content)
    assert index.read() == IndexContent()


def test_numbers_that_json_does_not_know_become_null(tmp_path: Path) -> None:
    index = Index(tmp_path)
    info = {"score": float("nan"), "more": [1.5, float("inf")]}
    index.write(IndexContent(objects={"a": ScanEntry(image=FileEntry(info=info))}))
    assert index.read().objects["a"].image.info == {"score": None, "more": [1.5, None]}
    assert json.loads(index.path.read_text(), parse_constant=pytest.fail)
