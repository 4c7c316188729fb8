"""What version 0.1.0 wrote: a published model, and a studies folder with the trainings of it, entry by entry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch
from safetensors.torch import save_file
from synthetic import ORGAN, make_label, make_studies

from diffcl.networks.cs import ConvolutionSegmenter
from diffcl.networks.ds import DiffusionSegmenter

RECIPE: dict[str, Any] = {
    "name": "organ", "title": "", "modality": "MR",
    "labels": [
        {"value": 1, "name": "organ_head", "color": [230, 120, 80],
         "category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
         "type": {"value": "69536005", "scheme": "SCT", "meaning": "Head"},
         "modifier": None, "region": None, "sources": []},
        {"value": 2, "name": "organ_tail", "color": [230, 120, 80],
         "category": {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"},
         "type": {"value": "78961009", "scheme": "SCT", "meaning": "Spleen"},
         "modifier": None, "region": None, "sources": []},
    ],
    "grid": {"spacing": [1.5, 1.5, 1.5], "window": [16, 16, 16], "crop": [16, 16, 16]},
    "intensity": {"method": "percentile", "low": 0.5, "high": 99.5},
    "cs": {"filters": [4, 8], "blocks": [1, 1], "projection": 16, "hf_mamba_levels": [0], "hf_mamba_width": 4,
           "hf_mamba_state": 2},
    "ds": {"filters": [4, 8], "blocks": [1, 1], "projection": 16, "time_features": 8, "coarsening": 1,
           "diffusion": True},
    "diffusion": {"steps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "sampling_steps": 1, "late": 2.0},
    "losses": {"mu_1": 1.0, "mu_2": 1.0, "eta": 0.1, "ramp": 0.4, "pseudo_label": "denoise",
               "pseudo_label_time": None, "pseudo_label_steps": 2, "confidence": 0.0, "largest_component": False},
    "contrastive": {"bank": 512, "draws": 64, "candidates": 512, "positives": 32, "negatives": 128,
                    "temperature": 0.1, "confidence": 0.8, "per_step": 64},
    "augmentation": {"flip": [0.0, 0.0, 0.0], "rotate": 15.0, "scale": 0.15, "shift": 0.2, "gamma": 0.3,
                     "noise": 0.1, "blur": 0.8},
    "training": {"method": "diff_cl", "learns": "both", "seed": 0, "steps": 1500, "supervised_start": 300,
                 "start_crops": 2, "labelled_crops": 2, "unlabelled_crops": 2, "mix": 0.0, "mixed_sides": 2,
                 "mixed_weight": 0.5, "optimiser": "muon", "learning_rate": 0.004, "weight_decay": 0.0001,
                 "clip": 5.0, "average": 0.99, "validate_every": 250, "checkpoint_every": 100,
                 "crop_on_object": 0.5, "precision": "auto"},
    "fine_tuning": {"steps": 40, "supervised_start": 4, "learning_rate": 0.002},
    "inference": {"overlap": 0.5, "ds_weight": 0.5, "largest_component": True, "seed": 0},
    "card": {"data": "", "terms": "",
             "use": "Proposes outlines for research. Every outline must be checked by a person. "
                    "Not a medical device."},
}  # fmt: skip
"""All settings of the recipe of `ORGAN`, as a model's description held them."""

TENSORS = "ed1fd83d037be50458af7282aa13efc327c900992868a7fa1bb20b5e3ced0700"
"""SHA-256 of the names and shapes of its weights, a line for each, in alphabetical order."""

DECISION = {
    "published": True,
    "candidate": None,
    "current": None,
    "compared_with": 1,
    "reason": "Published: too few labelled scans to compare; it learned from 2 labelled, version 1 from 2.",
}
STAMP = {"ts": 1795909224, "time": "2026-11-28T23:40:24+00:00"}
CLASSES = [{"name": "organ_head", "idx": 1}, {"name": "organ_tail", "idx": 2}]


def publish_former_model(store: Path) -> Path:
    """Version 1 of the model `organ`; its folder. Its weights are drawn."""
    folder = store / "organ" / "1"
    folder.mkdir(parents=True)
    (store / "organ" / "current").write_text("1\n")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        networks = {"cs": ConvolutionSegmenter(ORGAN), "ds": DiffusionSegmenter(ORGAN)}
    weights = {f"{prefix}.{name}": value.contiguous() for prefix, one in networks.items()
               for name, value in one.state_dict().items()}  # fmt: skip
    save_file(weights, folder / "weights.safetensors")
    _write(folder / "model.json", {
        "name": "organ", "version": 1, "created": "2026-11-28T23:41:13+00:00", "recipe": RECIPE, "scores": {},
        "provenance": {
            "labelled": ["anisotropic", "flipped"], "unlabelled": ["oblique", "straight"], "validation": [],
            "training": RECIPE["training"], "best_step": 4, "beside": [], "diffcl": "0.1.0", "torch": "2.14.1",
            "run": "a566a945b6ff48cd86045279ae7c1d57", "decision": DECISION,
        },
        "profile": {"modality": "MR", "ranges": {"spacing right-left": [0.7, 1.2], "extent right-left": [16.5, 24.0],
                                                 "brightness": [-0.85, -0.77], "contrast": [0.30, 0.34]}},
    })  # fmt: skip
    return folder


def make_former_studies(folder: Path) -> Path:
    """A folder of the four synthetic scans.

    `anisotropic` was labelled by ann, then by bob, who left the tail out, and then ann's label was restored; `flipped`
    has a final label and a label as it was proposed; the label of `oblique` was removed; `straight` has none. A model
    had proposed all labels.
    """
    make_studies(folder)
    (folder / ".lock").touch()
    head = sitk.Cast(make_label("anisotropic") == 1, sitk.sitkUInt8)
    versions: dict[str, list[tuple[sitk.Image | None, dict[str, Any]]]] = {
        "anisotropic": [
            (make_label("anisotropic"), _record("ann", None)),
            (head, _record("bob", 120)),
            (make_label("anisotropic"), {**_record("ann", 120), "restored_from": 1}),
        ],
        "flipped": [(make_label("flipped"), _record("ann", None))],
        "oblique": [(make_label("oblique"), _record("ann", None)), (None, {"client_id": "bob"})],
    }
    objects: dict[str, Any] = {}
    for name in ("anisotropic", "flipped", "oblique", "straight"):
        objects[name] = {
            "image": {"ext": ".nii.gz", "info": {**STAMP, "name": f"{name}.nii.gz"}}, "labels": {}
        }  # fmt: skip
    (folder / "history").mkdir()
    (folder / "history" / ".lock").touch()
    for name, every in versions.items():
        about = objects[name]["image"]["info"]
        about["proposal"] = {"model": "organ", "version": 1, "task": "organ", "marked": False}
        _place(folder / "proposals" / f"{name}.nii.gz", make_label(name))
        for number, (label, more) in enumerate(every, start=1):
            record = {**more, **STAMP, "version": number, "removed": label is None}
            _write(folder / "history" / name / f"{number}.json", record)
            if label is not None:
                _place(folder / "history" / name / f"{number}.nii.gz", label)
            about["label_version"] = number
            shown = {"final": {"ext": ".nii.gz", "info": {**record, "name": f"{name}.nii.gz"}}}
            objects[name]["labels"] = {} if label is None else shown
        if label is not None:
            file = folder / "history" / name / f"{number}.nii.gz"
            (folder / "labels" / "final").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / "labels" / "final" / f"{name}.nii.gz")
    _place(folder / "labels" / "original" / "flipped.nii.gz", make_label("flipped"))
    objects["flipped"]["labels"]["original"] = {
        "ext": ".nii.gz", "info": {**_record("ann", 0), **STAMP, "name": "flipped.nii.gz"}
    }  # fmt: skip
    _write(folder / "datastore_v2.json", {
        "name": "studies", "description": "Scans and their labels", "images_dir": ".", "labels_dir": "labels",
        "objects": objects,
    })  # fmt: skip
    return folder


def make_former_trainings(folder: Path, studies: Path) -> Path:
    """What a server kept of one training of four steps, in which `anisotropic` and `flipped` taught."""
    losses = {"L_c": 1.5, "L_c_s": 1.2, "L_c_p": 0.8, "L_cl": 2.8, "L_d": 1.6, "L_d_s": 1.4, "L_d_p": 0.7,
              "mu_1": 0.3, "mu_2": 0.3}  # fmt: skip
    taught, others = ["anisotropic", "flipped"], ["oblique", "straight"]
    used = {"labelled": 2, "unlabelled": 2, "validation": 0, "refused": {}}
    _write(folder / "progress.json", {
        "epoch": 4, "total_epochs": 4, "best_metric": 0.0, "start_ts": STAMP["ts"], "status": "done",
        "message": DECISION["reason"], "seconds": 50, **used, "losses": losses, **DECISION, "version": 1,
        "total_time": "0:00:50",
    })  # fmt: skip
    _write(folder / "roles.json", {"judged": [], "taught": taught})
    (folder / "progress.lock").touch()
    (folder / "current.txt").write_text("06b02afdbc31e1fd18bf84ab152de7982fd498139608306d64df59b60a940d54")
    (folder / "prepared").mkdir()
    (folder / "prepared" / "165a8d9e7df618ad098b8360b0e567c6.npz").write_bytes(b"PK")
    run = folder / "1"
    _write(run / "decision.json", {**DECISION, "version": 1})
    _write(run / "plan.json", {"steps": 4, "minutes": None, "parent": None, "learns": "both", "id": "a566"})
    _write(run / "recipe.json", RECIPE)
    history = studies / "history"
    labels = {
        "anisotropic": history / "anisotropic" / "3.nii.gz",
        "flipped": history / "flipped" / "1.nii.gz",
    }
    _write(run / "cases.json", {
        "labelled": [{"name": name, "image": str(studies / f"{name}.nii.gz"), "label": str(label)}
                     for name, label in labels.items()],
        "unlabelled": [{"name": name, "image": str(studies / f"{name}.nii.gz")} for name in others],
        "validation": [],
    })  # fmt: skip
    lines = [json.dumps({"step": step, **losses}) for step in range(1, 5)]
    (run / "journal.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def _record(author: str, changed: int | None) -> dict[str, Any]:
    """What was known of a label that somebody made from a proposal."""
    return {
        "client_id": author, "model": "organ", "label_info": CLASSES, "task": "organ", "remark": "",
        "changed_voxels": changed,
        "started_from": {
            "model": "organ", "version": 1, "task": "organ", "marked": False,
            "changes": {one["name"]: {"added": 0, "removed": 0, "dice": 1.0} for one in CLASSES},
        },
    }  # fmt: skip


def _place(path: Path, label: sitk.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(label, path, useCompression=True)


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
