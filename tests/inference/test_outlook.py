"""What a person should know before waiting is told before most of the work, and how far that is while it goes on."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from torch import Tensor
from untrained import GRIDS, make_scan

from diffcl.geometry import voxels
from diffcl.inference import Predictor
from diffcl.inference.outlook import Outlook, Watch
from diffcl.io import Scan
from diffcl.models import Model
from diffcl.models.profile import Profile


class Counted:
    """CS that counts how often it is asked."""

    def __init__(self, model: Model) -> None:
        self.cs, self.asked = model.cs, 0

    def __call__(self, image: Tensor) -> Tensor:
        self.asked += 1
        answer: Tensor = self.cs(image)
        return answer


@pytest.fixture
def crops(model: Model) -> Model:
    """A model that has seen small crops only."""
    info = model.info.model_copy(
        update={"profile": Profile(ranges={"extent foot-head": (5.0, 6.0)}, modality="MR")}
    )
    return replace(model, info=info)


def half_empty() -> Scan:
    """A scan of noise whose upper half is air."""
    scan = make_scan(GRIDS["straight"])
    values = voxels(scan.image).copy()
    values[12:] = 0
    return replace(scan, image=GRIDS["straight"].place(values))


@pytest.mark.parametrize(
    "make", [lambda: make_scan(GRIDS["flipped"]), half_empty], ids=["full", "half empty"]
)
def test_every_window_that_shows_something_is_counted_and_told(model: Model, make: object) -> None:
    scan, told = make(), list[tuple[int, int]]()  # type: ignore[operator]
    counted = Counted(model)
    predictor = Predictor(replace(model, cs=counted))  # type: ignore[arg-type]
    predictor(scan, networks="cs", on_progress=lambda done, total: told.append((done, total)))
    assert counted.asked > 2
    assert told == [(done, counted.asked) for done in range(counted.asked + 1)]


def test_a_scan_unlike_those_of_the_training_is_warned_about_before_most_of_the_work(crops: Model) -> None:
    scan, events = make_scan(GRIDS["straight"]), list[object]()
    prediction = Predictor(crops)(
        scan, on_outlook=events.append, on_progress=lambda *done: events.append(done)
    )
    [place] = [index for index, event in enumerate(events) if isinstance(event, Outlook)]
    outlook = events[place]
    assert isinstance(outlook, Outlook)
    assert place <= 2 < outlook.windows
    assert [outlook.case, outlook.windows] == ["noise", len(events) - 2]
    assert outlook.warnings == tuple(prediction.report.warnings[:1])
    assert "extent foot-head is 18 mm; the model was trained on 5 to 6" in outlook.sentences()[0]


def test_few_windows_are_told_of_before_the_first(crops: Model, recipe: object) -> None:
    del recipe
    grid = replace(GRIDS["straight"], size=(10, 11, 12))
    events = list[object]()
    Predictor(crops)(make_scan(grid), on_outlook=events.append, on_progress=lambda *done: events.append(done))
    assert isinstance(events[0], Outlook)
    assert (events[0].windows, events[0].seconds) == (1, None)
    assert events[1:] == [(0, 1), (1, 1)]


def test_the_time_is_that_of_the_second_window(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 31.0, 33.0, 34.0])  # the first window takes 30 s, for it compiles
    monkeypatch.setattr("diffcl.inference.outlook.perf_counter", lambda: next(clock))
    told = list[Outlook]()
    watch = Watch("head", (), told.append, None, 0.0)
    next(clock)
    for done in range(4):
        watch(done, 90)
    assert told == [Outlook("head", 90, 180.0, ())]
    assert told[0].sentences() == ["head: 90 windows will take about 3 min."]


def test_a_usual_scan_that_is_done_at_once_is_not_worth_a_word() -> None:
    assert not Outlook("crop", 8, 4.0, ()).sentences()


def test_watching_changes_no_label(model: Model) -> None:
    scan, numbers = make_scan(GRIDS["sagittal"]), count()
    watched = Predictor(model)(scan, networks="cs", on_progress=lambda *_: next(numbers))
    assert np.array_equal(voxels(watched.label), voxels(Predictor(model)(scan, networks="cs").label))
    assert next(numbers) > 0
