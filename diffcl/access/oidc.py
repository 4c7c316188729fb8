"""Users of a house's own provider, by OpenID Connect.

Source:
    OpenID Connect Discovery 1.0, section 4; RFC 7517 (JSON Web Key); RFC 6749, section 4.3, for a name and password.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import jwt
import requests

from diffcl.access.roles import Role, User
from diffcl.access.tokens import WrongPasswordError
from diffcl.errors import ArchiveDownError

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only the provider can make; with the others whoever knows the public key could."""

AGAIN_SECONDS: Final = 10.0
"""The provider is not asked sooner again for its keys, whatever key a token names."""


@dataclass(frozen=True)
class Realm:
    """A provider and how its tokens speak of people.

    Attributes:
        url: The issuer; `/.well-known/openid-configuration` is below it.
        client: The id of this server with the provider.
        name_claim: Where a token has the user's name.
        roles_claim: Where it has the roles; `a#b` is `b` in `a`.
        roles: The provider's names of the roles.
        timeout: Seconds that the provider may take.
    """

    url: str
    client: str
    name_claim: str
    roles_claim: str
    roles: Mapping[str, Role]
    timeout: float = 10.0


class OidcUsers:
    """Those who have a token of a provider.

    Args:
        realm: The provider.
    """

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._lock = Lock()
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._discovered: dict[str, Any] = {}
        self._asked = -AGAIN_SECONDS

    def log_in(self, name: str, password: str, address: str = "") -> str:  # noqa: ARG002
        """A token for a name and password, by the provider.

        Raises:
            WrongPasswordError: If the provider refuses.
            ArchiveDownError: If it does not answer.
        """
        self._ask(again=not self._discovered)
        form = {
            "grant_type": "password",
            "client_id": self._realm.client,
            "username": name,
            "password": password,
        }
        try:
            answer = requests.post(self._discovered["token_endpoint"], data=form, timeout=self._realm.timeout)
            if 400 <= answer.status_code < 500:
                raise WrongPasswordError("log-in", "wrong name or password")
            answer.raise_for_status()
            return str(answer.json()["access_token"])
        except (requests.RequestException, KeyError, ValueError) as error:
            raise _down() from error

    def user(self, token: str) -> User | None:
        """Whose token it is; None for one that is expired, forged, or for another server.

        Raises:
            ArchiveDownError: If the provider's keys are not known and it does not answer.
        """
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = self._key(kid)
            if key is None:
                return None
            claims = jwt.decode(
                token, key.key, [key.algorithm_name], issuer=self._discovered.get("issuer", self._realm.url),
                options={"verify_aud": False, "require": ["exp", "iss"]}, leeway=10,
            )  # fmt: skip
        except (jwt.InvalidTokenError, jwt.PyJWKError):
            return None
        audience = claims.get("aud", [])
        meant = [
            claims.get("azp"),
            claims.get("client_id"),
            *(audience if isinstance(audience, list) else [audience]),
        ]
        name, role = claims.get(self._realm.name_claim), self._role(claims)
        return User(str(name), role) if name and role and self._realm.client in meant else None

    def _role(self, claims: Mapping[str, Any]) -> Role | None:
        found: Any = claims
        for part in self._realm.roles_claim.split("#"):
            found = found.get(part) if isinstance(found, Mapping) else None
        names = [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
        return max((self._realm.roles[one] for one in names if one in self._realm.roles), default=None)

    def _key(self, kid: str | None) -> jwt.PyJWK | None:
        """A key of the provider by its id, which is asked for again where it is not known."""
        if kid not in self._keys:
            self._ask(again=True)
        return self._keys.get(kid)

    def _ask(self, again: bool) -> None:
        """Ask the provider what it has, but not again and again.

        Raises:
            ArchiveDownError: If it does not answer.
        """
        with self._lock:
            if not again or (self._discovered and time.monotonic() - self._asked < AGAIN_SECONDS):
                return
            self._asked = time.monotonic()
            try:
                url = f"{self._realm.url.rstrip('/')}/.well-known/openid-configuration"
                discovered = self._get(url)
                keys = jwt.PyJWKSet.from_dict(self._get(discovered["jwks_uri"])).keys
            except (requests.RequestException, KeyError, TypeError, ValueError, jwt.PyJWTError) as error:
                raise _down() from error
            self._discovered = discovered
            self._keys = {
                key.key_id: key
                for key in keys
                if key.algorithm_name in ALGORITHMS and key.public_key_use in (None, "sig")
            }

    def _get(self, url: str) -> dict[str, Any]:
        answer = requests.get(url, timeout=self._realm.timeout)
        answer.raise_for_status()
        return dict(answer.json())


def _down() -> ArchiveDownError:
    return ArchiveDownError("log-in", "the provider of users does not answer", "Try again later")
