"""One step of Diff-CL: the loss terms of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffcl.data.batches import Batch
from diffcl.diffusion.known_parts import draw_known
from diffcl.labels import UNDECIDED
from diffcl.losses.contrastive import contrastive_loss, draw_voxels, voxel_vectors
from diffcl.losses.pseudo_label import PseudoLabel, pseudo_label
from diffcl.losses.ramp import ramp
from diffcl.losses.segmentation import segmentation_losses
from diffcl.recipe import Recipe
from diffcl.training.distributed import spread
from diffcl.training.state import TrainingState


@dataclass(frozen=True)
class StepWeights:
    """Weights of the unlabelled terms at a step."""

    mu_1: float
    mu_2: float
    eta: float


def weights_at(place: float, recipe: Recipe) -> StepWeights:
    """The weights at a place in the schedule: 0 during the supervised start, then rising."""
    start = recipe.training.supervised_start
    length = round(recipe.losses.ramp * (recipe.training.steps - start))
    risen = ramp(place, start, length)
    return StepWeights(recipe.losses.mu_1 * risen, recipe.losses.mu_2 * risen, recipe.losses.eta)


@dataclass(frozen=True)
class StepLosses:
    """The loss terms of a step.

    Attributes:
        ds_supervised: `L_d_s`.
        ds_pseudo: `L_d_p`.
        cs_supervised: `L_c_s`.
        cs_pseudo: `L_c_p`.
        contrastive: `L_cl`.
        weights: mu_1, mu_2 and eta.
    """

    cs_supervised: Tensor
    cs_pseudo: Tensor
    contrastive: Tensor
    ds_supervised: Tensor
    ds_pseudo: Tensor
    weights: StepWeights

    @property
    def cs(self) -> Tensor:
        """`L_c = L_c_s + mu_2 (L_c_p + eta L_cl)`."""
        weights = self.weights
        return self.cs_supervised + weights.mu_2 * (self.cs_pseudo + weights.eta * self.contrastive)

    @property
    def ds(self) -> Tensor:
        """`L_d = L_d_s + mu_1 L_d_p`."""
        return self.ds_supervised + self.weights.mu_1 * self.ds_pseudo

    def numbers(self) -> dict[str, float]:
        """Every term as a number, for the journal."""
        return {
            "L_c": float(self.cs.detach()),
            "L_c_s": float(self.cs_supervised.detach()),
            "L_c_p": float(self.cs_pseudo.detach()),
            "L_cl": float(self.contrastive.detach()),
            "L_d": float(self.ds.detach()),
            "L_d_s": float(self.ds_supervised.detach()),
            "L_d_p": float(self.ds_pseudo.detach()),
            "mu_1": self.weights.mu_1,
            "mu_2": self.weights.mu_2,
        }


@dataclass(frozen=True)
class Crops:
    """Labelled and unlabelled crops as the students see them, mixed or not.

    Attributes:
        images: `(B, C, X, Y, Z)`, C the sequences of the task.
        cs_target: What CS shall say: labels, and the DS pseudo-label elsewhere `(B, X, Y, Z)`; `UNDECIDED` where a
            labelled crop is not drawn.
        ds_target: What DS shall say, and its Y_0: labels, and the CS pseudo-label elsewhere.
        labelled: 1 on labelled voxels, else 0 `(B, X, Y, Z)`; those that are not drawn are not labelled.
        cs_weight: Weight of the DS pseudo-label `(B, X, Y, Z)`, 0 on labelled voxels.
        ds_weight: Weight of the CS pseudo-label, likewise.
    """

    images: Tensor
    cs_target: Tensor
    ds_target: Tensor
    labelled: Tensor
    cs_weight: Tensor
    ds_weight: Tensor


def diffcl_step(learner: TrainingState, batch: Batch, step: int, place: float | None = None) -> StepLosses:
    """The losses of one step, ready for `backward`. Random numbers depend on the seed and the step alone.

    Args:
        learner: The networks.
        batch: What they see.
        step: Its number.
        place: Where in the schedule it is; by default its number.
    """
    recipe = learner.recipe
    weights = weights_at(step if place is None else place, recipe)
    random = torch.Generator().manual_seed(recipe.training.seed * 1_000_003 + step)
    with learner.computing():
        cs_opinion, ds_opinion = _pseudo_labels(learner, batch, random)
        crops = arrange(batch, cs_opinion, ds_opinion)
        features, logits = spread(learner.cs.network.both, crops.images)
    cs_supervised, cs_pseudo = segmentation_losses(
        logits, crops.cs_target, (crops.labelled, crops.cs_weight), merged=batch.merged
    )
    trust = 1.0 if batch.boxes is None else recipe.training.mixed_weight
    cs_pseudo = trust * cs_pseudo
    zero = cs_supervised.new_zeros(())
    if learner.ds is None:
        return StepLosses(cs_supervised, cs_pseudo, zero, zero, zero, weights)
    undecided = crops.ds_target == UNDECIDED
    outlined = crops.ds_target.masked_fill((crops.ds_target >= recipe.classes) | undecided, 0)
    clean = learner.diffusion.encode(outlined, recipe.classes)
    if undecided.any():
        clean.masked_fill_(undecided[:, None], 0.0)
    time, noisy = _noised(learner, clean, random)
    noisy = _partly_known(learner, crops.ds_target, logits, clean, noisy, batch.voxel, random)
    with learner.computing():
        ds_features, ds_logits = spread(learner.ds.network.both, crops.images, noisy, time)
    contrastive = zero
    if recipe.losses.eta > 0:
        _fill_bank(learner, crops, ds_features, ds_logits, random)
        if crops.cs_weight.any():
            contrastive = _contrastive(learner, crops, features, random)
    ds_supervised, ds_pseudo = segmentation_losses(
        ds_logits, crops.ds_target, (crops.labelled, crops.ds_weight), merged=batch.merged
    )
    return StepLosses(cs_supervised, cs_pseudo, contrastive, ds_supervised, trust * ds_pseudo, weights)


@torch.no_grad()
def _pseudo_labels(
    learner: TrainingState, batch: Batch, random: torch.Generator
) -> tuple[PseudoLabel | None, PseudoLabel | None]:
    """What the averaged CS and DS say about the unlabelled crops, seen without changed intensities."""
    if len(batch.unlabelled) == 0 or learner.ds is None:
        return None, None
    losses, diffusion, classes = learner.recipe.losses, learner.diffusion, learner.recipe.classes
    images = batch.unlabelled_plain
    ds = learner.ds.teacher
    (logits,) = spread(lambda crops: (learner.cs.teacher(crops),), images)
    of_cs = pseudo_label(logits.float().softmax(dim=1), losses)
    if losses.pseudo_label == "sample":
        noise = torch.randn(len(images), classes, *images.shape[2:], generator=random).to(images.device)
        steps = losses.pseudo_label_steps

        def chain(images: Tensor, noise: Tensor) -> tuple[Tensor]:
            return (diffusion.sample(lambda noisy, time: ds(images, noisy, time), noise, steps),)

        (probabilities,) = spread(chain, images, noise)
    else:
        clean = diffusion.encode(of_cs.classes, classes)
        time, noisy = _noised(learner, clean, random, losses.pseudo_label_time)
        (logits,) = spread(lambda *crops: (ds(*crops),), images, noisy, time)
        probabilities = logits.float().softmax(dim=1)
    return of_cs, pseudo_label(probabilities, losses)


def _noised(
    learner: TrainingState, clean: Tensor, random: torch.Generator, share: float | None = None
) -> tuple[Tensor, Tensor]:
    """Diffusion steps `(B,)`, a share of T or drawn, and Y_t of each crop."""
    time = learner.diffusion.draw_time(len(clean), random).to(clean.device)
    if share is not None:
        time = torch.full_like(time, int(share * learner.diffusion.steps))
    noise = torch.randn(clean.shape, generator=random).to(clean.device)
    return time, learner.diffusion.noise(clean, time, noise)


@torch.no_grad()
def _partly_known(
    learner: TrainingState,
    target: Tensor,
    cs_logits: Tensor,
    clean: Tensor,
    noisy: Tensor,
    voxel: Sequence[int],
    random: torch.Generator,
) -> Tensor:
    """Y_t without noise where the label is taken for known, in the recipe's share of the crops.

    Of a crop with a pseudo-label, that is what is known; what is not outlined of a label never is.
    """
    share = learner.recipe.diffusion.completion
    if not share:
        return noisy
    chosen = (torch.rand(len(target), generator=random) < share).nonzero()[:, 0].to(target.device)
    if not len(chosen):
        return noisy
    target = target[chosen]
    outlined = (target >= 0) & (target < learner.recipe.classes)
    wrong = (cs_logits[chosen].argmax(dim=1) != target) & outlined
    spacing = [length * count for length, count in zip(learner.recipe.grid.spacing, voxel, strict=True)]
    known = draw_known(target * outlined, wrong, spacing, random) & outlined
    noisy[chosen] = torch.where(known[:, None], clean[chosen], noisy[chosen])
    return noisy


def arrange(batch: Batch, of_cs: PseudoLabel | None, of_ds: PseudoLabel | None) -> Crops:
    """The crops of a step with their targets, pasted into each other where the batch has boxes.

    Labelled and unlabelled crops exchange the contents of their boxes, in both directions; without
    unlabelled crops each labelled crop takes the box of its neighbour, and those that only give are left out. Of a
    mixed pair, the batch may keep one.
    What of a labelled crop is not drawn carries no weight.
    """
    images, labels = batch.labelled, batch.labels
    zeros = torch.zeros(labels.shape, device=labels.device)
    known = (labels != UNDECIDED).to(zeros)
    if of_cs is None or of_ds is None:
        fields = [images, labels, labels, known, zeros, zeros]
        if batch.boxes is not None:
            fields = [_paste(field.roll(1, dims=0), field, batch.boxes) for field in fields]
        return Crops(*(field[: len(images) - batch.givers] for field in fields))
    first = [images, labels, labels, known, zeros, zeros]
    second = [
        batch.unlabelled, of_ds.classes, of_cs.classes, torch.zeros_like(of_ds.weight),
        of_ds.weight, of_cs.weight,
    ]  # fmt: skip
    if batch.boxes is not None:
        first, second = (
            [_paste(b, a, batch.boxes) for a, b in zip(first, second, strict=True)],
            [_paste(a, b, batch.boxes) for a, b in zip(first, second, strict=True)],
        )
    kept = [fields for fields, wanted in zip((first, second), batch.kept, strict=True) if wanted]
    return Crops(*map(torch.cat, zip(*kept, strict=True)))


def _paste(source: Tensor, target: Tensor, boxes: Tensor) -> Tensor:
    return torch.where(boxes if target.ndim == boxes.ndim else boxes[:, None], source, target)


@torch.no_grad()
def _fill_bank(
    learner: TrainingState, crops: Crops, features: Tensor, logits: Tensor, random: torch.Generator
) -> None:
    """Put features of labelled voxels that DS classifies rightly and confidently into the bank."""
    assert learner.ds is not None
    settings = learner.recipe.contrastive
    certainty, classes = logits.float().softmax(dim=1).max(dim=1)
    good = (crops.labelled > 0) & (classes == crops.ds_target) & (certainty >= settings.confidence)
    groups = torch.where(good, crops.ds_target, -1)
    count = learner.recipe.classes
    where = draw_voxels(groups, settings.per_step * count, count, random)
    vectors = learner.ds.network.projection(voxel_vectors(features, where))
    learner.bank.add(vectors, groups.flatten()[where])


def _contrastive(learner: TrainingState, crops: Crops, features: Tensor, random: torch.Generator) -> Tensor:
    """`L_cl` of CS features of unlabelled voxels, drawn evenly over the classes of their pseudo-label."""
    settings, count = learner.recipe.contrastive, learner.recipe.classes
    groups = torch.where(crops.cs_weight > 0, crops.cs_target, -1)
    where = draw_voxels(groups, settings.candidates, count, random)
    if len(where) < settings.positives + settings.negatives:
        return features.new_zeros((), dtype=torch.float32)
    drawn = groups.flatten()[where]
    present = torch.stack([(drawn == value).any() for value in range(count)])
    candidates = learner.cs.network.projection(voxel_vectors(features, where))
    return contrastive_loss(candidates, present, learner.bank, random)
