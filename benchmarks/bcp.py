"""BCP, bidirectional copy-paste (Bai et al., CVPR 2023), on the scans of an experiment, in a given time.

It is a peer of `any_organ.py`, which asks for it by `--beside bcp`; its own code has to be cloned, as the first lines
of `peer_training.py` say. Its network, losses and averages learn from the crops of our plan: the same voxels and
augmentation, with sides that its network can halve. A step has two labelled and two unlabelled crops, half of what it
has on a GPU. Of its 17,000 iterations 2,000 are for labelled crops pasted into each other, and so is that share of the
time; after every sixth of the rest the learning rate falls to a tenth. What learned last is judged, as it does not
judge itself on the way. Its code for volumes knows one class beside background.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from learned import Learned
from peer_training import BCP, GRAIN, PEERS, code_of
from torch import Tensor, nn
from torch.nn import functional

from diffcl.data.batches import Batches
from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.planning.planned_recipe import planned
from diffcl.training.scans import load_scans
from diffcl.training.validation import unpublished, validate

if TYPE_CHECKING:
    from any_organ import Experiment

FIRST_PART = 2000 / 17_000
"""Share of its iterations before unlabelled crops come in."""

RATE = 0.01

FALLS = 6
"""How often its learning rate falls in the rest of them, to a tenth each time."""

PLACES = 1000
"""Of the schedule by which our batches are drawn."""


class Whole(nn.Module):
    """Its network as one that takes volumes of any size and gives logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """`(B, C, X, Y, Z)` to `(B, K, X, Y, Z)`."""
        size = image.shape[2:]
        missing = [(0, -side % GRAIN) for side in reversed(size)]
        logits: Tensor = self.network(functional.pad(image, [one for pair in missing for one in pair]))[0]
        return logits[..., : size[0], : size[1], : size[2]]


def learn_bcp(one: Experiment, peers: Path, minutes: float, work: Path) -> Learned:
    """Train BCP on the scans of an experiment for that long, and judge it as ours is judged.

    Raises:
        SystemExit: If its code is missing, or cannot learn these classes.
    """
    if one.recipe.classes > 2:
        raise SystemExit(f"{one.set}: BCP's code for volumes knows one class beside background")
    began, limit = time.monotonic(), minutes * 60
    cache = work / "prepared" / one.set
    recipe = planned(one.recipe, one.cases, minutes=minutes, cache=cache)
    recipe = recipe.changed(
        grid={"crop": [-(-side // GRAIN) * GRAIN for side in recipe.grid.crop]},
        training={
            "steps": PLACES, "supervised_start": round(FIRST_PART * PLACES), "coarse_start": 0.0, "mix": 0.0,
            "start_mix": 0.0,
            "start_crops": 2, "labelled_crops": 2, "unlabelled_crops": 2,
        },
    )  # fmt: skip
    scans = load_scans(one.cases, recipe, cache)
    torch.manual_seed(recipe.training.seed)
    empty = torch.zeros(0)
    peer = BCP(code_of(peers / "BCP" / "code", PEERS["BCP"][1]), empty, empty)

    def place(step: int) -> float:  # noqa: ARG001
        return min(1.0, (time.monotonic() - began) / limit) * PLACES

    iterations, alone = 0, True
    for step, batch in Batches(scans.labelled, scans.unlabelled, recipe).ahead(1, None, place):
        peer.images = torch.cat([batch.labelled, batch.unlabelled])
        peer.labels, peer.labelled = batch.labels, len(batch.labelled)
        if not len(batch.unlabelled):
            peer.learn(peer.first_loss())
        else:
            if alone:
                peer.teacher.load_state_dict(peer.student.state_dict())
                alone = False
            share = (place(step) / PLACES - FIRST_PART) / (1 - FIRST_PART)
            for group in peer.optimiser.param_groups:
                group["lr"] = RATE * 0.1 ** int(share * FALLS)
            peer.learn(peer.loss())
        iterations = step
        if time.monotonic() - began >= limit:
            break
    seconds = time.monotonic() - began
    network = cast(ConvolutionSegmenter, Whole(peer.student.eval()))
    scores = validate(
        scans.validation, unpublished(recipe, network, None, torch.device("cpu")), networks="cs"
    )
    plan = recipe.model_dump(mode="json", include={"grid", "intensity", "augmentation"})
    return Learned("BCP", iterations, seconds, scores, plan)
