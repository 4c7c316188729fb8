from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from diffcl.errors import UsageError
from diffcl.files import WRITER, temporary_beside
from diffcl.studies.sole_server import SoleServer

HOLD = """
import sys
from pathlib import Path
from diffcl.files import temporary_beside
from diffcl.studies.sole_server import SoleServer

server = SoleServer(Path(sys.argv[1]))
server.claim()
labels = Path(sys.argv[1], "labels")
labels.mkdir(exist_ok=True)
temporary_beside(labels / "p07.nii.gz").write_bytes(b"half a label")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _writer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a claim sets in the environment ends with the test."""
    monkeypatch.setenv(WRITER, "")


def test_a_second_server_is_refused_until_the_first_one_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        for action in (SoleServer(tmp_path).claim, SoleServer(tmp_path).check):
            with pytest.raises(UsageError, match="another server works on these studies"):
                action()
        first.kill()
    SoleServer(tmp_path).check()
    SoleServer(tmp_path).claim()


@pytest.mark.parametrize("code", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_takes_nothing_can_be_served(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(FileLock, "acquire", acquire)
    server = SoleServer(tmp_path)
    server.check()
    server.claim()


def test_what_a_killed_server_was_writing_is_removed_by_the_next_one_and_what_others_write_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "labels").mkdir()
    of_another = temporary_beside(tmp_path / "labels" / "p08.nii.gz")
    of_another.write_bytes(b"half a label")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        SoleServer(tmp_path / "labels").claim()  # of other studies
        assert len([*tmp_path.glob("labels/.*.nii.gz")]) == 2
        first.kill()
    SoleServer(tmp_path).claim()
    assert [*tmp_path.glob("labels/.*.nii.gz")] == [of_another]
