"""Tags of the labels of a scan, by which viewers and scripts ask for one of them."""

from __future__ import annotations

from diffcl.errors import UsageError

FINAL = "final"
"""Tag of the label that a person submitted: the one that teaches."""


FINAL_OF = "final."
"""What the tag of the final label for one task begins with; the name of the task follows. `final` is all of them."""


ORIGINAL = "original"
"""Tag of a label that a model proposed and that was kept as it is."""


def task_of(tag: str) -> str | None:
    """The task that a tag names; None for a tag that names none.

    >>> task_of("final.spleen"), task_of("final")
    ('spleen', None)
    """
    return tag.removeprefix(FINAL_OF) if tag.startswith(FINAL_OF) else None


def check_submitted(tag: str) -> None:
    """Refuse the tag of one task for a label that is submitted: its names tell the tasks.

    Raises:
        UsageError: In one line.
    """
    if task_of(tag) is not None:
        raise UsageError(
            f"label tag {tag[:40]!r}", "is the final label for one task", "Submit with the tag 'final'"
        )
