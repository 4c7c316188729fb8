"""Whatever a model does that got through its trial, it does to a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from children import FULL_DISK, let_children_begin_with
from synthetic import ORGAN

from diffcl.errors import FullDiskError, ModelError
from diffcl.models import ModelRegistry
from diffcl.publishing.acceptance import accepted


def accept(store: ModelRegistry, tmp_path: Path) -> None:
    accepted(store.folder("organ"), "organ", ORGAN, store, [], tmp_path / "prepared", 0.01)


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ("import numpy; numpy.empty(1 << 34, 'u1')", "could not predict 0 validation scans with 14 GiB ("),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended the process that tried it (SIGSEGV)"),
    ],
    ids=["takes memory", "crashes"],
)  # fmt: skip
def test_weights_that_harm_whoever_computes_with_them_harm_another_process(
    act: str, told: str, store: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the export had such a fault."""
    fault = f"import diffcl.models.onnx.export as export\ndef write(*_, **__):\n    {act}\nexport.write_onnx = write\n"
    let_children_begin_with(fault, tmp_path, monkeypatch)
    with pytest.raises(ModelError, match="model organ: ") as caught:
        accept(store, tmp_path)
    assert told in str(caught.value)
    assert store.versions("organ") == [1]


def test_a_full_disk_is_told_as_one(
    store: ModelRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_children_begin_with(FULL_DISK, tmp_path, monkeypatch)
    with pytest.raises(FullDiskError):
        accept(store, tmp_path)
    assert store.versions("organ") == [1]
