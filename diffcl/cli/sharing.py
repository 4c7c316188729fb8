"""What a server needs before it lets in others than this machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from diffcl.access.hosts import is_loopback
from diffcl.errors import UsageError

HOW = "Add --users FILE (made by diffcl users add) and --tls-cert FILE --tls-key FILE, or --behind-proxy"


def check_sharing(
    host: str, users: Path | None, tls: tuple[Path | None, Path | None], behind_proxy: bool
) -> tuple[Path, Path] | None:
    """Check that a server that others reach asks who they are, and is reached by https alone.

    Args:
        host: Address to listen on.
        users: File of users.
        tls: Files of a certificate and its key.
        behind_proxy: Whether a proxy has https of its own.

    Returns:
        Certificate and key, if there are any.

    Raises:
        UsageError: Saying what is missing.
        DataError: If the file of users cannot be used.
    """
    from diffcl.access.users import UserFile

    pair = _pair(tls)
    provider = os.environ.get("MONAI_LABEL_AUTH_ENABLE", "").lower() in ("1", "true", "yes", "on")
    if users is not None and not UserFile(users).accounts():
        raise UsageError(users, "nobody is in it", "Add somebody: diffcl users add NAME --role admin")
    known = users is not None or provider
    if behind_proxy and not known:
        raise UsageError("--behind-proxy", "lets others in, whom nothing asks who they are",
                         "Add --users FILE, made by diffcl users add")  # fmt: skip
    if not _is_this_machine(host) and not (known and (pair or behind_proxy)):
        raise UsageError(f"--host {host}", "lets others in", HOW)
    return pair


def door_arguments(
    host: str,
    users: Path | None,
    tls: tuple[Path, Path] | None,
    behind_proxy: bool,
    root_path: str,
    names: Sequence[str],
    max_upload: int | None,
) -> list[str]:
    """Arguments of the server's command that say who may come in and how; see `diffcl serve`."""
    names = [*names, *([] if is_any(host) else [host])]
    settings = {
        "users": str(users.resolve()) if users else "",
        "behind_proxy": "true" if behind_proxy else "",
        "allow_host": ",".join(names),
        "max_upload": str(max_upload << 20) if max_upload else "",
    }
    arguments = [word for key, value in settings.items() if value for word in ("--conf", key, value)]
    if tls:
        arguments += ["--ssl_certfile", str(tls[0].resolve()), "--ssl_keyfile", str(tls[1].resolve())]
    if root_path.strip("/"):
        arguments += ["--root_path", f"/{root_path.strip('/')}"]
    return arguments


def is_any(host: str) -> bool:
    """Whether an address stands for all of this machine's."""
    return host in ("", "0.0.0.0", "::")


def _pair(tls: tuple[Path | None, Path | None]) -> tuple[Path, Path] | None:
    import ssl

    cert, key = tls
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("--tls-cert", "goes with --tls-key", "Give both")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(cert, f"no certificate that goes with {key}", "Give both as PEM files") from error
    return cert, key


def _is_this_machine(host: str) -> bool:
    """Whether an address, or all those of a name, can be reached from this machine alone."""
    if is_any(host):
        return False
    if is_loopback(host):
        return True
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(is_loopback(address) for address in found)
