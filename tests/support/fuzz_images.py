"""Reads mutated image files, thousands of them, and says how many were read, refused, or went wrong.

    python tests/support/fuzz_images.py COUNT [SEED]

A crash of a native reader ends the program with its signal; a traceback or a hang is printed, and its file is kept.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

from diffcl.errors import DiffclError
from diffcl.io import read_label, read_scan, write_image

LONGEST_SECONDS = 5.0
"""A small file that takes longer holds its reader up."""

WORDS = (
    b"inf", b"nan", b"-1", b"0", b"99999999999", b"1e308", b"(1,0,0)", b"none", b"\n", b"\x00", b"LIST", b"%s",
    b"true", b"gzip", b"raw", b"4", b"300", b" ", b",", b"(", b": ", b":=", b"=",
)  # fmt: skip
"""What is put into headers that are text."""


def seeds(folder: Path) -> dict[str, bytes]:
    """Whole files by suffix."""
    image = sitk.GetImageFromArray(np.random.default_rng(3).normal(size=(4, 6, 5)).astype(np.float32))
    image.SetSpacing((0.7, 0.9, 2.5))
    for suffix in ("nii", "nii.gz", "nrrd", "mha"):
        write_image(image, folder / f"seed.{suffix}")
    nib.save(nib.Nifti2Image(np.ones((5, 6, 4), np.int16), np.eye(4)), folder / "two.nii")
    sitk.WriteImage(image > 0, str(folder / "plain.nrrd"))
    sitk.WriteImage(image > 0, str(folder / "plain.mha"))
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """A file with a few bytes, numbers or lines changed, doubled, cut or grown; gzip stays gzip most of the time."""
    packed = content[:2] == b"\x1f\x8b" and rng.random() < 0.9
    data = bytearray(gzip.decompress(content) if packed else content)
    for _ in range(1 if rng.random() < 0.7 else 3):
        at = int(rng.integers(0, min(len(data), 700)))
        match rng.integers(0, 7):
            case 0:
                data[at : at + 8] = rng.bytes(int(rng.integers(1, 9)))
            case 1:
                word = WORDS[rng.integers(len(WORDS))]
                data[at : at + len(word)] = word
            case 2:
                data[at:at] = WORDS[rng.integers(len(WORDS))] * int(rng.integers(1, 300))
            case 3:
                del data[at : at + int(rng.integers(1, 40))]
            case 4:
                lines = bytes(data).split(b"\n")
                line = int(rng.integers(0, len(lines)))
                lines[line:line] = [lines[line]] * int(rng.integers(1, 30))
                data = bytearray(b"\n".join(lines))
            case 5:
                data = data[: max(1, at)] if rng.random() < 0.3 else data
            case _:
                data[at] = int(rng.integers(256))
        data = data or bytearray(b"\0")
    return gzip.compress(bytes(data), 1) if packed else bytes(data)


def outcome(path: Path) -> str:
    """`read`, `refused`, or what went wrong."""
    start = time.monotonic()
    try:
        image = read_scan(path).image
        read_label(path)
        good = np.isfinite(sitk.GetArrayViewFromImage(image)).all()
        found = "read" if good else "not finite"
    except DiffclError as error:
        found = "refused" if "\n" not in str(error) else "several lines"
    except Exception as error:  # noqa: BLE001 - whatever else is what is looked for
        found = f"{type(error).__name__}: {error}"
    return found if time.monotonic() - start < LONGEST_SECONDS else "slow"


def main() -> None:
    """Mutate and read."""
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    rng = np.random.default_rng(seed)
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        whole = seeds(Path(folder))
        names = list(whole)
        for number in range(count):
            name = names[number % len(names)]
            path = Path(folder) / f"mutated.{name.split('.', 1)[1]}"
            path.write_bytes(mutated(whole[name], rng))
            found = outcome(path)
            seen[found] += 1
            if found not in {"read", "refused"}:
                sys.stdout.write(f"{number} of seed {seed}, {name}: {found}\n")
                Path(
                    f"{tempfile.gettempdir()}/diffcl-fuzz-{seed}-{number}.{name.split('.', 1)[1]}"
                ).write_bytes(path.read_bytes())
    sys.stdout.write(f"{dict(seen)}\n")


if __name__ == "__main__":
    main()
