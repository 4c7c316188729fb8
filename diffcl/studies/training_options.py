"""What may be asked of a training of the studies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MARGIN = 0.01
"""How much lower the Dice of a new version may be, where nothing else is said."""

LAST_PART = 0.0
"""Share of a training, at its end, in which what judged teaches too, where nothing else is said: none, as that takes
steps from the rest."""

VALIDATION_SHARE = 0.2
"""Share of the labelled scans that validate instead of teach, where nothing else is said."""


class TrainingOptions(BaseModel):
    """What may be asked of a training. Numbers of 0 mean that nothing is asked.

    Attributes:
        start_from: Where the weights come from: the model in use, or random ones.
        networks: Which learn. The other one goes on as it is, so it takes a model to start from.
        steps: Optimiser steps; as many as the recipe says where none are given.
        minutes: Time for all of it, from the reading of the scans to the new version, in place of a number of steps.
        validation_share: Share of the labelled scans that validate instead of teach.
        last_part: Share of the training, at its end, in which the scans that judged teach too; 0 keeps them apart.
        margin: How much lower the Dice of the result may be than that of the model in use.
        only_approved: Whether only labels teach that a reviewer has approved. A flagged one never does.
    """

    model_config = ConfigDict(frozen=True)

    start_from: Literal["published model", "scratch"] = "published model"
    networks: Literal["both", "cs", "ds"] = "both"
    steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    minutes: Annotated[float, Field(ge=0, le=60 * 24 * 30)] = 0
    validation_share: Annotated[float, Field(ge=0, le=0.5)] = VALIDATION_SHARE
    last_part: Annotated[float, Field(ge=0, le=0.5)] = LAST_PART
    margin: Annotated[float, Field(ge=0, le=1)] = MARGIN
    only_approved: bool = False
