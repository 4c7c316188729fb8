"""Two processes train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffcl.data.cases import Cases
from diffcl.recipe import Recipe
from diffcl.training import distributed, train
from diffcl.training.checkpoint import load_checkpoint
from diffcl.training.journal import read_journal

PROCESS = """
import sys
from pathlib import Path
import torch
from diffcl.training import distributed, train
from diffcl.training.run import read_run

torch.set_num_threads(1)
made = read_run(Path(sys.argv[1]))
with distributed.joined("cpu") as device:
    train(made.cases, made.recipe, Path(sys.argv[2]), device=device)
"""


def together(processes: int, like: Path, run: Path) -> subprocess.CompletedProcess[str]:
    """Train what the run `like` trained, on processes that `torchrun` starts."""
    program = run.parent / "program.py"
    program.write_text(PROCESS, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run([*command, program, like, run], env={**os.environ, "OMP_NUM_THREADS": "1"},
                          capture_output=True, text=True, timeout=300, check=False)  # fmt: skip


def test_two_processes_come_to_the_result_of_one(cases: Cases, recipe: Recipe, tmp_path: Path) -> None:
    """The supervised start and the teachers have one crop, the students later three: shares are empty, or unequal."""
    recipe = recipe.changed(
        training={"start_crops": 1, "labelled_crops": 2, "unlabelled_crops": 1, "mix": 0, "optimiser": "sgd"}
    )
    alone = train(cases, recipe, tmp_path / "one")
    done = together(2, tmp_path / "one", tmp_path / "two")
    assert done.returncode == 0, done.stderr
    journals = [read_journal(tmp_path / name / "journal.jsonl") for name in ("one", "two")]
    for one, two in zip(*journals, strict=True):
        if "validation" not in one:
            assert two == pytest.approx(one, rel=1e-4, abs=1e-5)
    states = [load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("one", "two")]
    assert alone is not None
    assert states[1]["best"][0]["dice"] == pytest.approx(alone.dice, abs=0.01)
    first, second = (state["learner"] for state in states)
    assert torch.equal(first["bank"]["filled"], second["bank"]["filled"])
    torch.testing.assert_close(second["bank"]["vectors"], first["bank"]["vectors"], rtol=1e-3, atol=1e-4)
    for network in ("cs", "ds"):
        for name, weight in first[network]["network"].items():
            torch.testing.assert_close(
                second[network]["network"][name], weight, rtol=1e-3, atol=1e-4, msg=name
            )


def test_what_no_process_reached_gets_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or an optimiser with weight decay would change it, which it does not do on one process."""
    monkeypatch.setattr(distributed, "size", lambda: 2)
    monkeypatch.setattr(
        distributed.distributed, "all_reduce", lambda *_: None
    )  # the other one's are all zero
    network = torch.nn.ModuleList([torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)])
    network[0](torch.ones(1, 1)).backward()
    distributed.average_gradients(network)
    assert network[0].weight.grad == 0.5
    assert network[1].weight.grad is None


def test_shares_are_united_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    items = list(range(7))
    monkeypatch.setattr(distributed, "size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        shares.append(distributed.share(items))
    monkeypatch.setattr(
        distributed.distributed, "all_gather_object", lambda into, mine: into.__setitem__(slice(None), shares)
    )
    assert distributed.unite(shares[0]) == items
    assert json.dumps(shares) == "[[0, 3, 6], [1, 4], [2, 5]]"
