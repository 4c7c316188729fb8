"""Signed tokens that stand for a log-in until they expire.

Source:
    RFC 7519 (JSON Web Token), with HMAC-SHA-256.
"""

from __future__ import annotations

import hmac
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes
from typing import Final

import jwt

from diffcl.access.roles import User
from diffcl.access.throttle import Throttle
from diffcl.access.users import Account, UserFile, write_secret
from diffcl.errors import DataError, DiffclError
from diffcl.files import not_written

HOURS: Final = 12
"""How long a token is good for: a day of work."""

_ALGORITHM: Final = "HS256"

_BYTES: Final = 32


class WrongPasswordError(DiffclError):
    """A name and password that do not go together."""


class TooManyError(DiffclError):
    """Too many wrong passwords for now.

    Attributes:
        seconds: After how long it is worth another attempt.
    """

    def __init__(self, where: object, what: str, next_step: str = "", seconds: int = 1) -> None:
        super().__init__(where, what, next_step)
        self.seconds = seconds


class LocalUsers:
    """Those of a file of users, who get tokens for their passwords.

    A token is worth nothing any more once its user is removed or the password changed; a change of the role counts at
    once.

    Args:
        file: The file of users; the secret that signs is kept beside it.
        hours: How long a token is good for.

    Raises:
        DataError: If the file is none, has nobody in it, or the secret is damaged.
        OutputError: If the secret cannot be written.
    """

    def __init__(self, file: UserFile, hours: float = HOURS) -> None:
        if not file.accounts():
            raise DataError(file.path, "nobody is in it", "Add somebody: diffcl users add NAME --role admin")
        self._file, self._secret = file, read_secret(file.path.with_name(f"{file.path.name}.secret"))
        self.seconds = round(hours * 3600)
        self._throttle = Throttle()

    def log_in(self, name: str, password: str, address: str = "") -> str:
        """A token for a name and password.

        Raises:
            WrongPasswordError: If they do not go together.
            TooManyError: After many wrong ones in the name or from the address.
        """
        keys = (f"{name[:64]}@{address}", address)
        seconds = self._throttle.seconds(*keys)
        if seconds:
            raise TooManyError(
                "log-in", "too many wrong passwords", f"Try again in {seconds} seconds", seconds
            )
        user = self._file.user(name, password)
        if user is None:
            self._throttle.failed(*keys)
            raise WrongPasswordError("log-in", "wrong name or password")
        self._throttle.passed(keys[0])
        now = int(time.time())
        claims = {"sub": user.name, "iat": now, "exp": now + self.seconds}
        return jwt.encode(
            {**claims, "key": self._stamp(self._file.accounts()[name])}, self._secret, _ALGORITHM
        )

    def user(self, token: str) -> User | None:
        """Whose token it is; None for one that is expired, forged or worth nothing any more."""
        try:
            required = ["sub", "exp", "key"]
            claims = jwt.decode(token, self._secret, [_ALGORITHM], options={"require": required})
        except jwt.InvalidTokenError:
            return None
        account = self._file.accounts().get(str(claims["sub"]))
        if account is None or not hmac.compare_digest(
            str(claims["key"]).encode(), self._stamp(account).encode()
        ):
            return None
        return account.user

    def _stamp(self, account: Account) -> str:
        """What a token knows of the password: another one has another."""
        return hmac.new(self._secret, account.password.encode(), sha256).hexdigest()[:16]


def read_secret(path: Path) -> bytes:
    """The secret of a file, which is made where there is none.

    Raises:
        DataError: If it is not what this function writes.
        OutputError: If it cannot be written.
    """
    try:
        with suppress(FileExistsError):
            write_secret(path, token_bytes(_BYTES))
        secret = path.read_bytes()
    except OSError as error:
        raise not_written(path, error) from error
    if len(secret) != _BYTES or path.stat().st_mode & 0o077:
        raise DataError(path, "damaged, or others may read it", "Remove it: everybody logs in again")
    return secret
