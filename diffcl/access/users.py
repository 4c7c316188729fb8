"""The file of those who may come in: names, roles, and what is kept of their passwords."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Final

from filelock import FileLock

from diffcl.access.passwords import hash_password, is_password
from diffcl.access.roles import WORDS, Role, User
from diffcl.errors import DataError, UsageError
from diffcl.files import not_written, replace_file

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True)
class Account:
    """A user and what is kept of the password."""

    user: User
    password: str


class UserFile:
    """A file of users that only its owner can read. Changes of it count at once, also in a server that runs.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._seen: tuple[int, ...] = ()
        self._accounts: dict[str, Account] = {}

    def accounts(self) -> dict[str, Account]:
        """All users by their names; read again only when the file has changed.

        Raises:
            DataError: If there is no such file, it is damaged, or others may read or change it.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise DataError(
                self.path, "no file of users", "Make one: diffcl users add NAME --role admin"
            ) from error
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise DataError(self.path, "others may read or change it", f"chmod 600 {self.path}")
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        with self._lock:
            if seen != self._seen:
                self._accounts, self._seen = self._read(), seen
            return self._accounts

    def user(self, name: str, password: str) -> User | None:
        """The user of that name and password, if there is one; a wrong name takes as long as a wrong password."""
        account = self.accounts().get(name)
        right = is_password(password, account.password if account else None)
        return account.user if account and right else None

    def add(self, name: str, role: Role, password: str) -> None:
        """Add a user; the first one makes the file.

        Raises:
            UsageError: If there is one of that name, the name is none, or the password is too short.
            OutputError: If it cannot be written.
        """
        if not NAME.fullmatch(name):
            raise UsageError(f"user {name[:40]!r}", "not a name", "Use letters, digits, dots, dashes and @")
        with self._change() as accounts:
            if name in accounts:
                raise UsageError(
                    f"user {name}", "there is one already", "Change the password: diffcl users passwd"
                )
            accounts[name] = Account(User(name, role), hash_password(password))

    def remove(self, name: str) -> None:
        """Remove a user, whose tokens are worth nothing from then on.

        Raises:
            UsageError: If there is none of that name.
            OutputError: If it cannot be written.
        """
        with self._change() as accounts:
            self._one(accounts, name)
            del accounts[name]

    def set_password(self, name: str, password: str) -> None:
        """Change a password; tokens of the former one are worth nothing from then on. Raises as `remove`."""
        with self._change() as accounts:
            accounts[name] = replace(self._one(accounts, name), password=hash_password(password))

    @staticmethod
    def _one(accounts: dict[str, Account], name: str) -> Account:
        if name not in accounts:
            known = ", ".join(sorted(accounts)) or "nobody"
            raise UsageError(f"user {name[:40]}", f"there is none of that name. Known: {known}")
        return accounts[name]

    @contextmanager
    def _change(self) -> Iterator[dict[str, Account]]:
        """Give the users to change; they are written back, whole or not at all."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), mode=0o600)
        except OSError as error:
            raise not_written(self.path, error) from error
        with lock:
            accounts = dict(self.accounts()) if self.path.exists() else {}
            yield accounts
            content = {
                name: {"role": one.user.role.word, "password": one.password}
                for name, one in sorted(accounts.items())
            }
            with replace_file(self.path, durable=True) as temporary:
                write_secret(temporary, json.dumps({"users": content}, indent=1).encode())

    def _read(self) -> dict[str, Account]:
        """What the file says.

        Raises:
            DataError: If that is not what this class writes.
        """
        try:
            content: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))["users"]
            accounts = {}
            for name, one in content.items():
                role, kept = Role(WORDS.index(one["role"]) + 1), str(one["password"])
                if not kept.startswith("scrypt$") or kept.count("$") != 5:
                    raise ValueError(name)
                accounts[name] = Account(User(name, role), kept)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(self.path, "not a file of users, or damaged", "Put back a copy of it") from error
        return accounts


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read.

    Raises:
        OSError: If there is one already, or it cannot be written.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
