"""`diffcl listen`: unattended segmentation of what scanners and archives send."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from diffcl.api import usable_device
from diffcl.cli.console import console, say, say_json
from diffcl.cli.options import DEFAULT_STORE, DeviceOption, StoreOption
from diffcl.errors import UsageError

if TYPE_CHECKING:
    from diffcl.listener.queue import Queue

SHOWN = 10
"""Finished series that the status lists."""


def listen(
    model: Annotated[
        str | None, typer.Option(help="Name of a model (see `diffcl models`), or its folder.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            help="Where results go: TITLE@HOST:PORT for C-STORE, or the address of a DICOMweb archive."
        ),
    ] = None,
    title: Annotated[str, typer.Option(help="Application entity title to be called by.")] = "DIFFCL",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 11112,
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default lets this machine alone in.")
    ] = "127.0.0.1",
    queue: Annotated[Path, typer.Option(help="Folder of the queue.")] = Path("work/listen"),
    quiet: Annotated[
        float, typer.Option(min=0.1, help="Seconds without an image after which a series counts as whole.")
    ] = 5.0,
    keep_hours: Annotated[
        float,
        typer.Option(
            min=0, help="Hours for which images are kept, for others of their series that come late."
        ),
    ] = 24.0,
    keep_gb: Annotated[
        float, typer.Option(min=0, help="Gigabytes that kept images may take; the oldest go first.")
    ] = 20.0,
    report: Annotated[
        bool, typer.Option("--report", help="Send a structured report with volumes as well.")
    ] = False,
    user: Annotated[
        str, typer.Option(envvar="MONAI_LABEL_DICOMWEB_USERNAME", help="User of the DICOMweb archive.")
    ] = "",
    password: Annotated[
        str,
        typer.Option(envvar="MONAI_LABEL_DICOMWEB_PASSWORD", help="Password; better set in the environment."),
    ] = "",
    token: Annotated[
        str,
        typer.Option(
            envvar="MONAI_LABEL_DATASTORE_API_KEY", help="Bearer token; better set in the environment."
        ),
    ] = "",
    device: DeviceOption = "cpu",
    store: StoreOption = DEFAULT_STORE,
    status: Annotated[
        bool, typer.Option("--status", help="Say what waits, what was done and what failed; start nothing.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Let what was set aside be tried again; start nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as one JSON object.")] = False,
) -> None:
    """Receive CT and MR series by C-STORE, segment each whole one, and send the DICOM segmentation on.

    What was received is on disk before it is acknowledged; a kill loses nothing, the next start goes on. What
    cannot be sent is tried again for a day. What cannot be segmented is set aside.

    - `diffcl listen --model hippocampus --to PACS@10.0.0.5:104 --host 0.0.0.0`
    - `diffcl listen --model hippocampus --to http://127.0.0.1:8042/dicom-web`
    - `diffcl listen --status`
    """
    from diffcl.listener.queue import Queue

    if status or retry:
        if not queue.is_dir():
            raise UsageError(
                queue, "no such queue", "Name the folder that the listener was given with --queue"
            )
        if retry:
            say(f"{Queue(queue).take_up()} series will be tried again")
        if status:
            _show(Queue(queue), as_json=as_json)
        return
    if model is None or to is None:
        raise UsageError("diffcl listen", "needs --model and --to", "See diffcl listen --help")
    from diffcl.inference import Predictor
    from diffcl.io.dicomweb.session import Credentials
    from diffcl.io.isolated import read_in_children
    from diffcl.listener.destination import destination
    from diffcl.listener.receiver import Receiver
    from diffcl.listener.service import Listener
    from diffcl.models import ModelRegistry
    from diffcl.resources import models_folder

    read_in_children()  # what anybody may have sent
    target = destination(to, title, Credentials(user, password, token))
    predictor = Predictor(ModelRegistry(store, models_folder()).load(model, usable_device(device)))
    waiting = Queue(queue, kept_hours=keep_hours, kept_bytes=keep_gb * 1e9)
    receiver = Receiver(waiting, title, host, port, quiet)
    listener = Listener(waiting, receiver, predictor, target, report=report, tell=_tell)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    info = predictor.model.info
    _tell(f"listening as {title}@{host}:{port}, segmenting with {info.name} {info.version}. Stop with Ctrl-C")
    listener.run(Event())


def _tell(sentence: str) -> None:
    say(f"{datetime.now():%Y-%m-%d %H:%M:%S} {sentence}")


def _show(queue: Queue, *, as_json: bool) -> None:
    """Print what is in a queue."""
    from diffcl.listener.queue import STATES
    from diffcl.listener.sole_listener import is_running

    jobs: list[dict[str, Any]] = [
        {"series": job.uid, "state": state, **job.notes()} for state in STATES for job in queue.jobs(state)
    ]
    done = [{**record, "state": "done"} for record in queue.done()]
    counts = {**dict.fromkeys((*STATES, "done"), 0), **Counter(job["state"] for job in (*jobs, *done))}
    running = is_running(queue)
    if as_json:
        say_json({"running": running, "counts": counts, "series": [*jobs, *done[:SHOWN]]})
        return
    shown = Table("series", "state", "images", "attempts", "received", "note")
    shown.title = "running" if running else "not running"
    for job in (*jobs, *done[:SHOWN]):
        came = datetime.fromtimestamp(job["received"]).isoformat(" ", "seconds") if "received" in job else ""
        note = job.get("error") or "; ".join(job.get("warnings", ()))
        shown.add_row(
            job["series"], job["state"], str(job.get("count", "")), str(job.get("attempts", "")), came, note
        )
    console.print(shown)
    say(", ".join(f"{count} {state}" for state, count in counts.items()))
