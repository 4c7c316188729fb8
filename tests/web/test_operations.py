"""What a server tells of itself."""

from __future__ import annotations

from collections import deque

from diffcl.web.operations import Operations


class _Told(str):
    """A line during whose reading the next one arrives."""

    __slots__ = ("lines",)
    lines: deque[str]

    def __str__(self) -> str:
        self.lines.append("step 3")
        return "step 2"


def test_a_task_that_prints_while_it_is_told_of_is_told_of() -> None:
    second = _Told()
    lines = second.lines = deque(["step 1", second], maxlen=20)
    told = Operations(lambda: "/app", lambda: "/studies").tell_task({"status": "RUNNING", "details": lines})
    assert told == {"status": "RUNNING", "details": ["step 1", "step 2"]}
