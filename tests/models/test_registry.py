"""Versions of models: every one stays, one is in use, and the seeds that come with the project are only read."""

from __future__ import annotations

import shutil
from pathlib import Path
from threading import Thread

import pytest
from synthetic import fill_with

from diffcl.errors import ModelError, OutputError, UsageError
from diffcl.models import Model, ModelRegistry, load_model
from diffcl.models.weights import save_model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.recipe import Recipe


@pytest.fixture
def seeded(model: Model, tmp_path: Path) -> ModelRegistry:
    """A store of one's own, still empty, before one with two seeds."""
    seeds = ModelRegistry(tmp_path / "seeds")
    for _ in range(2):
        seeds.add("organ", fill_with(model))
    return ModelRegistry(tmp_path / "mine", tmp_path / "seeds")


def test_versions_and_the_current_one(model: Model, tmp_path: Path) -> None:
    store = ModelRegistry(tmp_path)
    assert store.names() == []
    for _ in range(3):
        store.add("organ", fill_with(model))
    assert store.names() == ["organ"]
    assert store.versions("organ") == [1, 2, 3]
    assert store.folder("organ") == tmp_path / "organ" / "3"
    store.switch("organ", 2)
    assert store.load("organ").info.version == 2
    assert store.load(tmp_path / "organ" / "1").info.version == 1
    assert store.load(str(tmp_path / "organ")).info.version == 2
    with pytest.raises(UsageError, match=r"has no version 7. Versions: 1, 2, 3"):
        store.switch("organ", 7)


def test_a_version_that_is_not_used_stays_nevertheless(model: Model, tmp_path: Path) -> None:
    store = ModelRegistry(tmp_path)
    store.add("organ", fill_with(model))
    kept = store.add("organ", fill_with(model), use=False)
    assert store.info("organ").version == 1
    assert load_model(kept).info.version == 2
    store.switch("organ", 2)
    assert store.info("organ").version == 2


@pytest.mark.parametrize("use", [True, False], ids=["used", "not used"])
def test_seeds_are_read_and_never_written(seeded: ModelRegistry, model: Model, use: bool) -> None:
    mine, seeds = seeded.folders
    before = sorted(path for path in seeds.rglob("*"))
    assert seeded.info("organ").version == 2
    assert seeded.add("organ", fill_with(model), use=use) == mine / "organ" / "3"
    assert seeded.info("organ").version == (3 if use else 2)
    assert seeded.versions("organ") == [1, 2, 3]
    seeded.switch("organ", 1)
    assert seeded.folder("organ") == seeds / "organ" / "1"
    seeded.switch("organ", 3)
    assert seeded.folder("organ") == mine / "organ" / "3"
    assert sorted(path for path in seeds.rglob("*")) == before
    assert ModelRegistry(seeds).info("organ").version == 2


def test_the_first_store_counts(model: Model, tmp_path: Path) -> None:
    seeds, mine = ModelRegistry(tmp_path / "seeds"), ModelRegistry(tmp_path / "mine")
    for _ in range(2):
        seeds.add("organ", fill_with(model))
    mine.add("organ", fill_with(model))
    both = ModelRegistry(tmp_path / "mine", tmp_path / "seeds")
    assert both.info("organ").version == 1
    assert both.folder("organ").parent.parent.name == "mine"


def test_a_new_seed_is_not_mistaken_for_a_version_of_ones_own(seeded: ModelRegistry, model: Model) -> None:
    mine, seeds = seeded.folders
    seeded.add("organ", fill_with(model), use=False)
    ModelRegistry(seeds).add("organ", fill_with(model))
    assert seeded.versions("organ") == [1, 2, 3]
    assert seeded.folder("organ") == seeds / "organ" / "3"
    assert seeded.version_folder("organ", 3) == mine / "organ" / "3"


def test_a_failed_publication_leaves_no_version(model: Model, tmp_path: Path) -> None:
    store = ModelRegistry(tmp_path)
    store.add("organ", fill_with(model))

    def fail(folder: Path, _: int) -> None:
        (folder / "weights.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        store.add("organ", fail)
    assert sorted(path.name for path in (tmp_path / "organ").iterdir()) == [".lock", "1", "current"]
    assert store.load("organ").info.version == 1


def test_what_a_kill_left_is_tidied_up_by_the_next_version(model: Model, folder: Path) -> None:
    (folder.parent / ".half").mkdir()
    (folder.parent / ".half" / "weights.safetensors").write_bytes(b"half")
    ModelRegistry(folder.parent.parent).add("organ", fill_with(model))
    assert sorted(path.name for path in folder.parent.iterdir()) == [".lock", "1", "2", "current"]


def test_versions_that_are_added_at_once_are_all_there(model: Model, tmp_path: Path) -> None:
    threads = [Thread(target=ModelRegistry(tmp_path).add, args=("organ", fill_with(model))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = ModelRegistry(tmp_path)
    assert store.versions("organ") == [1, 2, 3, 4, 5]
    assert [store.info(store.version_folder("organ", n)).version for n in range(1, 6)] == [1, 2, 3, 4, 5]


def test_whoever_loads_while_versions_switch_gets_one_of_them_whole(
    recipe: Recipe, model: Model, tmp_path: Path
) -> None:
    """The weights of version N are all N."""
    store = ModelRegistry(tmp_path)

    def fill(folder: Path, number: int) -> None:
        cs = ConvolutionSegmenter(recipe)
        for parameter in cs.parameters():
            parameter.data.fill_(number)
        save_model(folder, model.info.model_copy(update={"version": number}), cs, model.ds)

    for _ in range(2):
        store.add("organ", fill)
    found: list[tuple[int, set[float]]] = []

    def load() -> None:
        for _ in range(15):
            loaded = store.load("organ")
            values = {float(value) for one in loaded.cs.parameters() for value in one.unique()}
            found.append((loaded.info.version, values))

    readers = [Thread(target=load) for _ in range(3)]
    for reader in readers:
        reader.start()
    number = 0
    while any(reader.is_alive() for reader in readers):
        number += 1
        store.switch("organ", number % 2 + 1)
    assert {version for version, _ in found} == {1, 2}
    assert all(values == {float(version)} for version, values in found)


def test_an_unknown_name_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"model liver: there is none of that name. Known models: organ"):
        ModelRegistry(folder.parent.parent).load("liver")


def test_a_name_is_the_model_even_where_a_folder_has_it_too(
    folder: Path, model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = ModelRegistry(tmp_path / "here").add("organ", fill_with(model))
    monkeypatch.chdir(tmp_path / "here")
    store = ModelRegistry(folder.parent.parent)
    assert store.folder("organ") == folder
    assert store.folder("./organ").resolve() == other
    assert ModelRegistry(tmp_path / "empty").folder("organ").resolve() == other


def test_a_damaged_record_of_the_current_version_is_refused(folder: Path) -> None:
    (folder.parent / "current").write_text("9\n")
    with pytest.raises(ModelError, match="names version '9', which is not there"):
        ModelRegistry(folder.parent.parent).load("organ")


def test_a_store_that_cannot_be_written_is_said(model: Model, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        ModelRegistry(tmp_path / "file").add("organ", fill_with(model))


def test_a_folder_that_is_called_like_a_number_and_is_none_is_no_version(
    model: Model, tmp_path: Path
) -> None:
    store = ModelRegistry(tmp_path / "store")
    store.add("organ", fill_with(model))
    (store.version_folder("organ", 1)).with_name("\u00b2").mkdir()
    shutil.copy(store.version_folder("organ", 1) / "model.json", store.folders[0] / "organ" / "\u00b2")
    assert store.versions("organ") == [1]
