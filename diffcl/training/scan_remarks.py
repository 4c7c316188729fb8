"""What a person should know of the scans that teach, before a training starts: what does not belong together."""

from __future__ import annotations

from collections.abc import Sequence

from diffcl.data.cache import TrainingScan
from diffcl.data.cases import in_words
from diffcl.data.guesses import guess_remarks
from diffcl.data.modality import CT, modality_remark
from diffcl.recipe import Recipe

FLAT = 0.05
"""Standard deviation of the prepared values, of -1 to 1, below which a scan shows nothing."""


def scan_remarks(scans: Sequence[TrainingScan], recipe: Recipe) -> tuple[str, ...]:
    """Sentences on scans of another modality, without a stated place, and without contrast.

    Args:
        scans: Those that teach, with a label and without.
        recipe: Says of which modality they are.
    """
    wanted = CT if recipe.intensity.method == "window" else recipe.modality
    kinds = {scan.name: scan.modality for scan in scans if scan.modality is not None}
    remarks = list(filter(None, [modality_remark(kinds, wanted)]))
    remarks += guess_remarks({scan.name: scan.guesses for scan in scans})
    flat = [scan.name for scan in scans if scan.traits.get("contrast", 1.0) < FLAT]
    if flat:
        remarks.append(f"{in_words(flat)}: next to all of it is equally bright, so nothing is learned of it.")
    return tuple(remarks)
