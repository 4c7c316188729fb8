"""The sections on a training: augmentation, schedule and fine-tuning."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from diffcl.recipe.section import Angle, BelowOne, Count, Crops, Positive, Section, Seed, Share, Steps, Weight


class Augmentation(Section):
    """Random changes of a training crop; 0 switches each off.

    Attributes:
        flip: Probability of mirroring along the axes of the grid, right-left first. Only where the mirrored
            organ occurs as well.
        rotate: Largest rotation of the patient, degrees: about every axis, or three numbers for rotations about
            the axes of the grid.
        scale: Largest relative change of size.
        shift: Largest shift of the intensities, in units of the prepared scan (-1..1).
        gamma: Largest change of the contrast exponent.
        noise: Largest standard deviation of Gaussian noise.
        blur: Largest sigma of Gaussian smoothing, in voxels of the finest axis.
    """

    flip: tuple[Share, Share, Share] = (0.0, 0.0, 0.0)
    rotate: Angle | tuple[Angle, Angle, Angle] = 15.0
    scale: BelowOne = 0.15
    shift: Weight = 0.2
    gamma: BelowOne = 0.3
    noise: Weight = 0.1
    blur: Annotated[float, Field(ge=0, le=50)] = 0.8

    @property
    def angles(self) -> tuple[float, float, float]:
        """The largest rotation about each axis, degrees."""
        return self.rotate if isinstance(self.rotate, tuple) else (self.rotate,) * 3


class Training(Section):
    """The schedule of a run.

    Attributes:
        method: `diff_cl` trains CS and DS with the unlabelled scans, `supervised` CS alone, without them.
        learns: Which networks learn. The other one stays as it is and goes on to teach: for a run that starts from
            published weights.
        seed: Decides every random number of the run.
        steps: Optimiser steps in all.
        supervised_start: The first steps, which use labelled crops only.
        least_start: Steps that a run from random weights which is shorter than the recipe's keeps for its supervised
            start, up to half of the run: before that, networks are no teachers.
        coarse_start: Share of the steps, or of the time for learning, at the beginning of a run from random weights, in
            which crops have coarser voxels, as the second level of CS has: cheap steps that find what is where.
        start_crops: Labelled crops of a step without unlabelled ones.
        labelled_crops: Labelled crops of a step with unlabelled ones.
        unlabelled_crops: Unlabelled crops a step.
        mix: Probability that a step pastes boxes of labelled and unlabelled crops into each other.
        start_mix: The same of a step without unlabelled crops, in which labelled crops take boxes of each other, and a
            single one that of a crop which is not learned from; by default as likely.
        mixed_sides: How many crops of a mixed pair a step learns from: both, or one of them by chance, for half
            the work.
        mixed_weight: Weight of the losses against pseudo-labels in a step that mixes crops; in others it is 1.
        optimiser: Update rule of both networks. `muon` is for the kernels of convolutions, with AdamW for the rest.
        learning_rate: At its peak; it warms up over 2 % of the steps and then falls as a cosine to 0. The default is
            one for `muon`; `adamw` learns well at a quarter of it.
        weight_decay: Decoupled weight decay.
        clip: Largest norm of a network's gradient.
        average: Decay of the averaged weights, which give the pseudo-labels and are what is published.
        validate_every: Steps between validations.
        checkpoint_every: Steps between checkpoints.
        crop_on_object: Share of labelled crops centred on a labelled voxel.
        class_balanced: Whether that voxel is drawn from a class drawn before, so that small classes are seen as often
            as large ones, rather than from all labelled voxels.
        precision: Number format of the networks in training. `auto` takes bfloat16 where the processor computes
            convolutions faster in it, which is measured, and float32 elsewhere.
    """

    method: Literal["diff_cl", "supervised"] = "diff_cl"
    learns: Literal["both", "cs", "ds"] = "both"
    seed: Seed = 0
    steps: Count = 1500
    supervised_start: Steps = 300
    least_start: Steps = 0
    coarse_start: BelowOne = 0.0
    start_crops: Crops = 2
    labelled_crops: Crops = 2
    unlabelled_crops: Crops = 2
    mix: Share = 0.0
    start_mix: Share | None = None
    mixed_sides: Literal[1, 2] = 2
    mixed_weight: Share = 0.5
    optimiser: Literal["adamw", "sgd", "muon"] = "muon"
    learning_rate: Positive = 4e-3
    weight_decay: Weight = 1e-4
    clip: Positive = 5.0
    average: BelowOne = 0.99
    validate_every: Count = 250
    checkpoint_every: Count = 100
    crop_on_object: Share = 0.5
    class_balanced: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @property
    def coarse_steps(self) -> float:
        """Place in the schedule, in steps, up to which crops have coarser voxels."""
        return self.coarse_start * self.steps

    @model_validator(mode="after")
    def _start_fits(self) -> Training:
        if self.supervised_start > self.steps:
            if "supervised_start" in self.model_fields_set:
                raise ValueError("supervised_start cannot exceed steps")
            object.__setattr__(self, "supervised_start", self.steps // 5)  # the share that the defaults have
        if self.method == "supervised" and self.learns == "ds":
            raise ValueError("supervised training is that of CS: learns cannot be ds")
        if self.mix > 0 and self.labelled_crops != self.unlabelled_crops:
            raise ValueError("mix needs as many unlabelled_crops as labelled_crops")
        return self


class FineTuning(Section):
    """The schedule of a run that starts from a published model instead of random weights.

    Short, with small steps, and with the unlabelled scans almost from the beginning, so that the model keeps
    what it knows. Everything else is as in `Training`.

    Attributes:
        steps: Optimiser steps in all.
        supervised_start: The first steps, which use labelled crops only.
        learning_rate: At its peak.
    """

    steps: Count = 40
    supervised_start: Steps = 4
    learning_rate: Positive = 2e-3

    @model_validator(mode="after")
    def _start_fits(self) -> FineTuning:
        if self.supervised_start > self.steps:
            raise ValueError("supervised_start cannot exceed steps")
        return self
