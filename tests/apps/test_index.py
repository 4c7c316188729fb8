from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

from monailabel.datastore.local import DataModel, ImageLabelModel

from lib.index import Index


def add_images(folder: Path, prefix: str, number: int) -> None:
    """Adds images to the index, one change each."""
    for count in range(number):
        index = Index(folder)
        with index.locked():
            model = index.read()
            model.objects[f"{prefix}{count}"] = ImageLabelModel(image=DataModel(ext=".nii.gz"))
            index.write(model)


def test_two_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    context = get_context("fork")
    children = [context.Process(target=add_images, args=(tmp_path, name, 30)) for name in "ab"]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert len(Index(tmp_path).read().objects) == 60


def test_a_damaged_index_is_set_aside(tmp_path: Path) -> None:
    index = Index(tmp_path)
    add_images(tmp_path, "a", 3)
    content = index.path.read_bytes()
    index.path.write_bytes(content[: len(content) // 2])
    assert index.read().objects == {}
    assert (tmp_path / "datastore_v2.damaged").read_bytes() == content[: len(content) // 2]
