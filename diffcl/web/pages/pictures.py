"""Pictures of scans, made one at a time in the background and kept while somebody looks at them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Condition, Thread
from typing import Final

from diffcl.errors import failure_sentence
from diffcl.studies.pictures import Picture

ROOM: Final = 16 << 20
"""Bytes of the pictures that are kept."""

WAITING: Final = 16
"""Pictures that may wait to be made; of more the one asked for first is forgotten."""

WAIT_SECONDS: Final = 0.15
"""How long somebody waits for a picture that is being made."""

Key = tuple[str, str]
"""Id of a scan, and what changes when its picture does."""


class Pictures:
    """The pictures that were looked at last. Safe in threads.

    Args:
        draw: Draws one, of the scan of that id and of the task of that name.
        room: Bytes that are kept; the last picture is kept whatever its size.
    """

    def __init__(self, draw: Callable[[str, str], Picture], room: int = ROOM) -> None:
        self._draw, self._room = draw, room
        self._made: OrderedDict[Key, Picture | str] = OrderedDict()
        self._wanted: OrderedDict[Key, str] = OrderedDict()
        self._state = Condition()
        self._busy = False

    def get(self, image: str, mark: str, task: str = "", wait: float = WAIT_SECONDS) -> Picture | str | None:
        """The picture of a scan; a sentence that says why there is none; None while it is made.

        Args:
            image: Id of the scan.
            mark: What changes when its picture does.
            task: Name of the task of its label.
            wait: Seconds to wait for it.
        """
        key = image, mark
        with self._state:
            if key not in self._made:
                self._wanted[key] = task
                while len(self._wanted) > WAITING:
                    self._wanted.popitem(last=False)
                if not self._busy:
                    self._busy = True
                    Thread(target=self._run, name="pictures", daemon=True).start()
                self._state.wait_for(lambda: key in self._made, wait)
            if key in self._made:
                self._made.move_to_end(key)
            return self._made.get(key)

    def kept(self, image: str) -> Picture | str | None:
        """The last picture of a scan that was made, if it is still there."""
        with self._state:
            return next((made for key, made in reversed(self._made.items()) if key[0] == image), None)

    def _run(self) -> None:
        """Make all that is wanted, the last one asked for first."""
        while True:
            with self._state:
                if not self._wanted:
                    self._busy = False
                    return
                key, task = self._wanted.popitem()
            made: Picture | str
            try:
                made = self._draw(key[0], task)
            except Exception as error:  # noqa: BLE001  told to whoever looks, and the next one is drawn
                made = failure_sentence(key[0], error)
            with self._state:
                for other in [other for other in self._made if other[0] == key[0]]:
                    del self._made[other]
                self._made[key] = made
                while len(self._made) > 1 and sum(map(_size, self._made.values())) > self._room:
                    self._made.popitem(last=False)
                self._state.notify_all()


def _size(made: Picture | str) -> int:
    return len(made.png) if isinstance(made, Picture) else len(made)
