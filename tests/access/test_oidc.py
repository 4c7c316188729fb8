"""A provider of users on the loopback interface, as Keycloak answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from diffcl.access.oidc import OidcUsers, Realm
from diffcl.access.roles import Role, User
from diffcl.access.tokens import WrongPasswordError
from diffcl.errors import ArchiveDownError

RSA, OTHER, EC = (
    rsa.generate_private_key(65537, 2048),
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
)


class Provider(ThreadingHTTPServer):
    """Answers what OpenID Connect asks of a provider; one user, ann, with one password."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}/realms/house"
        self.keys = {
            "one": (RSA, jwt.algorithms.RSAAlgorithm, "RS256"),
            "two": (EC, jwt.algorithms.ECAlgorithm, "ES256"),
        }
        self.asked: list[str] = []

    def token(self, kid: str = "one", key: Any = None, algorithm: str | None = None, **changed: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.url, "azp": "monailabel-app", "aud": "account", "exp": now + 60, "iat": now,
            "preferred_username": "ann", "realm_access": {"roles": ["offline", "monailabel-reviewer"]}, **changed,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(
            claims, key or self.keys[kid][0], algorithm or self.keys[kid][2], headers={"kid": kid}
        )


class Answer(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        url = self.server.url
        self.server.asked.append(self.path)
        if self.path.endswith("openid-configuration"):
            self._say({"issuer": url, "jwks_uri": f"{url}/certs", "token_endpoint": f"{url}/token"})
        else:
            keys = [
                {**kind.to_jwk(key.public_key(), as_dict=True), "kid": kid, "alg": algorithm, "use": "sig"}
                for kid, (key, kind, algorithm) in self.server.keys.items()
            ]
            self._say({"keys": keys})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        right = (
            form["username"] == ["ann"]
            and form["password"] == ["word"]
            and form["grant_type"] == ["password"]
        )
        self._say(
            {"access_token": self.server.token()} if right else {"error": "invalid_grant"},
            200 if right else 401,
        )

    def _say(self, content: Any, status: int = 200) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def users(provider: Provider) -> OidcUsers:
    roles = {f"monailabel-{role.word}": role for role in Role} | {"monailabel-user": Role.READER}
    return OidcUsers(
        Realm(provider.url, "monailabel-app", "preferred_username", "realm_access#roles", roles, timeout=5)
    )


@pytest.mark.parametrize("kid", ["one", "two"], ids=["RSA", "EC"])
def test_a_token_of_the_provider_stands_for_its_user(kid: str, users: OidcUsers, provider: Provider) -> None:
    assert users.user(provider.token(kid)) == User("ann", Role.REVIEWER)


def test_a_name_and_password_are_the_provider_s_to_judge(users: OidcUsers) -> None:
    assert users.user(users.log_in("ann", "word")) == User("ann", Role.REVIEWER)
    with pytest.raises(WrongPasswordError):
        users.log_in("ann", "wrong")


def test_tokens_of_others_for_others_or_over_are_worth_nothing(users: OidcUsers, provider: Provider) -> None:
    past = int(time.time()) - 60
    worthless = [
        provider.token(key=OTHER),
        provider.token(iss="http://evil.example"),
        provider.token(azp="another", aud="another"),
        provider.token(azp=None, aud=None),
        provider.token(exp=past),
        provider.token(exp=None),
        provider.token(preferred_username=None),
        provider.token(realm_access={"roles": ["offline"]}),
        provider.token(realm_access=["x"]),
        provider.token(key=EC, algorithm="ES256"),
        jwt.encode({"iss": provider.url}, None, "none", headers={"kid": "one"}),
        jwt.encode(
            {"iss": provider.url, "azp": "monailabel-app"},
            b"x" * 64,
            "HS256",
            headers={"kid": "one"},
        ),
        "a.b.c",
        "",
    ]
    assert [users.user(token) for token in worthless] == [None] * len(worthless)


def test_a_new_key_is_asked_for_but_unknown_ones_do_not_ask_again_and_again(
    users: OidcUsers, provider: Provider
) -> None:
    assert users.user(provider.token())
    count = len(provider.asked)
    for number in range(20):
        provider.keys[f"new {number}"] = provider.keys["one"]
        assert users.user(provider.token(f"new {number}")) is None
    assert len(provider.asked) == count
    users._asked -= 11  # noqa: SLF001  some seconds later
    assert users.user(provider.token("new 1")) == User("ann", Role.REVIEWER)


def test_a_provider_that_is_down_is_told(provider: Provider) -> None:
    gone = OidcUsers(Realm("http://127.0.0.1:9/x", "a", "b", "c", {}, timeout=0.2))
    with pytest.raises(ArchiveDownError, match="does not answer"):
        gone.log_in("ann", "word")
    with pytest.raises(ArchiveDownError, match="does not answer"):
        gone.user(provider.token())
