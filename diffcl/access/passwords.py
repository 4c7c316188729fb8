"""Passwords, of which nothing is kept but what scrypt makes of them.

Source:
    RFC 7914; the costs are those that OWASP's Password Storage Cheat Sheet gives for 32 MiB.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from functools import cache
from secrets import token_bytes
from threading import BoundedSemaphore
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from diffcl.errors import UsageError

SHORTEST: Final = 10
"""Characters of the shortest password."""

LONGEST: Final = 1024
"""Bytes of the longest one."""

COST: Final = (1 << 15, 8, 3)
"""n, r and p of scrypt: 32 MiB, a tenth of a second."""

_BYTES: Final = 32

_AT_ONCE: Final = BoundedSemaphore(2)
"""More would take memory and cores from those who are in already."""


def hash_password(password: str) -> str:
    """What is kept of a password, with a salt of its own.

    Raises:
        UsageError: If it is shorter than `SHORTEST` or longer than `LONGEST`.
    """
    if len(password) < SHORTEST or len(password.encode(errors="surrogatepass")) > LONGEST:
        raise UsageError("password", f"has {len(password)} characters", f"Choose at least {SHORTEST}")
    salt, (n, r, p) = token_bytes(16), COST
    with _AT_ONCE:
        key = Scrypt(salt, _BYTES, n, r, p).derive(password.encode(errors="surrogatepass"))
    return f"scrypt${n}${r}${p}${b64encode(salt).decode()}${b64encode(key).decode()}"


def is_password(password: str, kept: str | None) -> bool:
    """Whether a password is the one of which this is kept; it takes as long where nobody has one.

    Args:
        password: What somebody types.
        kept: What `hash_password` gave; None for a user who does not exist.
    """
    typed = password.encode(errors="surrogatepass")[: LONGEST + 1]
    _, n, r, p, salt, key = (kept or _nobody()).split("$")
    try:
        with _AT_ONCE:
            Scrypt(b64decode(salt), _BYTES, int(n), int(r), int(p)).verify(typed, b64decode(key))
    except InvalidKey:
        return False
    return kept is not None


@cache
def _nobody() -> str:
    """What is kept of a password that nobody knows."""
    return hash_password(b64encode(token_bytes(32)).decode())
