"""The handlers that take the place of MONAI Label's own: these trust no name, path or number of a client."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import FileResponse
from monailabel.config import settings
from monailabel.endpoints import batch_infer, datastore, infer
from monailabel.interfaces.utils.app import app_instance

from diffcl.access.roles import Role
from diffcl.studies.review import FIELD as REVIEW
from diffcl.web.handlers import Handler
from diffcl.web.http_errors import refusals
from diffcl.web.operations import Operations, get_gpu
from diffcl.web.options import PROPOSED, check_task, infer_options
from diffcl.web.pages.rendering import may
from diffcl.web.requester import Requester
from diffcl.web.sessions import SessionHandlers
from diffcl.web.uploads import received

OWN_NOTES = ("strategy", "proposal", "unusable", "images")
"""What the server itself notes about a scan."""

operations = Operations(lambda: settings.MONAI_LABEL_APP_DIR, lambda: settings.MONAI_LABEL_STUDIES)

sessions = SessionHandlers(lambda: app_instance().sessions())


async def post_infer(
    background_tasks: BackgroundTasks,
    asked: Request,
    model: str,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,
    output: infer.ResultType | None = None,
) -> Any:
    """Segment a scan of the studies, of a session, or one that comes with the request.

    A label that comes with it is what somebody has drawn, for the tasks that finish or correct it.

    Raises:
        HTTPException: 400 where no scan is named, otherwise as `infer_options` and `DiffclApp.infer`.
    """
    options = infer_options(asked, params)
    if options.get("image", image) != image:
        raise HTTPException(400, "params: hold an image. Name the scan as image=ID in the address")
    request = {**options, "model": model, "image": image}
    for own in ("received", "drawn"):
        request.pop(own, None)
    if label is not None:
        with refusals(), received(label.file, label.filename) as drawn:
            return _inferred({**request, "drawn": str(drawn)}, session_id, file, output, background_tasks)
    return _inferred(request, session_id, file, output, background_tasks)


def _inferred(
    request: dict[str, Any],
    session_id: str,
    file: UploadFile | None,
    output: infer.ResultType | None,
    background_tasks: BackgroundTasks,
) -> Any:
    """The answer to a request for a scan of the studies, of a session, or one that comes with it."""
    instance = app_instance()
    if file is not None:
        with refusals(), received(file.file, file.filename) as path:
            result = instance.infer({**request, "image": str(path), "received": path})
    elif session_id:
        session = instance.sessions().get_session(session_id)
        if session is None:
            raise HTTPException(
                404, "session: there is none of that id, or it has ended. Send the scan again"
            )
        result = instance.infer({**request, "image": session.image})
    elif request["image"]:
        result = instance.infer(request)
    else:
        raise HTTPException(400, "infer: no scan is named. Give image=ID, session_id=ID or a file")
    return infer.send_response(instance.datastore(), result, output, background_tasks)


async def post_batch(
    model: str,
    images: batch_infer.BatchInferImageType = batch_infer.BatchInferImageType.IMAGES_ALL,
    params: dict[str, Any] | None = None,
) -> Any:
    """Segment many scans, in a process of its own; the labels are kept as proposals.

    Raises:
        HTTPException: 422 for what a model's label may not be, 429 while another one runs.
    """
    check_task(params)
    return batch_infer.run(model, images, {"save_label": True, "label_tag": PROPOSED, **(params or {})})


async def put_image(
    file: UploadFile, known: Requester, image: str | None = None, params: Annotated[str, Form()] = "{}"
) -> dict[str, Any]:
    """Take a scan.

    Raises:
        HTTPException: 4xx for a name or a file that is none.
    """
    record = {key: value for key, value in json.loads(params or "{}").items() if key not in OWN_NOTES}
    user = {"user": known["user"]} if "user" in known else {}
    name = image or Path((file.filename or "").replace("\\", "/")).name
    with refusals(), received(file.file, file.filename) as path:
        wanted = name if image else name[: -len("".join(path.suffixes))]
        return {"image": app_instance().datastore().add_image(wanted, str(path), {**record, **user})}


async def put_label(
    image: str,
    label: UploadFile,
    known: Requester,
    asked: Request,
    params: Annotated[str, Form()] = "{}",
    tag: str = "",
) -> dict[str, Any]:
    """Take a label. Its record says who sent it: what the client claims, and what the server knows.

    Raises:
        HTTPException: 4xx for params that are none and a label that is refused, 403 for a review by who may not judge.
    """
    record = {
        key: value for key, value in json.loads(params or "{}").items() if key not in ("address", "user")
    }
    if REVIEW in record and not may(asked, Role.REVIEWER):
        raise HTTPException(403, f"{REVIEW}: judging a label takes the role {Role.REVIEWER.word}")
    instance = app_instance()
    with refusals(), received(label.file, label.filename) as path:
        name = instance.datastore().save_label(image, str(path), tag or "final", record | known)
    return {**(instance.on_save_label(image, name) or {}), "image": image, "label": name}


async def delete_label(id: str, tag: str, known: Requester) -> dict[str, Any]:  # noqa: A002
    """Remove a label. The record of the removal says who asked for it."""
    app_instance().datastore().remove_label(id, tag, known)
    return {}


async def put_image_info(image: str, info: Annotated[str, Form()] = "{}") -> Any:
    """Note something about a scan.

    Raises:
        HTTPException: 422 for what the server itself notes, 404 for an unknown scan.
    """
    notes = json.loads(info or "{}")
    own = [key for key in OWN_NOTES if key in notes]
    if own:
        raise HTTPException(422, f"info: {own[0]} is what the server itself notes. Use another name")
    return app_instance().datastore().update_image_info(image, notes)


async def head_image(image: str, check_sum: str | None = None) -> Any:
    """Whether there is a scan, with that check sum.

    Raises:
        HTTPException: 404 where there is none, 400 for what is no check sum.
    """
    if check_sum is not None and not re.fullmatch(r"(?:(?:SHA256|SHA512|MD5):)?[0-9a-f]{32,128}", check_sum):
        raise HTTPException(400, "check_sum: not one. Give it as SHA256:...")
    return datastore.download_image(image, check_only=True, check_sum=check_sum)


async def get_dataset(
    background_tasks: BackgroundTasks, limit_cases: Annotated[int | None, Query(ge=1)] = None
) -> FileResponse:
    """All labelled scans with their labels, as a ZIP file.

    Raises:
        HTTPException: 404 where there are none.
    """
    file = Path(app_instance().datastore().get_dataset_archive(limit_cases))
    background_tasks.add_task(file.unlink, missing_ok=True)
    return FileResponse(file, media_type="application/zip", filename="dataset.zip")


async def get_datastore(output: datastore.ResultType | None = None) -> Any:
    """What the studies hold. Files of cases to train with are named without their folders."""
    found = datastore.datastore(output)
    if output is not datastore.ResultType.train:
        return found
    return [{key: Path(str(file)).name for key, file in case.items()} for case in found]


async def put_model(model: str, file: UploadFile) -> dict[str, Any]:
    """Take a model, a ZIP of model.json and weights.safetensors, as a new version under the gate."""
    answer: dict[str, Any] = app_instance().accept_model(model, file.file)
    return answer


FILES: dict[Handler, Sequence[str]] = {
    post_infer: ("multipart/form-data", "application/json", "application/octet-stream", "application/dicom"),
    get_dataset: ("application/zip",),
    sessions.get_session: ("application/json", "application/octet-stream"),
    operations.get_logs: ("text/plain",),
    get_gpu: ("text/plain",),
}
"""Handlers that answer other than JSON, and how."""

DOWNLOADS: dict[Handler, Sequence[str]] = dict.fromkeys(
    (datastore.api_download_image, datastore.api_download_label),
    ("application/octet-stream", "application/dicom", "application/zip"),
)
"""MONAI Label's own handlers that answer other than JSON, and how."""

UPLOADS: Sequence[Handler] = (put_image, put_label, sessions.put_session, get_dataset)
"""Handlers that read or write many files."""

ROUTES: list[tuple[str, str, Handler]] = [
    ("POST", "/infer/{model}", post_infer),
    ("POST", "/batch/infer/{model}", post_batch),
    ("PUT", "/datastore/image", put_image),
    ("PUT", "/datastore/", put_image),
    ("PUT", "/datastore/label", put_label),
    ("DELETE", "/datastore/label", delete_label),
    ("PUT", "/datastore/image/info", put_image_info),
    ("HEAD", "/datastore/image", head_image),
    ("GET", "/datastore/dataset", get_dataset),
    ("GET", "/datastore/", get_datastore),
    ("PUT", "/session/", sessions.put_session),
    ("GET", "/session/{session_id}", sessions.get_session),
    ("DELETE", "/session/{session_id}", sessions.delete_session),
    ("GET", "/logs/", operations.get_logs),
    ("GET", "/logs/gpu", get_gpu),
    ("PUT", "/model/{model}", put_model),
]
"""Method, path and handler."""
