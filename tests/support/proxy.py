"""A proxy with https on this machine, which takes a prefix away and says who asks, and a certificate for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from threaded import serving

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]

OWN = ("host", "content-length", "transfer-encoding", "connection", "content-encoding")
"""Headers that a proxy makes itself."""


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of this machine's address by itself, good for an hour, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return cert, private


def application(server: str, prefix: str, asked: list[str]) -> Starlette:
    """A proxy that hands on what is below a prefix, knows nothing else, and keeps every path that it was asked for."""

    async def refuse(request: Request) -> Response:
        asked.append(request.url.path)
        return Response("Not of this proxy.", 404)

    async def hand_on(request: Request) -> Response:
        asked.append(request.url.path)
        given = {name: value for name, value in request.headers.items() if name not in OWN}
        given |= {
            "host": request.headers["host"],
            "x-forwarded-for": request.client.host if request.client else "",
            "x-forwarded-proto": request.url.scheme,
        }
        path = request.url.path.removeprefix(prefix) + ("?" + request.url.query).rstrip("?")
        body = await request.body()
        async with httpx.AsyncClient(base_url=server, timeout=300) as client:
            answer = await client.request(request.method, path, headers=given, content=body)
        sent = Response(answer.content, answer.status_code)
        for name, value in answer.headers.multi_items():
            if name not in OWN:
                sent.headers.append(name, value)
        return sent

    handed_on = Route(f"{prefix}/{{path:path}}", hand_on, methods=METHODS)
    return Starlette(routes=[handed_on, Route("/{path:path}", refuse, methods=METHODS)])


@contextmanager
def proxied(server: str, prefix: str, cert: Path, key: Path, asked: list[str] | None = None) -> Iterator[str]:
    """The address at which a server is shown below a prefix, with https; what is asked for goes into `asked`."""
    secured = {"ssl_certfile": cert, "ssl_keyfile": key}
    with serving(
        application(server, prefix, [] if asked is None else asked), log_level="error", **secured
    ) as port:
        yield f"https://127.0.0.1:{port}{prefix}"
