from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from diffcl.errors import FullDiskError
from diffcl.training.checkpoint import load_checkpoint, save_checkpoint


def test_a_checkpoint_that_the_disk_has_no_space_for_is_told_as_that_and_the_former_one_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # the system refuses what goes beyond
    try:
        with pytest.raises(FullDiskError, match=r"checkpoint\.pt: cannot be written"):
            save_checkpoint(path, {"step": 2, "weights": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_checkpoint(path) == {"step": 1}
    assert [*tmp_path.iterdir()] == [path]
