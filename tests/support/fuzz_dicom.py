"""Reads mutated DICOM series, segmentations and ZIP files of series, and says how many were read or refused.

    python tests/support/fuzz_dicom.py COUNT [SEED] [KIND ...]

Whatever is neither a result nor an error of one line is printed, and its files are kept: another exception, a crash,
a hang, more memory than a few small slices can need. Each hundred files have a process of their own.
"""

from __future__ import annotations

import io
import os
import select
import shutil
import signal
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import SimpleITK as sitk
from dicom_forms import compress, write_enhanced
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from diffcl.errors import DiffclError
from diffcl.io import Scan, read_label, read_scan
from diffcl.io.dicom.seg_read import read_seg
from diffcl.io.dicom.seg_write import write_seg
from diffcl.io.dicom.series_write import write_series
from diffcl.recipe import load_recipe
from diffcl.web.uploads import unpack_zip

LABELS = load_recipe("hippocampus").labels

LONGEST_SECONDS = 20
"""A series of a few small slices that takes longer holds its reader up."""

MEMORY_BYTES = 1 << 30
"""Who needs more for a few small slices was led astray."""

BATCH = 100
"""Cases that a process reads, one after the other."""

SYNTAXES = {
    "deflated": gdcm.TransferSyntax.DeflatedExplicitVRLittleEndian,
    "jpeg": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    "rle": gdcm.TransferSyntax.RLELossless,
    "implicit": gdcm.TransferSyntax.ImplicitVRLittleEndian,
}

WEIGHTS = {
    "files": 25, "enhanced": 20, "seg": 30, "zip": 8, "deflated": 5, "implicit": 9, "jpeg": 1.5,
    "rle": 1.5,
}  # fmt: skip
"""How often each kind is drawn; those that a process of its own decodes take a second each."""

NESTED = 2000 * (b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff") + 2000 * (
    b"\xfe\xff\xdd\xe0\0\0\0\0" + b"\xfe\xff\x0d\xe0\0\0\0\0"
)
"""Two thousand sequences, each in an item of the one before."""

VALUES = (
    NESTED,
    b"", b"-1", b"0", b"1e999", b"nan", b"inf", b"1.5 ", b"65535 ", b"GARBAGE ", b"1\\2", b"1\\2\\3\\4\\5\\6 ",
    b"\xff\xff\xff\xff", b"\0\0", b"\0" * 8, b"\\" * 1000, b"9" * 5000, b"1.2.3 ", b"\xc3\xa4\xff ",
    b"ISO 2022 IR 149 ", b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 300, b"1.2.840.10008.1.2.1.99",
)  # fmt: skip
"""What attributes are set to, as bytes."""

KINDS = ("SQ", "UN", "OB", "OW", "DS", "IS", "US", "UL", "SS", "FD", "FL", "LO", "UI", "AT", "PN", "SV", "??")


def make_seeds(folder: Path) -> dict[str, list[bytes]]:
    """The contents of the files of each kind: those of a series, of a segmentation, or of one ZIP file."""
    values = np.random.default_rng(3).integers(-900, 900, (7, 6, 5)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((0.7, 0.9, 2.5))
    image.SetDirection((0, 0, -1, 1, 0, 0, 0, -1, 0))
    write_series(image, folder / "files", modality="CT", intercept=-1024.0)
    (folder / "enhanced").mkdir()
    write_enhanced(folder / "files", folder / "enhanced" / "0001.dcm")
    for name, syntax in SYNTAXES.items():
        shutil.copytree(folder / "files", folder / name)
        compress(folder / name, syntax)
    scan = read_scan(folder / "files")
    (folder / "seg").mkdir()
    label = sitk.Cast(scan.image > 0, sitk.sitkUInt8) + sitk.Cast(scan.image > 500, sitk.sitkUInt8)
    assert scan.series is not None
    write_seg(label, scan.series, LABELS, folder / "seg" / "seg.dcm", model_name="model", model_version=1)
    found = {kind.name: [file.read_bytes() for file in sorted(kind.iterdir())] for kind in folder.iterdir()}
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as made:
        for number, content in enumerate(found["files"]):
            made.writestr(f"series/{number}.dcm", content)
    return {**found, "zip": [package.getvalue()]}


def elements(content: Dataset) -> Iterator[tuple[Dataset, Any]]:
    """Every element of a data set, those of its sequences too, with the data set that holds it."""
    for element in content:
        yield content, element.tag
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def changed(content: bytes, rng: np.random.Generator) -> bytes:
    """A DICOM file with an element that lacks, or has another value, kind, or number of items, in any depth."""
    whole = pydicom.dcmread(io.BytesIO(content))
    places = list(elements(whole))
    for _ in range(1 if rng.random() < 0.8 else 4):
        holder, tag = places[rng.integers(len(places))]
        if tag not in holder:
            continue
        element = holder[tag]
        match rng.integers(0, 5):
            case 0:
                del holder[tag]
            case 1 if element.VR == "SQ":
                element.value = list(element.value) * int(rng.integers(0, 3))
            case 2 if element.VR == "SQ" and element.value:
                for _ in range(int(rng.integers(1, 4))):
                    outer = Dataset()
                    outer.add_new(tag, "SQ", list(element.value))
                    element.value = [outer]
            case 3:
                kind = str(KINDS[rng.integers(len(KINDS))])
                holder[tag] = RawDataElement(tag, kind, 4, rng.bytes(4), 0, False, True)
            case _:
                value = VALUES[rng.integers(len(VALUES))]
                holder[tag] = RawDataElement(tag, element.VR, len(value), value, 0, False, True)
    made = io.BytesIO()
    whole.save_as(made)
    return made.getvalue()


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with bytes that are changed, put in, left out or cut off."""
    data = bytearray(content)
    for _ in range(1 if rng.random() < 0.7 else 5):
        at = int(rng.integers(0, len(data)))
        match rng.integers(0, 6):
            case 0:
                data[at : at + 8] = rng.bytes(int(rng.integers(1, 9)))
            case 1:
                data[at : at + 4] = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f")[rng.integers(3)]
            case 2:
                data[at:at] = VALUES[rng.integers(len(VALUES))]
            case 3:
                del data[at : at + int(rng.integers(1, 40))]
            case 4:
                data = data[: max(1, at)] if rng.random() < 0.3 else data
            case _:
                data[at] = int(rng.integers(256))
        data = data or bytearray(b"\0")
    return bytes(data)


def mutated(contents: list[bytes], rng: np.random.Generator) -> list[bytes]:
    """The files of a kind, one of them or all changed."""
    everywhere, where, seed = rng.random() < 0.3, int(rng.integers(len(contents))), int(rng.integers(1 << 32))
    found = []
    for number, content in enumerate(contents):
        own = np.random.default_rng(seed)  # all files are changed alike
        if not everywhere and number != where:
            found.append(content)
        elif own.random() < 0.5 or content[:2] == b"PK":
            found.append(damaged(content, own))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found.append(changed(content, own))
                except Exception:  # noqa: BLE001 - what pydicom does not write is damaged in another way
                    found.append(damaged(content, own))
    return found


def lay(contents: list[bytes], kind: str, folder: Path) -> Path:
    """Write the files of a kind into a new folder; the path that is read."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    suffix = "zip" if kind == "zip" else "dcm"
    for number, content in enumerate(contents):
        (folder / f"{number}.{suffix}").write_bytes(content)
    return folder / f"0.{suffix}" if kind in {"zip", "seg"} else folder


def use(path: Path, kind: str, scan: Scan) -> None:
    """Read what may be a segmentation of a scan, a ZIP file of a series, or a series, and write a label for it."""
    if kind == "seg":
        read_label(path)
        read_seg(path, scan, LABELS)
        return
    if kind == "zip":
        place = path.parent / "unpacked"
        place.mkdir()
        unpack_zip(path, place, "series.zip")
        path = place
    found = read_scan(path)
    assert np.isfinite(sitk.GetArrayViewFromImage(found.image)).all()
    assert found.series is not None
    label, seg = sitk.Cast(found.image > 0, sitk.sitkUInt8), path.parent / "written.dcm"
    write_seg(label, found.series, LABELS, seg, model_name="model", model_version=1)
    assert (sitk.GetArrayFromImage(read_seg(seg, found)) == sitk.GetArrayFromImage(label)).all()


def outcome(path: Path, kind: str, scan: Scan) -> str:
    """`read`, `refused`, or what went wrong."""
    before = peak_bytes()
    signal.alarm(LONGEST_SECONDS)
    try:
        use(path, kind, scan)
    except DiffclError as error:
        found = "refused" if "\n" not in str(error) else "several lines"
    except Exception as error:  # noqa: BLE001 - whatever else is what is looked for
        found = f"{type(error).__name__}: {str(error)[:150]}"
    else:
        found = "read"
    finally:
        signal.alarm(0)
    grown = peak_bytes(anew=False) - before
    return found if grown < MEMORY_BYTES else f"{grown >> 20} MiB"


def peak_bytes(*, anew: bool = True) -> int:
    """The most memory that this process held; from now on counted anew."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def too_slow(*_: object) -> None:
    """Called by the alarm."""
    raise TimeoutError("slow")


class Fuzz:
    """Mutates files of each kind in a folder of its own and reads them.

    Args:
        folder: Empty.
        seed: Decides what is changed, together with the number of the case.
        weights: How often each kind is drawn.
    """

    def __init__(self, folder: Path, seed: int, weights: dict[str, float] = WEIGHTS) -> None:
        self._folder, self._seed, self._weights = folder, seed, weights
        (folder / "seeds").mkdir()
        self._seeds = make_seeds(folder / "seeds")
        self._scan = read_scan(folder / "seeds" / "files")
        signal.signal(signal.SIGALRM, too_slow)

    def case(self, number: int) -> tuple[str, str]:
        """The kind of a case, and its outcome."""
        rng = np.random.default_rng([self._seed, number])
        shares = np.array([*self._weights.values()]) / sum(self._weights.values())
        kind = str(rng.choice([*self._weights], p=shares))
        path = lay(mutated(self._seeds[kind], rng), kind, self._folder / "mutated")
        return kind, outcome(path, kind, self._scan)

    def keep(self, number: int) -> None:
        """Keep the files of the last case for people to look at."""
        kept = Path(tempfile.gettempdir()) / f"diffcl-fuzz-{self._seed}-{number}"
        shutil.copytree(self._folder / "mutated", kept, dirs_exist_ok=True)

    def told(self, number: int, pipe: int) -> None:
        """Write the outcome of a case as a line, and keep its files where it is neither read nor refused."""
        kind, found = self.case(number)
        if found not in {"read", "refused"}:
            self.keep(number)
        os.write(pipe, f"{number} {kind} {found}".replace("\n", " ").encode() + b"\n")

    def batch(self, numbers: range) -> Iterator[tuple[int, str]]:
        """Kind and outcome of each case, from a process that may crash or hang; it is then continued by another one."""
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            try:
                for number in numbers:
                    self.told(number, writing)
            finally:
                os._exit(0)
        os.close(writing)
        done = numbers.start
        with os.fdopen(reading, "rb", buffering=0) as lines:
            while select.select([lines], [], [], 3 * LONGEST_SECONDS)[0] and (line := lines.readline()):
                yield done, line.decode().split(" ", 1)[1].rstrip()
                done += 1
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if done < numbers.stop:
            self.keep(done)
            yield done, f"? ended its process ({code})"
            yield from self.batch(range(done + 1, numbers.stop))


def main() -> None:
    """Mutate and read."""
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    sitk.ProcessObject.SetGlobalDefaultThreader("Platform")  # a process that is forked has none of ITK's pool
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    weights = {kind: WEIGHTS[kind] for kind in sys.argv[3:]} or WEIGHTS
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder), seed, weights)
        for start in range(0, count, BATCH):
            for number, found in fuzz.batch(range(start, min(start + BATCH, count))):
                seen[found] += 1
                if found.split()[-1] not in {"read", "refused"}:
                    sys.stdout.write(f"{number} of seed {seed}, {found}\n")
                    sys.stdout.flush()
    sys.stdout.write(f"{dict(sorted(seen.items()))}\n")


if __name__ == "__main__":
    main()
