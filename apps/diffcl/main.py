"""The MONAI Label app of diffcl: proposals by trained CS/DS ensembles, and what annotators make of them.

Settings, each as `--conf KEY VALUE`:

    models    names to serve, with commas between them; all by default. The first one chooses the next scan
    store     folder of the models that users train; `models` inside the studies by default
    work      for studies in an archive: folder of everything that is kept here; the app's own by default
    recipe    names or files of the recipes of tasks that may have no model yet, with commas between them
    device    where models compute and learn: cpu (default) or cuda
    engine    what computes them: torch, bfloat16, onnx, or auto (default), with which they were measured
    versions  of each label of a folder how many are kept; all by default
    queue     requests that may wait for an inference before others are sent away; 8 by default
    allow_host, max_upload    further names of the server with commas between them; bytes of the largest request
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import HTTPException
from monailabel.config import settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from diffcl.active_learning.ranking import DEFAULT
from diffcl.active_learning.scorer import ScansToScore, Scorer
from diffcl.active_learning.scores import ScoreBook
from diffcl.api import usable_device
from diffcl.errors import ScanError, UsageError
from diffcl.inference.engine import engine_choice
from diffcl.inference.served_models import ServedModels
from diffcl.inference.together import SEPARATOR, joint_classes
from diffcl.io import read_label
from diffcl.io.dicom.seg_write import write_seg
from diffcl.io.isolated import read_in_children, start_reading
from diffcl.labels import LabelClass
from diffcl.models import ModelRegistry
from diffcl.recipe import Recipe, load_recipe
from diffcl.resources import models_folder
from diffcl.studies.label_meaning import CHECK_HERE
from diffcl.studies.label_tags import FINAL
from diffcl.studies.progress import first_at_work
from diffcl.studies.protocol import Studies
from diffcl.studies.sole_server import SoleServer
from diffcl.studies.submission import told_of
from diffcl.studies.training import StudyTraining
from diffcl.version import version
from diffcl.web.children import SERVER
from diffcl.web.http_errors import refusals, unknown
from diffcl.web.options import PROPOSED, check_tag, comma_separated, keeps_label
from diffcl.web.pages.project import Project
from diffcl.web.sessions import Sessions
from lib.activelearning.strategies import strategies
from lib.children import end_failed_starts
from lib.datastores.datastore import SavedLabel, StudiesDatastore
from lib.datastores.studies import open_studies
from lib.infers.batch import CpuBatchInfer
from lib.infers.tasks import InferTasks, SegmentationTask, TogetherTask, UncertaintyTask
from lib.server.stock import protect
from lib.trainers.trainer import SemiSupervisedTraining

logger = logging.getLogger(__name__)


class DiffclApp(MONAILabelApp):
    """Translates MONAI Label's requests into calls of the library.

    Construction reads descriptions only and starts nothing: every child process of MONAI Label repeats it.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        read_in_children()  # this process, and each child of MONAI Label
        beside = Path((conf.get("work") or app_dir) if "://" in studies else studies)
        self._beside = beside
        self._sole = SoleServer(beside)
        self._work = beside / "training"
        store = ModelRegistry(Path(conf.get("store") or beside / "models"), models_folder())
        new = [load_recipe(recipe) for recipe in comma_separated(conf.get("recipe", ""))]
        names = comma_separated(conf.get("models", ""))
        self._device = device = usable_device(conf.get("device", "cpu"))
        self._models = ServedModels(store, names, device, new, engine_choice(conf.get("engine", "auto")))
        chooser = next(iter(names or self._models.untrained() or self._models.names()), None)
        book = ScoreBook(beside / "scores")
        self._asked = False
        self._scorer = Scorer(self._models, chooser, self._to_score, book, device)
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=conf,
            name="diffcl",
            description="Semi-supervised segmentation with Diff-CL: proposals with uncertainty",
            version=version(),
        )
        self._auto_update_scoring = False  # otherwise every click on "next sample" starts a process

    def tasks(self) -> list[Recipe]:
        """The recipes whose classes a label may hold; models of one task count once."""
        return list({recipe.name: recipe for recipe in self._models.recipes().values()}.values())

    def init_datastore(self) -> StudiesDatastore:
        """The studies of the folder or archive that was named, in MONAI Label's words."""
        with refusals():
            return StudiesDatastore(
                open_studies(
                    self.studies, self._beside, self.tasks, int(self.conf.get("versions", 0)) or None
                )
            )

    @property
    def _studies(self) -> Studies:
        studies: Studies = self.datastore().studies
        return studies

    def init_infers(self) -> Mapping[str, InferTask]:
        """Two tasks a model; see `InferTasks`."""
        return InferTasks(self._models)

    def init_trainers(self) -> dict[str, TrainTask]:
        """One trainer for every task served at the start."""
        return {
            name: SemiSupervisedTraining(
                name,
                StudyTraining(
                    name,
                    partial(self._recipe, name, recipe),
                    self._models.store,
                    self._work / name,
                    self._device,
                ),
            )
            for name, recipe in self._models.recipes().items()
        }

    def _recipe(self, name: str, otherwise: Recipe) -> Recipe:
        """The recipe of the version in use."""
        return self._models.recipes().get(name, otherwise)

    def init_strategies(self) -> dict[str, Strategy]:
        """OHIF asks for `random` and no other; Slicer offers all, in this order."""
        return strategies(self._scorer.book)

    def init_batch_infer(self) -> CpuBatchInfer:
        """Batch inference that works without a GPU."""
        return CpuBatchInfer()

    def on_init_complete(self) -> None:
        """Called once by the server before it answers: the first request must not pay for loading."""
        try:
            protect(self.conf)
            self._sole.claim()
        except UsageError as error:
            logger.error(str(error))
            os._exit(2)  # an exception would be told with the traceback of three frameworks
        super().on_init_complete()
        os.environ[SERVER] = str(os.getpid())
        end_failed_starts()
        start_reading()
        self._models.warm_up()
        self._scorer.start()

    def info(self) -> dict[str, Any]:
        """What the viewers show; of several trainings they show the first of `train_stats`.

        `inference` is how far the prediction is that goes on, or None.
        """
        info: dict[str, Any] = super().info()
        told = {"train_stats": first_at_work(info["train_stats"]), "inference": self._models.under_way()}
        return {**info, **told}

    def project(
        self, start: Callable[[str, Mapping[str, Any]], Awaitable[None]], stop: Callable[[], Awaitable[None]]
    ) -> Project:
        """What the pages of the study show.

        Args:
            start: Starts a training of a task, with options.
            stop: Stops the training at work.
        """
        return Project(
            studies=self._studies,
            store=self._models.store,
            models=self._models.names,
            tasks=self.tasks,
            trainings={name: one.training for name, one in self._trainers.items()},
            upcoming=self._strategies[DEFAULT].upcoming,
            failures=lambda: dict(self._scorer.failures),
            start=start,
            stop=stop,
            has_viewer=self._studies.fetching_is_costly,
        )

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Answer an inference request.

        Args:
            request: `model`, `image` (the id of a scan, or a file that came with the request or a session),
                options, and perhaps `save_label` with a `label_tag`.
            datastore: Where the scan is; the app's own by default.

        Raises:
            HTTPException: 404 for an unknown model or scan, other 4xx for what cannot be used.
        """
        check_tag(request)
        store = datastore or self.datastore()
        model = str(request.get("model", ""))
        task = self._infers.get(model)
        if task is None:
            raise unknown("model", model, list(self._infers))
        image_id, path = self._scan(request, store)
        save = keeps_label(request)
        if save and (image_id is None or not task.saves_labels):
            what = "an uploaded scan" if image_id is None else model
            raise HTTPException(422, f"save_label: the result of {what} cannot be kept as a label")
        with self._scorer.steps_aside():
            file, params = task({**request, "image": str(path), "case": image_id})
        if image_id is not None:
            self._remember(image_id, task, params)
            if save:
                told = {"model": params["model"], "params": params}
                if isinstance(task, TogetherTask):
                    told["label_info"] = [
                        {"name": name, "idx": value} for name, value in params["label_names"].items()
                    ]
                store.save_label(image_id, file, PROPOSED, told)
        return {"label": image_id if save else file, "tag": PROPOSED, "file": file, "params": params}

    def infer_seg(self, request: dict[str, Any]) -> Path:
        """Answer an inference request on a series of an archive by a DICOM segmentation, a temporary file.

        Raises:
            HTTPException: 422 where there is no series or no label, otherwise as `infer`.
        """
        with refusals():
            series = self._studies.series(str(request["image"]))
        if isinstance(self._infers.get(str(request.get("model"))), UncertaintyTask):
            raise HTTPException(422, f"dicom_seg: {request['model']} answers no label. Ask its model")
        wanted = {"check_here": False, "result_extension": ".nii.gz", "result_dtype": "uint8"}
        answer = self.infer({**request, **wanted})
        label, params = Path(answer["file"]), answer["params"]
        file = label.with_name(f"{label.name.partition('.')[0]}.dcm")
        made_by = {"model_name": params["model"], "model_version": params["version"]}
        try:
            with refusals():
                labels = self._classes(params["model"])
                write_seg(read_label(label), series, labels, file, **made_by)
        finally:
            label.unlink()
        return file

    def _classes(self, model: str) -> Sequence[LabelClass]:
        """The classes of what a model answers, or several together."""
        return joint_classes([self._models.info(name).recipe for name in model.split(SEPARATOR)])

    def _to_score(self) -> ScansToScore | None:
        """The scans that scores are wanted of. No series of an archive is fetched before anybody asks for one."""
        if self._studies.fetching_is_costly and not self._asked:
            return None
        return self._studies.to_score()

    def _remember(self, image_id: str, task: InferTask, params: dict[str, Any]) -> None:
        """Keep what was proposed for a scan; a map of uncertainty proposes nothing.

        What several models propose together is of no single task, so only where it began is told of a label.
        """
        if isinstance(task, TogetherTask) and task.prediction is not None:
            about = {key: params[key] for key in ("model", "version", "summary")}
            self._studies.keep_proposal(
                image_id, task.prediction.label, {**about, "task": params["model"], "marked": False}
            )
        if isinstance(task, SegmentationTask) and task.prediction is not None:
            about = {
                "model": params["model"],
                "version": params["version"],
                "task": task.recipe.name,
                "marked": CHECK_HERE in params["label_names"],
                "summary": params["summary"],
                "warnings": params["report"]["warnings"],
            }
            found = task.prediction
            self._studies.keep_proposal(image_id, found.label, about, found.uncertainty)

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The next scan for an annotator.

        Raises:
            HTTPException: 404 for an unknown strategy or task.
        """
        known = [recipe.name for recipe in self.tasks()]
        if request.get("task") and request["task"] not in known:
            raise unknown("task", request["task"], known)
        strategy = request.get("strategy") or DEFAULT
        if strategy not in self._strategies:
            raise unknown("strategy", strategy, self._strategies)
        self._asked = True
        while True:
            try:
                found: dict[str, Any] = super().next_sample({**request, "strategy": strategy})
                return found
            except HTTPException as error:  # each scan once, for from then on it does not wait for a label
                if not isinstance(error.__cause__, ScanError):
                    raise

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]:
        """What the annotator is told after submitting: what was changed, also in the proposal, and by the check."""
        info = (
            label_id.record
            if isinstance(label_id, SavedLabel)
            else self._studies.label_notes(image_id, FINAL)
        )
        return told_of(info)

    def bundle_path(self, model: str | None) -> None:
        """MONAI Label asks before it starts a task; the place to refuse a trainer that does not exist.

        Raises:
            HTTPException: 404 for an unknown model.
        """
        if model is not None and model not in self._infers and model not in self._trainers:
            raise unknown("model", model, {*self._infers, *self._trainers})

    def model_file(self, model: str, validate: bool = True) -> None:
        """No model file is given out or deleted through the API, nor replaced by MONAI Label's own handler.

        Raises:
            HTTPException: 405 for an upload.
        """
        if not validate:
            raise HTTPException(
                405, f"model {model[:80]}: not checked here; use diffcl publish, or upload to diffcl serve"
            )

    def accept_model(self, model: str, archive: BinaryIO) -> dict[str, Any]:
        """Make an uploaded model a new version, if it is one of ours, and the one in use, if it is not worse.

        Raises:
            HTTPException: 404 for an unknown model, other 4xx for a file that is none.
        """
        if model not in self._trainers:
            raise unknown("model", model, self._trainers)
        answer: dict[str, Any] = self._trainers[model].accept(archive, self.datastore())
        return answer

    def _load_sessions(self, load: bool = False) -> Sessions | None:
        """The sessions where MONAI Label keeps them, for an hour where its setting says no more than a minute."""
        if not load:
            return None
        folder = (
            settings.MONAI_LABEL_SESSION_PATH.strip() or Path.home() / ".cache" / "monailabel" / "sessions"
        )
        expiry = settings.MONAI_LABEL_SESSION_EXPIRY
        return Sessions(Path(folder), expiry if expiry > 60 else 3600)

    def _scan(self, request: dict[str, Any], store: Datastore) -> tuple[str | None, Path]:
        """Id and path of the scan that a request names; None for the id of one that was sent."""
        image = request.get("image")
        if not isinstance(image, str) or not image:
            raise HTTPException(400, "image: none is named, or the session has ended. Name the id of a scan")
        if image in store.list_images():
            with refusals():
                several = self._takes_several(str(request.get("model", "")))
                path = self._studies.case_path(image) if several else self._studies.scan_path(image)
            if path.exists():
                return image, path
        elif self._was_sent(Path(image), request.get("received")):
            return None, Path(image)
        elif "/" in image or "\\" in image:
            raise HTTPException(400, f"image {image[:80]}: is a path. Name the id of a scan")
        raise unknown("image", image, store.list_images())

    def _takes_several(self, model: str) -> bool:
        """Whether a task of a model, or one of several together, takes several sequences."""
        return any(
            recipe.sequences and (name in model.split(SEPARATOR) or model.startswith(f"{name}_"))
            for name, recipe in self._models.recipes().items()
        )

    def _was_sent(self, path: Path, received: object) -> bool:
        """Whether a path is that of the file that came with the request, or of the scan of a session.

        A client may name any path as the image. The first is told by the handler as a `Path`, which no request can
        hold, and whoever knows the second knows the id of the session.
        """
        sessions = self.sessions()
        return path == received or bool(sessions and sessions.holds(path))
