"""`diffcl users` and `diffcl audit`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from diffcl.access.audit import AuditTrail
from diffcl.access.roles import Role, User
from diffcl.access.users import UserFile
from diffcl.cli.main import run

WORD = "correct horse battery"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder to work in, and passwords that cost little."""
    monkeypatch.setattr("diffcl.access.passwords.COST", (1 << 10, 8, 1))
    monkeypatch.chdir(tmp_path)


def users(monkeypatch: pytest.MonkeyPatch, *words: str, typed: str = "") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    return run(["users", *words])


def test_users_come_change_and_go(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert users(monkeypatch, "add", "ann", "--role", "reviewer", typed=f"{WORD}\n") == 0
    file = UserFile(Path("users.json"))
    assert file.user("ann", WORD) == User("ann", Role.REVIEWER)
    assert users(monkeypatch, "passwd", "ann", typed="another password\n") == 0
    assert file.user("ann", "another password") is not None
    capsys.readouterr()
    assert users(monkeypatch, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"name": "ann", "role": "reviewer"}]
    assert users(monkeypatch, "remove", "ann") == 0
    assert file.accounts() == {}


def test_a_password_is_never_an_argument(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert users(monkeypatch, "add", "ann", WORD) == 2
    assert users(monkeypatch, "add", "ann", "--password", WORD) == 2
    assert users(monkeypatch, "add", "ann") == 2
    assert "Choose at least" in capsys.readouterr().err
    assert users(monkeypatch, "add", "ann", "--role", "god", typed=f"{WORD}\n") == 2
    assert not Path("users.json").exists()


def test_the_audit_trail_is_printed_and_filtered(capsys: pytest.CaptureFixture[str]) -> None:
    trail = AuditTrail(Path("work/audit"))
    trail.write("ann", "10.0.0.1", "PUT /datastore/label", "p07", 200)
    trail.write("bob", "10.0.0.1", "DELETE /datastore/label", "p08", 403)
    assert run(["audit", "--user", "ann"]) == 0
    printed = capsys.readouterr().out
    assert "ann 10.0.0.1  PUT /datastore/label  p07  200" in printed
    assert "bob" not in printed
    assert run(["audit", "--action", "delete", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scan"] == "p08"
    assert run(["audit", "--work", "nowhere"]) == 2
