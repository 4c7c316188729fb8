"""Batches of labelled and unlabelled crops. A batch is a function of the seed and the step alone.

So a resumed run sees what an uninterrupted one would have seen, and the next batch can be made beside the
current step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor
from torch.nn import functional

from diffcl.data.augment import intensity_augmentation, spatial_augmentation, turned_box
from diffcl.data.cache import TrainingScan
from diffcl.labels import UNDECIDED, UNKNOWN
from diffcl.recipe import Recipe

LEFT_OUT = 0.2
"""Share of the crops in which a sequence that cases may lack is empty, so that the networks learn to do without."""


@dataclass(frozen=True)
class Batch:
    """Crops of one step; B_l labelled and B_u unlabelled ones, B_u may be 0.

    Attributes:
        labelled: Intensities with all augmentation `(B_l, C, X, Y, Z)`, C the sequences of the task.
        labels: Their class values `(B_l, X, Y, Z)`, int64, and `UNDECIDED` where nobody has drawn.
        unlabelled: Intensities with all augmentation, for the students `(B_u, C, X, Y, Z)`.
        unlabelled_plain: The same crops without changed intensities, for the teachers.
        boxes: For each pair of crops that is mixed, where the first is pasted into the second
            `(B, X, Y, Z)`, bool; None where this step does not mix.
        givers: How many of the labelled crops, the last ones, only give what is pasted into the others.
        kept: Whether a step that mixes with unlabelled crops learns from the labelled crops with unlabelled boxes,
            and from the unlabelled crops with labelled boxes.
        merged: What the values K, K + 1, ... of the labels mean, `(S, K)`, bool: one of the classes of a row, of
            which background is one, nobody knows which. None where every class is outlined.
        voxel: How many voxels of the working grid one of the crops is long, along each axis.
    """

    labelled: Tensor
    labels: Tensor
    unlabelled: Tensor
    unlabelled_plain: Tensor
    boxes: Tensor | None
    givers: int = 0
    kept: tuple[bool, bool] = (True, True)
    merged: Tensor | None = None
    voxel: tuple[int, int, int] = (1, 1, 1)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return Batch(
            self.labelled.to(device),
            self.labels.to(device),
            self.unlabelled.to(device),
            self.unlabelled_plain.to(device),
            None if self.boxes is None else self.boxes.to(device),
            self.givers,
            self.kept,
            None if self.merged is None else self.merged.to(device),
            self.voxel,
        )

    def coarser(self, voxel: tuple[int, int, int], grains: tuple[int, int, int]) -> Batch:
        """The middle of the same crops with longer voxels: smoothed intensities, and the labels where they are taken.

        Args:
            voxel: How many voxels become one along each axis, 1 or 2.
            grains: What sides must be divisible by; as much as that takes is left out around.
        """
        a, b, c = voxel
        sides = [len(range(0, size, count)) for size, count in zip(self.labels.shape[1:], voxel, strict=True)]
        left = [side % grain for side, grain in zip(sides, grains, strict=True)]
        x, y, z = (slice(out // 2, out // 2 + side - out) for side, out in zip(sides, left, strict=True))
        width, around = [2 * count - 1 for count in voxel], [count - 1 for count in voxel]

        def smoothed(images: Tensor) -> Tensor:
            """Means over the voxels that are taken and their neighbours."""
            means = functional.avg_pool3d(images, width, voxel, around, count_include_pad=False)
            return means[..., x, y, z].contiguous()

        def taken(values: Tensor) -> Tensor:
            return values[:, ::a, ::b, ::c][:, x, y, z].contiguous()

        return replace(
            self,
            labelled=smoothed(self.labelled),
            labels=taken(self.labels),
            unlabelled=smoothed(self.unlabelled),
            unlabelled_plain=smoothed(self.unlabelled_plain),
            boxes=None if self.boxes is None else taken(self.boxes),
            voxel=voxel,
        )


class Batches:
    """Draws the batches of a training. A scan whose label is partly drawn is among the unlabelled ones as well.

    Args:
        labelled: Prepared labelled scans.
        unlabelled: Prepared unlabelled scans; may be empty.
        recipe: Crop, numbers of crops, augmentation, mixing and seed.
    """

    def __init__(
        self, labelled: Sequence[TrainingScan], unlabelled: Sequence[TrainingScan], recipe: Recipe
    ) -> None:
        self._labelled = labelled
        partly = [replace(scan, label=None, drawn="") for scan in labelled if scan.drawn]
        self._unlabelled = [*unlabelled, *partly]
        self._recipe = recipe
        self._unknown = sorted({scan.unknown for scan in labelled if scan.unknown})
        self._box = turned_box(recipe.augmentation, recipe.grid.crop, recipe.grid.spacing)

    def __call__(self, step: int, place: float | None = None) -> Batch:
        """The batch of a step, 1 being the first. During the supervised start it has no unlabelled crops.

        Args:
            step: Decides the random numbers.
            place: Where in the schedule it is; by default its number.
        """
        place = step if place is None else place
        training = self._recipe.training
        random = np.random.default_rng([training.seed, step])
        supervised = (
            training.method == "supervised" or place <= training.supervised_start or not self._unlabelled
        )
        count = training.start_crops if supervised else training.labelled_crops
        teachers = self._choose(self._labelled, count, random)
        crops = [self._draw(scan, random) for scan in teachers]
        labelled = [self._intensities(image, random) for image, _ in crops]
        plain = []
        if not supervised:
            chosen = self._choose(self._unlabelled, training.unlabelled_crops, random)
            plain = [self._draw(scan, random)[0] for scan in chosen]
        empty = torch.zeros(0, self._recipe.channels, *self._recipe.grid.crop)
        alone = training.mix if training.start_mix is None else training.start_mix
        mixes = random.random() < (alone if supervised else training.mix)
        givers = 1 if mixes and supervised and count == 1 else 0
        for scan in self._choose(self._labelled, givers, random) if givers else ():
            crops.append(self._draw(scan, random))
            teachers.append(scan)
            labelled.append(self._intensities(crops[-1][0], random))
        unlabelled = [self._intensities(image, random) for image in plain]
        boxes = self._boxes(count + givers, random) if mixes else None
        kept = (True, True)
        if mixes and unlabelled and training.mixed_sides == 1:
            kept = (True, False) if random.random() < 0.5 else (False, True)
        batch = Batch(
            torch.stack(labelled),
            torch.stack([self._known(label, scan) for (_, label), scan in zip(crops, teachers, strict=True)]),
            torch.stack(unlabelled) if unlabelled else empty,
            torch.stack(plain) if plain else empty,
            boxes,
            givers,
            kept,
            self._merged(),
        )
        if place <= training.coarse_steps:
            return batch.coarser(self._recipe.cs.level_strides[0], self._recipe.grains)
        return batch

    def _known(self, label: Tensor, scan: TrainingScan) -> Tensor:
        """A label in which unknown voxels, and background that may be a class that was not outlined, are marked."""
        if scan.drawn:
            label = label.masked_fill(label == UNKNOWN, UNDECIDED)
        if not scan.unknown:
            return label
        return label.masked_fill(label == 0, self._recipe.classes + self._unknown.index(scan.unknown))

    def _merged(self) -> Tensor | None:
        """What those values mean, see `Batch`."""
        if not self._unknown:
            return None
        merged = torch.zeros(len(self._unknown), self._recipe.classes, dtype=torch.bool)
        merged[:, 0] = True
        for row, values in zip(merged, self._unknown, strict=True):
            row[list(values)] = True
        return merged

    def ahead(
        self, first: int, last: int | None, place: Callable[[int], float] = float
    ) -> Iterator[tuple[int, Batch]]:
        """The steps `first..last` with their batches, each made in a thread while the one before is used.

        The thread has one processor: those of torch that belong to the step would wait for it otherwise.

        Args:
            first: The first step.
            last: The last one; None to go on for as long as somebody asks.
            place: Where in the schedule a step will be, as far as is known one step before.
        """
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(max_workers=1, initializer=torch.set_num_threads, initargs=(1,)) as thread:
            thread.submit(torch.get_num_threads).result()
            torch.set_num_threads(threads)  # in part, it was set for all
            following = thread.submit(self, first, place(first))
            for step in itertools.count(first):
                if last is not None and step > last:
                    return
                batch = following.result()
                if step != last:
                    following = thread.submit(self, step + 1, place(step + 1))
                yield step, batch

    def _choose(
        self, scans: Sequence[TrainingScan], count: int, random: np.random.Generator
    ) -> list[TrainingScan]:
        return [scans[index] for index in random.choice(len(scans), count, replace=len(scans) < count)]

    def _draw(self, scan: TrainingScan, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A crop `(C, X, Y, Z)` and its label `(X, Y, Z)`, turned and scaled; the label is 0 where unknown."""
        centre = self._centre(scan, random)
        channels = {"image": torch.stack([_box(one, centre, self._box) for one in scan.image])}
        if scan.label is not None:
            channels["label"] = _box(scan.label, centre, self._box)[None].float()
        grid = self._recipe.grid
        transform = spatial_augmentation(self._recipe.augmentation, grid.crop, grid.spacing)
        transform.set_random_state(seed=int(random.integers(2**31)))
        changed = transform(channels)
        image = self._left_out(changed["image"].as_tensor(), random)
        label = changed["label"].as_tensor()[0].round().long() if "label" in changed else torch.zeros(0)
        return image, label

    def _left_out(self, image: Tensor, random: np.random.Generator) -> Tensor:
        """A crop `(C, X, Y, Z)` in which sequences that need not be there are empty at random."""
        for channel, sequence in zip(image, self._recipe.sequences, strict=False):
            if not sequence.required and random.random() < LEFT_OUT:
                channel.zero_()
        return image

    def _centre(self, scan: TrainingScan, random: np.random.Generator) -> list[int]:
        """A voxel about which to crop: near its target or anywhere, the crop covering what it can of the scan."""
        target = None if scan.label is None else self._target(scan.label, random, partly=bool(scan.drawn))
        centre = []
        for axis, crop in enumerate(self._recipe.grid.crop):
            first, last = sorted((0, scan.image.shape[1 + axis] - crop))
            start = int(random.integers(first, last + 1))
            if target is not None and last > 0:
                start = min(max(target[axis] - crop // 2, first), last)
            centre.append(start + crop // 2)
        return centre

    def _target(self, label: Tensor, random: np.random.Generator, *, partly: bool) -> list[int] | None:
        """A voxel of the object, or of what is drawn of a label that is partly drawn; None for any place."""
        inside = torch.zeros(0)
        if random.random() < self._recipe.training.crop_on_object:
            drawn = label.masked_fill(label == UNKNOWN, 0) if partly else label
            inside = torch.nonzero(self._wanted(drawn.flatten(), random))
        if partly and not len(inside):
            inside = torch.nonzero(label.flatten() != UNKNOWN)
        if not len(inside):
            return None
        place = int(inside[int(random.integers(len(inside)))])
        return [int(index) for index in np.unravel_index(place, tuple(label.shape))]

    def _wanted(self, label: Tensor, random: np.random.Generator) -> Tensor:
        """Which voxels of a label may be the centre of a crop: those of a class that is drawn, or of every class."""
        if not self._recipe.training.class_balanced:
            return label
        present = [value for value, count in enumerate(label.bincount().tolist()) if value and count]
        if not present:
            return label
        return torch.eq(label, present[int(random.integers(len(present)))])

    def _intensities(self, image: Tensor, random: np.random.Generator) -> Tensor:
        """A crop with the intensities of each sequence changed by itself; one that is absent stays empty."""
        changed = [
            self._intensity(one[None], random) if self._recipe.channels == 1 or one.any() else one[None]
            for one in image
        ]
        return torch.cat(changed)

    def _intensity(self, image: Tensor, random: np.random.Generator) -> Tensor:
        transform = intensity_augmentation(self._recipe.augmentation, self._recipe.grid.spacing)
        transform.set_random_state(seed=int(random.integers(2**31)))
        changed: Tensor = transform({"image": image.clone()})["image"]
        return changed.as_tensor() if isinstance(changed, MetaTensor) else changed

    def _boxes(self, count: int, random: np.random.Generator) -> Tensor:
        """A box of two thirds of each side at a random place in each crop, as bidirectional copy-paste has it.

        Source:
            Bai et al., Bidirectional Copy-Paste, CVPR 2023, section 3.2.
        """
        crop = self._recipe.grid.crop
        boxes = torch.zeros(count, *crop, dtype=torch.bool)
        for box in boxes:
            starts = [int(random.integers(size - size * 2 // 3 + 1)) for size in crop]
            x, y, z = (slice(start, start + size * 2 // 3) for start, size in zip(starts, crop, strict=True))
            box[x, y, z] = True
        return boxes


def _box(volume: Tensor, centre: Sequence[int], size: Sequence[int]) -> Tensor:
    """The box of a size about a voxel of `(X, Y, Z)`, continued by the nearest voxel where the volume ends."""
    for axis, (middle, length) in enumerate(zip(centre, size, strict=True)):
        wanted = torch.arange(length) + (middle - length // 2)
        volume = volume.index_select(axis, wanted.clamp(0, volume.shape[axis] - 1))
    return volume
