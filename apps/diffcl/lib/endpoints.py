"""The handlers that take the place of MONAI Label's own: these trust no name, path or number of a client."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, File, Form, HTTPException, Query, Request, UploadFile
from fastapi.responses import FileResponse, PlainTextResponse
from monailabel.config import settings
from monailabel.endpoints import batch_infer, datastore, infer
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance

from diffcl.web.log_lines import shown, without_paths
from diffcl.web.uploads import received
from lib.http_errors import refusals
from lib.sessions import SERIES, about, write_files

PROPOSED = "original"
"""The tag of a label by a model; all others are given to labels of people."""

OWN_NOTES = ("strategy", "proposal")
"""What the server itself notes about a scan."""

OWN_SETTINGS = ("model", "method", "bundle_path", "strategy")
"""Of a task, what its address says, and what would put a folder into the search path of its program."""

Handler = Callable[..., Awaitable[Any]]

LINES = 10_000
"""Of a log, how many may be asked for."""

Annotator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]
Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
Administrator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))]


def who(request: Request, user: Annotator) -> dict[str, str]:
    """What the server itself knows of who asks: the address, and the name of a user who had to log in."""
    known = {"address": request.client.host if request.client else ""}
    return {**known, "user": user.username} if settings.MONAI_LABEL_AUTH_ENABLE else known


Known = Annotated[dict[str, str], Depends(who)]


def names() -> dict[str, str]:
    """What stands for the folders of this server in what others may read."""
    known = {str(Path.home()): "<home>", tempfile.gettempdir(): "<temporary>"}
    return {**known, settings.MONAI_LABEL_APP_DIR: "<server>", settings.MONAI_LABEL_STUDIES: "<studies>"}


def check_task(params: dict[str, Any] | None) -> None:
    """Check what a client asks of a task that runs in a process of its own.

    Raises:
        HTTPException: 422 for what only the server may say.
    """
    for given in [params or {}, *(one for one in (params or {}).values() if isinstance(one, dict))]:
        check_tag(given)
        own = [key for key in OWN_SETTINGS if key in given]
        if own:
            raise HTTPException(422, f"{own[0]}: is not for params")
        gpus = given.get("gpus")
        if gpus is not None and not (isinstance(gpus, str) and re.fullmatch(r"[\w,-]{0,64}", gpus)):
            raise HTTPException(422, "gpus: numbers with commas between them, or all")


def check_tag(options: dict[str, Any]) -> None:
    """Check that what a model answers takes no person's label away.

    Raises:
        HTTPException: 422 for a tag of people's labels.
    """
    if (options.get("label_tag") or PROPOSED) != PROPOSED:
        raise HTTPException(
            422, f"label_tag: a model's label is {PROPOSED!r}. Submit yours with PUT /datastore/label"
        )


async def post_infer(
    background_tasks: BackgroundTasks,
    model: str,
    _: Reader,
    image: str = "",
    session_id: str = "",
    params: Annotated[str, Form()] = "{}",
    file: Annotated[UploadFile | None, File()] = None,
    output: infer.ResultType | None = None,
) -> Any:
    """Segment a scan of the studies, of a session, or one that comes with the request.

    Raises:
        HTTPException: 400 where no scan is named, otherwise as `DiffclApp.infer`.
    """
    options = json.loads(params or "{}")
    check_tag(options)
    if options.get("image", image) != image:
        raise HTTPException(400, "params: hold an image. Name the scan as image=ID in the address")
    request = {**options, "model": model, "image": image}
    request.pop("received", None)
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
    elif image:
        result = instance.infer(request)
    else:
        raise HTTPException(400, "infer: no scan is named. Give image=ID, session_id=ID or a file")
    return infer.send_response(instance.datastore(), result, output, background_tasks)


async def post_batch(
    model: str,
    _: Administrator,
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
    file: UploadFile, known: Known, image: str | None = None, params: Annotated[str, Form()] = "{}"
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
    known: Known,
    params: Annotated[str, Form()] = "{}",
    tag: str = "",
) -> dict[str, Any]:
    """Take a label. Its record says who sent it: what the client claims, and what the server knows.

    Raises:
        HTTPException: 4xx for params that are none and a label that is refused.
    """
    record = {
        key: value for key, value in json.loads(params or "{}").items() if key not in ("address", "user")
    }
    instance = app_instance()
    with refusals(), received(label.file, label.filename) as path:
        name = instance.datastore().save_label(image, str(path), tag or "final", record | known)
    return {**(instance.on_save_label(image, name) or {}), "image": image, "label": name}


async def delete_label(id: str, tag: str, known: Known, _: Administrator) -> dict[str, Any]:  # noqa: A002
    """Remove a label. The record of the removal says who asked for it."""
    app_instance().datastore().remove_label(id, tag, known)
    return {}


async def put_image_info(image: str, _: Annotator, info: Annotated[str, Form()] = "{}") -> Any:
    """Note something about a scan.

    Raises:
        HTTPException: 422 for what the server itself notes, 404 for an unknown scan.
    """
    notes = json.loads(info or "{}")
    own = [key for key in OWN_NOTES if key in notes]
    if own:
        raise HTTPException(422, f"info: {own[0]} is what the server itself notes. Use another name")
    return app_instance().datastore().update_image_info(image, notes)


async def head_image(image: str, _: Reader, check_sum: str | None = None) -> Any:
    """Whether there is a scan, with that check sum.

    Raises:
        HTTPException: 404 where there is none, 400 for what is no check sum.
    """
    if check_sum is not None and not re.fullmatch(r"(?:(?:SHA256|SHA512|MD5):)?[0-9a-f]{32,128}", check_sum):
        raise HTTPException(400, "check_sum: not one. Give it as SHA256:...")
    return datastore.download_image(image, check_only=True, check_sum=check_sum)


async def get_dataset(
    background_tasks: BackgroundTasks, _: Annotator, limit_cases: Annotated[int | None, Query(ge=1)] = None
) -> FileResponse:
    """All labelled scans with their labels, as a ZIP file.

    Raises:
        HTTPException: 404 where there are none.
    """
    file = Path(app_instance().datastore().get_dataset_archive(limit_cases))
    background_tasks.add_task(file.unlink, missing_ok=True)
    return FileResponse(file, media_type="application/zip", filename="dataset.zip")


async def get_datastore(_: Reader, output: datastore.ResultType | None = None) -> Any:
    """What the studies hold. Files of cases to train with are named without their folders."""
    found = datastore.datastore(output)
    if output is not datastore.ResultType.train:
        return found
    return [{key: Path(str(file)).name for key, file in case.items()} for case in found]


async def put_session(
    files: Annotated[list[UploadFile], File()],
    _: Reader,
    uncompress: bool = False,
    expiry: Annotated[int, Query(ge=0, lt=1 << 31)] = 0,
) -> dict[str, Any]:
    """Keep a scan for a while: a file, the files of a series, or a ZIP file of them.

    Raises:
        HTTPException: 400 for names that are none, and for what is no ZIP file, 422 to unpack several.
    """
    if uncompress and len(files) > 1:
        raise HTTPException(422, "session: several files to unpack. Send one ZIP file")
    with refusals(), tempfile.TemporaryDirectory(prefix="diffcl-") as folder:
        target = Path(folder) / SERIES
        target.mkdir()
        source = write_files([(one.filename, one.file) for one in files], target)
        name, session = _sessions().add_session(str(source), expiry, uncompress)
    return {"session_id": name, "session_info": about(session)}


async def get_session(session_id: str, _: Reader, update_ts: bool = False, image: bool = False) -> Any:
    """What is known of a session, or its scan.

    Raises:
        HTTPException: 404 where there is none, 422 for the scan of one of several files.
    """
    session = _sessions().get_session(session_id, update_ts=update_ts)
    if session is None:
        raise HTTPException(404, "session: there is none of that id, or it has ended")
    if not image:
        return about(session)
    if not Path(session.image).is_file():
        raise HTTPException(422, "session: of several files. Ask for a session of one")
    return FileResponse(session.image, filename=Path(session.image).name)


async def delete_session(session_id: str, _: Reader) -> dict[str, Any]:
    """End a session.

    Raises:
        HTTPException: 404 where there is none.
    """
    told = await get_session(session_id, _)
    _sessions().remove_session(session_id)
    return dict(told)


async def get_logs(_: Administrator, lines: Annotated[int, Query(ge=1, le=LINES)] = 300) -> PlainTextResponse:
    """The end of the log, without tracebacks, paths and ids of sessions; errors have ids, by which it has more.

    Raises:
        HTTPException: 404 where there is no log.
    """
    file = Path(settings.MONAI_LABEL_APP_DIR) / "logs" / "app.log"
    if not file.is_file():
        raise HTTPException(404, "log: there is none yet")
    with file.open(encoding="utf-8", errors="replace") as log:
        found = deque(shown((line.rstrip("\n") for line in log), names()), lines)
    return PlainTextResponse("".join(f"{line}\n" for line in found))


async def get_gpu(_: Administrator) -> PlainTextResponse:
    """What the driver of the graphics card tells.

    Raises:
        HTTPException: 404 where there is none.
    """
    try:
        told = subprocess.run(["nvidia-smi"], capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise HTTPException(404, "gpu: there is none, or its driver does not answer") from error
    return PlainTextResponse(told.stdout.decode(errors="replace"))


async def put_model(model: str, file: UploadFile, _: Administrator) -> dict[str, Any]:
    """Take a model, a ZIP of model.json and weights.safetensors, as a new version under the gate."""
    answer: dict[str, Any] = app_instance().accept_model(model, file.file)
    return answer


def tell_task(answer: Any) -> Any:
    """What a client is told of a task, or of several: without paths and tracebacks in what it printed."""
    if isinstance(answer, list):
        return [tell_task(one) for one in answer]
    if isinstance(answer, dict) and "details" in answer:
        return {**answer, "details": list(shown(map(str, answer["details"]), names()))}
    return answer


def tell(text: str) -> str:
    """A sentence for a client, without paths of this machine."""
    return without_paths(text, names())


def _sessions() -> Any:
    """The sessions.

    Raises:
        HTTPException: 406 where the server keeps none.
    """
    sessions = app_instance().sessions()
    if sessions is None:
        raise HTTPException(406, "session: this server keeps none")
    return sessions


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
    ("PUT", "/session/", put_session),
    ("GET", "/session/{session_id}", get_session),
    ("DELETE", "/session/{session_id}", delete_session),
    ("GET", "/logs/", get_logs),
    ("GET", "/logs/gpu", get_gpu),
    ("PUT", "/model/{model}", put_model),
]
"""Method, path and handler."""
