from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from trainable import organ

from diffcl.data.cache import TrainingScan
from diffcl.data.cases import Cases, LabelledCase, UnlabelledCase
from diffcl.geometry import voxels
from diffcl.io.images.integrity import NO_VOXEL_SIZE
from diffcl.recipe import Recipe
from diffcl.training import train
from diffcl.training.run import read_preparation
from diffcl.training.scan_remarks import scan_remarks


def scan(name: str, **more: Any) -> TrainingScan:
    return TrainingScan(name, torch.zeros(1, 4, 4, 4), None, **more)


def test_scans_that_belong_together_need_no_word(recipe: Recipe) -> None:
    assert scan_remarks([scan("a", modality=""), scan("b", modality="MR"), scan("c")], recipe) == ()


def test_what_a_header_leaves_to_guess_and_scans_without_contrast_are_named(recipe: Recipe) -> None:
    found = [scan("a", guesses=(NO_VOXEL_SIZE,)), scan("b", traits={"contrast": 0.0})]
    assert scan_remarks(found, recipe) == (
        "a: the header states no voxel size; 1 mm is a guess. Save it with what its scanner says.",
        "b: next to all of it is equally bright, so nothing is learned of it.",
    )


def test_a_ct_among_mr_is_told_before_the_first_step_and_in_the_run(recipe: Recipe, tmp_path: Path) -> None:
    cases = []
    for number in range(2):
        image, label = organ(number)
        for name, one in (("scan", image), ("label", label)):
            sitk.WriteImage(one, tmp_path / f"{name}{number}.nii.gz")
        cases.append(
            LabelledCase(f"mr{number}", tmp_path / f"scan{number}.nii.gz", tmp_path / f"label{number}.nii.gz")
        )
    image, _ = organ(2)
    air = voxels(image).copy()
    air[:2] = -1000
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(air.T)), tmp_path / "ct.nii.gz")
    every = Cases(tuple(cases), (UnlabelledCase("ct", tmp_path / "ct.nii.gz"),), ())
    for turn in range(2):  # the second one finds the scans prepared
        train(
            every,
            recipe.changed(training={"steps": 1, "supervised_start": 0}),
            tmp_path / f"run{turn}",
            cache=tmp_path / "cache",
        )
        remarks = read_preparation(tmp_path / f"run{turn}").remarks
        assert remarks == (
            "CT (ct) and no CT (2 scans) are mixed. Their values cannot be compared: keep one kind.",
        )
