"""What labels say of the model in use: each is a test of the proposal that it corrected, before it teaches."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy import stats


def proposals_in_words(
    tested: Mapping[int, Mapping[str, float]], number: int, taught: Collection[str] = ()
) -> str:
    """How good the proposals of the version in use were, beside those of the one before; empty where nothing is known.

    >>> proposals_in_words({1: {"a": 0.70, "b": 0.72}, 2: {"c": 0.80, "d": 0.84}}, 2)  # doctest: +NORMALIZE_WHITESPACE
    'Proposals of version 2 agree with the labels submitted for them to a Dice of 0.820 (2 scans, 0.800 to 0.840);
    these labels teach now, so they cannot test the new version. For version 1 it was 0.710 on 2 other scans: the
    difference is +0.110, with 95 % certainty between -0.028 and +0.248: it may be chance.'

    Args:
        tested: Dice by version and scan, see `diffcl.studies.proposal_scores`.
        number: Of the version in use.
        taught: Scans that taught that version, whose labels are no test of it.
    """
    own = [dice for scan, dice in tested.get(number, {}).items() if scan not in taught]
    if not own:
        return ""
    spread = f"{len(own)} scans, {min(own):.3f} to {max(own):.3f}" if len(own) > 1 else "1 scan"
    told = (
        f"Proposals of version {number} agree with the labels submitted for them to a Dice of {np.mean(own):.3f} "
        f"({spread}); these labels teach now, so they cannot test the new version."
    )
    former = max((version for version in tested if version < number and tested[version]), default=None)
    if former is None:
        return told
    before = list(tested[former].values())
    others = f"{len(before)} other scan{'s' * (len(before) > 1)}"
    return f"{told} For version {former} it was {np.mean(before):.3f} on {others}: {_difference(own, before)}"


def _difference(new: Sequence[float], old: Sequence[float]) -> str:
    """How sure the difference of two means over different scans is, in words.

    Source:
        Welch's t for samples of unequal spread.
    """
    mean = float(np.mean(new) - np.mean(old))
    if min(len(new), len(old)) < 2:
        return "too few to compare."
    parts = [float(np.var(one, ddof=1)) / len(one) for one in (new, old)]
    error = math.sqrt(sum(parts))
    spread = sum(part**2 / (len(one) - 1) for part, one in zip(parts, (new, old), strict=True))
    reach = float(stats.t.ppf(0.975, sum(parts) ** 2 / spread)) * error if spread > 0 else 0.0
    chance = ": it may be chance." if abs(mean) <= reach else "."
    ends = f"between {mean - reach:+.3f} and {mean + reach:+.3f}"
    return f"the difference is {mean:+.3f}, with 95 % certainty {ends}{chance}"
