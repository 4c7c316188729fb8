"""The card of a published model: what people must know before they use it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from diffcl.evaluation.scores import FAILED
from diffcl.inference.engine import HARMLESS
from diffcl.models.metadata import DOUBT_PICTURE, ModelInfo
from diffcl.publishing.comparison import Comparison
from diffcl.recipe import Training

_ROWS = {
    "ensemble": "CS/DS ensemble (what users get)",
    "cs": "CS alone",
    "ds": "DS alone",
}

_PICTURE = [
    f"![Doubt over 1 - Dice of every scan, and how often probabilities are right]({DOUBT_PICTURE})",
    "",
]

_NETWORKS = {"ensemble": "ensemble", "cs": "CS", "ds": "DS"}


def write_card(info: ModelInfo, *, pictured: bool) -> str:
    """The card as Markdown, with the picture of doubt if there is one."""
    recipe = info.recipe
    labels = ", ".join(f"{entry.value} = {entry.name}" for entry in recipe.labels)
    return "\n".join(
        [
            f"# {info.name}, version {info.version}",
            "",
            f"{recipe.title or recipe.name} ({recipe.modality}). Labels: {labels}.",
            "",
            f"**Use.** {recipe.card.use}",
            "",
            f"**Data.** {recipe.card.data or 'The scans named in model.json.'}",
            "",
            f"**Terms.** {recipe.card.terms or 'Those of the scans it learned from.'}",
            "",
            f"**Training.** {_training(info)}",
            "",
            *_table(info.scores, _comparisons(info)),
            "",
            *bfloat16_paragraph(info),
            *_doubt(info.scores),
            *_PICTURE * pictured,
            *_again(info),
            "All settings and the names of all scans are in model.json.",
            "",
        ]
    )


def _training(info: ModelInfo) -> str:
    recipe, origin = info.recipe, info.provenance
    if "uploaded" in origin:
        return f"Uploaded {origin['uploaded']}. What its maker says of it is in model.json, under `said`."
    training = recipe.training.model_copy(update=origin.get("training", {}))
    parent = origin.get("parent")
    start = f"from the weights of {parent['name']} {parent['version']}, " if parent else ""
    time = f" in {origin['minutes']:g} minutes" if origin.get("minutes") else ""
    return (
        f"{len(origin['labelled'])} labelled and {len(origin['unlabelled'])} unlabelled scans, "
        f"{start}{training.steps} steps{time} of {_crops(training, bool(origin['unlabelled']))} "
        f"of {'x'.join(str(n) for n in recipe.grid.crop)} voxels "
        f"at {'x'.join(f'{n:g}' for n in recipe.grid.spacing)} mm, seed {training.seed}. "
        f"{''.join(f'{remark} ' for remark in origin.get('remarks', []))}"
        f"The weights are those of step {origin['best_step']}, the best on the validation scans. "
        f"DS has a weight of {recipe.inference.ds_weight:g} in the ensemble, chosen on the same scans."
    )


def _crops(training: Training, unlabelled: bool) -> str:
    if not unlabelled:
        return f"{training.start_crops} crop{'s' * (training.start_crops > 1)}"
    both = f"{training.labelled_crops} labelled and {training.unlabelled_crops} unlabelled crops"
    if training.start_crops == training.labelled_crops:
        return both
    return f"{both}, the first {training.supervised_start} of {training.start_crops} labelled crops,"


def _again(info: ModelInfo) -> list[str]:
    """How to train it again; what a server trained, its button trains again."""
    origin = info.provenance
    if "uploaded" in origin:
        return []
    steps = origin.get("training", {}).get("steps", info.recipe.training.steps)
    parent = origin.get("parent")

    def train(labelled: int, run: str, steps: int) -> str:
        extra = f" --steps {steps}" if steps != info.recipe.training.steps else ""
        return (
            f"diffcl train --recipe {info.recipe.name} --data DIR --labelled {labelled} "
            f"--validation {len(origin['validation'])} --out {run}{extra}"
        )

    own = train(len(origin["labelled"]), "RUN", steps)
    own += f" --start-from models/{parent['name']}/{parent['version']}" if parent else ""
    commands, last = [own], f"diffcl publish RUN --name {info.name}"
    for number, other in enumerate(_comparisons(info), start=2):
        alone = " --method supervised" if other.supervised else ""
        commands.append(train(other.labelled, f"RUN{number}", other.steps) + alone)
        last += f" --beside RUN{number}"
    commands.append(last)
    without = " without its last part, which a server alone takes" if origin.get("taught_last") else ""
    return [
        f"To train it again{without}, from a folder with `images/`, `labels/` and `train.txt`:",
        "",
        "```sh",
        *commands,
        "```",
        "",
        f"Made {info.created} by diffcl {origin['diffcl']} with torch {origin['torch']}.",
    ]


def _comparisons(info: ModelInfo) -> list[Comparison]:
    return [Comparison(**one) for one in info.provenance.get("beside", [])]


def _table(scores: dict[str, Any], comparisons: Sequence[Comparison]) -> list[str]:
    if not scores:
        return ["**Scores.** None: there were no validation scans."]
    count = scores["ensemble"]["scans"]
    lines = [
        f"**Scores** on {count} validation scans, on their own grids. Settings and weights were chosen on these "
        "scans, so expect a little less on others.",
        "",
        "| | Dice, mean | sd | worst scan | HD95, mm |",
        "|---|---|---|---|---|",
    ]
    rows = [(title, scores[key]) for key, title in _ROWS.items() if key in scores]
    rows += [(f"For comparison: {other.title}", other.scores) for other in comparisons]
    for title, row in rows:
        lines.append(
            f"| {title} | {row['dice']:.4f} | {row['dice_sd']:.4f} | {row['dice_worst']:.4f} "
            f"| {_distance(row['hd95_mm'])} |"
        )
    return lines


def bfloat16_paragraph(info: ModelInfo) -> list[str]:
    """What the version loses in bfloat16, and who computes it in that."""
    loss = info.bfloat16_loss
    if loss is None:
        return []
    measured = info.provenance["bfloat16"]
    who = "by processors with AMX unless asked otherwise" if loss < HARMLESS else "by none unless asked to"
    return [
        f"**bfloat16.** Mean Dice {measured['dice']:.4f} on {measured['scans']} of these scans where the networks "
        f"compute in bfloat16, {abs(loss):.4f} {'more' if loss < 0 else 'less'} than in float32; at most "
        f"{max(measured['dice_loss_worst'], 0):.4f} less on one scan. That is done {who} (`--engine`).",
        "",
    ]


def _doubt(scores: dict[str, Any]) -> list[str]:
    """How far doubt and probabilities can be believed."""
    told = {
        "doubt_rank": ("Spearman's rank correlation between the doubt of a scan and 1 - Dice", ".2f"),
        "failure_auc": (
            f"Area under the ROC curve for finding scans with a Dice below {FAILED} by doubt",
            ".2f",
        ),
        "calibration_error": ("Expected calibration error of the probabilities", ".3f"),
    }
    sentences = []
    for key, (title, form) in told.items():
        values = [f"{scores[one][key]:{form}} ({name})" for one, name in _NETWORKS.items()
                  if key in scores.get(one, {})]  # fmt: skip
        if values:
            sentences.append(f"{title}: {', '.join(values)}.")
    return [f"**Doubt.** {' '.join(sentences)}", ""] if sentences else []


def _distance(millimetres: float | None) -> str:
    """A distance, which is infinite where a class was not found; JSON keeps that as null."""
    return "infinite" if millimetres is None or math.isinf(millimetres) else f"{millimetres:.2f}"
