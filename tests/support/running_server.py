"""The real server as a process of its own, driven by MONAI Label's own client."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import requests
from synthetic import ORGAN_TOML, make_studies, publish_untrained

from diffcl.models import ModelRegistry
from diffcl.resources import app_folder

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the client imports cgi
    from monailabel.client import MONAILabelClient

START_SECONDS = 300
"""Far more than a start takes, for machines that do other things as well."""


PATIENT = "patient-"
"""Beginning of every PatientID in an archive."""


@dataclass
class Server:
    """A running server.

    Attributes:
        url: Its address.
        studies: The folder that it serves.
        store: Its models.
        log: What it printed.
        process: The process.
    """

    url: str
    studies: Path
    store: ModelRegistry
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def client(self) -> MONAILabelClient:
        """MONAI Label's own client."""
        return MONAILabelClient(self.url, client_id="ann")


def start(
    folder: Path,
    *extra: str,
    cwd: Path | None = None,
    stock: bool = False,
    trained: bool = True,
    certificate: Path | None = None,
) -> Server:
    """Start `diffcl serve` on synthetic scans and wait until it answers.

    Args:
        folder: Where studies, models, work and log are made.
        extra: Further arguments of the command.
        cwd: Where it is started; in the folder by default.
        stock: Whether MONAI Label's own command is started instead, with its own entry.
        trained: Whether there is a model of the task already.
        certificate: That of a server that is reached by https.
    """
    studies = make_studies(folder / "my studies")
    store = ModelRegistry(folder / "my models")
    (folder / "organ.toml").write_text(ORGAN_TOML)
    if trained:
        publish_untrained(store)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"store": str(store.folders[0]), "models": "organ", "recipe": str(folder / "organ.toml")}
    if stock:
        command = ["monailabel.main", "start_server", "--app", str(app_folder()), "--host", "127.0.0.1"]
        command += [word for key, value in settings.items() for word in ("--conf", key, value)]
    else:
        command = ["diffcl.cli.main", "serve", "--work", str(folder / "my work")]
        command += [word for key, value in settings.items() for word in (f"--{key}", value)]
    command = [sys.executable, "-m", *command, "--studies", str(studies), "--port", str(port), *extra]
    environment = {**os.environ, "MONAI_LABEL_SESSION_PATH": str(folder / "sessions")}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd or folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    scheme, verify = ("https", str(certificate)) if certificate else ("http", True)
    server = Server(f"{scheme}://127.0.0.1:{port}", studies, store, log, process)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(f"{server.url}/info/", timeout=10, verify=verify).status_code in (200, 401):
                return server
        except requests.ConnectionError:
            time.sleep(0.1)
    stop(server)
    raise AssertionError(f"The server did not start:\n{log.read_text()}")


def assert_log_is_clean(server: Server) -> None:
    """No traceback stands in what a server printed, and no patient: all are called Phantom, with these numbers."""
    log = server.log.read_text()
    for word in ("Traceback", "Phantom", PATIENT):
        assert word not in log


def stop(server: Server) -> None:
    """End the server."""
    server.process.terminate()
    try:
        server.process.wait(30)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()
