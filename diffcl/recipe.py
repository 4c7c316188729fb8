"""The recipe of one task: everything that decides what is trained and how, and nothing else.

A recipe is a TOML file; every field has a default but the name and the labels. It is checked when it is
read, printed with a run, and stored beside the weights, so a model can always say how it was made.
"""

from __future__ import annotations

import math
import sys
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from diffcl.errors import RecipeError
from diffcl.labels import LabelClass

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Positive = Annotated[float, Field(gt=0, le=1000)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Share = Annotated[float, Field(ge=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Steps = Annotated[int, Field(ge=0, le=10_000_000)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]
Crops = Annotated[int, Field(ge=1, le=256)]
"""Of a step."""
Vectors = Annotated[int, Field(ge=1, le=65_536)]
"""Of the contrastive loss."""
Side = Annotated[int, Field(ge=1, le=512)]
"""Voxels of a crop or window along an axis."""
Millimetres = Annotated[float, Field(ge=0.2, le=20)]
"""Between voxels of a working grid; finer ones of a body would not fit into memory."""
Width = Annotated[int, Field(ge=1, le=1024)]
"""Channels of a network."""
Depth = Annotated[int, Field(ge=1, le=16)]
"""Convolutions of a level, or DDIM steps of a pseudo-label."""
Level = Annotated[int, Field(ge=0, le=7)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, Field(max_length=10_000)]

LARGEST_WINDOW = 256**3
"""Voxels of a crop or window at most; the networks' features of a larger one take tens of GB."""


class Section(BaseModel):
    """A frozen part of a recipe that refuses fields it does not know, and numbers beyond any sense."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Grid(Section):
    """The grid on which the networks work.

    Attributes:
        spacing: Voxel size in mm along right-left, posterior-anterior and inferior-superior.
        window: Voxels that the networks see at once in a prediction; a larger scan is read in such windows.
            A training sets one that is not given to its crop.
        crop: Voxels of a training crop. A training sets one that is not given to the size of the scans, if
            that is not too large.
    """

    spacing: tuple[Millimetres, Millimetres, Millimetres] = (1.0, 1.0, 1.0)
    window: tuple[Side, Side, Side] = (64, 64, 64)
    crop: tuple[Side, Side, Side] = (64, 64, 64)

    @model_validator(mode="after")
    def _fits_into_memory(self) -> Grid:
        for name, sides in (("window", self.window), ("crop", self.crop)):
            if math.prod(sides) > LARGEST_WINDOW:
                raise ValueError(
                    f"{name} of {'x'.join(map(str, sides))} has more than {LARGEST_WINDOW} voxels"
                )
        return self


class Intensity(Section):
    """How voxel values are made comparable between scans.

    Attributes:
        method: `percentile` scales the two percentiles of the scan's non-zero voxels to -1..1, `window` scales
            the range low..high (Hounsfield units for CT) to -1..1, `zscore` scales four standard deviations of
            the non-zero voxels to either side of their mean to -1..1. All three clip what lies outside.
        low: Lower percentile or lower end of the window.
        high: Upper percentile or upper end of the window.
    """

    method: Literal["percentile", "window", "zscore"] = "percentile"
    low: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.5
    high: Annotated[float, Field(ge=-1e6, le=1e6)] = 99.5

    @model_validator(mode="after")
    def _ordered(self) -> Intensity:
        if self.high <= self.low:
            raise ValueError(f"high ({self.high}) must be above low ({self.low})")
        if self.method == "percentile" and not (self.low >= 0 and self.high <= 100):
            raise ValueError("percentiles lie between 0 and 100")
        return self


class VNetShape(Section):
    """Shape of a V-Net.

    Attributes:
        filters: Channels of each level, finest first; each further level halves the grid.
        blocks: Convolutions of each level of the encoder and the decoder.
        projection: Channels of the projection head's voxel features.
    """

    filters: Annotated[tuple[Width, ...], Field(min_length=2, max_length=8)] = (16, 32, 64, 128)
    blocks: Annotated[tuple[Depth, ...], Field(min_length=2, max_length=8)] = (1, 2, 2, 2)
    projection: Width = 16

    @model_validator(mode="after")
    def _one_entry_a_level(self) -> VNetShape:
        if len(self.blocks) != len(self.filters) or len(self.filters) < 2:
            raise ValueError("filters and blocks need one entry a level, at least two levels")
        return self


class CsShape(VNetShape):
    """CS, the convolution segmentation network: a V-Net with HF-Mamba on some of its skip connections.

    Attributes:
        hf_mamba_levels: Skip levels with a module; 0 is the finest. Empty switches HF-Mamba off.
        hf_mamba_width: Token width of the module.
        hf_mamba_state: State size of its selective scan.
    """

    hf_mamba_levels: Annotated[tuple[Level, ...], Field(max_length=7)] = (0, 1)
    hf_mamba_width: Width = 16
    hf_mamba_state: Annotated[int, Field(ge=1, le=256)] = 16

    @model_validator(mode="after")
    def _levels_exist(self) -> CsShape:
        for level in self.hf_mamba_levels:
            if level > len(self.filters) - 2:
                raise ValueError(f"hf_mamba_levels: level {level} has no skip connection")
        return self


class DsShape(VNetShape):
    """DS, the diffusion segmentation network: a V-Net over (image, noisy label map), told the time.

    Attributes:
        time_features: Width of the embedding of the diffusion step.
        coarsening: 2 lets the V-Net of DS work on voxels of twice the size, at an eighth of the cost. What it
            adds to CS, a sense of shape, needs no fine grid.
        diffusion: Off, for comparison, DS is a second CS, which sees the image alone.
    """

    time_features: Width = 64
    coarsening: Literal[1, 2] = 1
    diffusion: bool = True

    @model_validator(mode="after")
    def _alike(self) -> DsShape:
        if not self.diffusion and self.coarsening != 1:
            raise ValueError("coarsening has no meaning without diffusion")
        return self


class Diffusion(Section):
    """The diffusion over label maps and its sampling.

    Attributes:
        steps: T, the number of diffusion steps.
        beta_start: First beta of the linear schedule.
        beta_end: Last beta of the linear schedule.
        sampling_steps: DDIM steps of a prediction, at most `steps`; each asks DS about every window once.
        late: Training draws step t with a density proportional to t^late. Noise that is independent from voxel
            to voxel hides a smooth label map only at late steps; drawn evenly (0), DS would rarely have to
            look at the image.
    """

    steps: Annotated[int, Field(ge=2, le=10_000)] = 1000
    beta_start: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    beta_end: Annotated[float, Field(gt=0, lt=1)] = 2e-2
    sampling_steps: Annotated[int, Field(ge=1, le=100)] = 3
    late: Annotated[float, Field(ge=0, le=100)] = 2.0

    @model_validator(mode="after")
    def _possible(self) -> Diffusion:
        if self.sampling_steps > self.steps:
            raise ValueError("sampling_steps cannot exceed steps")
        return self


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
        largest_component: Whether a pseudo-label keeps only the largest component of each class.
    """

    mu_1: Weight = 1.0
    mu_2: Weight = 1.0
    eta: Weight = 0.1
    ramp: Share = 0.4
    pseudo_label: Literal["denoise", "sample"] = "denoise"
    pseudo_label_time: BelowOne | None = None
    pseudo_label_steps: Depth = 2
    confidence: BelowOne = 0.0
    largest_component: bool = False


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


class Augmentation(Section):
    """Random changes of a training crop; 0 switches each off.

    Attributes:
        flip: Probability of mirroring along right-left, front-back and foot-head. Only where the mirrored
            organ occurs as well.
        rotate: Largest rotation of the patient about each axis, degrees.
        scale: Largest relative change of size.
        shift: Largest shift of the intensities, in units of the prepared scan (-1..1).
        gamma: Largest change of the contrast exponent.
        noise: Largest standard deviation of Gaussian noise.
        blur: Largest sigma of Gaussian smoothing, in voxels of the finest axis.
    """

    flip: tuple[Share, Share, Share] = (0.0, 0.0, 0.0)
    rotate: Annotated[float, Field(ge=0, le=180)] = 15.0
    scale: BelowOne = 0.15
    shift: Weight = 0.2
    gamma: BelowOne = 0.3
    noise: Weight = 0.1
    blur: Annotated[float, Field(ge=0, le=50)] = 0.8


class Training(Section):
    """The schedule of a run.

    Attributes:
        method: `diff_cl` trains CS and DS with the unlabelled scans, `supervised` CS and DS without them.
        learns: Which networks learn. The other one stays as it is and goes on to teach: for a run that starts from
            published weights.
        seed: Decides every random number of the run.
        steps: Optimiser steps in all.
        supervised_start: The first steps, which use labelled crops only.
        start_crops: Labelled crops of a step without unlabelled ones.
        labelled_crops: Labelled crops of a step with unlabelled ones.
        unlabelled_crops: Unlabelled crops a step.
        mix: Probability that a step pastes boxes of labelled and unlabelled crops into each other.
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
        precision: Number format of the networks in training. `auto` takes bfloat16 where the processor computes
            convolutions faster in it, which is measured, and float32 elsewhere.
    """

    method: Literal["diff_cl", "supervised"] = "diff_cl"
    learns: Literal["both", "cs", "ds"] = "both"
    seed: Seed = 0
    steps: Count = 1500
    supervised_start: Steps = 300
    start_crops: Crops = 2
    labelled_crops: Crops = 2
    unlabelled_crops: Crops = 2
    mix: Share = 0.0
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
    precision: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _start_fits(self) -> Training:
        if self.supervised_start > self.steps:
            raise ValueError("supervised_start cannot exceed steps")
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


class Inference(Section):
    """How a prediction is made.

    Attributes:
        overlap: Share by which neighbouring windows overlap.
        ds_weight: Weight of DS in the ensemble; CS has the rest.
        largest_component: Whether each class keeps only its largest component.
        seed: Decides the noise from which DS starts.
    """

    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    ds_weight: Share = 0.5
    largest_component: bool = True
    seed: Seed = 0


class Card(Section):
    """What people must know of a task's model; printed in its card.

    Attributes:
        data: The scans it is meant to be trained on, and their origin.
        terms: Terms of use of those scans, which hold for the weights as well.
        use: What the model is for and what not.
    """

    data: Text = ""
    terms: Text = ""
    use: Text = (
        "Proposes outlines for research. Every outline must be checked by a person. Not a medical device."
    )


class Recipe(Section):
    """One task: what is segmented in which scans, by which networks, trained how.

    Attributes:
        name: Lower-case identifier, also of the published model.
        title: What it segments, for people.
        modality: DICOM modality of the scans.
        labels: Classes with values 1..N without a gap; background is implied.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    title: Annotated[str, Field(max_length=200)] = ""
    modality: Literal["MR", "CT"] = "MR"
    labels: Annotated[tuple[LabelClass, ...], Field(min_length=1)]
    grid: Grid = Grid()
    intensity: Intensity = Intensity()
    cs: CsShape = CsShape()
    ds: DsShape = DsShape()
    diffusion: Diffusion = Diffusion()
    losses: Losses = Losses()
    contrastive: Contrastive = Contrastive()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    fine_tuning: FineTuning = FineTuning()
    inference: Inference = Inference()
    card: Card = Card()

    @field_validator("labels")
    @classmethod
    def _contiguous(cls, labels: tuple[LabelClass, ...]) -> tuple[LabelClass, ...]:
        if [label.value for label in labels] != list(range(1, len(labels) + 1)):
            raise ValueError("label values must be 1, 2, ... in order, without a gap")
        if len({label.name for label in labels}) != len(labels):
            raise ValueError("label names must differ")
        if any(label.name == "background" for label in labels):
            raise ValueError("background is implied; leave it out")
        return labels

    @model_validator(mode="after")
    def _window_fits_the_networks(self) -> Recipe:
        if any(size % self.grain for size in (*self.grid.window, *self.grid.crop)):
            raise ValueError(f"grid.window and grid.crop must be divisible by {self.grain}")
        if self.cs.projection != self.ds.projection:
            raise ValueError("cs.projection and ds.projection must be equal: their features are compared")
        if not self.ds.diffusion and self.ds.filters != self.cs.filters:
            raise ValueError("ds.filters must equal cs.filters where ds is a second CS")
        return self

    @property
    def classes(self) -> int:
        """Number of classes K with background."""
        return len(self.labels) + 1

    @property
    def grain(self) -> int:
        """What every side of a volume must be divisible by for the networks."""
        of_cs: int = 2 ** (len(self.cs.filters) - 1)
        of_ds: int = 2 ** (len(self.ds.filters) - 1) * self.ds.coarsening
        return max(of_cs, of_ds)

    def changed(self, **sections: dict[str, Any]) -> Recipe:
        """A copy with some fields of some sections replaced, checked like a file.

        What was left to its default stays so.

        >>> load_recipe("hippocampus").changed(training={"steps": 10, "supervised_start": 5}).training.steps
        10

        Raises:
            RecipeError: If a field is unknown or a value impossible.
        """
        content = self.model_dump(exclude_unset=True)
        for section, fields in sections.items():
            content[section] = {**content.get(section, {}), **fields}
        return parse_recipe(content, self.name)


def shipped_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    folder = resources.files("diffcl") / "recipes"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def parse_recipe(content: dict[str, Any], where: object) -> Recipe:
    """Check the fields of a recipe.

    Raises:
        RecipeError: Naming `where`, the field and what is wrong with it.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(where, first_fault(error, "recipe"), "Correct the recipe") from error


def first_fault(error: ValidationError, whole: str) -> str:
    """The first thing that is wrong with a document, in words: which field, why, and the number that it has.

    Args:
        error: Of its reading.
        whole: What the document is, for a fault of no single field.
    """
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or whole
    value = first["input"]
    short = type(value) in (int, float) and abs(value) < 1e15
    return f"{field}: {first['msg']}" + (f", not {value:g}" if short else "")


def load_recipe(name_or_file: str | Path) -> Recipe:
    """Read a recipe that comes with the package, by its name, or a TOML file.

    Raises:
        RecipeError: If there is none of that name, or the file is not a valid recipe.
    """
    if str(name_or_file) in shipped_recipes():
        text = (resources.files("diffcl") / "recipes" / f"{name_or_file}.toml").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name_or_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            known = ", ".join(shipped_recipes())
            raise RecipeError(
                name_or_file, "no such recipe", f"Give a TOML file or one of: {known}"
            ) from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(name_or_file, f"not valid TOML ({error})", "Correct the file") from error
    return parse_recipe(content, name_or_file)
