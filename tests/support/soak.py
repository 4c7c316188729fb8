"""A mix of requests against the real server: good ones, malformed ones, and those of somebody who means harm.

    python tests/support/soak.py --requests 2000 --minutes 20

Prints what came back and what the server holds before and after, and ends with exit code 1 where a promise was
broken: every answer below 500 (or 507 and 503 where they are true), every acknowledged label among the versions,
nothing left in the temporary folder, and no more than a little memory, no file, and no thread but those of the pool
more than before.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import SimpleITK as sitk
from running_server import Server, start, stop
from synthetic import SCANS, make_label, make_scan

from diffcl.studies.label_history import History

ALLOWED = (503, 507)
"""Statuses above 500 that say the truth: too many wait, or the disk is full."""

ANSWER_SECONDS = 60
LOCAL = ("/activelearning/", "/datastore/image/info", "/datastore/?output=all")
"""Where a server without log-in, which only its own machine reaches, tells a viewer which file it may read itself."""

GROWTH = 50 * 2**20
"""Bytes that the server may hold more than after its first requests."""

POOL = 2
"""Threads that the server's pool may have at one moment more than at another; it ends those that idle for long."""

WARM_UP = 60
"""Requests after which the server has loaded what it needs."""

NAMES = (
    "..",
    ".",
    "/",
    "\0",
    "a\0b",
    "x" * 300,
    "../../evil",
    "/etc/passwd",
    "%2e%2e%2f",
    "\ud83d\ude00",
    "",
)
NUMBERS = ("9" * 4300, "1e20", "-1", "NaN", "inf", "0x7f", "")
PARAMS = (
    "[]", "3", "null", "{", '{"a": NaN}', '{"seed": Infinity}', '{"seed": ' + "9" * 4300 + "}",
    '{"a": ' * 250 + "1" + "}" * 250, '{"a": "\\ud800"}', '{"label_info": 7}', '{"label_info": [{"name": "x"}]}',
    '{"label_info": [{"name": "x", "idx": Infinity}]}', '{"networks": [["cs"]]}', '{"result_extension": ".bin"}',
    '{"logging": "LOUD"}', '{"save_label": true, "label_tag": "final"}', '{"image": "/etc/passwd"}',
)  # fmt: skip


@dataclass
class Outcome:
    """What a soak found.

    Attributes:
        statuses: How often each status came.
        faults: Promises that were broken, one sentence each.
        acknowledged: Labels that the server said it has, by scan.
        held: What the server held after the first requests and at the end: bytes, files, threads.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    acknowledged: Counter[str] = field(default_factory=Counter)
    held: list[dict[str, int]] = field(default_factory=list)


class Soak:
    """Sends requests to a server, drawn from a seed.

    Args:
        server: The server.
        seed: Decides which.
    """

    def __init__(self, server: Server, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)
        self._session = requests.Session()
        self.outcome = Outcome()
        labels = {name: _file_bytes(make_label(name), ".nii.gz") for name in SCANS}
        self._labels = {name: (f"{name}.nii.gz", content) for name, content in labels.items()}
        self._scan = _file_bytes(make_scan("oblique"), ".nii.gz")

    def run(self, count: int, seconds: float) -> Outcome:
        """Send so many requests, or as many as the time allows."""
        kinds: list[tuple[Callable[[], None], int]] = [
            (self._look, 4), (self._infer, 2), (self._submit, 3), (self._malformed_infer, 3),
            (self._malformed_label, 3), (self._malformed_train, 2), (self._malformed_session, 3),
            (self._malformed_datastore, 4), (self._odd_path, 3),
        ]  # fmt: skip
        actions, weights = zip(*kinds, strict=True)
        ends = time.monotonic() + seconds
        for number in range(count):
            if time.monotonic() > ends:
                break
            if number == min(WARM_UP, count // 2):
                self._wait_for_scores()
                self._measure()
            self._random.choices(actions, weights)[0]()
            if self._server.process.poll() is not None:
                self.outcome.faults.append("the server has ended")
                return self.outcome
        self._measure()
        self._check_labels()
        return self.outcome

    def _measure(self) -> None:
        """Note what the server holds while nobody is connected."""
        self._session.close()
        time.sleep(1)  # what an answer leaves is removed once it is sent
        self.outcome.held.append(held(self._server.process.pid))

    def _wait_for_scores(self) -> None:
        """Until every scan has a score, for the process that scores them starts when the machine has time for it."""
        ends = time.monotonic() + ANSWER_SECONDS
        scores = self._server.studies / "scores"
        while len({file.stem for file in scores.rglob("*.json")}) < len(SCANS) and time.monotonic() < ends:
            time.sleep(0.1)

    def _ask(self, method: str, path: str, **how: Any) -> requests.Response | None:
        try:
            answer = self._request(method, path, **how)
        except (requests.exceptions.InvalidURL, UnicodeError):  # the client cannot send it
            return None
        except requests.RequestException as error:
            self.outcome.faults.append(f"{method} {path[:80]}: {type(error).__name__}")
            return None
        self.outcome.statuses[answer.status_code] += 1
        if answer.status_code >= 500 and answer.status_code not in ALLOWED:
            self.outcome.faults.append(f"{method} {path[:80]} {str(how)[:120]}: {answer.status_code}")
        told = answer.text[:20_000]
        if "Traceback" in told or (str(self._server.studies) in told and not path.startswith(LOCAL)):
            self.outcome.faults.append(f"{method} {path[:80]}: a path of the server, or a traceback")
        return answer

    def _request(self, method: str, path: str, **how: Any) -> requests.Response:
        """The answer; on a new connection where the server has closed the one that was kept."""
        how = {"timeout": ANSWER_SECONDS, "allow_redirects": False, **how}
        try:
            return self._session.request(method, f"{self._server.url}{path}", **how)
        except requests.ConnectionError:
            self._session.close()
            return self._session.request(method, f"{self._server.url}{path}", **how)

    def _one(self, choices: Any) -> Any:
        return self._random.choice(choices)

    def _look(self) -> None:
        self._ask(
            "GET",
            self._one(("/info/", "/datastore/", "/datastore/?output=all", "/train/", "/openapi.json", "/")),
        )
        if self._random.random() < 0.3:
            self._ask("POST", "/activelearning/random", json={"client_id": "ann"})

    def _infer(self) -> None:
        self._ask("POST", f"/infer/organ?image={self._one(SCANS)}", data={"params": "{}"})

    def _submit(self) -> None:
        name = self._one(SCANS)
        answer = self._ask(
            "PUT",
            f"/datastore/label?image={name}",
            files={"label": self._labels[name]},
            data={"params": "{}"},
        )
        if answer is not None and answer.status_code == 200:
            self.outcome.acknowledged[name] += 1

    def _malformed_infer(self) -> None:
        image = self._one((*NAMES, *SCANS))
        self._ask(
            "POST", "/infer/" + self._one(("organ", "organ_uncertainty", "heart")),
            params={"image": image, "output": self._one(("json", "image", "all", "dicom_seg", "x"))},
            data={"params": self._one(PARAMS)},
        )  # fmt: skip
        if self._random.random() < 0.3:
            self._ask("POST", "/infer/organ")

    def _malformed_label(self) -> None:
        name, content = self._one((("a.nii.gz", b"\x1f\x8b junk"), ("b.nrrd", b"NRRD0004\n"), ("c.bin", b"x"),
                                   ("d" + ".x" * 150, b""), ("e.mha", _looping_mha()), ("f.nrrd", _crashing_nrrd()),
                                   ("g.nii.gz", _bomb())))  # fmt: skip
        asked = {"image": self._one((*NAMES, *SCANS)), "tag": self._one((*NAMES, "final"))}
        sent = {"files": {"label": (name, content)}, "data": {"params": self._one(PARAMS)}}
        self._ask("PUT", "/datastore/label", params=asked, **sent)

    def _malformed_train(self) -> None:
        content = self._one(
            ('{"steps": NaN}', "[]", '{"steps": -1}', '{"minutes": 1e99}', "x" * 300_000, '{"a": "\\ud800"}')
        )
        self._ask("POST", "/train/" + self._one(("heart", "nothing")), data=content,
                  headers={"Content-Type": "application/json"})  # fmt: skip
        self._ask("POST", "/batch/infer/heart", data=content, headers={"Content-Type": "application/json"})

    def _malformed_session(self) -> None:
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as made:
            made.writestr(self._one(("../evil.txt", "/tmp/evil.txt", "a/b.nii.gz", "..\\evil")), b"x")
        files = self._one((
            [("files", (self._one(("..", ".", "/", "x.zip", "y" * 300)), package.getvalue()))],
            [("files", ("one.nii.gz", self._scan)), ("files", ("two.nii.gz", b"x"))],
            [("files", ("scan.nii.gz", self._scan))],
        ))  # fmt: skip
        asked = {"uncompress": self._one(("true", "false")), "expiry": self._one(("5", *NUMBERS))}
        answer = self._ask("PUT", "/session/", params=asked, files=files)
        if answer is not None and answer.status_code == 200:
            known = answer.json()["session_id"]
            self._ask("GET", f"/session/{known}?image=true")
            self._ask("DELETE", f"/session/{known}")
        self._ask("GET", f"/session/{self._one(('x', '..', '%00', 'a' * 300))}")

    def _malformed_datastore(self) -> None:
        image = self._one((*NAMES, *SCANS))
        method, path = self._one((
            ("GET", "/datastore/image"), ("GET", "/datastore/image/info"), ("GET", "/datastore/label"),
            ("GET", "/datastore/label/info"), ("PUT", "/datastore/image/info"), ("PUT", "/datastore/label/info"),
            ("PUT", "/datastore/updatelabelinfo"),
        ))  # fmt: skip
        tag = self._one((*NAMES, "final"))
        more = {"data": {"info": self._one(PARAMS), "params": self._one(PARAMS)}} if method == "PUT" else {}
        self._ask(method, path, params={"image": image, "label": image, "tag": tag}, **more)

    def _odd_path(self) -> None:
        path = self._one((
            "/ohif/" + "a" * 5000, "/ohif/%00", "/ohif/..%2f..%2fetc%2fpasswd", "/logs/?lines=1e20", "/logs/gpu",
            "/proxy/dicom/qido/studies", "/proxy/dicom/wado/../../instances", "/model/organ", "/model/info/organ",
            "/scoring/x", "/activelearning/" + "x" * 400, "/static/../../etc/passwd",
        ))  # fmt: skip
        self._ask(self._one(("GET", "POST")), path)

    def _check_labels(self) -> None:
        history = History(self._server.studies / "history")
        for name, count in self.outcome.acknowledged.items():
            kept = [record for record in history.versions(name) if not record["removed"]]
            if len(kept) < count:
                self.outcome.faults.append(f"{name}: {count} labels acknowledged, {len(kept)} kept")


def held(process: int) -> dict[str, int]:
    """What a process holds now: bytes of memory, open files, threads."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in status)
    return {
        "bytes": 1024 * int(fields["VmRSS"].split()[0]),
        "files": len(list(Path(f"/proc/{process}/fd").iterdir())),
        "threads": int(fields["Threads"]),
    }


def soak(folder: Path, count: int, seconds: float, seed: int = 0) -> Outcome:
    """Start a server in a folder, send it so many requests, end it, and look at what it leaves.

    Args:
        folder: Empty; the server's temporary files go below it as well.
        count: Requests.
        seconds: After which no more are sent.
        seed: Decides which.
    """
    temporary = folder / "temporary"
    temporary.mkdir()
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(temporary)
    try:
        server = start(folder)
    finally:
        os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
    try:
        outcome = Soak(server, seed).run(count, seconds)
        left = sorted(path.name for path in temporary.rglob("*") if path.is_file())
    finally:
        stop(server)
    if left:
        outcome.faults.append(f"{len(left)} files are left in the temporary folder: {', '.join(left[:5])}")
    if "Traceback" in server.log.read_text(errors="replace"):
        outcome.faults.append("a traceback stands in the log")
    return outcome


def growth(outcome: Outcome) -> dict[str, int]:
    """What the server held at the end more than after its first requests."""
    first, last = outcome.held[0], outcome.held[-1]
    return {name: last[name] - first[name] for name in first}


def _file_bytes(image: sitk.Image, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"image{suffix}"
        sitk.WriteImage(image, file)
        return file.read_bytes()


def _looping_mha() -> bytes:
    """A MetaImage whose matrix is no number; a reader that believes it never ends."""
    header = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\n"
    return f"{header}TransformMatrix = inf 0 0 0 1 0 0 0 1\nElementDataFile = LOCAL\n".encode() + bytes(8)


def _crashing_nrrd() -> bytes:
    """An NRRD header with hundreds of directions."""
    many = " ".join(["(1,0,0)"] * 300)
    return (
        f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nspace directions: {many}\nencoding: raw\n\n".encode()
        + bytes(8)
    )


def _bomb() -> bytes:
    """Little that inflates to much: 64 MB of zeros."""
    import gzip

    return gzip.compress(bytes(1 << 26), 9)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = soak(Path(folder), options.requests, options.minutes * 60, options.seed)
    grown = growth(outcome)
    told = {
        "statuses": dict(sorted(outcome.statuses.items())),
        "acknowledged": sum(outcome.acknowledged.values()),
        "grown": grown,
        "faults": outcome.faults[:50],
    }
    print(json.dumps(told, indent=2))  # noqa: T201
    fits = grown["bytes"] < GROWTH and grown["files"] <= 0 and grown["threads"] <= POOL
    return 0 if fits and not outcome.faults else 1


if __name__ == "__main__":
    sys.exit(main())
