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

import importlib
import math
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType

import torch
from report import show
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional
from training import Contender, arguments, circumstances, noise, take_turns, with_all_parts

from diffcl.data.batches import Batches
from diffcl.recipe import load_recipe

GRAIN = 16
"""The peers' networks want crops of multiples of it."""


class Peer(ABC):
    """Steps of another method, on crops `(B, 1, X, Y, Z)`; the second half of them has no label."""

    def __init__(self, network: type[nn.Module], images: Tensor, labels: Tensor) -> None:
        options = {"n_channels": 1, "n_classes": 2, "n_filters": 16, "normalization": "batchnorm"}
        self.student, self.teacher = (network(**options, has_dropout=True).train() for _ in range(2))
        self.optimiser = torch.optim.SGD(self.student.parameters(), 0.01, momentum=0.9, weight_decay=1e-4)
        self.images, self.labels, self.labelled = images, labels, len(labels)

    def __call__(self, number: int) -> None:  # noqa: ARG002
        """Take a step."""
        self.learn(self.loss())

    def learn(self, loss: Tensor) -> None:
        """Let the student learn from a loss, and the teacher follow it."""
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            for mean, own in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                mean.mul_(0.99).add_(own, alpha=0.01)

    @abstractmethod
    def loss(self) -> Tensor:
        """The loss of a step."""


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
            outside = self._outside()
            inside = 1 - outside
        first, _ = self.student(known * outside + new * inside)
        second, _ = self.student(new_too * outside + known_too * inside)
        true, true_too = self.labels[:half], self.labels[half:]
        return self._mixed(first, true, guess, outside, 1, 0.5) + self._mixed(second, guess_too, true_too,
                                                                             outside, 0.5, 1)  # fmt: skip

    def first_loss(self) -> Tensor:
        """Labelled crops pasted into each other, as before there is a teacher."""
        half = self.labelled // 2
        outside = self._outside()
        image = self.images[:half] * outside + self.images[half : self.labelled] * (1 - outside)
        label = torch.where(outside.bool(), self.labels[:half], self.labels[half:])
        out, _ = self.student(image)
        return (functional.cross_entropy(out, label) + self.dice(out, label)) / 2

    def _outside(self) -> Tensor:
        """1 around a box with two thirds of a crop's sides, which lies anywhere in it, and 0 inside `(X, Y, Z)`."""
        outside = torch.ones(self.images.shape[2:])
        box = [2 * length // 3 for length in outside.shape]
        corner = [
            int(torch.randint(length - side, ())) for length, side in zip(outside.shape, box, strict=True)
        ]
        outside[tuple(slice(at, at + side) for at, side in zip(corner, box, strict=True))] = 0
        return outside

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
    parser = arguments(__doc__)
    parser.add_argument("--peers", type=Path, required=True, help="folder with the clones BCP and UA-MT")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = with_all_parts(load_recipe(options.recipe), options.crops)
    recipe = recipe.changed(grid={"crop": [-(-size // GRAIN) * GRAIN for size in recipe.grid.crop]})
    known, new = (noise(recipe, options.crops, labelled=labelled) for labelled in (True, False))
    images = torch.stack([scan.image for scan in known + new])
    labels = torch.stack([scan.label for scan in known if scan.label is not None])
    peers = {name: kind(code_of(options.peers / name / "code", names), images, labels)
             for name, (kind, names) in PEERS.items()}  # fmt: skip
    seconds = take_turns(
        {"diffcl": Contender(recipe, Batches(known, new, recipe)(99)), **peers}, options.runs
    )
    result = {
        **circumstances(recipe, options),
        **{f"{name}_seconds": round(taken, 2) for name, taken in seconds.items()},
        **{f"over_{name}": round(seconds["diffcl"] / seconds[name], 2) for name in peers},
    }
    show(result, as_json=options.json)


if __name__ == "__main__":
    main()
