"""What a step of training costs beside steps of BCP and UA-MT, with their own networks and losses.

    git clone https://github.com/DeepMed-Lab-ECNU/BCP PEERS/BCP
    git clone https://github.com/yulequan/UA-MT PEERS/UA-MT
    python benchmarks/peer_training.py --peers PEERS --json

All get the same crops of noise, those of the recipe rounded up to what the peers can take, as many labelled as
unlabelled, and take turns in one process; medians count. The peers' V-Nets have 16 filters, as CS has; they run in
float32, as their scripts do. Their steps are what the inner loops of `LA_BCP_train.py` (self-training) and
`train_LA_meanteacher_certainty_unlabel.py` do, without the logging and without what places tensors on a GPU.
"""

from __future__ import annotations

import argparse
import importlib
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from report import show
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional
from training import Contender, noise

from diffcl.data.batches import Batches
from diffcl.inference.engine import processor
from diffcl.recipe import load_recipe

GRAIN = 16
"""The peers' networks want crops of multiples of it."""


class Peer:
    """Steps of another method, on crops `(B, 1, X, Y, Z)`; the second half of them has no label."""

    def __init__(self, network: type[nn.Module], images: Tensor, labels: Tensor) -> None:
        options = {"n_channels": 1, "n_classes": 2, "n_filters": 16, "normalization": "batchnorm"}
        self.student, self.teacher = (network(**options, has_dropout=True).train() for _ in range(2))
        self.optimiser = torch.optim.SGD(self.student.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
        self.images, self.labels, self.labelled = images, labels, len(labels)
        self.seconds: list[float] = []

    def step(self) -> None:
        """Take a step and remember its time."""
        start = time.perf_counter()
        self.optimiser.zero_grad()
        self.loss().backward()
        self.optimiser.step()
        with torch.no_grad():
            for mean, own in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                mean.mul_(0.99).add_(own, alpha=0.01)
        self.seconds.append(time.perf_counter() - start)

    def loss(self) -> Tensor:
        """The loss of a step."""
        raise NotImplementedError


class BCP(Peer):
    """Bidirectional copy-paste (Bai et al., CVPR 2023)."""

    def __init__(self, code: dict[str, ModuleType], images: Tensor, labels: Tensor) -> None:
        super().__init__(code["networks.VNet"].VNet, images, labels)
        self.dice = code["utils.losses"].mask_DiceLoss(nclass=2)

    def loss(self) -> Tensor:
        """Crops pasted into each other both ways, with guesses of the teacher where there is no label."""
        half = self.labelled // 2
        known, known_too = self.images[:half], self.images[half : self.labelled]
        new, new_too = self.images[self.labelled : self.labelled + half], self.images[self.labelled + half :]
        with torch.no_grad():
            guess, guess_too = (self._guess(images) for images in (new, new_too))
            inside = torch.zeros(self.images.shape[2:])
            inside[tuple(slice(length // 6, length // 6 + 2 * length // 3) for length in inside.shape)] = 1
        outside = 1 - inside
        first, _ = self.student(known * outside + new * inside)
        second, _ = self.student(new_too * outside + known_too * inside)
        true, true_too = self.labels[:half], self.labels[half:]
        return self._mixed(first, true, guess, outside, 1, 0.5) + self._mixed(second, guess_too, true_too,
                                                                             outside, 0.5, 1)  # fmt: skip

    def _guess(self, images: Tensor) -> Tensor:
        found = functional.softmax(self.teacher(images)[0], 1)[:, 1] >= 0.5
        largest = []
        for one in found.numpy():
            pieces, count = ndimage.label(one)
            sizes = ndimage.sum_labels(one, pieces, range(1, count + 1))
            largest.append(torch.from_numpy(pieces == 1 + int(sizes.argmax()) if count else one))
        return torch.stack(largest).long()

    def _mixed(
        self, out: Tensor, outer: Tensor, inner: Tensor, outside: Tensor, weight: float, inner_weight: float
    ) -> Tensor:
        mask = outside.expand(len(out), *outside.shape)
        total = torch.zeros(())
        for label, where, factor in ((outer, mask, weight), (inner, 1 - mask, inner_weight)):
            entropy = (functional.cross_entropy(out, label, reduction="none") * where).sum() / where.sum()
            total = total + factor * (self.dice(out, label, where.reshape(len(out), 1, -1)) + entropy) / 2
        return total


class UAMT(Peer):
    """Uncertainty-aware mean teacher (Yu et al., MICCAI 2019)."""

    def __init__(self, code: dict[str, ModuleType], images: Tensor, labels: Tensor) -> None:
        super().__init__(code["networks.vnet"].VNet, images, labels)
        self.losses = code["utils.losses"]

    def loss(self) -> Tensor:
        """Labels, and the teacher where eight noisy passes of it are sure."""
        new = self.images[self.labelled :]
        out = self.student(self.images)
        with torch.no_grad():
            taught = self.teacher(self._noised(new))
            twice = new.repeat(2, 1, 1, 1, 1)
            passes = torch.cat([self.teacher(self._noised(twice)) for _ in range(4)])
            mean = functional.softmax(passes, 1).reshape(8, *taught.shape).mean(0)
            unsure = -(mean * torch.log(mean + 1e-6)).sum(1, keepdim=True)
            sure = (unsure < 0.9 * math.log(2)).float()
        seen = out[: self.labelled]
        probability = functional.softmax(seen, 1)[:, 1]
        known = functional.cross_entropy(seen, self.labels) + self.losses.dice_loss(
            probability, self.labels == 1
        )
        apart = self.losses.softmax_mse_loss(out[self.labelled :], taught)
        return known / 2 + 0.1 * (sure * apart).sum() / (2 * sure.sum() + 1e-16)

    @staticmethod
    def _noised(images: Tensor) -> Tensor:
        return images + (0.1 * torch.randn_like(images)).clamp(-0.2, 0.2)


PEERS = {"BCP": (BCP, ("networks.VNet", "utils.losses")), "UA-MT": (UAMT, ("networks.vnet", "utils.losses"))}


def code_of(folder: Path, names: tuple[str, ...]) -> dict[str, ModuleType]:
    """Modules of a peer. Both peers call theirs alike, so they are forgotten after they are read."""
    if not folder.is_dir():
        raise SystemExit(f"{folder} is missing: clone it as this file's first lines say")
    sys.path.insert(0, str(folder))
    found = {name: importlib.import_module(name) for name in names}
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] in {"networks", "utils"}]:
        del sys.modules[name]
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", type=Path, required=True, help="folder with the clones BCP and UA-MT")
    parser.add_argument("--recipe", default="left_atrium", help="name or file of a recipe with one class")
    parser.add_argument("--crops", type=int, default=2, help="labelled, and as many unlabelled (2)")
    parser.add_argument("--runs", type=int, default=5, help="of each (5)")
    parser.add_argument("--threads", type=int, default=2, help="that may be used (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on the last line")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    crops = dict.fromkeys(("start_crops", "labelled_crops", "unlabelled_crops"), options.crops)
    recipe = load_recipe(options.recipe)
    recipe = recipe.changed(
        grid={"crop": [-(-size // GRAIN) * GRAIN for size in recipe.grid.crop]},
        training={"steps": 100, "supervised_start": 0, "mix": 1.0, **crops},
    )
    known, new = (noise(recipe, options.crops, labelled=labelled) for labelled in (True, False))
    images = torch.stack([scan.image for scan in known + new])
    labels = torch.stack([scan.label for scan in known if scan.label is not None])
    ours = Contender(recipe, Batches(known, new, recipe)(99))
    peers = {name: kind(code_of(options.peers / name / "code", names), images, labels)
             for name, (kind, names) in PEERS.items()}  # fmt: skip
    turns: dict[str, Callable[[int], None]] = {"diffcl": ours.step}
    turns |= {name: lambda _, peer=peer: peer.step() for name, peer in peers.items()}
    for number in range(50, 50 + 2 + options.runs):  # the first two compile and fill
        for step in turns.values():
            step(number)
    seconds = {name: statistics.median(one.seconds[2:]) for name, one in {"diffcl": ours, **peers}.items()}
    result = {
        "crop": "x".join(map(str, recipe.grid.crop)),
        "crops": f"{options.crops} labelled, {options.crops} unlabelled",
        "processor": processor(),
        "threads": options.threads,
        "torch": torch.__version__,
        **{f"{name}_seconds": round(taken, 2) for name, taken in seconds.items()},
        **{f"over_{name}": round(seconds["diffcl"] / taken, 2) for name, taken in seconds.items() if name in peers},
    }  # fmt: skip
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()
