"""Reads files of strangers in a process of its own, with limits of memory and time.

A server lets children read whatever it reads (`read_in_children`): what clients send, and what somebody has put into
its folder. Native readers may crash, loop or take memory over a file; here this ends a child and becomes one line, and
the next file gets a new child. A child answers many files one after the other, so that its
start, about a second, is paid once. It answers with JSON and bytes, nothing that could run code. It ends at once when
its parent does, whatever it does at that moment. A file that has ended a child is refused at once for some time, unless
it changes, so that those who ask for it again hold up nobody.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from queue import LifoQueue
from threading import Condition
from typing import IO, Any, Final, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from diffcl import errors
from diffcl.errors import DiffclError, ScanError
from diffcl.geometry import Geometry
from diffcl.io.fingerprint import fingerprint
from diffcl.io.formats import image_suffix, is_dicom
from diffcl.io.images.integrity import LARGEST_VOXELS
from diffcl.io.planes import Cut, Planes
from diffcl.io.read import (
    check_present,
    holds_dicom,
    label_of_file,
    let_another_read,
    scan_of_file,
)
from diffcl.io.reading_child import ANOTHER, connected, numbers, planes_told, send
from diffcl.io.scan import Scan
from diffcl.labels import LabelClass
from diffcl.processes import start

SECONDS: Final = 120
"""Time limit of a file; a gigabyte of gzip takes about ten seconds."""

MEMORY_BYTES: Final = 14 * LARGEST_VOXELS + (2 << 30)
"""Address space of a child: the largest image as 16-bit numbers in its file and in ITK, as float32, and what is made
in between, and two gigabytes for Python and the libraries."""

CHILDREN: Final = 3
"""How many files are read at once, so that one that takes long holds up no other."""

ONE_THREAD: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_THREADER": "Platform",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
"""Environment of a child: ITK's pool waits for ever for a thread for which there is no memory."""

PIPE_BYTES: Final = 1 << 20
"""What a pipe holds where the system allows it; voxels come sixteen times as many at once as by default."""

REMEMBERED_SECONDS: Final = 600.0
"""For how long a file that ended a child is refused without another look; a disk may have been slow for once."""

MOST_REMEMBERED: Final = 1000
"""How many such files are remembered; the oldest are forgotten first."""

CutKind = Literal["scan", "first", "label"]
"""A scan, the first volume of a file which may have several, or a label."""


class IsolatedReader:
    """Reads image files and labels in children, each of which reads one file at a time.

    Args:
        seconds: Time limit of a file.
        memory: Address space of a child, bytes.
        children: How many there may be; further threads wait.
    """

    def __init__(self, seconds: int = SECONDS, memory: int = MEMORY_BYTES, children: int = CHILDREN) -> None:
        self._children = [_Child(seconds, memory) for _ in range(children)]
        self._free: LifoQueue[_Child] = LifoQueue()  # the one that read last is there already
        for child in self._children:
            self._free.put(child)
        self._harmful = _Harmful()

    def scan(self, path: Path, series_uid: str | None = None) -> Scan:
        """What `scan_of_file` gives of a file or a series.

        What comes of DICOM is read here after a child has read it without harm.

        Raises:
            ScanError: If it is no usable scan, or ends the child, takes longer or needs more memory than allowed.
        """
        if _is_series(path):
            self._ask("series", path, series_uid=series_uid)
            return scan_of_file(path, series_uid)
        if series_uid is not None:
            return scan_of_file(path, series_uid)  # which refuses it
        array, about = self._ask("scan", path)
        return Scan(_placed(array, about), about["name"], path, remarks=tuple(about["remarks"]))

    def scans(self, path: Path) -> list[Scan]:
        """What `scans_of_file` gives.

        Raises:
            ScanError: As `scan`.
        """
        if _is_series(path):
            return [self.scan(path)]
        arrays, about = self._ask("scans", path)
        remarks = tuple(about["remarks"])
        return [Scan(_placed(array, about), about["name"], path, remarks=remarks) for array in arrays]

    def label(
        self, path: Path, reference: Scan | None = None, labels: Sequence[LabelClass] | None = None
    ) -> sitk.Image:
        """What `label_of_file` gives. What is to lie on the grid of a series, or has names, a child reads first.

        Raises:
            ScanError: If it is no label, or ends the child, takes longer or needs more memory than allowed.
        """
        image = _placed(*self._ask("label", path))
        by_others = reference is not None or labels is not None
        return label_of_file(path, reference, labels) if by_others and holds_dicom(path) else image

    def cut(self, path: Path, longest: int, kind: CutKind, planes: Planes | None = None) -> Cut:
        """What a picture shows of a scan, of the first volume of a file, or of a label; the child reads all of it.

        Args:
            path: The file or folder.
            longest: Voxels along each axis, at most, of which the picture is made.
            kind: What it is.
            planes: Those that are shown; None for those through the middle of a scan, or in which a label is largest.

        Raises:
            ScanError: As `scan`.
        """
        asked = None if planes is None else {"grid": numbers(planes.grid), "positions": planes.positions}
        flat, about = self._ask(f"cut of {kind}", path, longest=longest, planes=asked)
        found = planes_told(about["planes"])
        ends = np.cumsum([math.prod(grid.size) for grid in found.grids])[:-1]
        slices = (
            part.reshape([length for other, length in enumerate(found.grid.size) if other != axis])
            for axis, part in enumerate(np.split(flat, ends))
        )
        return Cut(
            found, tuple(slices), Geometry(*about["grid"]), tuple(about["counts"]), tuple(about["window"])
        )

    def start(self) -> None:
        """Start a child, if there is none, so that the first file need not wait for it."""
        child = self._free.get()
        try:
            child.start()
        finally:
            self._free.put(child)

    @property
    def processes(self) -> list[int]:
        """Numbers of the children that there are."""
        return [child.process.pid for child in self._children if child.process is not None]

    def close(self) -> None:
        """End the children; the next file starts another one."""
        for child in self._children:
            child.end()

    def _ask(self, kind: str, path: Path, **more: Any) -> tuple[NDArray[Any], dict[str, Any]]:
        with self._harmful.alone(path):
            child = self._free.get()
            try:
                return child.ask({"kind": kind, "path": str(path.absolute()), **more}, path)
            finally:
                self._free.put(child)


class _EndedError(ScanError):
    """A file ended the child that read it."""


class _Harmful:
    """Files over which a child ended, as they were then."""

    def __init__(self) -> None:
        self._known: OrderedDict[object, tuple[float, _EndedError]] = OrderedDict()
        self._reading: set[Path] = set()
        self._changed = Condition()

    @contextmanager
    def alone(self, path: Path) -> Iterator[None]:
        """The time in which a file is read, once at a time: the others learn whether it does harm.

        Raises:
            ScanError: If it has ended a child, and is as it was then; or is not there.
        """
        with self._changed:
            self._changed.wait_for(lambda: path not in self._reading)
            state = fingerprint(path)
            since, error = self._known.get(state, (-math.inf, None))
            if error is not None and time.monotonic() - since < REMEMBERED_SECONDS:
                raise ScanError(path, error.what, error.next_step)
            self._reading.add(path)
        try:
            yield
        except _EndedError as ended:
            with self._changed:
                self._known[state] = time.monotonic(), ended
                while len(self._known) > MOST_REMEMBERED:
                    self._known.popitem(last=False)
            raise
        finally:
            with self._changed:
                self._reading.discard(path)
                self._changed.notify_all()


class _Child:
    """A process that reads files, which starts with the first one, and again after one that has ended it.

    Attributes:
        process: The process; None while there is none.
    """

    def __init__(self, seconds: int, memory: int) -> None:
        self._seconds = seconds
        self._memory = memory
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, question: dict[str, Any], path: Path) -> tuple[NDArray[Any], dict[str, Any]]:
        """What the process answers of a file: numbers, of a series none, and what they are."""
        process = self.start()
        try:
            send(process.stdin, {**question, "seconds": self._seconds})
            answer = json.loads(connected(process.stdout).readline())
            if "shape" in answer:
                return _received(process.stdout, answer), answer
        except (
            OSError,
            EOFError,
            ValueError,
        ) as error:  # it ended: no line, or half of one, or of the voxels
            raise self._ended(path) from error
        raise _refusal(answer, path)

    def end(self) -> None:
        """End the process."""
        if self.process is None:
            return
        process, self.process = self.process, None
        with suppress(subprocess.TimeoutExpired):  # one that has ended by itself says why
            process.wait(0.2 if process.poll() is None else 0)
        process.kill()
        process.communicate()

    def start(self) -> subprocess.Popen[bytes]:
        """The process that waits for a file."""
        if self.process is not None and self.process.poll() is not None:  # somebody has ended it
            self.end()
        if self.process is None:
            begin = (
                f"import sys; sys.path[:] = {sys.path!r}; from diffcl.processes import end_with_input, end_with_parent;"
                f"end_with_parent({os.getpid()}); end_with_input(0); from diffcl.io.reading_child import main; main()"
            )
            self.process = start(
                [sys.executable, "-c", begin, str(self._memory)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
            )  # fmt: skip
            if sys.platform == "linux":
                with suppress(OSError):  # beyond what one user's pipes may hold
                    fcntl.fcntl(connected(self.process.stdout), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        return self.process

    def _ended(self, path: Path) -> _EndedError:
        """The error for a file over which the process ended."""
        process = self.process
        self.end()
        code = None if process is None else process.returncode
        if code == -signal.SIGALRM:
            return _EndedError(path, f"could not be read within {self._seconds} s", ANOTHER)
        return _EndedError(path, f"ended the process that read it ({_cause(code)})", ANOTHER)


def read_in_children() -> None:
    """From now on, `read_scan`, `read_scans` and `read_label` let a child of this process read what is in a file."""
    let_another_read(lambda: _reader(os.getpid()))


def start_reading() -> None:
    """Start the child that reads the first file; this does not wait for it."""
    _reader(os.getpid()).start()


def cut_isolated(path: Path, longest: int, kind: CutKind, planes: Planes | None = None) -> Cut:
    """What a picture shows of a file; see `IsolatedReader.cut`."""
    check_present(path)
    return _reader(os.getpid()).cut(path, longest, kind, planes)


@cache
def _reader(process: int) -> IsolatedReader:  # noqa: ARG001
    """The reader of this process; one that was forked does not take part in the other's talk with its children."""
    reader = IsolatedReader()
    atexit.register(reader.close)
    return reader


def _is_series(path: Path) -> bool:
    return path.is_dir() or image_suffix(path) is None or (path.is_file() and is_dicom(path))


def _placed(array: NDArray[Any], about: dict[str, Any]) -> sitk.Image:
    """The image whose voxels `(Z, Y, X)` and place stand in an answer."""
    return Geometry(*about["grid"]).place(array.T)


def _received(pipe: IO[bytes] | None, answer: dict[str, Any]) -> NDArray[Any]:
    """The numbers that follow an answer.

    Raises:
        ValueError: If there are more than a child may send, or of another type.
        EOFError: If the child ends before it has sent them.
    """
    shape, kind = tuple(answer["shape"]), np.dtype(answer["type"])
    if kind not in (np.dtype(np.float32), np.dtype(np.uint8)) or not 0 <= math.prod(shape) <= LARGEST_VOXELS:
        raise ValueError("an answer that is no scan or label")
    array = np.empty(shape, kind)
    if connected(pipe).readinto(array.data.cast("B")) != array.nbytes:  # type: ignore[attr-defined]
        raise EOFError
    return array


def _refusal(answer: dict[str, Any], path: Path) -> Exception:
    """Why a child could not read a file, or the fault of ours that it met."""
    if "fault" in answer:
        return RuntimeError(answer["fault"])
    kind: type[DiffclError] = getattr(errors, answer["error"], ScanError)
    return kind(path, answer["what"], answer["next_step"])


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"code {code}"
