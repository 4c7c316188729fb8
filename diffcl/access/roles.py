"""What people may do, in four steps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """Each may do what those before it may.

    A reader looks and asks models; an annotator also labels; a reviewer also judges the labels of others; an
    administrator also trains, deletes, uploads models and reads the log.
    """

    READER = 1
    ANNOTATOR = 2
    REVIEWER = 3
    ADMIN = 4

    @property
    def word(self) -> str:
        """How people write it."""
        return self.name.lower()


WORDS = tuple(role.word for role in Role)


@dataclass(frozen=True)
class User:
    """Somebody who has logged in."""

    name: str
    role: Role
