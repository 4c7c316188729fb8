from __future__ import annotations

import asyncio
import inspect
import threading
from typing import Any

import pytest
from fastapi import HTTPException

from diffcl.web.handlers import RequestQueue, in_a_thread, with_signature_of


def test_a_handler_that_blocks_leaves_the_loop_to_others() -> None:
    entered, leave = threading.Event(), threading.Event()

    async def handler(word: str) -> str:
        entered.set()
        assert leave.wait(20)
        return word

    async def talk() -> str:
        answer = asyncio.create_task(in_a_thread(handler, {"word": "done"}))
        await asyncio.to_thread(entered.wait)
        leave.set()  # what a loop that is blocked would never come to
        return str(await answer)

    assert asyncio.run(talk()) == "done"


def test_a_handler_that_is_run_takes_the_same_arguments() -> None:
    class Handlers:
        async def double(self, number: int = 2) -> int:
            """Twice a number."""
            return 2 * number

    async def run(handler: Any, **arguments: Any) -> str:
        return f"answer {await handler(**arguments)}"

    made = with_signature_of(Handlers().double, run)
    assert [(one.name, one.annotation) for one in inspect.signature(made).parameters.values()] == [
        ("number", int)
    ]
    assert (made.__name__, made.__doc__) == ("double", "Twice a number.")
    assert asyncio.run(made(number=3)) == "answer 6"  # type: ignore[arg-type]


def test_inferences_run_one_after_the_other_and_those_beyond_the_limit_are_sent_away() -> None:
    running, most = 0, 0

    async def infer() -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return "label"

    async def talk() -> list[Any]:
        turns = RequestQueue(lambda: 2)
        found = await asyncio.gather(*(turns(infer) for _ in range(3)), return_exceptions=True)
        return [*found, await turns(infer), turns.inside]

    first, second, third, later, inside = asyncio.run(talk())
    assert [first, second, later, inside, most] == ["label", "label", "label", 0, 1]
    assert isinstance(third, HTTPException)
    assert (third.status_code, third.headers) == (503, {"Retry-After": "5"})


def test_an_inference_that_fails_leaves_its_place() -> None:
    async def fail() -> None:
        raise KeyError("fault")

    async def talk() -> int:
        turns = RequestQueue(lambda: 1)
        for _ in range(2):
            with pytest.raises(KeyError):
                await turns(fail)
        return turns.inside

    assert asyncio.run(talk()) == 0
