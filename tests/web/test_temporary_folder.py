from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from diffcl.web.temporary_folder import PREFIX

SERVE = """
import sys, tempfile
from diffcl.web.temporary_folder import use_own_temporary_folder

use_own_temporary_folder()
with tempfile.NamedTemporaryFile(delete=False) as file:
    file.write(b"a scan of somebody")
print(file.name, flush=True)
sys.stdin.read()
"""


def serving(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that works as a server does, and a temporary file of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE], env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGINT], ids=["end", "SIGTERM", "Ctrl-C"])
def test_nothing_stays_in_the_temporary_folder_of_a_server_that_has_ended(
    number: signal.Signals | None, tmp_path: Path
) -> None:
    process, file = serving(tmp_path)
    assert file.is_file()
    assert file.parent.parent == tmp_path
    assert file.parent.stat().st_mode & 0o777 == 0o700
    if number is not None:
        process.send_signal(number)
    process.communicate()
    assert [*tmp_path.iterdir()] == []
    assert process.returncode in (0, -signal.SIGTERM, -signal.SIGINT, 1)
    assert (process.returncode == -signal.SIGTERM) == (number == signal.SIGTERM)


def test_what_a_killed_server_left_is_removed_by_the_next_one_and_what_lives_stays(tmp_path: Path) -> None:
    others = [tmp_path / "diffcl-of-a-command", tmp_path / f"{PREFIX}no-folder"]
    others[0].mkdir()
    others[1].symlink_to(others[0])
    living, kept = serving(tmp_path)
    killed, left = serving(tmp_path)
    killed.kill()
    killed.communicate()
    assert left.is_file()
    following, _ = serving(tmp_path)
    assert not left.parent.exists()
    assert kept.is_file()
    for process in (living, following):
        process.communicate()
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_a_server_starts_where_no_temporary_folder_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffcl.web import temporary_folder

    def full(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(temporary_folder.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(temporary_folder.tempfile, "mkdtemp", full)
    assert temporary_folder.use_own_temporary_folder() == tmp_path
