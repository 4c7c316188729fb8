from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
from failing import fail_on
from killed import wait_for_the_end_of
from synthetic import ORGAN, SCANS, make_scan, publish_untrained

from diffcl.active_learning import scorer
from diffcl.active_learning.scorer import LookingProcess, ScansToScore, Scorer
from diffcl.active_learning.scores import Scorable, ScoreBook
from diffcl.active_learning.worker import Looker
from diffcl.errors import ArchiveDownError, ArchiveError, DiffclError, GoneError, OutputError, ScanError
from diffcl.inference.served_models import ServedModels
from diffcl.io import scan_name
from diffcl.io.fingerprint import state_of
from diffcl.models import ModelRegistry


class Eye:
    """Looks at scans in this process and remembers at which."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.before: Callable[[], object] = lambda: None
        self._look = Looker()

    def __call__(self, question: dict[str, Any]) -> dict[str, Any]:
        self.seen.append(Path(question["scan"]).name.removesuffix(".nii.gz"))
        self.before()
        return self._look(question)


@pytest.fixture
def eye() -> Eye:
    return Eye()


class Folder:
    """The scans of a folder, and which of them have a label."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.labelled: list[str] = []
        self.lend: Callable[[Path], AbstractContextManager[Path]] = nullcontext

    def __call__(self) -> ScansToScore:
        files = {scan_name(file): file for file in self.path.glob("*.nii.gz")}
        scans = {
            name: Scorable(partial(state_of, file), partial(self.lend, file)) for name, file in files.items()
        }
        return ScansToScore(scans, self.labelled)


@pytest.fixture
def folder(studies: Path) -> Folder:
    return Folder(studies)


@pytest.fixture
def open_scorer(store: ModelRegistry, studies: Path, folder: Folder, eye: Eye) -> Callable[[], Scorer]:
    """Makes a scorer, as a start of the server does."""
    return lambda: Scorer(ServedModels(store), "organ", folder, ScoreBook(studies / "scores"), look=eye)


@pytest.fixture
def scoring(open_scorer: Callable[[], Scorer]) -> Scorer:
    return open_scorer()


def test_every_scan_is_looked_at_once(scoring: Scorer, eye: Eye) -> None:
    assert [scoring.update() for _ in range(10)] == [4] + 9 * [0]
    assert sorted(eye.seen) == SCANS
    known = scoring.book.known(SCANS)
    assert known is not None
    assert all(0 <= (known.entries[name].doubt or -1) <= 1 for name in SCANS)


def test_a_restart_looks_at_nothing_again(open_scorer: Callable[[], Scorer], eye: Eye) -> None:
    open_scorer().update()
    assert open_scorer().update() == 0
    assert len(eye.seen) == 4


def test_labelled_scans_come_first(scoring: Scorer, eye: Eye, folder: Folder) -> None:
    folder.labelled = ["oblique"]
    scoring.update()
    assert eye.seen[0] == "oblique"


def test_a_new_version_looks_at_all_again(scoring: Scorer, store: ModelRegistry) -> None:
    scoring.update()
    publish_untrained(store)
    assert scoring.update() == 4
    known = scoring.book.known(SCANS)
    assert known is not None
    assert known.edition.version == 2


def test_a_version_published_meanwhile_ends_the_round(
    scoring: Scorer, eye: Eye, store: ModelRegistry
) -> None:
    eye.before = lambda: publish_untrained(store) if len(eye.seen) == 2 else None
    assert scoring.update() == 2
    assert scoring.update() == 4


def test_only_a_scan_that_changed_is_looked_at_again(scoring: Scorer, eye: Eye, studies: Path) -> None:
    scoring.update()
    sitk.WriteImage(make_scan("flipped") + 1, studies / "flipped.nii.gz")
    assert scoring.update() == 1
    assert eye.seen[4:] == ["flipped"]


def test_a_scan_that_changes_while_it_is_looked_at_is_looked_at_again(
    scoring: Scorer, eye: Eye, studies: Path
) -> None:
    eye.before = lambda: os.utime(studies / f"{eye.seen[-1]}.nii.gz", (1, 1)) if len(eye.seen) == 1 else None
    assert scoring.update() == 4
    assert scoring.update() == 1


def test_an_unreadable_scan_is_tried_once_and_stops_nothing(scoring: Scorer, studies: Path) -> None:
    (studies / "oblique.nii.gz").write_bytes(b"no scan")
    assert [scoring.update(), scoring.update()] == [4, 0]
    known = scoring.book.known(SCANS)
    assert known is not None
    assert set(known.entries) == {"anisotropic", "flipped", "straight"}


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, TypeError])
def test_a_scan_on_which_a_library_fails_stops_nothing(
    kind: type[Exception], scoring: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_on("flipped.nii.gz", kind, monkeypatch)
    assert [scoring.update(), scoring.update()] == [4, 0]
    known = scoring.book.known(SCANS)
    assert known is not None
    assert set(known.entries) == {"anisotropic", "oblique", "straight"}


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (GoneError("series", "is gone"), 1),
        (ScanError("series", "has a gap"), 1),
        (KeyError("a bug"), 1),
        (ArchiveError("series", "answers nonsense"), 2),
    ],
    ids=["gone", "unusable", "a bug", "refused by the archive"],
)
def test_a_scan_that_cannot_be_fetched_stops_no_other_and_only_a_refused_one_is_tried_again(
    error: Exception, times: int, scoring: Scorer, folder: Folder
) -> None:
    tried: list[str] = []

    @contextmanager
    def lend(path: Path) -> Iterator[Path]:
        if path.name == "flipped.nii.gz":
            tried.append(path.name)
            raise error
        yield path

    folder.lend = lend
    for _ in range(2):
        with suppress(ArchiveError):
            scoring.update()
    known = scoring.book.known(SCANS)
    assert known is not None
    assert set(known.entries) == {"anisotropic", "oblique", "straight"}
    assert len(tried) == times


@pytest.mark.parametrize(
    "error",
    [ArchiveDownError("archive", "does not answer"), OutputError("cache", "no space")],
    ids=["archive down", "disk full"],
)
def test_what_is_no_fault_of_a_scan_ends_the_round_and_every_scan_is_tried_again(
    error: DiffclError, scoring: Scorer, folder: Folder
) -> None:
    @contextmanager
    def lend(_: Path) -> Iterator[Path]:
        raise error
        yield

    folder.lend = lend
    for _ in range(2):
        with pytest.raises(type(error)):
            scoring.update()
    folder.lend = nullcontext
    assert scoring.update() == 4


def test_it_goes_on_after_whatever_fails(
    scoring: Scorer, eye: Eye, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST_SECONDS", "LOOK_SECONDS", "REST_SECONDS"):
        monkeypatch.setattr(scorer, name, 0.01)
    failures = iter(
        [RuntimeError("a bug"), ArchiveDownError("archive", "does not answer"), OSError("a disk")]
    )

    def fail_first() -> ScansToScore:
        error = next(failures, None)
        if error:
            raise error
        return folder()

    monkeypatch.setattr(scoring, "_scans", fail_first)
    run_until_all_are_seen(scoring, eye)
    assert sorted(eye.seen) == SCANS


def test_nothing_is_looked_at_while_nobody_wants_scores(scoring: Scorer, eye: Eye) -> None:
    scoring._scans = lambda: None  # noqa: SLF001
    assert (scoring.update(), eye.seen) == (0, [])


def test_a_scan_that_vanishes_stops_nothing(scoring: Scorer, eye: Eye, studies: Path) -> None:
    eye.before = lambda: (studies / "oblique.nii.gz").unlink(missing_ok=True)
    scoring.update()
    scoring.update()
    known = scoring.book.known(["anisotropic", "flipped", "straight"])
    assert known is not None
    assert len(known.entries) == 3


def test_without_a_model_scans_are_described(folder: Folder, tmp_path: Path, eye: Eye) -> None:
    store = ModelRegistry(tmp_path / "none")
    models = ServedModels(store, ["organ"], new=[ORGAN])
    scoring = Scorer(models, "organ", folder, ScoreBook(tmp_path / "scores"), look=eye)
    assert scoring.update() == 4
    known = scoring.book.known(SCANS)
    assert known is not None
    assert known.edition.version == 0
    publish_untrained(store)
    assert scoring.update() == 4


def test_it_steps_aside_for_a_request(scoring: Scorer, eye: Eye) -> None:
    thread = threading.Thread(target=scoring.update)
    with scoring.steps_aside():
        thread.start()
        time.sleep(0.2)
        assert eye.seen == []
    thread.join(120)
    assert len(eye.seen) == 4


def test_it_runs_until_it_is_stopped(scoring: Scorer, eye: Eye, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "FIRST_SECONDS", 0.0)
    monkeypatch.setattr(scorer, "LOOK_SECONDS", 0.01)
    run_until_all_are_seen(scoring, eye)
    assert sorted(eye.seen) == SCANS


def run_until_all_are_seen(scoring: Scorer, eye: Eye) -> None:
    """Let the scorer run in its own thread until it has looked at four scans, or for two minutes."""
    scoring.start()
    deadline = time.monotonic() + 600
    while len(eye.seen) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    scoring.stop()


def test_a_damaged_model_scores_nothing(scoring: Scorer, store: ModelRegistry) -> None:
    (store.folder("organ") / "model.json").write_text("{")
    assert scoring.update() == 0


def test_a_process_that_dies_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "import sys\nfor line in sys.stdin:\n    exec(line[1:-2])\n    print('{\"fine\": 1}', flush=True)"
    )
    popen = scorer.subprocess.Popen
    monkeypatch.setattr(
        scorer.subprocess, "Popen", lambda command, **kwargs: popen([sys.executable, "-c", program], **kwargs)
    )
    look = LookingProcess()
    monkeypatch.setattr(scorer.json, "dumps", lambda text: f'"{text}"')
    assert look("pass") == {"fine": 1}  # type: ignore[arg-type]
    assert "has ended" in look("sys.exit()")["error"]  # type: ignore[arg-type]
    assert look("pass") == {"fine": 1}  # type: ignore[arg-type]
    look.close()


def test_until_the_process_says_that_it_ends_with_the_server_it_is_as_quick_as_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = (
        "import os, sys\nfor line in sys.stdin:\n"
        "    print('{\"nice\": %d}' % os.getpriority(os.PRIO_PROCESS, 0), flush=True)"
    )
    popen = subprocess.Popen
    monkeypatch.setattr(
        scorer.subprocess, "Popen", lambda command, **kwargs: popen([sys.executable, "-c", program], **kwargs)
    )
    look = LookingProcess()
    assert look({}) == {"nice": os.getpriority(os.PRIO_PROCESS, 0)}
    look.close()


def test_a_scan_that_takes_too_long_ends_its_process_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import sys, time\nfor line in sys.stdin:\n    time.sleep(float(line)); print('{}', flush=True)"
    popen = subprocess.Popen
    monkeypatch.setattr(
        scorer.subprocess, "Popen", lambda command, **kwargs: popen([sys.executable, "-c", program], **kwargs)
    )
    monkeypatch.setattr(scorer, "LONGEST_SECONDS", 1.0)
    look = LookingProcess()
    assert "has ended" in look(600)["error"]  # type: ignore[arg-type]
    monkeypatch.setattr(scorer, "LONGEST_SECONDS", 300.0)  # for a new process on a busy machine
    assert look(0) == {}  # type: ignore[arg-type]
    look.close()


DEAF = "import re; re.fullmatch('(a|a)*', 'a' * 64 + 'b')"
"""Computes for ever, in one call that lets no other thread of its process run."""

UNTOLD = "from diffcl import processes; processes.PR_SET_PDEATHSIG = 0"
"""Makes a system of this one that tells no process of the end of its parent."""


@pytest.mark.parametrize(
    ("system", "work"),
    [("", DEAF), (UNTOLD, "import time; time.sleep(600)")],
    ids=["deaf", "on another system"],
)
def test_the_process_ends_with_a_server_that_is_killed_also_in_the_middle_of_a_scan(
    system: str, work: str, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    at_work = f"import os, pathlib; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); "
    child = "\n".join(
        [
            "import sys",
            system,
            "from diffcl.active_learning import worker",
            f"worker.Looker.__call__ = lambda *_: exec({(at_work + work)!r})",
            "worker.main(int(sys.argv[-1]))",
        ]
    )
    server = "\n".join(
        [
            "import subprocess, sys",
            "from diffcl.active_learning import scorer",
            "popen = subprocess.Popen",
            f"scorer.subprocess.Popen = lambda command, **kwargs: popen("
            f"[sys.executable, '-c', {child!r}, command[-1]], **kwargs)",
            "scorer.LookingProcess()({})",
        ]
    )
    with subprocess.Popen([sys.executable, "-c", server]) as process:
        deadline = time.monotonic() + 600
        while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
    wait_for_the_end_of(int(pid.read_text()))
