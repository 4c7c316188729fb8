"""Decodes compressed DICOM images in a process of its own: over some damaged files the decoders end theirs.

As a program it reads the name of a file a line, as JSON, and answers each with a line of JSON, the type and shape
of the stored values, and their bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom


class Decoder:
    """Gives the stored values of compressed files. The process starts with the first one and ends with the block."""

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
            ValueError: If they cannot be decoded.
        """
        process = self._process = self._process or subprocess.Popen(
            [sys.executable, "-I", __file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if process.stdin is None or process.stdout is None:
            raise ValueError("the process was started with pipes")
        process.stdin.write(json.dumps(str(file.resolve())).encode() + b"\n")
        process.stdin.flush()
        kind, shape = json.loads(process.stdout.readline())
        size = np.dtype(kind).itemsize * int(np.prod(shape))
        return np.frombuffer(process.stdout.read(size), kind).reshape(shape)


def main() -> None:
    """Answer until there are no more questions; what libraries print goes to standard error."""
    warnings.simplefilter("ignore")
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for line in sys.stdin:
            values = np.ascontiguousarray(pydicom.dcmread(json.loads(line)).pixel_array)
            answers.write(json.dumps([values.dtype.str, values.shape]).encode() + b"\n")
            answers.write(values.data)
            answers.flush()


if __name__ == "__main__":
    main()
