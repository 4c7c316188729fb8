"""The whole recipe of a task, and its reading from a document."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from diffcl.errors import RecipeError
from diffcl.labels import UNKNOWN, UNKNOWN_NAME, LabelClass
from diffcl.recipe.losses import Contrastive, Losses
from diffcl.recipe.networks import CsShape, Diffusion, DsShape
from diffcl.recipe.preparation import Grid, Intensity
from diffcl.recipe.section import Pieces, Section, Seed, Share, Text, first_fault
from diffcl.recipe.sequences import MOST_SEQUENCES, ImageSequence
from diffcl.recipe.training import Augmentation, FineTuning, Training


class Inference(Section):
    """How a prediction is made.

    Attributes:
        overlap: Share by which neighbouring windows overlap.
        first_look: Whether a scan of many windows is looked at by one network first, and read closely only where that
            finds anything possible; see `diffcl.inference.first_look`.
        ds_weight: Weight of DS in the ensemble; CS has the rest.
        largest_component: Which classes keep only their largest component: all, none, or the values of some.
        seed: Decides the noise from which DS starts.
    """

    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    first_look: bool = True
    ds_weight: Share = 0.5
    largest_component: Pieces = True
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
        labels: Classes with values 1..N without a gap, 254 at most; background is implied.
        patient: Form of the scans' names that tells whose they are, such as `{patient}_*`, where `*` stands for any
            text. Scans of one patient teach or validate, and never both.
        sequences: The images of a case where it has several, in the order of its files; the first one gives the grid,
            on which labels lie. Without the list a case is one image.
        planned: Whether a training chooses what the recipe leaves open by looking at the scans, see
            `diffcl.planning`. By default it does where the recipe does not give the spacing of the grid; otherwise
            what is left open has the default that is named here.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    title: Annotated[str, Field(max_length=200)] = ""
    modality: Literal["MR", "CT"] = "MR"
    labels: Annotated[tuple[LabelClass, ...], Field(min_length=1)]
    patient: Annotated[str, Field(max_length=100)] = ""
    sequences: Annotated[tuple[ImageSequence, ...], Field(max_length=MOST_SEQUENCES)] = ()
    planned: bool | None = None
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

    @field_validator("patient")
    @classmethod
    def _tells_the_patient(cls, pattern: str) -> str:
        if pattern and (pattern.count("{patient}") != 1 or pattern.count("*") > 3):
            raise ValueError("must hold {patient} once and * three times at most")
        return pattern

    @field_validator("labels")
    @classmethod
    def _contiguous(cls, labels: tuple[LabelClass, ...]) -> tuple[LabelClass, ...]:
        if [label.value for label in labels] != list(range(1, len(labels) + 1)):
            raise ValueError("label values must be 1, 2, ... in order, without a gap")
        if len(labels) >= UNKNOWN:
            raise ValueError(f"a label map holds {UNKNOWN - 1} classes at most; {UNKNOWN} is unknown")
        if len({label.name for label in labels}) != len(labels):
            raise ValueError("label names must differ")
        for label in labels:
            if label.name == "background":
                raise ValueError("background is implied; leave it out")
            if label.name.casefold() == UNKNOWN_NAME:
                raise ValueError(
                    f"{label.name} is no class: it stands for what nobody has decided; leave it out"
                )
            if not label.name.isprintable() or label.name != label.name.strip():
                raise ValueError(f"label name {label.name!r} is not one line of text")
        sources = Counter(value for label in labels for value in label.source_values)
        value, count = sources.most_common(1)[0]
        if count > 1:
            raise ValueError(f"two classes have the source {value}; a value means one class")
        if 0 in sources:
            raise ValueError("0 is background and no source of a class")
        return labels

    @model_validator(mode="after")
    def _first_sequence_is_there(self) -> Recipe:
        names = [one.name.casefold() for one in self.sequences]
        if len(set(names)) != len(names):
            raise ValueError("names of sequences must differ")
        if self.sequences and not self.sequences[0].required:
            raise ValueError("the first sequence must be required: labels lie on its grid")
        if self.sequences and self.sequences[0].modality not in (None, self.modality):
            raise ValueError("the first sequence must have the modality of the task")
        return self

    @model_validator(mode="after")
    def _window_fits_the_networks(self) -> Recipe:
        planned_later = self.open and not {"filters", "strides"} & self.cs.model_fields_set
        for sides in () if planned_later else (self.grid.window, self.grid.crop):
            if any(size % grain for size, grain in zip(sides, self.grains, strict=True)):
                raise ValueError(f"grid.window and grid.crop must be divisible by {self.grains_in_words}")
        if self.training.coarse_start and not self.holds_coarser_crops:
            raise ValueError(
                "training.coarse_start needs a larger grid.crop: on coarser voxels nothing is left of it"
            )
        for section in (self.losses, self.inference):
            if beyond := {*self.of_one_piece(section.largest_component)} - {one.value for one in self.labels}:
                raise ValueError(f"largest_component: no class has the value {min(beyond)}")
        if self.cs.projection != self.ds.projection:
            raise ValueError("cs.projection and ds.projection must be equal: their features are compared")
        if not self.ds.diffusion and self.ds.filters != self.cs.filters:
            raise ValueError("ds.filters must equal cs.filters where ds is a second CS")
        if not self.ds.diffusion and self.ds.level_strides != self.cs.level_strides:
            raise ValueError("ds.strides must equal cs.strides where ds is a second CS")
        return self

    @property
    def open(self) -> bool:
        """Whether a training chooses what is left open from the scans."""
        return "spacing" not in self.grid.model_fields_set if self.planned is None else self.planned

    @property
    def classes(self) -> int:
        """Number of classes K with background."""
        return len(self.labels) + 1

    def of_one_piece(self, pieces: Pieces) -> tuple[int, ...]:
        """Values of the classes that a `largest_component` names."""
        if isinstance(pieces, tuple):
            return pieces
        return tuple(one.value for one in self.labels) if pieces else ()

    @property
    def channels(self) -> int:
        """How many images of a case the networks see."""
        return max(1, len(self.sequences))

    @property
    def sequences_in_words(self) -> str:
        """The sequences for people."""
        return ", ".join(one.name for one in self.sequences) or "one sequence"

    @property
    def intensities(self) -> tuple[Intensity, ...]:
        """How the values of each image of a case are made comparable."""
        return tuple(
            one.intensity or (self.intensity if one.modality in (None, self.modality) else Intensity())
            for one in self.sequences
        ) or (self.intensity,)

    @property
    def grains(self) -> tuple[int, int, int]:
        """What the sides of a volume must be divisible by for the networks, along each axis; powers of 2."""
        every = zip(self.cs.grains, self.ds.grains, self.ds.coarse, strict=True)
        x, y, z = (max(of_cs, of_ds * coarse) for of_cs, of_ds, coarse in every)
        return x, y, z

    @property
    def holds_coarser_crops(self) -> bool:
        """Whether the networks can read a crop whose voxels are as long as those of CS's second level."""
        halved = zip(self.grid.crop, self.cs.level_strides[0], self.grains, strict=True)
        return all(side // stride >= grain for side, stride, grain in halved)

    @property
    def grains_in_words(self) -> str:
        """The grains for people: one number where all axes have the same."""
        return " x ".join(map(str, self.grains)) if len(set(self.grains)) > 1 else str(self.grains[0])

    def changed(self, **sections: dict[str, Any]) -> Recipe:
        """A copy with some fields of some sections replaced, checked like a file.

        What was left to its default stays so.

        >>> from diffcl.recipe import load_recipe
        >>> load_recipe("hippocampus").changed(training={"steps": 10, "supervised_start": 5}).training.steps
        10

        Raises:
            RecipeError: If a field is unknown or a value impossible.
        """
        content = self.model_dump(exclude_unset=True)
        for section, fields in sections.items():
            content[section] = {**content.get(section, {}), **fields}
        return parse_recipe(content, self.name)


def parse_recipe(content: dict[str, Any], where: object) -> Recipe:
    """Check the fields of a recipe.

    Raises:
        RecipeError: Naming `where`, the field and what is wrong with it.
    """
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(where, first_fault(error, "recipe"), "Correct the recipe") from error
