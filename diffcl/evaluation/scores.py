"""Scores of predictions in one form: of a class, of a case, and of many cases with their mean, spread and worst.

Training, publishing and evaluation all keep and tell them by these classes.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diffcl.evaluation.calibration import Reliability, failure_auc, rank_correlation

ALL = "all"
"""Name under which the mean over the classes of a case stands."""

METRICS = ("dice", "jaccard", "hd95", "asd")
_COLUMNS = ("dice", "jaccard", "hd95_mm", "asd_mm")

FAILED = 0.85
"""Dice below which a prediction counts as one that doubt should have found."""

FEWEST_TO_RANK = 8
"""Scans from which an order of them means something."""


@dataclass(frozen=True)
class ClassScore:
    """Agreement of one class.

    Attributes:
        name: Of the class.
        dice: 0..1.
        jaccard: 0..1.
        hd95: 95th percentile of the distances between the surfaces, the larger of both ways, mm; may be
            infinite.
        asd: Mean distance between the surfaces, both ways pooled, mm; may be infinite.
    """

    name: str
    dice: float
    jaccard: float
    hd95: float
    asd: float


@dataclass(frozen=True)
class CaseScore:
    """How good one prediction is.

    Attributes:
        case: Name of the scan.
        classes: Of each class.
        disagreement: The report's; None where one network was asked, or where no network is known.
        doubt: The report's; None where no network is known.
    """

    case: str
    classes: tuple[ClassScore, ...]
    disagreement: float | None = None
    doubt: float | None = None

    def of(self, name: str) -> ClassScore:
        """Score of a class, or the mean over the classes for `ALL`."""
        if name != ALL:
            return next(score for score in self.classes if score.name == name)
        means = (float(np.mean([getattr(score, metric) for score in self.classes])) for metric in METRICS)
        return ClassScore(ALL, *means)

    @property
    def dice(self) -> float:
        """Mean Dice over the classes, 0..1."""
        return self.of(ALL).dice

    @property
    def hd95(self) -> float:
        """Mean HD95 over the classes, mm; infinite where a class is in one of the two labels only."""
        return self.of(ALL).hd95

    def plain(self) -> dict[str, Any]:
        """Plain values, to the last digit, with the means over the classes among them."""
        numbers = [getattr(self.of(ALL), metric) for metric in METRICS]
        return {
            "case": self.case,
            **dict(zip(_COLUMNS, numbers, strict=True)),
            "disagreement": self.disagreement,
            "doubt": self.doubt,
            "classes": [asdict(score) for score in self.classes],
        }

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> CaseScore:
        """What `plain` gave, or what version 0.1.0 kept: Dice and HD95 alone, as means over the classes.

        >>> CaseScore.from_plain({"case": "a", "dice": 0.5, "hd95": 2.0, "disagreement": None, "doubt": 0.1}).dice
        0.5
        """
        told = content["case"], content.get("disagreement"), content.get("doubt")
        if "classes" in content:
            classes = tuple(ClassScore(**score) for score in content["classes"])
        else:
            overlap = content["dice"]
            classes = (ClassScore(ALL, overlap, overlap / (2 - overlap), content["hd95"], math.nan),)
        return cls(told[0], classes, *told[1:])


@dataclass(frozen=True)
class Summary:
    """What many cases come to for one class.

    Attributes:
        name: Of the class, or `ALL`.
        mean: Mean of each metric; of the distances over the cases where they are finite.
        sd: Standard deviation likewise.
        worst: Case with the lowest Dice.
        missed: Cases whose distances are infinite, because the class is in one of the two labels only.
    """

    name: str
    mean: dict[str, float]
    sd: dict[str, float]
    worst: CaseScore
    missed: int


@dataclass(frozen=True)
class Scores:
    """Scores of many cases.

    Attributes:
        cases: One a scan.
        reliability: How often the probabilities are right; None where that was not measured.
    """

    cases: tuple[CaseScore, ...]
    reliability: Reliability | None = None

    @property
    def names(self) -> list[str]:
        """Names of the classes; `ALL` comes last where there are several."""
        names = [score.name for score in self.cases[0].classes]
        return [*names, ALL] if len(names) > 1 else names

    @property
    def dice(self) -> float:
        """Mean Dice over the cases."""
        return float(np.mean([case.dice for case in self.cases]))

    @property
    def hd95(self) -> float:
        """Mean HD95 over the cases, mm; infinite where that of one case is."""
        return float(np.mean([case.hd95 for case in self.cases]))

    @property
    def worst(self) -> CaseScore:
        """The case with the lowest Dice."""
        return min(self.cases, key=lambda case: case.dice)

    def numbers(self) -> dict[str, float]:
        """The summary in the form of `model.json`, of cards and of journals.

        `doubt_rank` and `failure_auc` say how well doubt finds bad predictions; they are left out where they
        mean nothing, as with few scans.
        """
        numbers = {
            "dice": round(self.dice, 4),
            "dice_sd": round(float(np.std([case.dice for case in self.cases])), 4),
            "dice_worst": round(self.worst.dice, 4),
            "hd95_mm": round(self.hd95, 3),
            "scans": len(self.cases),
        }
        doubts = [case.doubt for case in self.cases if case.doubt is not None]
        if len(doubts) == len(self.cases) >= FEWEST_TO_RANK:
            rank = rank_correlation(doubts, [1 - case.dice for case in self.cases])
            area = failure_auc(doubts, [case.dice < FAILED for case in self.cases])
            found = {"doubt_rank": rank, "failure_auc": area}
            numbers |= {name: value for name, value in found.items() if math.isfinite(value)}
        if self.reliability is not None:
            numbers["calibration_error"] = self.reliability.expected_calibration_error
        return numbers

    def by_class(self) -> dict[str, dict[str, Any]]:
        """The summary of each class in the form of `model.json`; HD95 is None where no case has a finite one.

        `missed` is the number of cases whose distances are infinite.
        """
        found = {}
        for name in (score.name for score in self.cases[0].classes):
            one = self.summary(name)
            found[name] = {
                "dice": round(one.mean["dice"], 4),
                "dice_sd": round(one.sd["dice"], 4),
                "dice_worst": round(one.worst.of(name).dice, 4),
                "hd95_mm": round(one.mean["hd95"], 3) if math.isfinite(one.mean["hd95"]) else None,
                "missed": one.missed,
            }
        return found

    def plain(self) -> list[dict[str, Any]]:
        """Plain values of every case, to the last digit, in the form of the folder of a run."""
        return [case.plain() for case in self.cases]

    @classmethod
    def from_plain(cls, content: Iterable[dict[str, Any]] | None) -> Scores | None:
        """What `plain` gave; None stays None."""
        return None if content is None else cls(tuple(map(CaseScore.from_plain, content)))

    def summary(self, name: str) -> Summary:
        """Mean, spread and worst case of a class."""
        scores = [case.of(name) for case in self.cases]
        mean, sd = {}, {}
        for metric in METRICS:
            values = np.array([getattr(score, metric) for score in scores])
            finite = values[np.isfinite(values)]
            mean[metric] = float(finite.mean()) if finite.size else math.inf
            sd[metric] = float(finite.std()) if finite.size else 0.0
        worst = min(self.cases, key=lambda case: case.of(name).dice)
        return Summary(name, mean, sd, worst, sum(math.isinf(score.hd95) for score in scores))

    def to_csv(self) -> str:
        """A line for each case and class, then mean, sd and worst case of each class.

        The first column says which of these a line is. An infinite distance is `inf`.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["row", "case", "class", *_COLUMNS, "missed"])
        for name in self.names:
            for case in self.cases:
                score = case.of(name)
                writer.writerow(["case", case.case, name, *_rounded(score), int(math.isinf(score.hd95))])
        for name in self.names:
            found = self.summary(name)
            worst = found.worst.of(name)
            writer.writerow(["mean", "", name, *_rounded(found.mean), found.missed])
            writer.writerow(["sd", "", name, *_rounded(found.sd), found.missed])
            writer.writerow(["worst", found.worst.case, name, *_rounded(worst), int(math.isinf(worst.hd95))])
        return text.getvalue()

    def to_json(self) -> str:
        """The same as a JSON object with `cases` and `summary`; an infinite distance is null."""
        cases = [
            {"case": case.case, "class": name, **_named(case.of(name))}
            for name in self.names
            for case in self.cases
        ]
        summary: list[dict[str, Any]] = []
        for name in self.names:
            found = self.summary(name)
            worst = {"case": found.worst.case, **_named(found.worst.of(name))}
            summary.append({"class": name, "cases": len(self.cases), "missed": found.missed,
                            "mean": _named(found.mean), "sd": _named(found.sd), "worst": worst})  # fmt: skip
        return json.dumps({"cases": cases, "summary": summary}, indent=2)


def _rounded(values: ClassScore | dict[str, float]) -> list[float]:
    """The metrics in the order of the columns."""
    numbers = values if isinstance(values, dict) else vars(values)
    return [round(numbers[metric], 4) for metric in METRICS]


def _named(values: ClassScore | dict[str, float]) -> dict[str, float | None]:
    numbers = (number if math.isfinite(number) else None for number in _rounded(values))
    return dict(zip(_COLUMNS, numbers, strict=True))
