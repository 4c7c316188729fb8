"""Models go to disk and come back; damaged ones are refused in one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from diffcl.errors import ModelError
from diffcl.models import Model, load_model


def test_a_model_comes_back_as_it_was(model: Model, folder: Path) -> None:
    loaded = load_model(folder)
    assert loaded.info.recipe == model.info.recipe
    for network in ("cs", "ds"):
        before, after = getattr(model, network).state_dict(), getattr(loaded, network).state_dict()
        assert list(before) == list(after)
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert not loaded.cs.training
    assert not any(parameter.requires_grad for parameter in loaded.ds.parameters())


def damage(folder: Path, kind: str) -> None:
    weights, description = folder / "weights.safetensors", folder / "model.json"
    content = json.loads(description.read_text())
    match kind:
        case "truncated weights":
            weights.write_bytes(weights.read_bytes()[:-100])
        case "no weights":
            weights.unlink()
        case "pickled weights":
            torch.save({"a": torch.zeros(1)}, weights)
        case "no description":
            description.unlink()
        case "truncated description":
            description.write_text(description.read_text()[:200])
        case "other classes":
            content["recipe"]["labels"].append({"value": 3, "name": "third"})
            description.write_text(json.dumps(content))
        case "other width":
            content["recipe"]["cs"]["filters"] = [8, 8, 8]
            description.write_text(json.dumps(content))
        case "impossible recipe":
            content["recipe"]["grid"]["window"] = [10, 12, 12]
            description.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated weights", "weights.safetensors: is damaged"),
        ("no weights", "weights.safetensors: is missing. Copy the whole model folder again"),
        ("pickled weights", "weights.safetensors: is damaged"),
        ("no description", "holds no model.json"),
        ("truncated description", "model.json"),
        ("other classes", "does not fit its recipe: classifier.bias is 3 instead of 4"),
        ("other width", "does not fit its recipe"),
        ("impossible recipe", "must be divisible by 4"),
    ],
)
def test_a_damaged_model_is_refused(folder: Path, kind: str, message: str) -> None:
    damage(folder, kind)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_a_pipe_in_a_model_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ModelError, match=rf"{name}: (is damaged|cannot be read)"):
        load_model(folder)
