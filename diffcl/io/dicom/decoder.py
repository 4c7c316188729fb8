"""Decodes compressed DICOM images in a process of its own: over some damaged files the decoders end theirs.

As a program it says that it is ready, then reads the name of a file a line, as JSON. It answers each with a line of
JSON, the type and shape of the stored values, and their bytes; or with the name of what was raised. It stands on
nothing of this package, so that it starts fast.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt
import pydicom

DAMAGED: Final = "its pixels are damaged or end early"

START_SECONDS: Final = 120.0
"""Time that the process may take to start."""

LEAST_SECONDS: Final = 30.0
"""Time that an image may take to decode; see `SECONDS_A_MEGABYTE`."""

SECONDS_A_MEGABYTE: Final = 5.0
"""Time that an image may take beyond `LEAST_SECONDS` for each megabyte of its file."""

LEAST_MEMORY: Final = 2 << 30
"""Bytes of addresses that the process may use, and more the larger its image is."""

COPIES: Final = 6
"""The process may hold the pixels that a header promises this many times."""

_WITH_PATHS: Final = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "runpy.run_path(sys.argv[2], run_name='__main__')"
)
"""Finds packages where this process does, wherever they were installed, but not in the folder of this file."""

_PARENT_DIED: Final = 1
"""Option of Linux's prctl that has a process get a signal when its parent ends."""


class DecodingError(Exception):
    """An image that cannot be decoded; the text says why."""


class Decoder:
    """Gives the stored values of compressed files.

    The process starts with the first one, and ends with the block or with the program, however that ends.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def __call__(self, file: Path) -> npt.NDArray[Any]:
        """Stored values, `(rows, columns)` or `(frames, rows, columns)`.

        Raises:
            DecodingError: If they cannot be decoded, or not within the limits of time and memory.
        """
        process = self._process = self._process or _started()
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process was started with pipes")
        seconds = LEAST_SECONDS + SECONDS_A_MEGABYTE * file.stat().st_size / 1e6
        with _limit(process, seconds, f"its pixels took longer than {seconds:.0f} s to decode"):
            with suppress(BrokenPipeError):  # it has ended, and so it does not answer
                os.write(process.stdin.fileno(), json.dumps(str(file.resolve())).encode() + b"\n")
            line = process.stdout.readline()
            answer = json.loads(line) if line.endswith(b"\n") else "Ended"
            if isinstance(answer, str):
                memory = answer == "MemoryError"
                raise DecodingError(
                    "its pixels need more memory than its header promises" if memory else DAMAGED
                )
            kind, shape = answer
            size = np.dtype(kind).itemsize * int(np.prod(shape))
            content = process.stdout.read(size)
            if len(content) < size:
                raise DecodingError(DAMAGED)
        return np.frombuffer(content, kind).reshape(shape)


def _started() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", _WITH_PATHS, json.dumps(sys.path), __file__, str(os.getpid())],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    stdout: IO[bytes] = process.stdout  # type: ignore[assignment]
    try:
        with _limit(process, START_SECONDS, "the process that decodes images did not start in time"):
            if not stdout.readline():
                raise DecodingError("the process that decodes compressed images does not start")
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process


@contextmanager
def _limit(process: subprocess.Popen[bytes], seconds: float, otherwise: str) -> Iterator[None]:
    """End a process that takes longer for the block.

    Raises:
        DecodingError: If it took longer, whatever the block made of its end.
    """
    late = False

    def end() -> None:
        nonlocal late
        late = True
        process.kill()

    timer = Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except DecodingError as error:
        if late:
            raise DecodingError(otherwise) from error
        raise
    finally:
        timer.cancel()


def main() -> None:
    """Answer until there are no more questions; what libraries print goes to standard error."""
    _end_with(int(sys.argv[3]))
    warnings.simplefilter("ignore")
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        answers.write(b"ready\n")
        answers.flush()
        for line in sys.stdin:
            try:
                image = pydicom.dcmread(json.loads(line))
                _limit_memory(image)
                values = np.ascontiguousarray(image.pixel_array)
            except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked is told
                answers.write(json.dumps(type(error).__name__).encode() + b"\n")
            else:
                answers.write(json.dumps([values.dtype.str, values.shape]).encode() + b"\n")
                answers.write(values.data)
            answers.flush()


def _limit_memory(image: pydicom.Dataset) -> None:
    """Let the process use no more than the pixels that a header promises can need."""
    try:
        import resource
    except ImportError:  # a system without such limits
        return
    promised = (
        image.Rows
        * image.Columns
        * int(image.get("NumberOfFrames") or 1)
        * min(int(image.BitsAllocated), 64)
        // 8
    )
    limit = LEAST_MEMORY + COPIES * promised
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(
        resource.RLIMIT_AS, (limit if most == resource.RLIM_INFINITY else min(limit, most), most)
    )


def _end_with(parent: int) -> None:
    """End this process when its parent ends, even in the middle of an image."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


if __name__ == "__main__":
    main()
