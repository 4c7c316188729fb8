"""A process that looks at scans for somebody else, with one thread.

    python -m diffcl.active_learning.worker PARENT

It reads one JSON object a line, {"scan": PATH, "model": FOLDER, "device": DEVICE} or {"scan": PATH, "recipe":
RECIPE}, and answers each with a line: a `ScanScore`, or {"error": SENTENCE}. It ends at once, also in the middle
of a scan, when its input ends or the process with the number PARENT does, so it never outlives who started it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TextIO

from diffcl.processes import end_with_parent

if TYPE_CHECKING:
    from diffcl.models.weights import Model


LOWEST = 19
"""Nice value of the process: it gets what nobody else wants."""


class Looker:
    """Answers questions about scans; keeps the last model."""

    def __init__(self) -> None:
        self._model: tuple[str, Model] | None = None

    def __call__(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to one question."""
        from diffcl.active_learning.features import describe, score
        from diffcl.data.sequences import read_case
        from diffcl.errors import failure_sentence
        from diffcl.recipe import Recipe

        try:
            path = Path(question["scan"])
            if "recipe" in question:
                recipe = Recipe.model_validate(question["recipe"])
                return describe(read_case(path, recipe.sequences), recipe).model_dump()
            model = self._loaded(question["model"], question["device"])
            return score(read_case(path, model.info.recipe.sequences), model).model_dump()
        except Exception as error:  # noqa: BLE001  one scan never stops the others
            return {"error": failure_sentence(Path(question["scan"]).name, error)}

    def _loaded(self, folder: str, device: str) -> Model:
        from diffcl.models.weights import load_model

        if self._model is None or self._model[0] != folder:
            self._model = folder, load_model(Path(folder), device)
        return self._model[1]


def answer(questions: Iterable[str], answers: TextIO) -> None:
    """Answer every line until there are no more."""
    look = Looker()
    for line in questions:
        answers.write(json.dumps(look(json.loads(line))) + "\n")
        answers.flush()


def lines_until_the_end(source: TextIO) -> Iterator[str]:
    """The lines of a file as they come; its end ends this process, whatever it does at that moment."""
    lines: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in source:
            lines.put(line)
        os._exit(0)

    Thread(target=read, daemon=True).start()
    while True:
        yield lines.get()


def give_way() -> None:
    """Give this process the lowest priority."""
    os.setpriority(os.PRIO_PROCESS, 0, LOWEST)
    with suppress(OSError):  # where Linux shares the processor among sessions first, whatever is nice in them
        Path("/proc/self/autogroup").write_text(str(LOWEST), encoding="utf-8")


def main(parent: int) -> None:
    """Serve standard input and output; what libraries print goes to standard error.

    Args:
        parent: Process id of who started this.
    """
    end_with_parent(parent)  # also while what follows is imported
    give_way()  # not before: with the lowest priority a busy machine lets it come so far only after seconds
    import torch

    from diffcl.io.isolated import read_in_children

    read_in_children()
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with suppress(BrokenPipeError):  # who asked is gone
        answer(lines_until_the_end(sys.stdin), answers)


if __name__ == "__main__":
    main(int(sys.argv[1]))
