"""A real DICOM archive, Debian's Orthanc: for the tests, and as a program for trying the server on it.

Installed by `apt-get install --no-install-recommends orthanc orthanc-dicomweb`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests
import SimpleITK as sitk

from diffcl.cli.console import say, warn
from diffcl.io.dicom.series_write import write_series
from diffcl.resources import samples_folder

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
INSTALL = "apt-get install --no-install-recommends orthanc orthanc-dicomweb"
START_SECONDS = 60


class Orthanc:
    """An archive on the loopback interface.

    Args:
        folder: Where it keeps what it has, and its log.
        port: Of HTTP; a free one by default.
        dicom_port: Of C-STORE; a free one by default.
        users: Names and passwords of those let in; everybody by default.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        dicom_port: int | None = None,
        users: dict[str, str] | None = None,
    ) -> None:
        self.port = port or free_port()
        self.dicom_port = dicom_port or free_port()
        self.root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.root}/dicom-web"
        self._folder = folder
        self._users = users or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; it may have been started and stopped before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        program = shutil.which("Orthanc")
        if program is None or not PLUGIN.exists():
            raise FileNotFoundError(f"Orthanc with DICOMweb is missing; install it with: {INSTALL}")
        settings = {
            "Name": "diffcl",
            "HttpPort": self.port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": bool(self._users),
            "RegisteredUsers": self._users,
            "StorageDirectory": str(self._folder / "store"),
            "IndexDirectory": str(self._folder / "store"),
            "Plugins": [str(PLUGIN)],
        }
        (self._folder / "orthanc.json").write_text(json.dumps(settings))
        with (self._folder / "log").open("ab") as log:
            command = [program, str(self._folder / "orthanc.json")]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                self.ask("get", "/system")
                return
            except requests.ConnectionError:
                time.sleep(0.05)
        raise RuntimeError(f"Orthanc did not start; its log is {self._folder / 'log'}")

    def wait(self) -> None:
        """Wait until it ends."""
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """End it."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self._end(signal.SIGKILL)

    def ask(self, method: str, path: str, **more: Any) -> Any:
        """The answer of its own REST interface."""
        auth = next(iter(self._users.items()), None)
        answer = requests.request(method, self.root + path, auth=auth, timeout=60, **more)
        answer.raise_for_status()
        return answer.json()

    def add(self, files: Sequence[Path]) -> None:
        """Put DICOM files into it."""
        for file in files:
            self.ask("post", "/instances", data=file.read_bytes())

    def find(self, level: str, **attributes: str) -> list[str]:
        """Its own ids of what has these attributes; `level` is Series or Instance."""
        found: list[str] = self.ask("post", "/tools/find", json={"Level": level, "Query": attributes})
        return found

    def delete_series(self, uid: str) -> None:
        """Delete a series."""
        (found,) = self.find("Series", SeriesInstanceUID=uid)
        self.ask("delete", f"/series/{found}")

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def fill(archive: Orthanc) -> int:
    """Put the sample scans into an archive as MR series; how many."""
    samples = samples_folder()
    archive.add(sorted((samples / "dicom").rglob("*.dcm")))
    scans = sorted((samples / "images").glob("*.nii.gz"))
    for scan in scans:
        name = scan.name.removesuffix(".nii.gz")
        with TemporaryDirectory() as folder:
            image = sitk.DICOMOrient(sitk.ReadImage(scan), "LPS")
            archive.add(write_series(image, Path(folder) / name, name=name))
    return len(scans) + 1


def main() -> int:
    """Start an archive with the sample scans and say what to open."""
    parser = argparse.ArgumentParser(
        description="An archive for trying diffcl, filled with the sample scans."
    )
    parser.add_argument("--port", type=int, default=8042)
    parser.add_argument("--dicom-port", type=int, default=4242, help="of C-STORE")
    parser.add_argument("--folder", type=Path, default=Path("work/pacs"), help="where it keeps what it has")
    given = parser.parse_args()
    archive = Orthanc(given.folder.resolve(), given.port, given.dicom_port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        archive.start()
        run(archive, given.folder)
    except (FileNotFoundError, RuntimeError) as error:
        warn(f"pacs: {error}")
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        archive.stop()
    return 0


def run(archive: Orthanc, folder: Path) -> None:
    """Fill an archive, say what to open, and wait for its end."""
    series = fill(archive)
    say(f"""\
An archive with {series} sample series runs at {archive.root}. Stop with Ctrl-C; it keeps what it has in {folder}.
  the server  make serve STUDIES={archive.url}    in a second terminal
  OHIF        http://127.0.0.1:8000/ohif/         once that is ready
  its own     {archive.root}/app/explorer.html
  C-STORE     ORTHANC@127.0.0.1:{archive.dicom_port}""")
    archive.wait()


if __name__ == "__main__":
    sys.exit(main())
