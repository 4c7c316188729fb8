"""The gate before publishing: a candidate is compared with the model in use, on the same scans."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from diffcl.inference.model import WEIGHTS, load_model, read_info
from diffcl.inference.store import ModelStore
from diffcl.io.atomic import write_text
from diffcl.training.card import write_card
from diffcl.training.loop import read_run
from diffcl.training.publishing import publish
from diffcl.training.validation import validate


@dataclass(frozen=True)
class Decision:
    """What the gate decided, and why.

    Attributes:
        published: Whether the candidate is in use now.
        reason: One sentence for people.
        candidate: Its mean Dice on the validation scans, 0..1; None without such scans.
        current: That of the version that was in use; None without one, or without such scans.
        version: Number of the new version; None if it was not published.
    """

    published: bool
    reason: str
    candidate: float | None
    current: float | None
    version: int | None


def publish_if_not_worse(run: Path, name: str, store: ModelStore, *, margin: float = 0.0) -> Decision:
    """Publish a run unless the version in use is better on the run's validation scans.

    Both predict the same scans by the same Predictor. Where there are no validation scans nobody can judge,
    and the candidate is published only if there is no model of that name yet. The decision and the version
    that it followed stand in the new version's provenance; a refused candidate stays in `RUN/candidate`.

    Args:
        run: Folder of a run of `train`.
        name: Name of the model.
        store: Where it goes.
        margin: How much lower the candidate's mean Dice may be, 0..1.

    Raises:
        UsageError: If the folder holds no run, or one that trained CS alone.
        DataError: If the run has no weights yet.
    """
    bench = run / "candidate"
    shutil.rmtree(bench, ignore_errors=True)
    folder = publish(run, name, ModelStore(bench))
    info = read_info(folder)
    candidate = info.scores["ensemble"]["dice"] if info.scores else None
    parent = store.info(name).version if name in store.names() else None
    current = None
    if parent is not None and candidate is not None:
        current = round(validate(read_run(run)[1].validation, load_model(store.folder(name))).dice, 4)
    passed, reason = _judge(candidate, current, parent, margin)
    if not passed:
        return Decision(False, reason, candidate, current, None)

    def fill(place: Path, number: int) -> None:
        provenance = {**info.provenance, "parent": parent, "reason": reason}
        final = info.model_copy(update={"version": number, "provenance": provenance})
        shutil.copyfile(folder / WEIGHTS, place / WEIGHTS)
        write_text(place / "model.json", final.model_dump_json(indent=2) + "\n")
        write_text(place / "card.md", write_card(final))

    number = int(store.add(name, fill).name)
    shutil.rmtree(bench)
    return Decision(True, reason, candidate, current, number)


def _judge(
    candidate: float | None, current: float | None, parent: int | None, margin: float
) -> tuple[bool, str]:
    """Whether a candidate passes, and why.

    >>> _judge(0.81, 0.84, 3, 0.0)
    (False, 'Not published: Dice 0.810 on the validation scans, version 3 has 0.840.')
    """
    if parent is None:
        return True, "Published: there was no model yet."
    if candidate is None or current is None:
        return False, f"Not published: no validation scans to compare it with version {parent}."
    scores = f"Dice {candidate:.3f} on the validation scans, version {parent} has {current:.3f}."
    passed = candidate >= current - margin
    return passed, f"{'Published' if passed else 'Not published'}: {scores}"
