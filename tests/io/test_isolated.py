"""Reading in a child gives what reading here gives, and whatever ends, holds up or bloats the child is one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from killed import wait_for_the_end_of
from study_files import make_socket

from diffcl.errors import ScanError, UsageError
from diffcl.geometry import Geometry
from diffcl.io import read, read_label, read_scan, write_image
from diffcl.io.isolated import IsolatedReader, cut_isolated, read_in_children
from diffcl.io.read import read_scans


@pytest.fixture(scope="module")
def reader() -> Iterator[IsolatedReader]:
    one = IsolatedReader(seconds=2)
    yield one
    one.close()


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
def test_a_scan_is_what_it_is_when_it_is_read_here(
    reader: IsolatedReader, image: sitk.Image, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"p07.{suffix}"
    write_image(image, path)
    got, want = reader.scan(path), read_scan(path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(got.image), sitk.GetArrayFromImage(want.image))
    assert Geometry.of(got.image) == Geometry.of(want.image)
    assert (got.name, got.path, got.remarks) == (want.name, want.path, want.remarks)


def test_a_label_is_what_it_is_when_it_is_read_here(
    reader: IsolatedReader, label: sitk.Image, tmp_path: Path
) -> None:
    write_image(label, tmp_path / "p07.nrrd")
    got = reader.label(tmp_path / "p07.nrrd")
    assert got.GetPixelID() == sitk.sitkUInt8
    np.testing.assert_array_equal(sitk.GetArrayFromImage(got), sitk.GetArrayFromImage(label))
    assert Geometry.of(got) == Geometry.of(read_label(tmp_path / "p07.nrrd"))


def test_a_remark_comes_with_the_scan(reader: IsolatedReader, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.arange(60.0).reshape(3, 4, 5), None), tmp_path / "p07.nii")
    assert reader.scan(tmp_path / "p07.nii").remarks == read_scan(tmp_path / "p07.nii").remarks != ()


def test_a_series_is_read_here_after_a_child_has_read_it(series: Path) -> None:
    reader = IsolatedReader(seconds=60)
    assert reader.scan(series).series is not None
    assert len(reader.processes) == 1
    reader.close()


def test_a_refusal_is_the_same_line(reader: IsolatedReader, tmp_path: Path) -> None:
    (tmp_path / "p07.nrrd").write_bytes(b"text")
    with pytest.raises(ScanError) as here:
        read_scan(tmp_path / "p07.nrrd")
    with pytest.raises(ScanError) as there:
        reader.scan(tmp_path / "p07.nrrd")
    assert str(there.value) == str(here.value)


def test_one_child_reads_many_files(reader: IsolatedReader, image: sitk.Image, tmp_path: Path) -> None:
    write_image(image, tmp_path / "p07.nii")
    reader.scan(tmp_path / "p07.nii")
    children = reader.processes
    for _ in range(3):
        reader.scan(tmp_path / "p07.nii")
    assert reader.processes == children
    assert len(children) == 1


def test_a_file_that_holds_the_child_up_is_one_line(
    reader: IsolatedReader, image: sitk.Image, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "p07.nii")
    with pytest.raises(
        ScanError, match=r"p07\.nii: could not be read within 2 s\. Save it with another program"
    ):
        reader.scan(tmp_path / "p07.nii")
    write_image(image, tmp_path / "p08.nii")
    assert reader.scan(tmp_path / "p08.nii").name == "p08"


def test_a_file_that_crashes_the_child_is_one_line(
    reader: IsolatedReader, image: sitk.Image, tmp_path: Path
) -> None:
    write_image(image, tmp_path / "p08.nii")
    reader.scan(tmp_path / "p08.nii")
    os.mkfifo(tmp_path / "p07.nii")
    crash = threading.Timer(0.3, os.kill, (reader.processes[0], signal.SIGSEGV))
    crash.start()
    with pytest.raises(ScanError, match=r"p07\.nii: ended the process that read it \(SIGSEGV\)"):
        reader.scan(tmp_path / "p07.nii")
    crash.join()
    assert reader.scan(tmp_path / "p08.nii").name == "p08"


def test_a_child_that_was_killed_while_it_waited_is_replaced(
    reader: IsolatedReader, image: sitk.Image, tmp_path: Path
) -> None:
    write_image(image, tmp_path / "p08.nii")
    reader.scan(tmp_path / "p08.nii")
    child = reader.processes[0]
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it is over, and whoever started it may see that
    assert reader.scan(tmp_path / "p08.nii").name == "p08"


def test_a_file_that_needs_more_memory_than_allowed_is_one_line(tmp_path: Path) -> None:
    reader = IsolatedReader(memory=2 << 30)
    header = "NDims = 3\nDimSize = 1024 1024 300\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    with (tmp_path / "p07.mha").open("wb") as file:  # takes no room on the disk; 1.2 GB as float32, twice
        file.write(header.encode())
        file.truncate(len(header) + 1024 * 1024 * 300)
    with pytest.raises(ScanError, match="needs more memory to read than is allowed"):
        reader.scan(tmp_path / "p07.mha")
    reader.close()


@pytest.mark.parametrize("busy", [False, True], ids=["while it waits", "while it reads"])
def test_the_child_ends_with_its_parent(image: sitk.Image, tmp_path: Path, busy: bool) -> None:
    write_image(image, tmp_path / "p07.nii")
    os.mkfifo(tmp_path / "p08.nii")
    program = (
        "import pathlib, threading; from diffcl.io.isolated import IsolatedReader; reader = IsolatedReader();"
        f"reader.scan(pathlib.Path({str(tmp_path / 'p07.nii')!r})); print(*reader.processes, flush=True);"
        + (
            f"reader.scan(pathlib.Path({str(tmp_path / 'p08.nii')!r}))"
            if busy
            else "threading.Event().wait()"
        )
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
    wait_for_the_end_of(child)


def test_a_file_that_takes_long_holds_up_no_other(image: sitk.Image, tmp_path: Path) -> None:
    write_image(image, tmp_path / "p07.nii")
    os.mkfifo(tmp_path / "slow.nii")
    reader = IsolatedReader(seconds=60, children=2)

    def read_slowly() -> None:
        with pytest.raises(ScanError, match="SIGKILL"):
            reader.scan(tmp_path / "slow.nii")

    slow = threading.Thread(target=read_slowly)
    slow.start()
    while not reader.processes:
        time.sleep(0.01)
    held = reader.processes
    assert reader.scan(tmp_path / "p07.nii").name == "p07"
    assert slow.is_alive()
    for child in held:
        os.kill(child, signal.SIGKILL)
    slow.join()
    reader.close()
    assert reader.processes == []


def test_a_child_outlives_the_thread_that_asked_first(image: sitk.Image, tmp_path: Path) -> None:
    write_image(image, tmp_path / "p07.nii")
    reader = IsolatedReader(children=1)
    first = threading.Thread(target=reader.scan, args=(tmp_path / "p07.nii",))
    first.start()
    first.join()
    children = reader.processes
    time.sleep(0.1)
    reader.scan(tmp_path / "p07.nii")
    assert reader.processes == children != []
    reader.close()


def test_a_program_that_lets_children_read_gets_what_it_would_read_itself(
    image: sitk.Image, label: sitk.Image, series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(image, tmp_path / "p07.nii")
    write_image(label, tmp_path / "label.nii")
    nib.save(nib.Nifti1Image(np.arange(120.0).reshape(3, 4, 5, 2), np.eye(4)), tmp_path / "two.nii")

    def everything() -> list[sitk.Image]:
        two = read_scans(tmp_path / "two.nii")
        assert len(two) == 2
        named = read_scan(tmp_path / "p07.nii", name="ann")
        assert named.name == "ann"
        return [
            named.image,
            *(one.image for one in two),
            read_label(tmp_path / "label.nii"),
            read_scan(series).image,
        ]

    here = everything()
    read_in_children()
    for where in ("scan_of_file", "scans_of_file", "label_of_file"):
        monkeypatch.delattr(read, where)
    for got, want in zip(everything(), here, strict=True):
        np.testing.assert_array_equal(sitk.GetArrayFromImage(got), sitk.GetArrayFromImage(want))
        assert Geometry.of(got) == Geometry.of(want)
    with pytest.raises(UsageError, match="not DICOM"):
        read_scan(tmp_path / "p07.nii", series_uid="1.2")


def test_a_file_that_ended_a_child_is_refused_at_once_until_it_changes(
    image: sitk.Image, tmp_path: Path
) -> None:
    reader = IsolatedReader(seconds=1, children=1)
    path = tmp_path / "p07.nii"
    os.mkfifo(path)
    with pytest.raises(ScanError, match="could not be read within 1 s") as first:
        reader.scan(path)
    with pytest.raises(ScanError) as second:
        reader.scan(path)
    assert str(second.value) == str(first.value)
    assert reader.processes == []  # nobody looked at it again
    path.unlink()
    write_image(image, path)
    assert reader.scan(path).name == "p07"
    reader.close()


def test_a_file_that_several_ask_for_holds_up_one_child(image: sitk.Image, tmp_path: Path) -> None:
    reader = IsolatedReader(seconds=4, children=2)
    os.mkfifo(tmp_path / "slow.nii")
    write_image(image, tmp_path / "p07.nii")
    said: list[str] = []

    def read_slowly() -> None:
        with pytest.raises(ScanError) as refused:
            reader.scan(tmp_path / "slow.nii")
        said.append(str(refused.value))

    slow = [threading.Thread(target=read_slowly) for _ in range(4)]
    for one in slow:
        one.start()
    assert reader.scan(tmp_path / "p07.nii").name == "p07"
    assert said == []
    for one in slow:
        one.join()
    assert len(said) == 4
    assert len(set(said)) == 1
    reader.close()


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [make_fifo, make_socket, link_to_a_device, link_to_itself])
def test_what_is_no_file_is_not_opened(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "p07.nii")
    readers: list[Callable[[Path], object]] = [read_scan, read_scans, read_label]
    for reads in (*readers, partial(cut_isolated, longest=8, kind="scan")):
        with pytest.raises(ScanError, match=r"(neither a file nor a folder|no such file or folder)\. "):
            reads(tmp_path / "p07.nii")


def test_a_child_that_was_started_reads_the_first_file(image: sitk.Image, tmp_path: Path) -> None:
    write_image(image, tmp_path / "p07.nii")
    reader = IsolatedReader()
    reader.start()
    children = reader.processes
    assert reader.scan(tmp_path / "p07.nii").name == "p07"
    assert reader.processes == children != []
    reader.close()
