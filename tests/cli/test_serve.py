"""What `diffcl serve` starts: the command, its environment, and where it may write."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from synthetic import ORGAN_TOML
from unreliable_disk import FAILING_DISK

from diffcl.access.roles import Role
from diffcl.access.users import UserFile
from diffcl.cli.main import run
from diffcl.resources import app_folder

Serve = Callable[..., tuple[list[str], dict[str, str]]]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Runs the command up to the server itself; the server's command and environment."""
    started: list[Any] = []
    monkeypatch.setattr("diffcl.cli.serve._check_server", lambda: None)
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


def test_several_recipes_are_served_together_each_of_its_own_task(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    organ, other = tmp_path / "organ.toml", tmp_path / "other.toml"
    organ.write_text(ORGAN_TOML)
    other.write_text(ORGAN_TOML.replace('"organ"', '"other"'))
    words = ("--studies", str(tmp_path), "--recipe", str(organ), "--recipe", str(other))
    assert after(serve(*words)[0], "recipe") == f"{organ},{other}"
    capsys.readouterr()
    assert "is of the task organ" in refused(capsys, *words[2:], "--recipe", str(organ))
    shutil.copy(organ, tmp_path / "a, b.toml")
    assert "has a comma in its name" in refused(capsys, "--recipe", str(tmp_path / "a, b.toml"))


@pytest.mark.parametrize(
    ("python", "line"),
    [
        ((3, 12), 'diffcl serve: MONAI Label is not installed. Run pip install "diffcl[server]"'),
        (
            (3, 13),
            "diffcl serve: MONAI Label does not run with Python 3.13. Make an environment with Python 3.10, 3.11 or "
            '3.12, and there pip install "diffcl[server]"',
        ),
    ],
    ids=["3.12", "3.13"],
)
def test_without_monai_label_one_line_says_how_to_install_it(
    python: tuple[int, int], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "monailabel", None)
    monkeypatch.setattr(sys, "version_info", python)
    assert run(["serve"]) == 2
    assert capsys.readouterr().err.strip() == line


def test_how_many_may_wait_is_handed_on(serve: Serve) -> None:
    command, _ = serve("--studies", "http://host/dicom-web", "--queue", "3")
    assert command[command.index("queue") - 1 : command.index("queue") + 2] == ["--conf", "queue", "3"]


def test_the_device_is_handed_on_where_there_is_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--studies", "http://host/dicom-web", "--device", "cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    command, _ = serve(*words)
    assert command[command.index("device") - 1 : command.index("device") + 2] == ["--conf", "device", "cuda"]
    capsys.readouterr()
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "this machine has no usable GPU" in refused(capsys, *words[2:])


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `diffcl serve` says of arguments that it refuses, which is one line."""
    assert run(["serve", "--studies", ".", *words]) in (1, 2)
    said = capsys.readouterr().err.strip()
    assert "\n" not in said
    return said


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of one user."""
    monkeypatch.setattr("diffcl.access.passwords.COST", (1 << 10, 8, 1))
    UserFile(tmp_path / "users.json").add("ann", Role.ADMIN, "correct horse battery")
    return tmp_path / "users.json"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, SHA256())
    )  # fmt: skip
    cert, secret = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_bytes(made.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert, secret


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "no.such.host.invalid"])
def test_others_are_let_in_only_by_log_in_and_https(
    host: str, serve: Serve, users: Path, certificate: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve is not None
    tls = ("--tls-cert", str(certificate[0]), "--tls-key", str(certificate[1]))
    for words in ((), tls, ("--users", str(users))):
        assert "--users FILE" in refused(capsys, "--host", host, *words)
    for words in ((*tls, "--users", str(users)), ("--behind-proxy", "--users", str(users))):
        command, _ = serve("--studies", "http://pacs/dicom-web", "--host", host, *words)
        assert after(command, "--host") == host
        assert ("--ssl_certfile" in command) == (words[:4] == tls)


def test_a_proxy_is_not_let_in_for_everybody(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "whom nothing asks" in refused(capsys, "--behind-proxy")
    monkeypatch.setenv("MONAI_LABEL_AUTH_ENABLE", "true")
    command, _ = serve("--studies", "http://pacs/dicom-web", "--behind-proxy", "--root-path", "diffcl/")
    assert after(command, "--root_path") == "/diffcl"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_alone_needs_no_log_in(host: str, serve: Serve) -> None:
    command, _ = serve("--studies", "http://pacs/dicom-web", "--host", host, "--allow-host", "a.example")
    assert command[command.index("allow_host") + 1] == f"a.example,{host}"


def test_a_certificate_without_its_key_is_refused(
    serve: Serve, certificate: tuple[Path, Path], users: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve is not None
    assert "goes with --tls-key" in refused(capsys, "--tls-cert", str(certificate[0]))
    words = ("--tls-cert", str(users), "--tls-key", str(certificate[1]))
    assert "no certificate" in refused(capsys, *words)
    assert "no file of users" in refused(capsys, "--users", "nowhere.json")


def test_scans_on_a_read_only_disk_can_be_looked_at(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scans").mkdir()
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    command, _ = serve("--studies", str(tmp_path / "scans"))
    assert after(command, "--studies") == str(tmp_path / "scans")
    assert "its disk is read-only" in capsys.readouterr().err


def test_scans_that_this_user_may_not_write_beside_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("diffcl.cli.serve._check_server", lambda: None)
    monkeypatch.setattr("diffcl.cli.serve._check_port", lambda *_: None)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert run(["serve", "--studies", str(tmp_path), "--work", str(tmp_path / "work")]) == 2
    assert "is not writable, and labels are kept in it" in capsys.readouterr().err


def test_a_work_folder_on_a_disk_that_takes_nothing_starts_again_and_is_otherwise_refused_in_one_line(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scans").mkdir()
    work = tmp_path / "work"
    words = ("--studies", str(tmp_path / "scans"))
    serve(*words)
    with FAILING_DISK.failing(work, 0, 10**6, errno.ENOSPC):
        serve(*words)
        (work / "server" / "lib").unlink()
        assert run(["serve", "--work", str(work), *words]) == 1
    assert capsys.readouterr().err.count("lib: cannot be written (No space left on device)") == 1
