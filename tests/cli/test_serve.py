"""What `diffcl serve` starts: the command, its environment, and where it may write."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic import ORGAN_TOML

from diffcl.cli.main import run
from diffcl.resources import app_folder

Serve = Callable[..., tuple[list[str], dict[str, str]]]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Runs the command up to the server itself; the server's command and environment."""
    started: list[Any] = []
    monkeypatch.setattr("diffcl.cli.serve._check_port", lambda *_: None)
    monkeypatch.setattr(os, "execve", lambda _, *given: started.append(given))
    monkeypatch.chdir(tmp_path)
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MONAI_LABEL_DICOMWEB_{name}", raising=False)

    def start(*words: str) -> tuple[list[str], dict[str, str]]:
        assert run(["serve", "--work", str(tmp_path / "work"), *words]) == 0
        command, environment = started.pop()
        return command, environment

    return start


def after(command: list[str], word: str) -> str:
    return command[command.index(word) + 1]


def test_credentials_stand_in_no_address_that_is_logged(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    command, environment = serve("--studies", "http://ann:s%40cret@10.0.0.5:8042/dicom-web")
    assert after(command, "--studies") == "http://10.0.0.5:8042/dicom-web"
    assert environment["MONAI_LABEL_DICOMWEB_USERNAME"] == "ann"
    assert environment["MONAI_LABEL_DICOMWEB_PASSWORD"] == "s@cret"
    assert "s%40cret" not in " ".join(command) + capsys.readouterr().err


def test_credentials_that_are_set_count(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONAI_LABEL_DICOMWEB_PASSWORD", "other")
    assert serve("--studies", "http://ann:one@host/dicom-web")[1]["MONAI_LABEL_DICOMWEB_PASSWORD"] == "other"


def test_logs_are_written_into_the_folder_of_the_work(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for _ in range(2):
        command, _ = serve("--studies", str(tmp_path / "scans"))
    app = Path(after(command, "--app"))
    assert app.is_relative_to(tmp_path / "work")
    assert Path.cwd() == app
    assert (app / "main.py").samefile(app_folder() / "main.py")
    assert sorted(path.name for path in app.iterdir()) == ["lib", "main.py"]


def test_the_recipe_s_own_model_need_not_be_there_yet(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "organ.toml").write_text(ORGAN_TOML)
    words = ("--studies", str(tmp_path), "--recipe", str(tmp_path / "organ.toml"), "--models")
    command, _ = serve(*words, "organ")
    assert command[command.index("models") - 1 : command.index("models") + 2] == ["--conf", "models", "organ"]
    assert run(["serve", *words, "organ,heart"]) == 2
    assert "model heart: there is none of that name" in capsys.readouterr().err


def test_how_many_may_wait_is_handed_on(serve: Serve) -> None:
    command, _ = serve("--studies", "http://host/dicom-web", "--queue", "3")
    assert command[command.index("queue") - 1 : command.index("queue") + 2] == ["--conf", "queue", "3"]
