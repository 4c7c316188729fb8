"""A model that would take the machine away is refused in one line before it is published; others predict."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from children import FULL_DISK, let_children_begin_with
from packages import opened_here

from diffcl.errors import FullDiskError, ModelError
from diffcl.inference.sliding import frame, window_count
from diffcl.models import ModelInfo
from diffcl.models.profile import Profile
from diffcl.models.weights import save_model
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter
from diffcl.publishing import trial
from diffcl.publishing.trial import largest_extent, one_window, try_package
from diffcl.recipe import Recipe

EXTENT = {
    "extent right-left": (30.0, 40.0),
    "extent front-back": (30.0, 45.0),
    "extent foot-head": (20.0, 30.0),
}


def saved(folder: Path, recipe: Recipe, **extent: tuple[float, float]) -> Path:
    """A model with random weights in a folder."""
    torch.manual_seed(0)
    profile = Profile(modality="MR", ranges=extent or EXTENT)
    info = ModelInfo(name="organ", version=1, created="", recipe=recipe, profile=profile)
    folder.mkdir()
    save_model(folder, info, ConvolutionSegmenter(recipe), DiffusionSegmenter(recipe))
    return folder


def packed(folder: Path, *others: tuple[str, bytes]) -> Path:
    """The ZIP file of a model, with other files in it."""
    archive = folder.with_suffix(".zip")
    with ZipFile(archive, "w", ZIP_DEFLATED) as made:
        for path in folder.iterdir():
            if path.name not in dict(others):
                made.write(path, path.name)
        for name, content in others:
            made.writestr(name, content)
    return archive


def tried(archive: Path, *profiles: Profile) -> None:
    unpacked = archive.parent / "unpacked"
    unpacked.mkdir()
    try_package(archive, unpacked, "model organ", profiles)


def refused(archive: Path, *profiles: Profile) -> str:
    with pytest.raises(ModelError, match="model organ: ") as caught:
        tried(archive, *profiles)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_model_that_predicts_passes_and_lies_in_its_folder(recipe: Recipe, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", recipe)
    tried(packed(folder))
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "unpacked" / name).read_bytes() == (folder / name).read_bytes()


def test_a_grid_too_fine_for_the_scans_of_the_task_is_refused(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_seconds_of_a_window", opened_here)
    folder = saved(tmp_path / "model", recipe.changed(grid={"spacing": [0.2, 0.2, 0.2]}))
    whole = dict.fromkeys(EXTENT, (300.0, 400.0))
    told = refused(packed(folder), Profile(modality="CT", ranges=whole))
    assert "GiB of memory for a scan of 400 x 400 x 400 mm" in told
    assert "coarser grid.spacing" in told


def test_one_that_would_take_hours_for_a_scan_is_refused(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_seconds_of_a_window", opened_here)
    monkeypatch.setattr(trial, "LONGEST_SECONDS", 0.001)
    assert "minutes for a scan of 40 x 45 x 30 mm" in refused(packed(saved(tmp_path / "model", recipe)))


def test_one_that_needs_more_memory_than_there_may_be_is_stopped(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "WINDOW_BYTES", 2**20)
    large = recipe.changed(grid={"window": [128, 128, 128]})
    assert "predict one window with 0.000977 GiB" in refused(packed(saved(tmp_path / "model", large)))


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ("import time; time.sleep(1000)", "was not opened and did not predict one window within 3 s"),
        ("import numpy; numpy.empty(1 << 34, 'u1')", "could not be opened and predict one window with 6 GiB"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended the process that tried it (SIGSEGV)"),
    ],
    ids=["hangs", "takes memory", "crashes"],
)  # fmt: skip
def test_weights_that_harm_whoever_reads_them_harm_another_process(
    act: str, told: str, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the reader of weights had such a fault: any reading in this process would end it, or the test."""
    fault = f"import safetensors\ndef safe_open(*_, **__):\n    {act}\nsafetensors.safe_open = safe_open\n"
    let_children_begin_with(fault, tmp_path, monkeypatch)
    if "sleep" in act:
        monkeypatch.setattr(trial, "TRIAL_SECONDS", 3.0)
    archive = packed(saved(tmp_path / "model", recipe))
    for reader in ("diffcl.models.archive.safe_open", "diffcl.models.weights.load"):
        monkeypatch.setattr(reader, read_here)
    monkeypatch.setattr(trial, "read_info", read_here)
    assert told in refused(archive)


def read_here(*_: object, **__: object) -> None:
    pytest.fail("the model was read in the process that takes it")


def test_a_file_that_is_no_model_is_refused_by_the_other_process(recipe: Recipe, tmp_path: Path) -> None:
    exabytes = (1 << 62).to_bytes(8, "little")
    archive = packed(saved(tmp_path / "model", recipe), ("weights.safetensors", exabytes))
    assert "weights.safetensors is damaged" in refused(archive)


def test_a_full_disk_is_no_fault_of_the_model(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_children_begin_with(FULL_DISK, tmp_path, monkeypatch)
    with pytest.raises(FullDiskError):
        tried(packed(saved(tmp_path / "model", recipe)))


def test_the_largest_known_scan_counts() -> None:
    large = Profile(modality="MR", ranges={"extent foot-head": (10.0, 90.0)})
    assert largest_extent([Profile(modality="MR", ranges=EXTENT), large]) == (40.0, 45.0, 90.0)


def test_the_scan_of_the_trial_suits_every_recipe(recipe: Recipe) -> None:
    ct = recipe.changed(intensity={"method": "window", "low": -125.0, "high": 275.0})
    for one in (recipe, ct):
        size = one_window(one).image.GetSize()
        assert size == frame(size, one).window
        assert window_count(size, one) == 1
        assert window_count([side + 1 for side in size], one) == 8
