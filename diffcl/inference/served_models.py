"""The models that the server answers with: found in the store, loaded once a version."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import Any

import numpy as np
import SimpleITK as sitk

from diffcl.data.sequences import read_case
from diffcl.errors import DiffclError, UsageError
from diffcl.inference.engine import EngineChoice
from diffcl.inference.ensemble import Networks
from diffcl.inference.interactive.completion import Begun, Completion, complete
from diffcl.inference.outlook import UnderWay
from diffcl.inference.prediction_cache import PredictionCache, Question
from diffcl.inference.predictor import Prediction, Predictor
from diffcl.inference.together import Together, together
from diffcl.io import Scan
from diffcl.io.case_files import present_files
from diffcl.io.fingerprint import fingerprint
from diffcl.models import ModelInfo, ModelRegistry, load_model
from diffcl.models.metadata import read_info
from diffcl.recipe import ImageSequence, Recipe

logger = logging.getLogger(__name__)

READ_AHEAD = 3
"""Scans that are read while another one is computed, at most: each takes memory until it is its turn."""


class ServedModels:
    """The models of a store, or some of them.

    The current version is looked up at every call, so a newly published one answers the next request; a
    request holds the version that it began with.

    Args:
        store: Where the models are.
        only: Names to serve; all by default.
        device: Where they compute.
        new: Tasks that may have no model yet; the labels and the next training of one that has are by it.
        engine: What computes them.

    Raises:
        UsageError: If a name is not in the store.
    """

    def __init__(
        self,
        store: ModelRegistry,
        only: Collection[str] = (),
        device: str = "cpu",
        new: Sequence[Recipe] = (),
        engine: EngineChoice = "auto",
    ) -> None:
        self.store = store
        self._only = set(only)
        self._device = device
        self._engine: EngineChoice = engine
        self._new = {recipe.name: recipe for recipe in new if not only or recipe.name in only}
        self._infos: dict[Path, ModelInfo] = {}
        self._loaded: dict[str, tuple[Path, Predictor]] = {}
        self._cache = PredictionCache()
        self._loading = Lock()
        self._computing = Lock()
        self._read_ahead = BoundedSemaphore(READ_AHEAD)
        self._now: UnderWay | None = None
        missing = sorted(self._only - set(store.names()) - set(self._new))
        if missing:
            known = ", ".join(store.names()) or "none yet"
            raise UsageError(f"model {missing[0]}", "there is none of that name", f"Known models: {known}")

    def names(self) -> list[str]:
        """Names of the served models, in alphabetical order."""
        return [name for name in self.store.names() if not self._only or name in self._only]

    def untrained(self) -> dict[str, Recipe]:
        """The tasks that have no model yet."""
        names = self.store.names()
        return {name: recipe for name, recipe in self._new.items() if name not in names}

    def recipes(self) -> dict[str, Recipe]:
        """The recipes of all served models that are not damaged; a recipe that was given counts before its model's."""
        found = {}
        for name in self.names():
            try:
                found[name] = self.info(name).recipe
            except DiffclError as error:
                logger.error(str(error))
        return found | self._new

    def info(self, name: str) -> ModelInfo:
        """Description of the current version of a model.

        Raises:
            UsageError: If there is no model of that name.
            ModelError: If it is damaged.
        """
        folder = self.store.folder(name)
        if folder not in self._infos:
            self._infos[folder] = read_info(folder)
        return self._infos[folder]

    def predict(
        self,
        name: str,
        path: Path,
        *,
        networks: Networks = "ensemble",
        seed: int | None = None,
    ) -> Prediction:
        """Segment a scan with the current version of a model, unless that was done a moment ago.

        One scan at a time uses all cores. What a person should know before waiting is logged before most of the work.

        Args:
            name: Of the model.
            path: Of the scan.
            networks: Which of its networks.
            seed: Of the noise; the recipe's by default.

        Raises:
            UsageError: If there is no model of that name.
            ModelError: If it is damaged.
            ScanError: If the scan cannot be used.
        """
        folder, predictor = self._predictor(name)
        if seed is None:
            seed = predictor.model.info.recipe.inference.seed
        sequences = predictor.model.info.recipe.sequences
        question = Question(folder, _files(path, sequences), networks, seed)
        found = self._cache.get(question)
        if found is None:
            with self._read_ahead:
                scan = read_case(path, sequences)  # a file that takes long holds up nobody
                with self._computing:
                    found = self._cache.get(question) or self._compute(
                        predictor, scan, networks=networks, seed=seed
                    )
            self._cache.keep(question, found)
        return found

    def predict_together(
        self, names: Sequence[str], path: Path, *, networks: Networks = "ensemble", seed: int | None = None
    ) -> Together:
        """Segment a scan with the current versions of several models, see `together`. It is computed each time.

        Raises:
            UsageError: If there is no model of a name.
            ModelError: If one is damaged.
            ScanError: If the scan cannot be used.
        """
        predictors = [self._predictor(name)[1] for name in names]
        recipes = [predictor.model.info.recipe for predictor in predictors]
        with self._read_ahead:
            seen = {sequences: read_case(path, sequences) for sequences in {one.sequences for one in recipes}}
            with self._computing:
                return together(
                    recipes,
                    (
                        self._compute(
                            predictor,
                            seen[recipe.sequences],
                            networks=networks,
                            seed=seed,
                            keep_probabilities=True,
                        )
                        for predictor, recipe in zip(predictors, recipes, strict=True)
                    ),
                )

    def finish(
        self,
        name: str | None,
        path: Path,
        names: Mapping[str, int],
        decide: Callable[[Scan], Callable[[Prediction | None], Begun]],
        *,
        networks: Networks = "ensemble",
        seed: int | None = None,
    ) -> Completion:
        """Finish a label that is begun, with the current version of a model, or without one.

        The prediction of the scan is the one that was made a moment ago, where it was: a click is then answered soon.

        Args:
            name: Of the model; None for interpolation between drawn slices.
            path: The scan.
            names: Names and values of the classes.
            decide: From the scan to what tells, by its prediction, what is known and perhaps a label to start from. It
                refuses all that can be refused without the prediction, which takes long.
            networks: Who is asked for the prediction.
            seed: Of the noise; the recipe's by default.

        Raises:
            DiffclError: As `predict`, and whatever `decide`, or what it gives, raises.
        """
        sequences = () if name is None else self.info(name).recipe.sequences
        scan = read_case(path, sequences)
        begun_by = decide(scan)
        prediction = None
        if name is not None:
            prediction = self.predict(name, path, networks=networks, seed=seed)
        begun = begun_by(prediction)
        predictor = None if name is None else self._predictor(name)[1]
        with self._computing:
            return complete(
                scan, begun.known, names, predictor=predictor, proposal=prediction, start=begun.start,
                seed=seed, inside=begun.inside,
            )  # fmt: skip

    def under_way(self) -> dict[str, Any] | None:
        """How far the prediction is that goes on, as `UnderWay` tells it; None where there is none."""
        now = self._now
        return None if now is None else now.told()

    def _compute(
        self,
        predictor: Predictor,
        scan: Scan,
        *,
        networks: Networks,
        seed: int | None,
        keep_probabilities: bool = False,
    ) -> Prediction:
        self._now = now = UnderWay(predictor.model.info.name, scan.name)
        try:
            return predictor(
                scan,
                networks=networks,
                seed=seed,
                keep_probabilities=keep_probabilities,
                on_outlook=now.tell_outlook,
                on_progress=now.tell_progress,
            )
        finally:
            self._now = None

    def warm_up(self) -> None:
        """Let the first model segment a little noise, so that no request waits for loading.

        What takes long the first time, libraries and compiled code, is the same for all models and sizes.
        """
        for name in self.names():
            try:
                recipe = self.info(name).recipe
                size = [
                    min(side, 2 * grain)
                    for side, grain in zip(recipe.grid.window, recipe.grains, strict=True)
                ]
                noise = np.random.default_rng(0).normal(100, 20, size[::-1]).astype(np.float32)
                image = sitk.GetImageFromArray(noise)
                image.SetSpacing(recipe.grid.spacing)
                others = (image,) * (recipe.channels - 1)
                _, predictor = self._predictor(name)
                with self._computing:
                    predictor(Scan(image, "warm-up", Path("warm-up"), others=others))
                return
            except DiffclError as error:
                logger.error(f"Not warmed up: {error}")

    def _predictor(self, name: str) -> tuple[Path, Predictor]:
        """Folder and Predictor of the current version of a model."""
        with self._loading:
            folder = self.store.folder(name)
            known = self._loaded.get(name)
            if known is None or known[0] != folder:
                known = folder, Predictor(load_model(folder, self._device), self._engine)
                self._loaded[name] = known
            return known


def _files(path: Path, sequences: Sequence[ImageSequence]) -> tuple[tuple[Path, int, int], ...]:
    """What changes when any of the images of a case does."""
    return tuple(state for file in present_files(path, sequences) for state in fingerprint(file))
