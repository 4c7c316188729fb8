"""The other forms in which a scanner may write a series: one enhanced file, compressed files."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import gdcm
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import EnhancedCTImageStorage, EnhancedMRImageStorage, generate_uid


def write_enhanced(series: Path, file: Path) -> Path:
    """Write a series of seven slices as one enhanced file, its frames out of order, each with its own intercept."""
    slices = [pydicom.dcmread(file) for file in sorted(series.glob("*.dcm"))]
    slices = [slices[index] for index in (3, 0, 6, 1, 5, 2, 4)]
    enhanced = {"MR": EnhancedMRImageStorage, "CT": EnhancedCTImageStorage}[slices[0].Modality]
    whole = pydicom.dcmread(series / "0001.dcm")
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del whole[keyword]
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = enhanced
    whole.NumberOfFrames = len(slices)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = slices[0].ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = slices[0].PixelSpacing, slices[0].SliceThickness
    shared.PlaneOrientationSequence = Items([orientation])
    shared.PixelMeasuresSequence = Items([measures])
    whole.SharedFunctionalGroupsSequence = Items([shared])
    frames, pixels = [], []
    for index, one in enumerate(slices):
        frame, position, transformation = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        transformation.RescaleSlope, transformation.RescaleIntercept = "0.5", str(10 * index)
        transformation.RescaleType = "US"
        frame.PlanePositionSequence = Items([position])
        frame.PixelValueTransformationSequence = Items([transformation])
        frames.append(frame)
        values = one.pixel_array.astype(np.int16) + int(one.get("RescaleIntercept", 0))
        pixels.append((2 * (values - 10 * index)).astype("<i2").tobytes())
    whole.PerFrameFunctionalGroupsSequence = Items(frames)
    whole.PixelData = b"".join(pixels)
    if len(whole.PixelData) % 2:
        whole.PixelData += b"\0"
    whole.save_as(file)
    return file


def compress(series: Path, syntax: int) -> None:
    """Write the files of a series anew in another transfer syntax of gdcm."""
    for file in series.iterdir():
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(file))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(file))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()


def write_parts(enhanced: Path, folder: Path, counts: Sequence[int]) -> Path:
    """Write an enhanced file as several into a new folder, with so many of its frames each."""
    folder.mkdir()
    first = 0
    for number, count in enumerate(counts, start=1):
        part = pydicom.dcmread(enhanced)
        frame_size = part.Rows * part.Columns * part.BitsAllocated // 8
        part.SOPInstanceUID = part.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        part.NumberOfFrames, part.InstanceNumber = count, number
        part.PerFrameFunctionalGroupsSequence = part.PerFrameFunctionalGroupsSequence[first : first + count]
        content = part.PixelData[first * frame_size : (first + count) * frame_size]
        part.PixelData = content + b"\0" * (len(content) % 2)
        part.save_as(folder / f"{number:04d}.dcm")
        first += count
    return folder


def describe_series(series: Path, **attributes: str) -> str:
    """Give all images of a series some attributes, such as a SeriesDescription; gives its UID."""
    for file in sorted(series.glob("*.dcm")):
        image = pydicom.dcmread(file)
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
        image.save_as(file)
    return str(image.SeriesInstanceUID)


def bomb(size: int) -> bytes:
    """The packed part of a deflated file that unpacks to so many zeros, in a private element."""
    head = b"\x09\x00\x00\x10OB\0\0" + size.to_bytes(4, "little")
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    return b"".join((pack.compress(head), *(pack.compress(zeros) for _ in range(size >> 20)), pack.flush()))
