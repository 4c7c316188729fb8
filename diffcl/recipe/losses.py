"""The sections on the losses: weights of the terms, and contrastive learning."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from diffcl.recipe.section import BelowOne, Depth, Pieces, Positive, Section, Share, Vectors, Weight


class Losses(Section):
    """Weights of the loss terms, with the paper's names.

    `L_d = L_d_s + mu_1 L_d_p` trains DS, `L_c = L_c_s + mu_2 (L_c_p + eta L_cl)` trains CS; mu_1 and mu_2
    ramp up with exp(-5 (1 - s)^2) after the supervised start.

    Attributes:
        mu_1: Final weight of DS's loss against the CS pseudo-label.
        mu_2: Final weight of CS's unlabelled losses.
        eta: Weight of the contrastive loss inside CS's unlabelled losses; 0 switches it off.
        ramp: Share of the training after the supervised start over which mu_1 and mu_2 rise.
        pseudo_label: Source of the DS pseudo-label: `denoise`, its one-step prediction from the noisy CS
            pseudo-label, or `sample`, a DDIM chain from pure noise.
        pseudo_label_time: Diffusion step from which `denoise` predicts, as a share of T; drawn as in training
            where it is not given. The earlier, the more DS keeps of what CS found; near T it sees the image alone.
        pseudo_label_steps: DDIM steps of `sample`.
        confidence: Pseudo-label voxels below this probability carry no loss; 0 keeps all.
        largest_component: Which classes keep only their largest component in a pseudo-label: all, none, or the values
            of some.
    """

    mu_1: Weight = 1.0
    mu_2: Weight = 1.0
    eta: Weight = 0.1
    ramp: Share = 0.4
    pseudo_label: Literal["denoise", "sample"] = "denoise"
    pseudo_label_time: BelowOne | None = None
    pseudo_label_steps: Depth = 2
    confidence: BelowOne = 0.0
    largest_component: Pieces = False


class Contrastive(Section):
    """Contrastive label propagation.

    Attributes:
        bank: Feature vectors a class that the memory bank keeps.
        draws: Bank vectors of a class (`a`) drawn each step.
        candidates: Unlabelled voxel features (`b`) drawn each step.
        positives: How many of the candidates most similar to the class are its positives.
        negatives: How many of the least similar are its negatives.
        temperature: Divides the cosine similarities.
        confidence: Probability from which DS's right voxels enter the bank.
        per_step: Vectors of a class that enter the bank each step at most.
    """

    bank: Vectors = 512
    draws: Vectors = 64
    candidates: Vectors = 512
    positives: Vectors = 32
    negatives: Vectors = 128
    temperature: Positive = 0.1
    confidence: Share = 0.8
    per_step: Vectors = 64

    @model_validator(mode="after")
    def _enough(self) -> Contrastive:
        if self.draws > self.bank:
            raise ValueError("draws cannot exceed bank")
        if self.positives + self.negatives > self.candidates:
            raise ValueError("positives + negatives cannot exceed candidates")
        return self
