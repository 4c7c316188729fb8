"""nnU-Net 2 on the scans of an experiment: its own planner, trainer and predictor, in a given time on this machine.

It is a peer of `any_organ.py`, which asks for it by `--beside`, and has to be on the path; `docs/benchmarks.md` says
how. It learns from the labelled scans, as it would by default (`fold all`), and what is left of the time after it has
planned and prepared them is for training alone: its learning rate falls over that time as it does over its 1,000
epochs. It does not judge itself on the way, and predicting the scans that validate costs it nothing.
"""

from __future__ import annotations

import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
import torch
from learned import Learned

from diffcl.data.cases import LabelledCase
from diffcl.evaluation.metrics import evaluate_case
from diffcl.evaluation.scores import CaseScore, Scores
from diffcl.files import write_text
from diffcl.recipe import Recipe
from diffcl.training.validation import read_validation

if TYPE_CHECKING:
    from any_organ import Experiment
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

CONFIGURATIONS = ("2d", "3d_fullres")
"""Those that it plans for every set."""

DATASET = 1
"""Number of the only data set in the folders of an experiment."""

POWER = 0.9
"""Of the fall of its learning rate."""

KEEP_SECONDS = 300
"""Between two checkpoints, from which a training that was stopped goes on."""


class Folders:
    """Where nnU-Net keeps what it makes of an experiment; it reads that from the environment."""

    def __init__(self, folder: Path, name: str) -> None:
        self.dataset = f"Dataset{DATASET:03d}_{name.replace('-', '_')}"
        self.raw, self.prepared = folder / "raw", folder / "prepared"
        told = {
            "raw": self.raw,
            "preprocessed": self.prepared,
            "results": folder / "results",
            "n_proc_DA": os.cpu_count(),
            "def_n_proc": os.cpu_count(),
        }
        os.environ.update({f"nnUNet_{name}": str(value) for name, value in told.items()})


def learn_nnunet(one: Experiment, configuration: str, minutes: float, folder: Path) -> Learned:
    """Train nnU-Net on the labelled scans of an experiment for that long, and judge it as ours is judged."""
    folders = Folders(folder, one.set)
    trainer, iterations, seconds = train_for(one, folders, configuration, minutes * 60, folder)
    scores = judge(trainer, one.cases.validation, one.recipe)
    by = f"nnU-Net {version('nnunetv2')}, {configuration}"
    return Learned(by, iterations, seconds, scores, trainer.configuration_manager.configuration)


def prepare(one: Experiment, folders: Folders, configuration: str) -> None:
    """Let nnU-Net look at the labelled scans where they are, plan, and write what its trainer reads."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as planning

    told = {
        "channel_names": {"0": one.recipe.modality},
        "labels": {"background": 0, **{entry.name: entry.value for entry in one.recipe.labels}},
        "numTraining": len(one.cases.labelled),
        "file_ending": ".nii.gz",
        "dataset": {
            case.name: {"images": [str(case.image.resolve())], "label": str(case.label.resolve())}
            for case in one.cases.labelled
        },
    }
    (folders.raw / folders.dataset).mkdir(parents=True, exist_ok=True)
    write_text(folders.raw / folders.dataset / "dataset.json", json.dumps(told, indent=1))
    workers = os.cpu_count() or 1
    planning.extract_fingerprints([DATASET], num_processes=workers, show_progress_bar=False)
    planning.plan_experiments([DATASET])
    planning.preprocess(
        [DATASET], configurations=[configuration], num_processes=[workers], show_progress_bar=False
    )


def train_for(
    one: Experiment, folders: Folders, configuration: str, limit: float, folder: Path
) -> tuple[nnUNetTrainer, int, float]:
    """Prepare and train until the limit, in seconds; the trainer, its iterations, and the seconds it took."""
    began, past, iterations = time.monotonic(), 0.0, 0
    checkpoint, clock = folder / "checkpoint.pth", folder / "clock.json"
    if clock.is_file():
        past, iterations = json.loads(clock.read_text(encoding="utf-8"))
    else:
        prepare(one, folders, configuration)
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    prepared = folders.prepared / folders.dataset
    plans, dataset = (
        json.loads((prepared / name).read_text(encoding="utf-8"))
        for name in ("nnUNetPlans.json", "dataset.json")
    )
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - its augmentation draws from there
    trainer = nnUNetTrainer(
        {**plans, "continue_training": False}, configuration, "all", dataset, torch.device("cpu")
    )
    trainer.on_train_start()
    if clock.is_file():
        trainer.load_checkpoint(str(checkpoint))

    def seconds() -> float:
        return past + time.monotonic() - began

    def keep() -> None:
        trainer.save_checkpoint(str(checkpoint))
        write_text(clock, json.dumps([seconds(), iterations]))

    kept = seconds()
    trainer.network.train()
    while seconds() < limit:
        rate = trainer.initial_lr * (1 - seconds() / limit) ** POWER
        for group in trainer.optimizer.param_groups:
            group["lr"] = rate
        trainer.train_step(next(trainer.dataloader_train))
        iterations += 1
        if seconds() - kept > KEEP_SECONDS:
            keep()
            kept = seconds()
    took = seconds()
    keep()
    for batches in (trainer.dataloader_train, trainer.dataloader_val):
        batches._finish()  # noqa: SLF001 - nothing else ends its workers
    return trainer, iterations, took


def judge(trainer: nnUNetTrainer, cases: tuple[LabelledCase, ...], recipe: Recipe) -> Scores:
    """Predict as nnU-Net does by default, mirrored where its training was, and compare on the scans' own grids."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    trainer.set_deep_supervision_enabled(False)
    predictor.manual_initialization(
        trainer.network, trainer.plans_manager, trainer.configuration_manager, [trainer.network.state_dict()],
        trainer.dataset_json, type(trainer).__name__, trainer.inference_allowed_mirroring_axes,
    )  # fmt: skip
    scores = []
    for case in cases:
        image, properties = SimpleITKIO().read_images([str(case.image)])
        label = predictor.predict_single_npy_array(
            image, properties, None, None, save_or_return_probabilities=False
        )
        truth = read_validation(case, recipe).truth
        found = sitk.GetImageFromArray(np.asarray(label, np.uint8))
        found.CopyInformation(truth)
        scores.append(CaseScore(case.name, evaluate_case(found, truth, recipe.labels)))
    return Scores(tuple(scores))
